//go:build guard

// Package bench_test guards speed with ratios: two ways of doing the same work are timed in the same run, alternating,
// and the fastest of each counts, so that neither the machine nor its neighbours decide. The margins are wide: what
// is guarded is that a fast path is taken at all. `make soak` runs it: what is asserted here is time.
package bench_test

import (
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

var shape = dataset.Shape{Name: "guard", N: 10_000, Dims: 384, Queries: 64, Seed: 11}

// rounds of each pair.
const rounds = 7

// ratio times slow and fast alternately and returns how much longer the best slow run took than the best fast one.
func ratio(t *testing.T, slow, fast func() error) float64 {
	t.Helper()
	best := [2]time.Duration{time.Hour, time.Hour}
	for range rounds {
		for i, f := range []func() error{slow, fast} {
			start := time.Now()
			if err := f(); err != nil {
				t.Fatal(err)
			}
			best[i] = min(best[i], time.Since(start))
		}
	}
	t.Logf("%s against %s", best[0], best[1])
	return float64(best[0]) / float64(best[1])
}

func build(t *testing.T, kind string, base []float32) *vecindex.Index {
	t.Helper()
	p, err := vecindex.Resolve(kind, shape.N, shape.Dims)
	if err != nil {
		t.Fatal(err)
	}
	b, err := vecindex.NewBuilder(p, shape.Dims, shape.N)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Add(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	ix, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ix.Close() })
	return ix
}

// scalar is the scan that a compiler makes of the obvious loop: one sum, one addition after the other.
func scalar(base, query []float32) (best int) {
	var top float32 = -2
	for i := 0; i < len(base)/len(query); i++ {
		var sum float32
		for j, v := range base[i*len(query) : (i+1)*len(query)] {
			sum += v * query[j]
		}
		if sum > top {
			best, top = i, sum
		}
	}
	return best
}

func TestFlatSearch(t *testing.T) {
	base, queries, err := dataset.Generate(t.Context(), shape)
	if err != nil {
		t.Fatal(err)
	}
	ix := build(t, snapshot.Flat, base)
	one := queries[:shape.Dims]

	t.Run("uses vector instructions", func(t *testing.T) {
		want := scalar(base, one)
		r := ratio(t, func() error { scalar(base, one); return nil }, func() error {
			pos, _, err := ix.Exact(one, dataset.K, nil)
			if err == nil && int(pos[0]) != want {
				t.Errorf("the nearest is %d, want %d", pos[0], want)
			}
			return err
		})
		if r < 1.5 { // 3 when the vectors come from memory, more from a cache
			t.Errorf("only %.2fx the scalar loop, want 1.5x", r)
		}
	})

	t.Run("reads the vectors once for many queries", func(t *testing.T) {
		r := ratio(t, func() error {
			for i := range shape.Queries {
				if _, _, err := ix.Exact(queries[i*shape.Dims:(i+1)*shape.Dims], dataset.K, nil); err != nil {
					return err
				}
			}
			return nil
		}, func() error { _, _, err := ix.Exact(queries, dataset.K, nil); return err })
		if r < 1.3 { // 3 and more
			t.Errorf("%d queries at once are only %.2fx as fast as one after the other, want 1.3x", shape.Queries, r)
		}
	})
}

func TestGraphSearchBeatsTheScan(t *testing.T) {
	base, queries, err := dataset.Generate(t.Context(), shape)
	if err != nil {
		t.Fatal(err)
	}
	ix := build(t, snapshot.HNSW, base)
	each := func(search func([]float32) error) func() error {
		return func() error {
			for i := range 16 {
				if err := search(queries[i*shape.Dims : (i+1)*shape.Dims]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	r := ratio(t,
		each(func(q []float32) error { _, _, err := ix.Exact(q, dataset.K, nil); return err }),
		each(func(q []float32) error { _, _, err := ix.Search(q, dataset.K, nil); return err }))
	if r < 1.5 { // 4 and more at this size
		t.Errorf("only %.2fx the scan, want 1.5x", r)
	}
}
