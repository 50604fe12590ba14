//go:build cgo

package follow

import (
	"context"
	"errors"
	"runtime/debug"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// TestMemoryStaysFlatThroughSwaps swaps real indexes back and forth and compares what is resident early and late.
func TestMemoryStaysFlatThroughSwaps(t *testing.T) {
	const swaps, early = 50, 3
	w := followtest.New(t)
	params, err := vecindex.Resolve("flat", 1, followtest.Dims)
	must(t, err)
	w.WriteIndex = func(path string, dims int, rows []float32) error {
		b, err := vecindex.NewBuilder(params, dims, len(rows)/dims)
		if err != nil {
			return err
		}
		defer b.Close()
		if err := b.Add(context.Background(), rows); err != nil {
			return err
		}
		x, err := b.Finish(context.Background())
		if err != nil {
			return err
		}
		return errors.Join(x.WriteFile(path), x.Close())
	}
	type built struct {
		m      store.Manifest
		digest string
	}
	var sides [2]built
	for i := range sides {
		sides[i].m, sides[i].digest = w.Build(followtest.Versioned(i, 4000)) // 8 MB of vectors
	}
	w.Promote(sides[0].m, sides[0].digest)
	r := start(t, w, func(d *Deps, _ *Config) {
		d.Indexes = vecindex.FAISS{}
		d.ReleaseMemory = vecindex.ReleaseMemory
	})
	r.serving(sides[0].m.ID)
	one := r.m.residentBytes()
	predicted := vecindex.PredictBytes(params, 4000, followtest.Dims)
	if predicted < one*9/10 || predicted > one*11/10 {
		t.Errorf("predicted %d bytes, resident %d", predicted, one)
	}
	var before int64
	for i := 1; i <= swaps; i++ {
		side := sides[i%2]
		w.Promote(side.m, side.digest)
		r.serving(side.m.ID)
		followtest.Eventually(t, "the old one is freed", func() bool { return r.m.residentBytes() == one })
		r.search()
		if i == early {
			debug.FreeOSMemory()
			before = residentAnonymous()
		}
	}
	debug.FreeOSMemory()
	after := residentAnonymous()
	t.Logf("resident after %d swaps %d MiB, after %d %d MiB", early, before>>20, swaps, after>>20)
	if after > before*11/10+4<<20 {
		t.Errorf("grew from %d to %d MiB", before>>20, after>>20)
	}
}
