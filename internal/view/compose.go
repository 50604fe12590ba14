package view

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// A view is composed of segments, the base first. Position p is row p-first[i] of segment i. A row is dead when a newer
// segment names its id; no method of a view tells of one.

// bury finds the dead rows of every segment. near, unless nil, is a view of which the first shared segments are these, too:
// only what the other segments of either name can be different there.
func (v *View) bury(near *View, shared int) {
	v.dead = make([]*roaring.Bitmap, len(v.segments))
	for i := range v.segments {
		if v.dead[i] = roaring.New(); i < shared {
			v.dead[i] = near.dead[i].Clone()
		}
	}
	if shared > 0 {
		for _, s := range near.segments[shared:] {
			s.delta.EachID(v.settle)
		}
	}
	for _, s := range v.segments[max(shared, 1):] {
		s.delta.EachID(v.settle)
	}
	v.live = roaring.New()
	v.n, v.vectors = 0, 0
	for i, s := range v.segments {
		first := uint64(v.first[i])
		v.live.AddRange(first, first+uint64(s.docs.Len()))
		v.n += s.docs.Len() - int(v.dead[i].GetCardinality())
		v.vectors += s.vectors - int(v.dead[i].Rank(uint32(max(s.vectors, 1)-1)))
		if s.vectors == 0 {
			v.vectors += int(v.dead[i].Rank(0))
		}
		v.live.AndNot(roaring.AddOffset(v.dead[i], v.first[i]))
	}
}

// settle says of every row with an id whether it is dead: all are but that of the newest segment that names it.
func (v *View) settle(id [16]byte) {
	named := false
	for i := len(v.segments) - 1; i >= 0; i-- {
		row, ok := v.segments[i].names(id)
		switch {
		case !ok:
			continue
		case row >= 0 && named:
			v.dead[i].AddInt(row)
		case row >= 0:
			v.dead[i].Remove(uint32(row))
		}
		named = true
	}
}

// check sees that the view is what its manifest says: its records, and what they are. Only what the segments that near does
// not share name can differ from there; without near, from the base.
func (v *View) check(near *View, shared int) error {
	if shared == 0 {
		near, shared = &View{segments: v.segments[:1], content: v.segments[0].content}, 1
	}
	v.content = near.content
	seen := map[[16]byte]bool{}
	for _, s := range slices.Concat(near.segments[shared:], v.segments[shared:]) {
		s.delta.EachID(func(id [16]byte) {
			if seen[id] {
				return
			}
			seen[id] = true
			for _, of := range []*View{near, v} {
				if i, row, ok := of.find(id); ok {
					v.content.Toggle(id, of.segments[i].docs.Index().Digest(row))
				}
			}
		})
	}
	m := v.manifest
	if m.ContentDigest != "" && (v.n != m.Source.Records || v.vectors != m.Stats.Vectors || v.content.String() != m.ContentDigest) {
		return fmt.Errorf("%w: %s is composed of %d records, %d with a vector, of content %s; its manifest says %d, %d and %s",
			snapshot.ErrCorrupt, m.ID, v.n, v.vectors, v.content, m.Source.Records, m.Stats.Vectors, m.ContentDigest)
	}
	return nil
}

// find says where the record of an id is: the newest segment that names it decides.
func (v *View) find(id [16]byte) (segment, row int, ok bool) {
	for i := len(v.segments) - 1; i >= 0; i-- {
		if row, ok := v.segments[i].names(id); ok {
			return i, row, row >= 0
		}
	}
	return 0, 0, false
}

// at is the segment that a position lies in, and its row there.
func (v *View) at(pos uint32) (segment, row int) {
	i := len(v.first) - 1
	for v.first[i] > pos {
		i--
	}
	return i, int(pos - v.first[i])
}

// Order is where the record at pos stands in the catalogue: by it equal records are put in order.
func (v *View) Order(pos int) uint64 {
	i, row := v.at(uint32(pos))
	return v.segments[i].key(row)
}

// Before says which of two records comes first in the catalogue.
func (v *View) Before(a, b uint32) bool {
	if v.single() {
		return a < b
	}
	return v.compare(a, b) < 0
}

func (v *View) compare(a, b uint32) int {
	i, x := v.at(a)
	j, y := v.at(b)
	if i == j && i == 0 {
		return cmp.Compare(x, y)
	}
	if c := cmp.Compare(v.segments[i].key(x), v.segments[j].key(y)); c != 0 {
		return c
	}
	p, q := v.segments[i].docs.Index().IDHash(x), v.segments[j].docs.Index().IDHash(y) // there was no room between two keys
	return bytes.Compare(p[:], q[:])
}

// single: one segment, nothing of it dead. Then a position is a row, and the order is theirs.
func (v *View) single() bool { return len(v.segments) == 1 }

// InOrder returns the first k of some positions in catalogue order.
func (v *View) InOrder(among *roaring.Bitmap, k int) []uint32 {
	var out []uint32
	it := among.Iterator()
	if v.single() {
		for len(out) < k && it.HasNext() {
			out = append(out, it.Next())
		}
		return out
	}
	var tail []uint32
	for _, p := range v.tail {
		if among.Contains(p.pos) {
			tail = append(tail, p.pos)
		}
	}
	for len(out) < k {
		base := it.HasNext() && it.PeekNext() < v.first[1]
		switch {
		case base && (len(tail) == 0 || v.compare(it.PeekNext(), tail[0]) < 0):
			out = append(out, it.Next())
		case len(tail) > 0:
			out, tail = append(out, tail[0]), tail[1:]
		default:
			return out
		}
	}
	return out
}

// placed is a record of a delta: its position, and how many rows of the base come before it, dead or not.
type placed struct{ pos, rows uint32 }

// tailOf puts the records of the deltas in catalogue order, with the rank that each has among all records. Where near has a
// record already, the first shared segments being its own, its place is known.
func (v *View) tailOf(near *View, shared int) (tail []placed, ranks []int) {
	if v.single() {
		return nil, nil
	}
	rows := v.segments[0].docs.Len()
	fresh := v.live.Clone()
	fresh.RemoveRange(0, uint64(v.first[1]))
	if shared > 1 {
		own := uint32(1<<32 - 1) // the first position that near has not
		if shared < len(v.first) {
			own = v.first[shared]
		}
		placed := roaring.New()
		for _, p := range near.tail {
			if p.pos < own && fresh.Contains(p.pos) {
				tail = append(tail, p)
				placed.Add(p.pos)
			}
		}
		fresh.AndNot(placed)
	}
	known := len(tail)
	for it := fresh.Iterator(); it.HasNext(); {
		pos := it.Next()
		tail = append(tail, placed{pos, uint32(sort.Search(rows, func(row int) bool { return v.compare(uint32(row), pos) > 0 }))})
	}
	byOrder := func(a, b placed) int { return v.compare(a.pos, b.pos) }
	slices.SortFunc(tail[known:], byOrder)
	tail = merge(tail[:known], tail[known:], byOrder)
	living, it := 0, v.live.Iterator() // rows of the base so far
	for i, p := range tail {
		for it.HasNext() && it.PeekNext() < p.rows {
			it.Next()
			living++
		}
		ranks = append(ranks, i+living)
	}
	return tail, ranks
}

// merge merges two lists that are in order.
func merge(a, b []placed, compare func(a, b placed) int) []placed {
	out := make([]placed, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compare(a[0], b[0]) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// ranked is the position of the r'th record in catalogue order.
func (v *View) ranked(r int) uint32 {
	if v.single() {
		return uint32(r)
	}
	i, ok := slices.BinarySearch(v.tailRanks, r)
	if ok {
		return v.tail[i].pos
	}
	pos, err := v.live.Select(uint32(r - i))
	if err != nil {
		panic(err) // not below Len
	}
	return pos
}

// slack is how many more results than wanted are asked of a segment with dead rows.
const slack = 16

// Search is [snapshot.Index.Search] for one or more queries, among the records with a vector.
func (v *View) Search(queries []float32, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, err error) {
	if v.single() {
		return v.segments[0].index.Search(queries, k, allow)
	}
	n := len(queries) / v.Dims()
	best := make([][]hit, n)
	for i, s := range v.segments {
		if s.vectors == 0 {
			continue
		}
		if err := v.searchSegment(i, queries, k, allow, best); err != nil {
			return nil, nil, err
		}
	}
	pos, scores = make([]int64, n*k), make([]float32, n*k)
	for q, hits := range best {
		slices.SortFunc(hits, func(a, b hit) int {
			if a.score != b.score {
				return cmp.Compare(b.score, a.score)
			}
			return v.compare(a.pos, b.pos)
		})
		for r := range k {
			pos[q*k+r] = -1
			if r < len(hits) {
				pos[q*k+r], scores[q*k+r] = int64(hits[r].pos), hits[r].score
			}
		}
	}
	return pos, scores, nil
}

type hit struct {
	pos   uint32
	score float32
}

// searchSegment adds the best k live and allowed rows of segment i to best. Without a filter the index is searched whole,
// which is faster, and the dead are left out of what is found; when too little is left, again among the living.
func (v *View) searchSegment(i int, queries []float32, k int, allow *roaring.Bitmap, best [][]hit) error {
	s, dead := v.segments[i], v.dead[i]
	if allow == nil {
		ask := min(k, s.vectors)
		if !dead.IsEmpty() {
			ask = min(k+k/8+slack, s.vectors)
		}
		got, err := v.searchRows(i, queries, ask, nil, len(best))
		if err != nil {
			return err
		}
		if dead.IsEmpty() || !slices.ContainsFunc(got, func(hits []hit) bool { return len(hits) < min(k, ask) }) {
			for q, hits := range got {
				best[q] = append(best[q], hits[:min(k, len(hits))]...)
			}
			return nil
		}
		allow = v.live
	}
	rows := rowsOf(allow, v.first[i], s.vectors)
	rows.AndNot(dead)
	most := int(rows.GetCardinality())
	if most == 0 {
		return nil
	}
	got, err := v.searchRows(i, queries, min(k, most), rows, len(best))
	for q, hits := range got {
		best[q] = append(best[q], hits...)
	}
	return err
}

// searchRows finds the best k of some rows of segment i, nil for all of them, for each of n queries: those that are alive.
func (v *View) searchRows(i int, queries []float32, k int, rows *roaring.Bitmap, n int) ([][]hit, error) {
	found, scores, err := v.segments[i].index.Search(queries, k, rows)
	if err != nil {
		return nil, err
	}
	got := make([][]hit, n)
	for r, row := range found {
		if row >= 0 && !v.dead[i].ContainsInt(int(row)) {
			got[r/k] = append(got[r/k], hit{v.first[i] + uint32(row), scores[r]})
		}
	}
	return got, nil
}

// rowsOf is what of positions lies in the rows rows from first on, as rows.
func rowsOf(positions *roaring.Bitmap, first uint32, rows int) *roaring.Bitmap {
	if first == 0 {
		out := positions.Clone()
		out.RemoveRange(uint64(rows), 1<<32)
		return out
	}
	out := roaring.New()
	it := positions.Iterator()
	for it.AdvanceIfNeeded(first); it.HasNext(); {
		row := it.Next() - first
		if int(row) >= rows {
			break
		}
		out.Add(row)
	}
	return out
}
