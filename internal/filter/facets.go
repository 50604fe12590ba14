package filter

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// maxFacetReads bounds how many records are read to put values of equal count in order, about 5 us each. When more
// rare values tie for the last places, those that come first in the catalogue are taken.
const maxFacetReads = 2000

// FacetCount is a value of a field and how many records have it.
type FacetCount struct {
	Value any `json:"value"` // string, float64, bool or nil
	Count int `json:"count"`
}

// Facets counts the values that the path field leads to (see Filter): at most limit of them, those of most records
// first, equal counts in the order strings, numbers, booleans, null and within those by value. A record that has a
// value several times counts once. Unknown fields have no values.
func (a *Attributes) Facets(field string, limit int) []FacetCount {
	at := a.field(field)
	if limit <= 0 || at == nil && !a.partial {
		return nil
	}
	var counts []FacetCount
	if at != nil {
		counts = a.counts(at, field, limit)
	} else {
		counts = a.scanFacets(field)
	}
	slices.SortFunc(counts, compareFacets)
	return slices.Clip(counts[:min(limit, len(counts))])
}

func (a *Attributes) counts(at *field, path string, limit int) []FacetCount {
	var counts []FacetCount
	for k, value := range [...]any{nil, false, true} {
		if n := a.bitmap(at.simple[k]).GetCardinality(); n > 0 {
			counts = append(counts, FacetCount{value, int(n)})
		}
	}
	for _, t := range a.texts[at.texts.from:at.texts.to] {
		counts = append(counts, FacetCount{strings.Clone(a.str(t.chars)), int(t.count)})
	}
	for run := range runs(a.list(at.numbers)) {
		if x := keyNumber(run[0].key()); !math.IsInf(x, 0) { // JSON has no name for those
			counts = append(counts, FacetCount{x, len(run)})
		}
	}
	return append(counts, a.rareFacets(at, path, limit, counts)...)
}

// runs yields the stretches of entries with the same key.
func runs(e []entry) func(yield func([]entry) bool) {
	return func(yield func([]entry) bool) {
		for len(e) > 0 {
			n := 1
			for n < len(e) && e[n].key() == e[0].key() {
				n++
			}
			if !yield(e[:n]) {
				return
			}
			e = e[n:]
		}
	}
}

// rareFacets reads the texts of those rare values that can be among the first limit: the texts are not in memory.
func (a *Attributes) rareFacets(at *field, path string, limit int, others []FacetCount) []FacetCount {
	var sizes []int
	for _, c := range others {
		sizes = append(sizes, c.Count)
	}
	for run := range runs(a.list(at.rare)) {
		sizes = append(sizes, len(run))
	}
	least := 0 // the count of the last value to be shown
	if len(sizes) > limit {
		slices.SortFunc(sizes, func(x, y int) int { return y - x })
		least = sizes[limit-1]
	}
	var surely, perhaps [][]entry
	for run := range runs(a.list(at.rare)) {
		if len(run) > least {
			surely = append(surely, run)
		} else if len(run) == least {
			perhaps = append(perhaps, run)
		}
	}
	slices.SortFunc(perhaps, func(x, y []entry) int { return cmp.Compare(x[0].pos, y[0].pos) })
	perhaps = perhaps[:min(len(perhaps), maxFacetReads)]
	var t jsonread.Tree
	var counts []FacetCount
	for _, run := range append(surely, perhaps...) {
		if text, ok := a.rareText(&t, path, run[0]); ok {
			counts = append(counts, FacetCount{text, len(run)})
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
				ok = xxhash.Sum64String(text) == e.key()
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

// scanFacets counts the values of a path that is not indexed.
func (a *Attributes) scanFacets(field string) []FacetCount {
	var t jsonread.Tree
	counts := make(map[any]int)
	for i := range a.n {
		if load(&t, a.raw, i) != nil {
			continue
		}
		seen := make(map[any]bool)
		t.Follow(0, field, func(i int) {
			leaves(&t, i, func(i int) {
				if v, ok := value(&t, i); ok && !seen[v] {
					seen[v] = true
					counts[v]++
				}
			})
		})
	}
	out := make([]FacetCount, 0, len(counts))
	for v, n := range counts {
		out = append(out, FacetCount{v, n})
	}
	return out
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
