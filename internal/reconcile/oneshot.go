package reconcile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// specChange lists the members of two specs that differ, as "embedding.dims 1536 → 512".
func specChange(from, to snapshot.Spec) string {
	was, is := flat(spelledOut(from)), flat(spelledOut(to))
	var out []string
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		if was[name] != is[name] {
			out = append(out, fmt.Sprintf("%s %s → %s", name, orNone(was[name]), orNone(is[name])))
		}
	}
	if len(out) == 0 {
		return "a member that this release does not know"
	}
	return strings.Join(out, ", ")
}

// spelledOut is a spec with the defaults that it leaves out.
func spelledOut(s snapshot.Spec) snapshot.Spec {
	d := vendors.DefaultRules()
	s.DuplicateIDs, s.RecordID, s.RecordName = cmp.Or(s.DuplicateIDs, d.Duplicates), cmp.Or(s.RecordID, d.ID), cmp.Or(s.RecordName, d.Name)
	return s
}

// flat is a document's members by dotted path.
func flat(doc any) map[string]string {
	data, err := json.Marshal(doc)
	var v any
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		return nil // a spec always encodes
	}
	out := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok {
			for name, child := range m {
				walk(strings.TrimPrefix(path+"."+name, "."), child)
			}
			return
		}
		out[path] = fmt.Sprint(v)
	}
	walk("", v)
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// retention is the deployment's, as status.json says it.
func (c Config) retention() store.Retention {
	return store.Retention{Snapshots: c.RetainSnapshots, GraceSeconds: c.RetainGrace.Seconds(), Deltas: c.Delta != DeltaOff}
}

func retentionChange(from, to store.Retention) string {
	var out []string
	if from.Snapshots != to.Snapshots {
		out = append(out, fmt.Sprintf("RETAIN_SNAPSHOTS %d → %d", from.Snapshots, to.Snapshots))
	}
	if from.GraceSeconds != to.GraceSeconds {
		out = append(out, fmt.Sprintf("RETAIN_GRACE %s → %s", from.Grace(), to.Grace()))
	}
	if from.Deltas && !to.Deltas { // an earlier release does not say, and keeping more is no harm
		out = append(out, "DELTA auto → off")
	}
	return strings.Join(out, ", ")
}

// keptRetention is what status.json goes on saying.
func (p *pass) keptRetention() *store.Retention {
	if p.plan.retentionDiffers != "" {
		return p.status.Retention
	}
	own := p.cfg.retention()
	return &own
}
