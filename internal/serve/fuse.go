package serve

import (
	"cmp"
	"slices"
)

// Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): a record's score is the sum over the lists that
// hold it of weight / (rrfC + rank). rrfC is the paper's; the weights are measured on the sample queries.
const (
	rrfC        = 60
	exactWeight = 3 // more than both other lists together: an exact name is always first
)

// candidates is how deep each list is read before fusing, at least; twice the largest usual k.
const candidates = 50

// ranking is one list to fuse, best first.
type ranking struct {
	pos    []int64
	weight float64
}

// fuse returns the k best of the rankings, with scores in 0..1: 1 is first in every list that holds anything.
func fuse(k int, lists ...ranking) []hit {
	var top float64
	sum := make(map[int64]float64)
	var order []int64 // first seen, so that equal scores keep the order of the lists
	for _, l := range lists {
		if len(l.pos) == 0 {
			continue
		}
		top += l.weight / (rrfC + 1)
		for rank, p := range l.pos {
			if _, ok := sum[p]; !ok {
				order = append(order, p)
			}
			sum[p] += l.weight / float64(rrfC+rank+1)
		}
	}
	slices.SortStableFunc(order, func(a, b int64) int { return cmp.Compare(sum[b], sum[a]) })
	hits := make([]hit, 0, min(k, len(order)))
	for _, p := range order[:min(k, len(order))] {
		hits = append(hits, hit{pos: p, score: float32(sum[p] / top)})
	}
	return hits
}
