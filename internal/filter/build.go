package filter

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/spelling"
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

	// maxFacetText bounds a string kept in memory, folded; longer ones are told apart by their hash.
	maxFacetText = 256

	// fewRecords is up to how many records of a value are smaller as entries than as a bitmap.
	fewRecords = 8
)

// builder collects the values of every path, record after record.
type builder struct {
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
	dates    []entry                // strings that are moments, by their local time
}

type commonText struct {
	text    string // as the first record spells it
	records *roaring.Bitmap
}

// step is a key on the way to a path. Steps are only needed while building.
type step struct {
	prefix string // the path with a dot; empty at the root
	next   map[string]*step
	to     *attribute // nil at the root and for a path beyond maxPaths
}

// Build indexes n records, of which raw(i) is the JSON in catalogue order. It reads each record once and keeps
// no slice that raw returned. raw itself is kept and must stay usable, from any goroutine, for as long as the Attributes
// is used.
func Build(n int, raw func(i int) ([]byte, error)) (*Attributes, error) {
	if n < 0 || n > math.MaxUint32 {
		return nil, fmt.Errorf("attributes of %d records: want 0..%d", n, uint32(math.MaxUint32))
	}
	b := &builder{n: n, paths: make(map[string]*attribute)}
	root := &step{next: make(map[string]*step)}
	var t jsonread.Tree
	for i := range n {
		if err := load(&t, raw, i); err != nil {
			return nil, err
		}
		b.object(root, &t, 0, uint32(i))
	}
	return b.finish(raw)
}

func (b *builder) object(s *step, t *jsonread.Tree, i int, pos uint32) {
	if t.Kind(i) != jsonread.Object {
		return
	}
	for c := range t.Children(i) {
		next := b.step(s, t, c)
		if next.to != nil {
			next.to.present.Add(pos)
		}
		b.value(next, t, c, pos)
	}
}

// step finds the step from s by the key of member i. Keys with dots and nested keys may be the same path.
func (b *builder) step(s *step, t *jsonread.Tree, i int) *step {
	key := t.KeyText(i)
	if next := s.next[string(key)]; next != nil {
		return next
	}
	path := s.prefix + string(key)
	next := &step{prefix: path + ".", next: make(map[string]*step), to: b.paths[path]}
	switch {
	case next.to != nil:
	case len(b.paths) < maxPaths:
		next.to = &attribute{present: roaring.New(), common: make(map[uint64]*commonText)}
		b.paths[path] = next.to
	default:
		b.partial = true
		return next // not remembered: there may be any number of these
	}
	s.next[string(key)] = next
	return next
}

func (b *builder) value(s *step, t *jsonread.Tree, i int, pos uint32) {
	switch k := t.Kind(i); k {
	case jsonread.Object:
		b.object(s, t, i, pos)
	case jsonread.Array:
		for c := range t.Children(i) {
			b.value(s, t, c, pos)
		}
	case jsonread.String:
		if s.to != nil {
			b.text(s.to, t, i, pos)
		}
	case jsonread.Number:
		if s.to != nil {
			s.to.numbers = append(s.to.numbers, newEntry(numberKey(t.Float(i)), pos))
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

func (b *builder) text(at *attribute, t *jsonread.Tree, i int, pos uint32) {
	s := t.Str(i)
	folded := spelling.Fold(s)
	if x, ok := numeral(folded); ok {
		at.numerals = append(at.numerals, newEntry(numberKey(x), pos))
	} else if m, ok := parseMoment(folded); ok {
		at.dates = append(at.dates, newEntry(numberKey(m.local), pos))
	}
	hash := xxhash.Sum64String(folded)
	if c := at.common[hash]; c != nil {
		c.records.Add(pos)
		return
	}
	if len(folded) > maxFacetText || // however a record spells it, lest a hash be here and there
		len(at.common) >= maxDistinct || b.bitmaps >= maxBitmaps {
		at.rare = append(at.rare, newEntry(hash, pos))
		return
	}
	c := &commonText{text: s, records: roaring.New()}
	c.records.Add(pos)
	at.common[hash] = c
	b.bitmaps++
}

// finish lays everything out in the flat arrays.
func (b *builder) finish(raw func(i int) ([]byte, error)) (*Attributes, error) {
	a := &Attributes{n: b.n, raw: raw, partial: b.partial}
	for _, path := range slices.Sorted(maps.Keys(b.paths)) {
		at := b.paths[path]
		at.finish()
		f := field{name: a.addChars(path)}
		var err error
		if f.present, err = a.addBitmap(at.present); err != nil {
			return nil, err
		}
		for k, set := range at.simple {
			if set == nil {
				continue
			}
			if f.simple[k], err = a.addBitmap(set); err != nil {
				return nil, err
			}
		}
		f.texts.from = uint64(len(a.texts))
		for _, hash := range slices.Sorted(maps.Keys(at.common)) {
			c := at.common[hash]
			t := text{hash: hash, count: c.records.GetCardinality(), chars: a.addChars(c.text)}
			if t.records, err = a.addBitmap(c.records); err != nil {
				return nil, err
			}
			a.texts = append(a.texts, t)
		}
		f.texts.to = uint64(len(a.texts))
		f.rare, f.numbers, f.numerals, f.dates = a.addEntries(at.rare), a.addEntries(at.numbers), a.addEntries(at.numerals), a.addEntries(at.dates)
		a.fields = append(a.fields, f)
		delete(b.paths, path)
	}
	a.entries, a.bitmaps = slices.Clip(a.entries), slices.Clip(a.bitmaps)
	return a, nil
}

func (a *Attributes) addChars(s string) extent {
	from := uint64(len(a.chars))
	a.chars = append(a.chars, s...)
	return extent{from, uint64(len(a.chars))}
}

func (a *Attributes) addEntries(e []entry) extent {
	from := uint64(len(a.entries))
	a.entries = append(a.entries, e...)
	return extent{from, uint64(len(a.entries))}
}

func (a *Attributes) addBitmap(b *roaring.Bitmap) (extent, error) {
	data, err := b.ToBytes()
	if err != nil {
		return extent{}, fmt.Errorf("write bitmap: %w", err)
	}
	for len(a.bitmaps)%8 != 0 {
		a.bitmaps = append(a.bitmaps, 0)
	}
	from := uint64(len(a.bitmaps))
	a.bitmaps = append(a.bitmaps, data...)
	return extent{from, uint64(len(a.bitmaps))}, nil
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
	at.numbers, at.numerals, at.dates = sortEntries(at.numbers), sortEntries(at.numerals), sortEntries(at.dates)
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
