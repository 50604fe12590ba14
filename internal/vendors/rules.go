package vendors

import (
	"fmt"
	"strings"
)

// What becomes of records that share an id: the values of Rules.Duplicates.
const (
	DuplicatesSuffix = "suffix" // all are kept, the second as <id>~2
	DuplicatesLast   = "last"   // the last one is kept
	DuplicatesRefuse = "refuse" // the catalogue is refused
)

// Rules say where a record's id and name stand and what a repeated id means. They decide what a record is called and
// whether it is there, never the text that is embedded.
type Rules struct {
	Duplicates string // one of the Duplicates constants
	ID         string // dotted paths, comma-separated: the first present value is the id
	Name       string // the same for the name
}

// DefaultRules are those of a catalogue that nobody set any for.
func DefaultRules() Rules {
	return Rules{Duplicates: DuplicatesSuffix, ID: "vendor_id,id", Name: "name,company_name,title"}
}

// Bounds of Rules: each path is looked up in each record.
const (
	maxRulePaths = 16
	maxRulePath  = 200
)

// Validate names the setting that cannot work, as the environment spells it, and why.
func (r Rules) Validate() error {
	switch r.Duplicates {
	case DuplicatesSuffix, DuplicatesLast, DuplicatesRefuse:
	default:
		return fmt.Errorf("DUPLICATE_IDS must be suffix, last or refuse, is %q", r.Duplicates)
	}
	for _, s := range []struct{ name, paths string }{{"RECORD_ID", r.ID}, {"RECORD_NAME", r.Name}} {
		paths := strings.Split(s.paths, ",")
		if len(paths) > maxRulePaths {
			return fmt.Errorf("%s has %d paths, at most %d", s.name, len(paths), maxRulePaths)
		}
		for _, p := range paths {
			if p = strings.TrimSpace(p); p == "" || len(p) > maxRulePath {
				return fmt.Errorf("%s must be paths such as vendor_id,basic_info.id, is %q", s.name, s.paths)
			}
		}
	}
	return nil
}

// Normal is r as it is compared and recorded: without spaces around paths.
func (r Rules) Normal() Rules {
	r.ID, r.Name = strings.Join(pathsOf(r.ID), ","), strings.Join(pathsOf(r.Name), ",")
	return r
}

func pathsOf(s string) []string {
	paths := strings.Split(s, ",")
	for i, p := range paths {
		paths[i] = strings.TrimSpace(p)
	}
	return paths
}
