package vecindex

import (
	"errors"
	"fmt"
	"math"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// codeTolerance is how far a component may be from its 8-bit code and still be
// the same: half a step of a range of 2, the widest that unit vectors have.
const codeTolerance = 1.0 / 255

// reuse is an earlier index whose links a build takes over.
type reuse struct {
	prev    *Index
	from    []int64 // position in prev of each row, -1 for a new one
	carried int     // rows confirmed to be in prev
}

// free closes the earlier index. It may be called again.
func (r *reuse) free() {
	if r != nil {
		r.prev.Close()
	}
}

// Reuse lets the build take over what an earlier index has in common with it, so
// that a small change costs little more than inserting what changed. The index
// is in the file at path, which was describes and which is only read here. Of a graph
// it takes the links among the vectors both have; of lists their centroids,
// while these fit the rows (see driftShare), so that nothing is trained.
// from[i] is the position there of the i-th row to come, -1 when it is new. For
// a graph it is a hint: rows are compared with what the earlier index stores.
//
// One that shares nothing (another
// kind, other dimensions or links, more than twice or less than half the lists)
// is ignored, and where less than half of the rows are in a graph it is made
// anew; Built tells. After an error the build can go on, without it.
//
// Recall falls slowly over many small changes: measure it, and build from
// nothing now and then.
//
// What is held of the file is freed as soon as the build is through with it: the
// vectors of a graph before its links are copied, and these before the first
// row is inserted.
//
// So a build over F bytes of floats peaks at 2F and two graphs (a quarter of a
// kilobyte a row, 0.13 F at 512 dimensions) while rows are added. Linking, which
// takes F/4 for its codes, no longer has the other F beside it.
func (b *Builder) Reuse(path string, was snapshot.IndexParams, from []int64) error {
	if b.err != nil {
		return b.err
	}
	if b.got > 0 {
		return fmt.Errorf("%w: rows were added before Reuse", ErrBuild)
	}
	if len(from) != b.n {
		return fmt.Errorf("%w: %d positions for %d rows", ErrBuild, len(from), b.n)
	}
	prev, err := openToReuse(path, was)
	if err != nil {
		return err
	}
	kept, err := positionsIn(prev, from)
	switch p := prev.params; {
	case err != nil || prev.Dims() != b.dims:
	case b.params.Graph() && p.Graph() && p.M == b.params.M:
		b.reuse.free()
		b.reuse = &reuse{prev: prev, from: kept}
		return nil
	case b.params.Lists() && p.Kind == b.params.Kind && comparableLists(p.NList, b.params.NList):
		err = b.reuseLists(prev, kept)
	}
	return errors.Join(err, prev.Close())
}

// positionsIn checks where rows are said to be in prev; -1 is any that is not there.
func positionsIn(prev *Index, from []int64) ([]int64, error) {
	seen := make([]bool, prev.Len())
	kept := make([]int64, len(from))
	for i, pos := range from {
		kept[i] = -1
		if pos < 0 {
			continue
		}
		if pos >= int64(len(seen)) || seen[pos] {
			return nil, fmt.Errorf("%w: position %d of %d is out of range or twice", ErrBuild, pos, len(seen))
		}
		seen[pos] = true
		kept[i] = pos
	}
	return kept, nil
}

// confirm compares rows, the first of which is row number first, with what the
// earlier index stores.
func (r *reuse) confirm(rows []float32, dims, first int) error {
	tolerance := 0.0
	if r.prev.params.Codes() {
		tolerance = codeTolerance
	}
	stored := make([]float32, dims)
	for at := 0; at < len(rows); at += dims {
		i := first + at/dims
		if r.from[i] < 0 {
			continue
		}
		if err := r.prev.Vector(int(r.from[i]), stored); err != nil {
			return err
		}
		if !near(rows[at:at+dims], stored, tolerance) {
			r.from[i] = -1
			continue
		}
		r.carried++
	}
	return nil
}

func near(a, b []float32, tolerance float64) bool {
	for i := range a {
		if math.Abs(float64(a[i])-float64(b[i])) > tolerance {
			return false
		}
	}
	return true
}

// linker starts linking the stored rows: all of them, or those that an earlier
// graph does not have.
func (b *Builder) linker() (g graph, err error) {
	r := b.reuse
	if r == nil || 2*r.carried < b.n {
		r.free()
		return newGraph(b.h)
	}
	if err := r.prev.keepLinks(); err != nil {
		return g, err
	}
	err = r.prev.use(func() error {
		h, err := handle(r.prev.ix)
		if err != nil {
			return err
		}
		g, err = carryGraph(b.h, h, r.from)
		return err
	})
	if err == nil {
		b.carried = r.carried
	}
	return g, err
}

// keepLinks frees all but the links of a graph that nobody else uses.
func (x *Index) keepLinks() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	h, err := handle(x.ix)
	if err != nil {
		return err
	}
	x.s.free()
	x.s = searcher{}
	return dropVectors(h)
}
