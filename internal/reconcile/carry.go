package reconcile

import (
	"context"
	"errors"
	"os"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// driftShare bounds what is carried over from build to build: when more than this share of the rows were inserted or
// lost since everything was last made anew, everything is. A graph loses recall slowly as it is mended, and centroids
// fit only the rows they were trained on.
const driftShare = 0.2

// positions says where in the served snapshot's index, or its base's, each record is, -1 for one whose vector is known to
// be new. The text of a record that changed may still be the same: the builder compares vectors.
func (c *candidate) positions(served *composition, built *documents.Index) []int64 {
	rows := baseOf(served.m, served.sha).Vectors
	from := make([]int64, built.Len())
	for i := range from {
		from[i] = -1
		if at, ok := served.find(built.IDHash(i)); ok && at.segment == 0 && at.row < rows {
			from[i] = int64(at.row)
		}
	}
	for _, i := range c.missing {
		from[i] = -1
	}
	return from
}

// drift is how many rows were inserted or lost since the last full build, a build that carries `carried` rows over from
// the served snapshot included.
func (p *pass) drift(carried int) int {
	return p.pointer.Stats.ChangedSinceFull + p.files.rows - carried + p.delta.Removed
}

// sinceFull is that for the build that was made: nothing when nothing was carried over.
func (p *pass) sinceFull() int {
	if p.files.carried == 0 {
		return 0
	}
	return p.drift(p.files.carried)
}

// carries says whether the build may take over what the served index has in common with it. A flat one has no structure
// that could be.
func (p *pass) carries(next snapshot.IndexParams) bool {
	c := p.files
	if p.opts.force || p.pointer == nil || p.broken != nil || p.erase.dirty != "" || c.from == nil {
		return false
	}
	was := p.pointer.Index
	if p.pointer.Spec.Embedding != p.spec.Embedding || p.pointer.Spec.Metric != p.spec.Metric ||
		next.Kind == snapshot.Flat || was.Kind != next.Kind || was.M != next.M || was.EfConstruction != next.EfConstruction {
		return false
	}
	same := 0
	for _, pos := range c.from {
		if pos >= 0 {
			same++
		}
	}
	return float64(p.drift(same)) <= driftShare*float64(c.rows)
}

// carry offers the served index to the build. Without it the build is only slower, so nothing but the end of the
// pass is an error.
func (p *pass) carry(ctx context.Context, b snapshot.Builder) error {
	c := p.files
	from := c.from
	c.from = nil // 8 MB for 1 M records; a second build of the pass is a full one
	path, err := p.fetchServed(ctx, snapshot.FileIndex)
	if err == nil {
		err = b.Reuse(path, p.pointer.Index, from)
	}
	if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, os.ErrNotExist) { // as large as the new one
		err = errors.Join(err, rerr)
	}
	if ctx.Err() != nil {
		return fail(Built, buildFailed, inputs, err)
	}
	if err != nil {
		p.log.WarnContext(ctx, "served index not reused", "snapshot", p.pointer.ID, "error", err)
	}
	return nil
}
