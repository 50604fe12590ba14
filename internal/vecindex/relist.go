package vecindex

import (
	"context"
	"fmt"
	"unsafe"

	faiss "github.com/blevesearch/go-faiss"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// fitRows are sampled to see how well centroids fit: the mean of as many inner
// products with a spread of 0.1 is within 0.002.
const fitRows = 4096

// Centroids still fit while the mean distance (one minus the inner product) of
// rows to the nearest is at most driftShare larger than it was for the rows of
// the earlier index. driftNoise is what two samples differ by; it also keeps
// rows that all lie on a centroid from looking infinitely far off.
//
// The earlier index may itself have taken its centroids over, so the distance
// could creep up by this much in every generation. Whoever reuses again and
// again therefore bounds how many rows may change before a build from nothing.
const (
	driftShare = 0.05
	driftNoise = 0.002
)

// lists are an empty index with the centroids of an earlier one. They are used
// when the rows, which have not come yet, turn out to fit.
type lists struct {
	params  snapshot.IndexParams
	ix      *faiss.IndexImpl
	h       unsafe.Pointer
	fit     float64 // mean inner product of the earlier rows with the nearest centroid
	carried int     // rows that the earlier index is said to have
}

func (l *lists) free() {
	if l != nil && l.ix != nil {
		l.ix.Close()
		l.ix = nil
	}
}

// comparableLists says whether centroids for so many lists will do for so many.
func comparableLists(have, want int) bool { return have <= 2*want && want <= 2*have }

// reuseLists copies prev's centroids.
func (b *Builder) reuseLists(prev *Index, from []int64) error {
	p := b.params
	p.NList = prev.params.NList
	p.NProbe = 0 // by the number of lists
	p = withDefaults(p, b.n)
	if err := validate(p); err != nil || b.n < p.NList {
		return err
	}
	ix, h, err := prepared(p, b.dims, b.n)
	if err != nil {
		return err
	}
	l := &lists{params: p, ix: ix, h: h}
	for _, pos := range from {
		if pos >= 0 {
			l.carried++
		}
	}
	err = prev.use(func() error {
		old, err := handle(prev.ix)
		if err != nil {
			return err
		}
		return takeLists(h, old)
	})
	if err == nil {
		l.fit, err = prev.fit(h)
	}
	if err != nil {
		l.free()
		return err
	}
	b.lists.free()
	b.lists = l
	return nil
}

// fit is how near a sample of x's rows lie to the centroids of h.
func (x *Index) fit(h unsafe.Pointer) (float64, error) {
	n := min(fitRows, x.n)
	rows, err := newBlock(n * x.dims)
	if err != nil {
		return 0, err
	}
	defer freeBlock(rows)
	rows = rows[:n*x.dims]
	for i := range n {
		if err := x.Vector(i*x.n/n, rows[i*x.dims:(i+1)*x.dims]); err != nil {
			return 0, err
		}
	}
	return listsFit(h, rows, n)
}

// takeLists goes on with the earlier centroids where the held rows fit them.
func (b *Builder) takeLists(ctx context.Context) (taken bool, err error) {
	l := b.lists
	if l == nil {
		return false, nil
	}
	rows, err := b.sample(fitRows)
	if err != nil {
		return false, err
	}
	defer freeBlock(rows)
	var fit float64
	err = sharedCores().building(ctx, func() (err error) {
		fit, err = listsFit(l.h, rows, len(rows)/b.dims)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("compare with earlier lists: %w", err)
	}
	if 1-fit > (1-l.fit)*(1+driftShare)+driftNoise {
		l.free()
		return false, nil
	}
	b.ix.Close()
	b.ix, b.h, b.params, b.carried = l.ix, l.h, l.params, l.carried
	l.ix = nil
	return true, nil
}
