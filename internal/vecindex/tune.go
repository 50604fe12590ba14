package vecindex

import (
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const (
	tuneK = 10 // recall is measured at
	// maxTuned bounds the beam that Tune tries; it costs about twenty times
	// the default.
	maxTuned = 1024
)

// Tune measures which EfSearch, or NProbe of lists, a search needs on this index. It returns the parameters
// with the least NProbe or EfSearch, but no less than half the default, whose
// recall at 10 over the sample queries (row-major, Dims components each) reaches
// target, and that recall. Where none reaches it, they are the least
// after which doubling gains nothing that counts: the caller decides whether the
// recall will do. Search uses them from then on, and so does the file opened with
// them. One Tune at a time.
//
// The sample costs an exhaustive scan per query and about five searches each.
func (x *Index) Tune(target float64, sample []float32) (snapshot.IndexParams, float64, error) {
	if target <= 0 || target > 1 {
		return snapshot.IndexParams{}, 0, fmt.Errorf("%w: recall of %v, must be above 0 and at most 1", ErrQuery, target)
	}
	if x.params.Kind == snapshot.Flat {
		return x.params, 1, nil
	}
	k := min(tuneK, x.n)
	_, best, err := x.Exact(sample, k, nil)
	if err != nil {
		return snapshot.IndexParams{}, 0, err
	}
	p := x.params
	least, most := efBounds(p, x.n)
	ef, recall, err := leastEf(least, most, target, func(ef int) (float64, error) {
		_, got, err := x.run(sample, k, nil, func(j job) error { return x.searchWith(withEf(p, ef), j) })
		return foundOf(got, best, k), err
	})
	if err != nil {
		return snapshot.IndexParams{}, 0, err
	}
	p = withEf(p, ef)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.params = p
	return p, recall, nil
}

// gained is the recall that doubling ef must add to be worth its time.
const gained = 0.001

// leastEf finds an ef whose recall, which measure tells, reaches target.
func leastEf(least, most int, target float64, measure func(int) (float64, error)) (int, float64, error) {
	// Double until it is enough, then halve the gap below.
	low, enough, recall := least, least, -gained
	for {
		r, err := measure(enough)
		if err != nil {
			return 0, 0, err
		}
		if r < target && r < recall+gained {
			return low, recall, nil // what is missed is not found by looking wider
		}
		recall = r
		if r >= target || enough == most {
			break
		}
		low, enough = enough, min(2*enough, most)
	}
	for enough-low > max(1, enough/16) && recall >= target {
		mid := (low + enough) / 2
		r, err := measure(mid)
		if err != nil {
			return 0, 0, err
		}
		if r >= target {
			enough, recall = mid, r
		} else {
			low = mid
		}
	}
	return enough, recall, nil
}

// efBounds are the least and the most that Tune tries. A sample does not show all
// queries there will be, so an easy one makes ef no less than half
// of what is right for most data.
func efBounds(p snapshot.IndexParams, n int) (least, most int) {
	usual := withDefaults(snapshot.IndexParams{Kind: p.Kind, NList: p.NList}, n)
	if p.Lists() {
		return max(1, usual.NProbe/2), p.NList
	}
	return usual.EfSearch / 2, min(maxTuned, maxBeam)
}

// withEf sets EfSearch, or NProbe of lists.
func withEf(p snapshot.IndexParams, ef int) snapshot.IndexParams {
	if p.Lists() {
		p.NProbe = ef
	} else {
		p.EfSearch = ef
	}
	return p
}

// tied scores are as near as makes no difference: of equal neighbours any will do.
const tied = 1e-5

// foundOf is the share of results, k a row, that are as good as the best k.
func foundOf(got, best []float32, k int) float64 {
	found := 0
	for at := 0; at < len(got); at += k {
		for _, score := range got[at : at+k] {
			if score >= best[at+k-1]-tied {
				found++
			}
		}
	}
	return float64(found) / float64(len(got))
}
