package vecindex

import (
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrQuery marks a search that was asked for wrongly.
var ErrQuery = errors.New("invalid query")

// filter is a selection of positions as the native library takes it; no words
// and a negative count mean all.
type filter struct {
	words []uint64
	count int
}

// Search finds the k best positions for each row of queries (row-major, Dims
// components each, any length but zero). It returns rows*k positions and
// scores, best first in each row; where there are fewer, position -1 with
// score 0.
//
// allow restricts the results to its members; nil allows all. A search under a
// filter returns min(k, members) hits for every row, without one min(k, Len),
// and its recall does not fall with the selection: narrow ones are scanned.
func (x *Index) Search(queries []float32, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, err error) {
	return x.run(queries, k, allow, x.approximate)
}

// Exact is Search by an exhaustive scan, whatever the kind: the truth that
// recall is measured against.
func (x *Index) Exact(queries []float32, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, err error) {
	return x.run(queries, k, allow, x.exhaustive)
}

type job struct {
	queries []float32
	nq, k   int
	allow   *roaring.Bitmap // nil = all, else within [0, n)
	count   int             // members of allow, n without a filter
	out     hits
}

func (x *Index) run(queries []float32, k int, allow *roaring.Bitmap, how func(job) error) ([]int64, []float32, error) {
	if err := checkRows(queries, x.dims, false); err != nil {
		return nil, nil, err
	}
	if k < 1 || k > MaxK {
		return nil, nil, fmt.Errorf("%w: k is %d, must be 1 to %d", ErrQuery, k, MaxK)
	}
	j := job{queries: queries, nq: len(queries) / x.dims, k: k, allow: allow, count: x.n}
	if allow != nil {
		if !allow.IsEmpty() && int64(allow.Maximum()) >= int64(x.n) {
			return nil, nil, fmt.Errorf("%w: filter selects position %d of %d", ErrQuery, allow.Maximum(), x.n)
		}
		if j.count = int(allow.GetCardinality()); j.count == x.n {
			j.allow = nil
		}
	}
	j.out = newHits(j.nq * k)
	if err := x.use(func() error { return how(j) }); err != nil {
		return nil, nil, err
	}
	return j.out.pos, j.out.scores, nil
}

// exhaustive scans all that is allowed.
func (x *Index) exhaustive(j job) error {
	if j.allow != nil {
		selected := j.allow.ToArray()
		return scanAll(x.cores, j, x.dims, 4*x.dims, len(selected), func(queries []float32, nq int) (part, func(), error) {
			return func(from, to int, out hits) error {
				return x.s.scanSelected(queries, nq, j.k, selected[from:to], out)
			}, func() {}, nil
		})
	}
	rowBytes := 4 * x.dims
	if usesCodes(x.params, x.n, x.dims) {
		rowBytes = x.dims
	}
	return scanAll(x.cores, j, x.dims, rowBytes, x.n, func(queries []float32, nq int) (part, func(), error) {
		sc, err := x.s.scan(queries, nq, j.k)
		return sc.part, sc.end, err
	})
}

// approximate searches by the index's structure where that pays.
func (x *Index) approximate(j job) error { return x.searchWith(x.params, j) }

// searchWith is approximate with p's EfSearch or NProbe.
func (x *Index) searchWith(p snapshot.IndexParams, j job) error {
	if x.scansFor(p, j) {
		return x.exhaustive(j)
	}
	var f filter
	ef, budget := p.NProbe, 0
	if p.Graph() {
		ef = p.EfSearch
	}
	if j.allow != nil {
		f = filter{words: j.allow.ToDense(), count: j.count}
		if p.Graph() {
			// A walk this long has cost as much as the scan.
			budget = 2 * j.count
		}
	}
	const group = 8 // queries between two looks at who is waiting
	return x.cores.each((j.nq+group-1)/group, func(piece int) error {
		from := piece * group
		to := min(from+group, j.nq)
		queries, out := j.queries[from*x.dims:to*x.dims], j.out.slice(from*j.k, to*j.k)
		complete, err := x.s.search(queries, to-from, j.k, ef, f, budget, out)
		if err != nil || (complete && filled(out, j.k, j.count)) {
			return err
		}
		// Out of budget, or fewer hits than there are: a part of the graph that
		// no link leads to, or probed lists with too little in them.
		if j.allow == nil {
			sc, err := x.s.scan(queries, to-from, j.k)
			if err != nil {
				return err
			}
			defer sc.end()
			return sc.part(0, x.n, out)
		}
		return x.s.scanSelected(queries, to-from, j.k, j.allow.ToArray(), out)
	})
}

// filled says whether every row has k hits, or all of count.
func filled(out hits, k, count int) bool {
	for last := min(k, count) - 1; last < len(out.pos); last += k {
		if out.pos[last] < 0 {
			return false
		}
	}
	return true
}

// scansFor says whether scanning what is allowed is the better search.
func (x *Index) scansFor(p snapshot.IndexParams, j job) bool {
	if p.Kind == snapshot.Flat || j.count <= j.k {
		return true
	}
	if j.allow == nil {
		return false
	}
	if p.Graph() {
		// A walk looks at about ef*M vectors, and under a filter goes on until
		// it has kept as many allowed ones. Unfiltered searches never scan.
		share := float64(j.count) / float64(x.n)
		walked := float64(p.EfSearch*p.M) / share
		return float64(j.count) <= walked
	}
	// The lists would be probed until twice as many allowed vectors were seen
	// as an unfiltered search sees, and the ids of all the others be read.
	probed := float64(x.n) * float64(p.NProbe) / float64(p.NList)
	return float64(j.count) <= 4*probed
}
