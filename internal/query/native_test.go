//go:build cgo

package query

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// nativeFlat is a flat index of vectors around 64 centres, and queries for it.
func nativeFlat(t testing.TB, n, dims, queries int) (x snapshot.Index, q []float32) {
	t.Helper()
	rows := clustered(n+queries, dims)
	base, q := rows[:n*dims], rows[n*dims:]
	p, err := vecindex.Resolve("flat", n, dims)
	must(t, err)
	b, err := vecindex.NewBuilder(p, dims, n)
	must(t, err)
	defer b.Close()
	must(t, b.Add(context.Background(), base))
	built, err := b.Finish(context.Background())
	must(t, err)
	defer built.Close()
	path := filepath.Join(t.TempDir(), "index.faiss")
	must(t, built.WriteFile(path))
	opened, err := vecindex.Open(path, p)
	must(t, err)
	t.Cleanup(func() { opened.Close() })
	return opened, q
}

func clustered(n, dims int) []float32 {
	rng := rand.New(rand.NewPCG(2, 2))
	centres := make([]float32, 64*dims)
	for i := range centres {
		centres[i] = float32(rng.NormFloat64())
	}
	rows := make([]float32, n*dims)
	for row := range slices.Chunk(rows, dims) {
		centre := centres[rng.IntN(64)*dims:]
		var norm float64
		for j := range row {
			row[j] = centre[j] + float32(rng.NormFloat64())/2
			norm += float64(row[j]) * float64(row[j])
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(norm))
		}
	}
	return rows
}

// load runs searches from a number of clients for a while and returns their number and median time.
func load(t testing.TB, on *queue, queries []float32, clients int, d time.Duration) (searches int64, median time.Duration) {
	t.Helper()
	var done atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	dims := on.view.Dims()
	for c := range clients {
		wg.Go(func() {
			for i, end := c, time.Now().Add(d); time.Now().Before(end); i += clients {
				at := i * dims % len(queries)
				q := queries[at : at+dims]
				start := time.Now()
				if _, _, err := on.search(context.Background(), q, 10, nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				times = append(times, time.Since(start))
				mu.Unlock()
				done.Add(1)
			}
		})
	}
	wg.Wait()
	slices.Sort(times)
	return done.Load(), times[len(times)/2]
}

// TestSearchingTogetherPays compares queues that search together and one by one on the same index, in turns so that a
// busy machine disturbs both. The codes of the index, 30 MB, do not fit into a cache: below that there is nothing to
// share. The margin is far below what a quiet machine shows.
func TestSearchingTogetherPays(t *testing.T) {
	const n, dims, margin = 20_000, 1536, 1.3
	d := 150 * time.Millisecond
	if testing.Verbose() {
		d = time.Second
	}
	x, q := nativeFlat(t, n, dims, 1000)
	a := newAdmission(2, 256)
	on, off := newQueue(x, true, a), newQueue(x, false, a)
	var together, alone int64
	var lone, loneOff []time.Duration
	for range 5 {
		c, _ := load(t, on, q, 16, d)
		b, _ := load(t, off, q, 16, d)
		together, alone = together+c, alone+b
		_, m := load(t, on, q, 1, d/3)
		_, o := load(t, off, q, 1, d/3)
		lone, loneOff = append(lone, m), append(loneOff, o)
	}
	slices.Sort(lone)
	slices.Sort(loneOff)
	t.Logf("%d x %d, 16 clients: %d together, %d alone (%.2fx); 1 client p50 %v and %v", n, dims, together, alone, float64(together)/float64(alone), lone[2], loneOff[2])
	if float64(together) < margin*float64(alone) {
		t.Errorf("searching together gives %.2fx, want at least %.1fx", float64(together)/float64(alone), margin)
	}
}
