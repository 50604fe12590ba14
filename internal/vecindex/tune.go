package vecindex

import (
	"fmt"
)

const (
	tuneK = 10 // recall is measured at
	// maxTuned bounds the beam that Tune tries; it costs about twenty times
	// the default.
	maxTuned = 1024
)

// Tune measures how wide a search must be on this index. It returns the Params
// with the least NProbe or EfSearch whose recall at 10 over the sample queries
// (row-major, Dims components each) reaches target, and that recall. Where no
// width reaches it, these are the widest tried and its recall: the caller
// decides whether that will do. The index itself keeps its own width; opening
// it with the returned Params changes it.
//
// The sample costs an exhaustive scan per query and about ten searches each.
func (x *Index) Tune(target float64, sample []float32) (Params, float64, error) {
	if target <= 0 || target > 1 {
		return Params{}, 0, fmt.Errorf("%w: recall of %v, must be above 0 and at most 1", ErrQuery, target)
	}
	k := min(tuneK, x.n)
	truth, _, err := x.Exact(sample, k, nil)
	if err != nil || x.params.Kind == Flat {
		return x.params, 1, err
	}
	widest := min(maxTuned, maxBeam)
	if x.params.lists() {
		widest = x.params.NList
	}
	measure := func(width int) (float64, error) {
		p := x.params.withWidth(width)
		pos, _, err := x.run(sample, k, nil, func(j job) error { return x.searchWith(p, j) })
		return recallOf(pos, truth, k), err
	}
	// Double until it is enough, then halve the gap below.
	enough, recall := 1, 0.0
	for ; ; enough = min(2*enough, widest) {
		if recall, err = measure(enough); err != nil {
			return Params{}, 0, err
		}
		if recall >= target || enough == widest {
			break
		}
	}
	for low := enough / 2; enough-low > max(1, enough/16) && recall >= target; {
		mid := (low + enough) / 2
		r, err := measure(mid)
		if err != nil {
			return Params{}, 0, err
		}
		if r >= target {
			enough, recall = mid, r
		} else {
			low = mid
		}
	}
	return x.params.withWidth(enough), recall, nil
}

// withWidth sets how widely the kind searches.
func (p Params) withWidth(width int) Params {
	if p.lists() {
		p.NProbe = width
	} else {
		p.EfSearch = width
	}
	return p
}

// recallOf is the share of the true positions, k a row, that were found.
func recallOf(got, want []int64, k int) float64 {
	found := 0
	for at := 0; at < len(want); at += k {
		truth := make(map[int64]bool, k)
		for _, p := range want[at : at+k] {
			truth[p] = true
		}
		for _, p := range got[at : at+k] {
			if truth[p] {
				found++
			}
		}
	}
	return float64(found) / float64(len(want))
}
