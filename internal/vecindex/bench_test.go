package vecindex

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// benchIndex builds an index once for all benchmarks that use it.
var benchIndex = func() func(b *testing.B, p snapshot.IndexParams, n, dims int) (*Index, []float32) {
	type made struct {
		x       *Index
		queries []float32
	}
	var mu sync.Mutex
	cache := map[string]made{}
	return func(b *testing.B, p snapshot.IndexParams, n, dims int) (*Index, []float32) {
		b.Helper()
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(p, n, dims)
		m, ok := cache[key]
		if !ok {
			const queries = 256
			all := clustered(n+queries, dims)
			m = made{benchBuild(b, p, all[:n*dims], dims), all[n*dims:]}
			clear(cache) // one at a time: these are large
			cache[key] = m
		}
		return m.x, m.queries
	}
}()

// benchBuild is build without the clean-up at the end of the first benchmark.
func benchBuild(b *testing.B, p snapshot.IndexParams, rows []float32, dims int) *Index {
	b.Helper()
	bl, err := NewBuilder(p, dims, len(rows)/dims)
	if err != nil {
		b.Fatal(err)
	}
	if err := bl.Add(b.Context(), rows); err != nil {
		b.Fatal(err)
	}
	x, err := bl.Finish(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return x
}

func benchSearch(b *testing.B, x *Index, queries []float32, nq int, allow *roaring.Bitmap) {
	b.Helper()
	size := nq * x.Dims()
	at := 0
	before := cpuTime(b)
	for b.Loop() {
		if at+size > len(queries) {
			at = 0
		}
		if _, _, err := x.Search(queries[at:at+size], 10, allow); err != nil {
			b.Fatal(err)
		}
		at += size
	}
	b.ReportMetric(float64(b.N*nq)/b.Elapsed().Seconds(), "queries/s")
	// On a busy machine the time used says more than the time passed.
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*nq), "cpu-ns/query")
}

// cpuTime is what this process has computed so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkFlat(b *testing.B) {
	for _, shape := range [][2]int{{20_000, 1536}, {100_000, 384}} {
		for _, nq := range []int{1, 4, 16, 64} {
			b.Run(fmt.Sprintf("%dx%d/nq=%d", shape[0], shape[1], nq), func(b *testing.B) {
				x, queries := benchIndex(b, snapshot.IndexParams{Kind: snapshot.Flat}, shape[0], shape[1])
				benchSearch(b, x, queries, nq, nil)
			})
		}
	}
}

func BenchmarkHNSW(b *testing.B) {
	p := snapshot.IndexParams{Kind: snapshot.HNSW, M: 32, EfConstruction: 40, EfSearch: 64}
	for _, nq := range []int{1, 16} {
		b.Run(fmt.Sprintf("20000x384/nq=%d", nq), func(b *testing.B) {
			x, queries := benchIndex(b, p, 20_000, 384)
			benchSearch(b, x, queries, nq, nil)
		})
	}
	b.Run("100000x384/nq=1", func(b *testing.B) { // larger than the caches
		x, queries := benchIndex(b, snapshot.IndexParams{Kind: snapshot.HNSW, EfSearch: 24}, 100_000, 384)
		benchSearch(b, x, queries, 1, nil)
	})
	for _, percent := range []int{1, 10, 20, 50, 90} {
		b.Run(fmt.Sprintf("20000x384/selected=%d%%", percent), func(b *testing.B) {
			x, queries := benchIndex(b, p, 20_000, 384)
			benchSearch(b, x, queries, 1, selected(x.Len(), percent))
		})
	}
}

func BenchmarkIVF(b *testing.B) {
	p := snapshot.IndexParams{Kind: snapshot.IVF, NList: 256, NProbe: 16}
	b.Run("20000x384/nq=1", func(b *testing.B) {
		x, queries := benchIndex(b, p, 20_000, 384)
		benchSearch(b, x, queries, 1, nil)
	})
	for _, percent := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("20000x384/selected=%d%%", percent), func(b *testing.B) {
			x, queries := benchIndex(b, p, 20_000, 384)
			benchSearch(b, x, queries, 1, selected(x.Len(), percent))
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	rows := clustered(4000, 384)
	for _, p := range []snapshot.IndexParams{
		{Kind: snapshot.Flat}, {Kind: snapshot.IVF, NList: 64, NProbe: 8}, {Kind: snapshot.HNSW, M: 32, EfConstruction: 40},
	} {
		b.Run("4000x384/"+p.Kind, func(b *testing.B) {
			for b.Loop() {
				benchBuild(b, p, rows, 384).Close()
			}
		})
	}
}

func selected(n, percent int) *roaring.Bitmap {
	rng := rand.New(rand.NewPCG(5, 5))
	allow := roaring.New()
	for p := range n {
		if rng.IntN(100) < percent {
			allow.Add(uint32(p))
		}
	}
	return allow
}
