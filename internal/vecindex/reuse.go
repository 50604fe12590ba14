package vecindex

import (
	"fmt"
	"math"
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

// Reuse lets the build of a graph take over prev's links among the vectors both
// have, so that a small change costs little more than inserting what changed.
// from[i] is the position in prev of the i-th row to come, -1 when it is new. It
// is a hint: rows are compared with what prev stores. prev must have the same
// dimensions and links, and stay open until the build ends.
//
// Where less than half of the rows are in prev, the graph is made anew. Recall
// falls slowly over many small changes: measure it, and rebuild now and then.
// Only graphs are carried over; for other kinds this does nothing.
func (b *Builder) Reuse(prev *Index, from []int64) error {
	if b.err != nil {
		return b.err
	}
	if b.got > 0 {
		return fmt.Errorf("%w: rows were added before Reuse", ErrBuild)
	}
	if len(from) != b.n {
		return fmt.Errorf("%w: %d positions for %d rows", ErrBuild, len(from), b.n)
	}
	p := prev.Params()
	if !b.params.graph() || !p.graph() || p.M != b.params.M || prev.Dims() != b.dims {
		return nil
	}
	seen := make([]bool, prev.Len())
	kept := make([]int64, len(from))
	for i, pos := range from {
		kept[i] = -1
		if pos < 0 {
			continue
		}
		if pos >= int64(len(seen)) || seen[pos] {
			return fmt.Errorf("%w: position %d of %d is out of range or twice", ErrBuild, pos, len(seen))
		}
		seen[pos] = true
		kept[i] = pos
	}
	b.reuse = &reuse{prev: prev, from: kept}
	return nil
}

// confirm compares rows, the first of which is row number first, with what the
// earlier index stores.
func (r *reuse) confirm(rows []float32, dims, first int) error {
	tolerance := 0.0
	if r.prev.params.codes() {
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
		return newGraph(b.h)
	}
	err = r.prev.use(func() error {
		h, err := handle(r.prev.ix)
		if err != nil {
			return err
		}
		g, err = carryGraph(b.h, h, r.from)
		return err
	})
	return g, err
}
