package dropins

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Set is all drop-ins in their order. It does not change. The nil Set has none.
type Set struct {
	files []*File
	byID  map[[16]byte][]entryAt // in order: the last counts first
	order [][16]byte             // ids by the entry that counts first
}

type entryAt struct {
	file *File
	*Entry
}

// NewSet sorts the files by name.
func NewSet(files []*File) *Set {
	s := &Set{files: slices.Clone(files), byID: map[[16]byte][]entryAt{}}
	slices.SortFunc(s.files, func(a, b *File) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range s.files {
		for i := range f.Entries {
			e := &f.Entries[i]
			id := snapshot.IDHash(e.Record.ID)
			s.byID[id] = append(s.byID[id], entryAt{f, e})
		}
	}
	for _, f := range s.files {
		for i := range f.Entries {
			id := snapshot.IDHash(f.Entries[i].Record.ID)
			if all := s.byID[id]; all[len(all)-1].Entry == &f.Entries[i] {
				s.order = append(s.order, id)
			}
		}
	}
	return s
}

// Len is the number of files.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.files)
}

// Files returns them in order.
func (s *Set) Files() []*File {
	if s == nil {
		return nil
	}
	return s.files
}

// Digest names the desired state: what the source is, the drop-ins over it and how all are read. It is the source's own,
// hence empty, without drop-ins.
func (s *Set) Digest(sourceSHA256 string, rules vendors.Rules, template string) string {
	if s.Len() == 0 {
		return ""
	}
	rules = rules.Normal()
	h := sha256.New()
	enc := json.NewEncoder(h)
	_ = enc.Encode([]string{sourceSHA256, rules.ID, rules.Name, rules.Duplicates, template}) // a hash takes everything
	for _, f := range s.files {
		_ = enc.Encode([]string{f.Name, hex.EncodeToString(f.SHA256[:]), f.Against})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Later names the first file after name that says something about id, "" when name has the last word.
func (s *Set) Later(name, id string) string {
	for _, e := range s.byID[snapshot.IDHash(id)] {
		if e.file.Name > name {
			return e.file.Name
		}
	}
	return ""
}

// shown is how many cases of a kind a Report names.
const shown = 10

// Case is a record about which a drop-in and the source are not of one mind.
type Case struct {
	ID   string
	File string
}

// Cases are counted, and the first ones named.
type Cases struct {
	Count int
	First []Case
}

func (c *Cases) add(id, file string) {
	if c.Count++; len(c.First) < shown {
		c.First = append(c.First, Case{id, file})
	}
}

// Report is what came of drop-ins.
type Report struct {
	Stale     Cases   // ours that the source has overtaken
	Shadowing Cases   // by hand, that hide a record of the source
	Redundant []*File // ours that change nothing
}

// Merge is one reading of the source with the drop-ins over it.
type Merge struct {
	set    *Set
	report Report
	met    map[[16]byte]bool // in the source
}

// Merge begins a reading; a source that is read again needs another.
func (s *Set) Merge() *Merge {
	return &Merge{set: s, met: map[[16]byte]bool{}}
}

// Source takes a record of the source, in order, and hands on what stands in its place, if anything.
func (m *Merge) Source(rec vendors.Record, add func(vendors.Record) error) error {
	if m.set.Len() == 0 {
		return add(rec)
	}
	id := snapshot.IDHash(rec.ID)
	all := m.set.byID[id]
	if len(all) == 0 {
		return add(rec)
	}
	m.met[id] = true
	e, ok := m.counts(all, Digest(rec))
	switch {
	case !ok:
		return add(rec)
	case e.Deleted:
		return nil
	}
	return add(e.Record)
}

// Rest hands on the new records, after the last one of the source.
func (m *Merge) Rest(add func(vendors.Record) error) error {
	if m.set.Len() == 0 {
		return nil
	}
	for _, id := range m.set.order {
		if m.met[id] {
			continue
		}
		all := m.set.byID[id]
		if e, ok := m.counts(all, Absent); ok && !e.Deleted {
			if err := add(e.Record); err != nil {
				return err
			}
		}
	}
	return nil
}

// counts picks the entry that counts over the source's record, whose digest is now; ok is false when that itself does.
func (m *Merge) counts(all []entryAt, now string) (e entryAt, ok bool) {
	for _, e := range slices.Backward(all) {
		same := e.Deleted && now == Absent || !e.Deleted && now == Digest(e.Record)
		overtaken := e.file.Ours() && e.file.Against != now
		if same && e.file.Ours() && (overtaken || len(all) == 1) { // without it everything would be as it is
			m.report.Redundant = append(m.report.Redundant, e.file)
		}
		if overtaken {
			if !same {
				m.report.Stale.add(e.Record.ID, e.file.Name)
			}
			continue
		}
		if !e.file.Ours() && !same && now != Absent {
			m.report.Shadowing.add(e.Record.ID, e.file.Name)
		}
		return e, true
	}
	return e, false
}

// Report is what came of all drop-ins, after Rest.
func (m *Merge) Report() Report { return m.report }
