package vendors

import (
	"fmt"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"
)

// Bounds of what is indexed. Whatever lies beyond them is still answered rightly, only slower.
const (
	// maxPaths bounds the paths: catalogues with keys made of data would have one for every record. A filter on a
	// path beyond reads all records.
	maxPaths = 4096

	// maxDistinct values of a path, and maxBitmaps in all, have a bitmap each (100 to 200 bytes and 2 bytes for
	// each record that has it: at most 40 MB for 200,000); further ones are entries of 12 bytes.
	maxDistinct = 4096
	maxBitmaps  = 200_000

	// maxFacetText bounds a string kept in memory; longer ones are told apart by their hash.
	maxFacetText = 256

	// fewRecords is up to how many records of a value are smaller as entries than as a bitmap.
	fewRecords = 8
)

// attributesBuilder collects the values of every path, record after record.
type attributesBuilder struct {
	n       int
	paths   map[string]*attribute
	partial bool // there are paths beyond maxPaths
	bitmaps int
}

// attribute is everything that one path leads to.
type attribute struct {
	present  *roaring.Bitmap        // the path leads to a value
	simple   [3]*roaring.Bitmap     // by kind: null, false, true; nil for none
	common   map[uint64]*commonText // strings with a bitmap, by hash
	rare     []entry                // the other strings by hash, sorted
	numbers  []entry                // numbers in order, sorted
	numerals []entry                // strings that are numbers, by the number
}

type commonText struct {
	text    string
	records *roaring.Bitmap
}

// step is a key on the way to a path. Steps are only needed while building.
type step struct {
	prefix string // the path with a dot; empty at the root
	next   map[string]*step
	to     *attribute // nil at the root and for a path beyond maxPaths
}

// BuildAttributes indexes n records, of which raw(i) is the JSON in catalogue order. It reads each record once and keeps
// no slice that raw returned. raw itself is kept and must stay usable, from any goroutine, for as long as the Attributes
// is used.
func BuildAttributes(n int, raw func(i int) ([]byte, error)) (*Attributes, error) {
	if n < 0 || n > math.MaxUint32 {
		return nil, fmt.Errorf("attributes of %d records: want 0..%d", n, uint32(math.MaxUint32))
	}
	a := &attributesBuilder{n: n, paths: make(map[string]*attribute)}
	root := &step{next: make(map[string]*step)}
	var t tree
	for i := range n {
		if err := t.load(raw, i); err != nil {
			return nil, err
		}
		a.object(root, &t, 0, uint32(i))
	}
	return a.finish(raw)
}

// load reads record i into t.
func (t *tree) load(raw func(i int) ([]byte, error), i int) error {
	in, err := raw(i)
	if err != nil {
		return fmt.Errorf("read record %d: %w", i, err)
	}
	if len(in) > maxRecord {
		return fmt.Errorf("record %d: %s", i, KindRecordSize)
	}
	if f := t.parse(in, maxDepth); f != nil {
		return fmt.Errorf("record %d: %w", i, &CatalogueError{Kind: f.kind, Offset: int64(f.at), Detail: f.detail})
	}
	return nil
}

func (a *attributesBuilder) object(s *step, t *tree, i int, pos uint32) {
	if t.nodes[i].kind != kindObject {
		return
	}
	for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
		next := a.step(s, t, c)
		if next.to != nil {
			next.to.present.Add(pos)
		}
		a.value(next, t, c, pos)
	}
}

// step finds the step from s by the key of member i. Keys with dots and nested keys may be the same path.
func (a *attributesBuilder) step(s *step, t *tree, i int) *step {
	n := &t.nodes[i]
	if !n.keyEscaped {
		if next := s.next[string(t.raw[n.key.lo:n.key.hi])]; next != nil {
			return next
		}
	}
	key := t.key(i)
	if next := s.next[key]; next != nil {
		return next
	}
	path := s.prefix + key
	next := &step{prefix: path + ".", next: make(map[string]*step), to: a.paths[path]}
	switch {
	case next.to != nil:
	case len(a.paths) < maxPaths:
		next.to = &attribute{present: roaring.New(), common: make(map[uint64]*commonText)}
		a.paths[path] = next.to
	default:
		a.partial = true
		return next // not remembered: there may be any number of these
	}
	s.next[key] = next
	return next
}

func (a *attributesBuilder) value(s *step, t *tree, i int, pos uint32) {
	switch k := t.nodes[i].kind; k {
	case kindObject:
		a.object(s, t, i, pos)
	case kindArray:
		for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
			a.value(s, t, c, pos)
		}
	case kindString:
		if s.to != nil {
			a.text(s.to, t, i, pos)
		}
	case kindNumber:
		if s.to != nil {
			s.to.numbers = append(s.to.numbers, newEntry(numberKey(t.number(i)), pos))
		}
	default:
		if s.to != nil {
			if s.to.simple[k] == nil {
				s.to.simple[k] = roaring.New()
			}
			s.to.simple[k].Add(pos)
		}
	}
}

func (a *attributesBuilder) text(at *attribute, t *tree, i int, pos uint32) {
	b := t.bytesOf(i)
	if t.nodes[i].escaped {
		b = []byte(t.str(i))
	}
	if x, ok := numeral(b); ok {
		at.numerals = append(at.numerals, newEntry(numberKey(x), pos))
	}
	hash := xxhash.Sum64(b)
	if c := at.common[hash]; c != nil {
		c.records.Add(pos)
		return
	}
	if len(b) > maxFacetText || len(at.common) >= maxDistinct || a.bitmaps >= maxBitmaps {
		at.rare = append(at.rare, newEntry(hash, pos))
		return
	}
	c := &commonText{text: string(b), records: roaring.New()}
	c.records.Add(pos)
	at.common[hash] = c
	a.bitmaps++
}

// finish sorts what was collected and makes it small.
func (at *attribute) finish() {
	many := len(at.common) > maxDistinct/16 // a few bitmaps more do not matter
	for hash, c := range at.common {
		if many && c.records.GetCardinality() <= fewRecords {
			for it := c.records.Iterator(); it.HasNext(); {
				at.rare = append(at.rare, newEntry(hash, it.Next()))
			}
			delete(at.common, hash)
			continue
		}
		c.records.RunOptimize()
	}
	at.rare = sortEntries(at.rare)
	at.numbers, at.numerals = sortEntries(at.numbers), sortEntries(at.numerals)
	at.present.RunOptimize()
	for _, b := range at.simple {
		if b != nil {
			b.RunOptimize()
		}
	}
}

// sortEntries sorts, drops what occurs twice and gives back spare capacity.
func sortEntries(e []entry) []entry {
	slices.SortFunc(e, compareEntries)
	return slices.Clone(slices.Compact(e))
}
