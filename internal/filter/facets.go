package filter

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// maxFacetReads bounds how many records are read to put values of equal count in order, about 5 us each. When more
// rare values tie for the last places, those that come first in the catalogue are taken.
const maxFacetReads = 2000

// FacetCount is a value of a field and how many records have it.
type FacetCount struct {
	Value any `json:"value" doc:"A string, number or boolean"` // or nil
	Count int `json:"count"`
}

// Facets counts the values that the path field leads to (see Filter) in the records among, nil for all: at most limit of
// them, those of most records first, equal counts in the order strings, numbers, booleans, null and within those by value.
// A record that has a value several times counts once. Strings that compare equal are one, as a record spells it. Unknown
// fields have no values.
func (a *Attributes) Facets(field string, limit int, among *roaring.Bitmap) []FacetCount {
	at := a.field(field)
	counts := []FacetCount{} // never nil: it becomes a list of JSON
	switch {
	case limit <= 0:
		return counts
	case at != nil:
		counts = append(counts, a.counts(at, field, limit, among)...)
	case a.partial:
		counts = a.scanFacets(field, among)
	}
	slices.SortFunc(counts, compareFacets)
	return slices.Clip(counts[:min(limit, len(counts))])
}

func (a *Attributes) counts(at *field, path string, limit int, among *roaring.Bitmap) []FacetCount {
	var counts []FacetCount
	for k, value := range [...]any{nil, false, true} {
		if n := shared(a.bitmap(at.simple[k]), among); n > 0 {
			counts = append(counts, FacetCount{value, n})
		}
	}
	for _, t := range a.texts[at.texts.from:at.texts.to] {
		n := int(t.count)
		if among != nil {
			n = shared(a.bitmap(t.records), among)
		}
		if n > 0 {
			counts = append(counts, FacetCount{strings.Clone(a.str(t.chars)), n})
		}
	}
	for run := range runs(a.list(at.numbers), among) {
		if x := keyNumber(run.key()); !math.IsInf(x, 0) { // JSON has no name for those
			counts = append(counts, FacetCount{x, run.n})
		}
	}
	return append(counts, a.rareFacets(at, path, limit, counts, among)...)
}

// shared is how many records of set are among, nil for all.
func shared(set, among *roaring.Bitmap) int {
	if among == nil {
		return int(set.GetCardinality())
	}
	return int(set.AndCardinality(among))
}

// run is a stretch of entries with the same key.
type run struct {
	entry        // the first that counts
	n     int    // how many count
	spelt uint32 // the first of all: it says how the value is spelled, whatever is counted
}

// runs yields the stretches of sorted entries of which records are among, nil for all.
func runs(e []entry, among *roaring.Bitmap) iter.Seq[run] { return runsWithout(e, among, nil) }

// runsWithout is runs without some rows, in order, which are not among.
func runsWithout(e []entry, among *roaring.Bitmap, without []uint32) iter.Seq[run] {
	return func(yield func(run) bool) {
		for len(e) > 0 {
			same := stretch(e)
			r := run{entry: same[0], n: len(same), spelt: same[0].pos}
			if among != nil {
				r.n = 0
				for _, x := range same {
					if among.Contains(x.pos) {
						if r.n++; r.n == 1 {
							r.entry = x
						}
					}
				}
			} else if len(without) > 0 {
				r = r.without(same, without)
			}
			if e = e[len(same):]; r.n > 0 && !yield(r) {
				return
			}
		}
	}
}

// stretch is the first entries, which have the same key. They may be nearly all: it does not look at each.
func stretch(e []entry) []entry {
	key, end := e[0].key(), 1
	for end < len(e) && e[end].key() == key {
		end *= 2
	}
	from, to := end/2, min(end, len(e)) // the one at from is of the stretch
	return e[:from+sort.Search(to-from, func(i int) bool { return e[from+i].key() != key })]
}

// without leaves some rows, in order, out of the run that same is. It takes time for the fewer of both.
func (r run) without(same []entry, rows []uint32) run {
	r.n = 0
	for {
		skip := sort.Search(len(rows), func(i int) bool { return rows[i] >= same[0].pos })
		rows = rows[skip:]
		keep := len(same)
		if len(rows) > 0 {
			keep = sort.Search(len(same), func(i int) bool { return same[i].pos >= rows[0] })
		}
		if r.n == 0 && keep > 0 {
			r.entry = same[0]
		}
		r.n += keep
		if same = same[keep:]; len(same) == 0 {
			return r
		}
		if same[0].pos == rows[0] {
			if same = same[1:]; len(same) == 0 {
				return r
			}
		}
		rows = rows[1:]
	}
}

// rareFacets reads the texts of those rare values that can be among the first limit: the texts are not in memory.
func (a *Attributes) rareFacets(at *field, path string, limit int, others []FacetCount, among *roaring.Bitmap) []FacetCount {
	var sizes []int
	for _, c := range others {
		sizes = append(sizes, c.Count)
	}
	rare := slices.Collect(runs(a.list(at.rare), among))
	for _, r := range rare {
		sizes = append(sizes, r.n)
	}
	least := 0 // the count of the last value to be shown
	if len(sizes) > limit {
		slices.SortFunc(sizes, func(x, y int) int { return y - x })
		least = sizes[limit-1]
	}
	var surely, perhaps []run
	for _, r := range rare {
		if r.n > least {
			surely = append(surely, r)
		} else if r.n == least {
			perhaps = append(perhaps, r)
		}
	}
	slices.SortFunc(perhaps, func(x, y run) int { return cmp.Compare(x.pos, y.pos) })
	perhaps = perhaps[:min(len(perhaps), maxFacetReads)]
	var t jsonread.Tree
	var counts []FacetCount
	for _, r := range append(surely, perhaps...) {
		if text, ok := a.rareText(&t, path, newEntry(r.key(), r.spelt)); ok {
			counts = append(counts, FacetCount{text, r.n})
		}
	}
	return counts
}

// rareText finds the text with the entry's hash in the entry's record.
func (a *Attributes) rareText(t *jsonread.Tree, field string, e entry) (text string, ok bool) {
	if load(t, a.raw, int(e.pos)) != nil {
		return "", false
	}
	t.Follow(0, field, func(i int) {
		leaves(t, i, func(i int) {
			if !ok && t.Kind(i) == jsonread.String {
				text = t.Str(i)
				ok = xxhash.Sum64String(spelling.Fold(text)) == e.key()
			}
		})
	})
	return text, ok
}

// leaves calls visit with value i, or with the elements of the list that it is.
func leaves(t *jsonread.Tree, i int, visit func(i int)) {
	if t.Kind(i) != jsonread.Array {
		visit(i)
		return
	}
	for c := range t.Children(i) {
		leaves(t, c, visit)
	}
}

// tally calls add with every value of a path that the rows, nil for all but the dead, have: its key, how many have it, and
// the first.
func (a *Attributes) tally(path string, rows, dead *roaring.Bitmap, add func(kind jsonread.Kind, key uint64, n int, first uint32)) {
	at := a.field(path)
	if at == nil {
		return
	}
	of := func(kind jsonread.Kind, key uint64, set *roaring.Bitmap) {
		n := shared(set, rows)
		if rows == nil {
			n -= shared(set, dead)
		}
		if n <= 0 {
			return
		}
		for it := set.Iterator(); it.HasNext(); {
			if row := it.Next(); rows == nil && !dead.Contains(row) || rows != nil && rows.Contains(row) {
				add(kind, key, n, row)
				return
			}
		}
	}
	for k := range at.simple {
		of(jsonread.Null+jsonread.Kind(k), 0, a.bitmap(at.simple[k]))
	}
	for _, t := range a.texts[at.texts.from:at.texts.to] {
		of(jsonread.String, t.hash, a.bitmap(t.records))
	}
	without := dead.ToArray()
	for run := range runsWithout(a.list(at.numbers), rows, without) {
		if !math.IsInf(keyNumber(run.key()), 0) { // JSON has no name for those
			add(jsonread.Number, run.key(), run.n, run.pos)
		}
	}
	for run := range runsWithout(a.list(at.rare), rows, without) {
		add(jsonread.String, run.key(), run.n, run.pos)
	}
}

// holder is the first row that is not dead and has the string of a hash.
func (a *Attributes) holder(path string, hash uint64, dead *roaring.Bitmap) (row uint32, ok bool) {
	at := a.field(path)
	if at == nil {
		return 0, false
	}
	if set := a.equalTo(at, hash); set != nil {
		for it := set.Iterator(); it.HasNext(); {
			if row := it.Next(); int(row) < a.n && !dead.Contains(row) {
				return row, true
			}
		}
	}
	return 0, false
}

// spelled is the string of a hash as the record at row spells it.
func (a *Attributes) spelled(t *jsonread.Tree, path string, hash uint64, row uint32) (string, bool) {
	at := a.field(path)
	texts := a.texts[at.texts.from:at.texts.to]
	if i, ok := slices.BinarySearchFunc(texts, hash, func(t text, hash uint64) int { return cmp.Compare(t.hash, hash) }); ok {
		if a.bitmap(texts[i].records).Minimum() == row { // whose spelling is kept
			return strings.Clone(a.str(texts[i].chars)), true
		}
	}
	return a.rareText(t, path, newEntry(hash, row))
}

// scanFacets counts the values of a path that is not indexed.
func (a *Attributes) scanFacets(field string, among *roaring.Bitmap) []FacetCount {
	found := a.scanned(field, among)
	out := make([]FacetCount, 0, len(found))
	for _, c := range found {
		out = append(out, *c)
	}
	return out
}

// scanned are the values by what is compared.
func (a *Attributes) scanned(field string, among *roaring.Bitmap) map[any]*FacetCount {
	var t jsonread.Tree
	counts := make(map[any]*FacetCount) // by what is compared
	for i := range a.n {
		if among != nil && !among.Contains(uint32(i)) || load(&t, a.raw, i) != nil {
			continue
		}
		seen := make(map[any]bool)
		t.Follow(0, field, func(i int) {
			leaves(&t, i, func(i int) {
				v, ok := value(&t, i)
				same := v
				if s, is := v.(string); is {
					same = spelling.Fold(s)
				}
				if !ok || seen[same] {
					return
				}
				seen[same] = true
				if counts[same] == nil {
					counts[same] = &FacetCount{Value: v}
				}
				counts[same].Count++
			})
		})
	}
	return counts
}

func value(t *jsonread.Tree, i int) (v any, ok bool) {
	switch t.Kind(i) {
	case jsonread.Null:
		return nil, true
	case jsonread.False, jsonread.True:
		return t.Kind(i) == jsonread.True, true
	case jsonread.Number:
		x := t.Float(i)
		return x, !math.IsInf(x, 0)
	case jsonread.String:
		return t.Str(i), true
	}
	return nil, false
}

func compareFacets(a, b FacetCount) int {
	if a.Count != b.Count {
		return b.Count - a.Count
	}
	x, y := facetRank(a.Value), facetRank(b.Value)
	if x != y {
		return x - y
	}
	switch v := a.Value.(type) {
	case string:
		return cmp.Compare(v, b.Value.(string))
	case float64:
		return cmp.Compare(v, b.Value.(float64))
	}
	return 0
}

func facetRank(v any) int {
	switch v {
	case false:
		return 2
	case true:
		return 3
	case nil:
		return 4
	}
	if _, ok := v.(string); ok {
		return 0
	}
	return 1
}
