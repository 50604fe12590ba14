package filter

import (
	"cmp"
	"slices"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Part is the attributes of one of the segments that a catalogue is joined from.
type Part struct {
	*Attributes
	Dead  *roaring.Bitmap // rows that are no longer in the catalogue, nil for none; not to be changed any more
	First uint32          // position of its first row
}

// Joined answers from several segments what Attributes of their live records in catalogue order would. It is immutable and
// safe for concurrent use. Positions are those of all parts: First + row.
type Joined struct {
	parts  []Part
	before func(a, b uint32) bool
	live   *roaring.Bitmap
}

// Join joins parts, in order of their positions. Equal records are in the order of before, which compares positions; nil is
// their own order. Those of one part are in its order.
//
// In two things Joined may tell more or less than Attributes of the live records would, neither of them records that match
// nor counts: which of more than maxFacetReads strings that tie for the last places of Facets are looked at, and which paths
// are known (Has, Unknown, Paths) where there are more than maxPaths in a part, or in all.
func Join(parts []Part, before func(a, b uint32) bool) *Joined {
	j := &Joined{parts: slices.Clone(parts), before: before, live: roaring.New()}
	for i := range j.parts {
		p := &j.parts[i]
		if p.Dead == nil {
			p.Dead = roaring.New()
		}
		j.live.AddRange(uint64(p.First), uint64(p.First)+uint64(p.n))
		j.live.AndNot(p.up(p.Dead))
	}
	return j
}

// single: one part, as it is.
func (j *Joined) single() bool {
	return len(j.parts) == 1 && j.parts[0].Dead.IsEmpty() && j.parts[0].First == 0
}

// Live are the positions of all records. It must not be changed.
func (j *Joined) Live() *roaring.Bitmap { return j.live }

// Len is the number of records.
func (j *Joined) Len() int { return int(j.live.GetCardinality()) }

// up are rows of p as positions.
func (p *Part) up(rows *roaring.Bitmap) *roaring.Bitmap {
	if p.First == 0 {
		return rows
	}
	return roaring.AddOffset(rows, p.First)
}

// down is what of positions are rows of p, and live.
func (p *Part) down(positions *roaring.Bitmap) *roaring.Bitmap {
	rows := roaring.New()
	if p.First == 0 {
		rows = positions.Clone()
		rows.RemoveRange(uint64(p.n), 1<<32)
	} else {
		it := positions.Iterator()
		for it.AdvanceIfNeeded(p.First); it.HasNext(); {
			row := it.Next() - p.First
			if int(row) >= p.n {
				break
			}
			rows.Add(row)
		}
	}
	rows.AndNot(p.Dead)
	return rows
}

// Select is [Attributes.Select].
func (j *Joined) Select(f Filter) *roaring.Bitmap {
	if j.single() {
		return j.parts[0].Select(f)
	}
	found := roaring.New()
	for i := range j.parts {
		p := &j.parts[i]
		rows := p.Select(f)
		rows.AndNot(p.Dead)
		found.Or(p.up(rows))
	}
	return found
}

// Has is [Attributes.Has].
func (j *Joined) Has(path string) bool {
	return slices.ContainsFunc(j.parts, func(p Part) bool {
		f := p.field(path)
		if f == nil {
			return p.partial
		}
		return p.Dead.IsEmpty() || p.bitmap(f.present).AndCardinality(p.Dead) < p.bitmap(f.present).GetCardinality()
	})
}

// Unknown is [Attributes.Unknown].
func (j *Joined) Unknown(f Filter) []string {
	if j.single() {
		return j.parts[0].Unknown(f)
	}
	if slices.ContainsFunc(j.parts, func(p Part) bool { return p.partial }) {
		return nil
	}
	var out []string
	unknown(&f.root, "", j.Has, &out)
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxUnknown)]
}

// Sorted is [Attributes.Sorted].
func (j *Joined) Sorted(field string, descending bool, among *roaring.Bitmap, limit int) []uint32 {
	if j.single() {
		return j.parts[0].Sorted(field, descending, among, limit)
	}
	ranks := newRanks(descending, int(among.GetCardinality()))
	for i := range j.parts {
		p := &j.parts[i]
		p.ranks(field, p.down(among), func(row uint32, r rank) { ranks.take(p.First+row, r) })
	}
	return ranks.sort(j.inOrder(among), limit)
}

// inOrder are positions in catalogue order. The first part, nearly all, is in order: the others are put in between.
func (j *Joined) inOrder(among *roaring.Bitmap) []uint32 {
	all := among.ToArray()
	if j.before == nil || len(j.parts) == 1 {
		return all
	}
	at, _ := slices.BinarySearch(all, j.parts[1].First)
	base, tail := all[:at], slices.Clone(all[at:])
	slices.SortFunc(tail, func(a, b uint32) int {
		switch {
		case a == b:
			return 0
		case j.before(a, b):
			return -1
		}
		return 1
	})
	out := make([]uint32, 0, len(all))
	for _, pos := range tail {
		n := sort.Search(len(base), func(i int) bool { return j.before(pos, base[i]) })
		out = append(append(out, base[:n]...), pos)
		base = base[n:]
	}
	return append(out, base...)
}

// sum is a value and how many records have it.
type sum struct {
	kind  jsonread.Kind
	key   uint64 // of a number or a string
	n     int
	first uint32 // position of the first that counts, in catalogue order
}

// Facets is [Attributes.Facets].
func (j *Joined) Facets(field string, limit int, among *roaring.Bitmap) []FacetCount {
	switch {
	case j.single():
		return j.parts[0].Facets(field, limit, among)
	case limit <= 0:
		return []FacetCount{}
	case slices.ContainsFunc(j.parts, func(p Part) bool { return p.partial && p.field(field) == nil }):
		return j.scan(field, limit, among)
	}
	type value struct {
		kind jsonread.Kind
		key  uint64
	}
	sums := map[value]*sum{}
	for i := range j.parts {
		p := &j.parts[i]
		rows := (*roaring.Bitmap)(nil)
		if among != nil {
			rows = p.down(among)
		}
		p.tally(field, rows, p.Dead, func(kind jsonread.Kind, key uint64, n int, row uint32) {
			if int(row) >= p.n {
				return // damaged
			}
			s := sums[value{kind, key}]
			if s == nil {
				s = &sum{kind: kind, key: key, first: p.First + row}
				sums[value{kind, key}] = s
			} else if pos := p.First + row; j.comesBefore(pos, s.first) {
				s.first = pos
			}
			s.n += n
		})
	}
	all := make([]*sum, 0, len(sums))
	for _, s := range sums {
		all = append(all, s)
	}
	counts := j.spell(field, j.first(all, limit))
	slices.SortFunc(counts, compareFacets)
	return slices.Clip(counts[:min(limit, len(counts))])
}

func (j *Joined) comesBefore(a, b uint32) bool {
	if j.before == nil {
		return a < b
	}
	return j.before(a, b)
}

// first are the sums that can be among the first limit: of strings that tie for the last places those that come first.
func (j *Joined) first(all []*sum, limit int) []*sum {
	if len(all) <= limit {
		return all
	}
	slices.SortFunc(all, func(x, y *sum) int { return cmp.Compare(y.n, x.n) })
	least := all[limit-1].n
	end := limit
	for end < len(all) && all[end].n == least {
		end++
	}
	all = all[:end]
	from := slices.IndexFunc(all, func(s *sum) bool { return s.n == least })
	ties := all[from:]
	slices.SortFunc(ties, func(x, y *sum) int {
		switch { // what is no string costs nothing to spell
		case (x.kind == jsonread.String) != (y.kind == jsonread.String):
			return b2i(x.kind == jsonread.String) - b2i(y.kind == jsonread.String)
		case x.first == y.first:
			return 0
		case j.comesBefore(x.first, y.first):
			return -1
		}
		return 1
	})
	free := len(ties)
	if i := slices.IndexFunc(ties, func(s *sum) bool { return s.kind == jsonread.String }); i >= 0 {
		free = i
	}
	return all[:from+min(len(ties), free+maxFacetReads)]
}

// spell gives the values of sums their names.
func (j *Joined) spell(path string, sums []*sum) []FacetCount {
	var t jsonread.Tree
	counts := []FacetCount{}
	for _, s := range sums {
		switch s.kind {
		case jsonread.Null:
			counts = append(counts, FacetCount{nil, s.n})
		case jsonread.False, jsonread.True:
			counts = append(counts, FacetCount{s.kind == jsonread.True, s.n})
		case jsonread.Number:
			counts = append(counts, FacetCount{keyNumber(s.key), s.n})
		case jsonread.String:
			if text, ok := j.spelled(&t, path, s.key); ok {
				counts = append(counts, FacetCount{text, s.n})
			}
		}
	}
	return counts
}

// spelled is the string of a hash as the first record that has it spells it, whatever is counted.
func (j *Joined) spelled(t *jsonread.Tree, path string, hash uint64) (string, bool) {
	var by *Part
	var first uint32
	for i := range j.parts {
		p := &j.parts[i]
		if row, ok := p.holder(path, hash, p.Dead); ok && (by == nil || j.comesBefore(p.First+row, by.First+first)) {
			by, first = p, row
		}
	}
	if by == nil {
		return "", false
	}
	return by.Attributes.spelled(t, path, hash, first)
}

// scan counts the values of a path that is not indexed everywhere.
func (j *Joined) scan(field string, limit int, among *roaring.Bitmap) []FacetCount {
	if among == nil {
		among = j.live
	}
	found := make(map[any]*FacetCount)
	for i := range j.parts {
		for key, c := range j.parts[i].scanned(field, j.parts[i].down(among)) {
			if found[key] == nil {
				found[key] = c
			} else {
				found[key].Count += c.Count
			}
		}
	}
	counts := []FacetCount{}
	for _, c := range found {
		counts = append(counts, *c)
	}
	slices.SortFunc(counts, compareFacets)
	return slices.Clip(counts[:min(limit, len(counts))])
}

// Paths is [Attributes.Paths].
func (j *Joined) Paths() []string {
	var out []string
	for i := range j.parts {
		for _, path := range j.parts[i].Paths() {
			if j.single() || j.Has(path) {
				out = append(out, path)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
