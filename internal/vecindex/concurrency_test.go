package vecindex

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// threads is the number of OS threads of this process.
func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

func TestManyGoroutinesGetTheAnswersOfOneOnFewThreads(t *testing.T) {
	const n, dims, k, goroutines, rounds = 2000, 32, 5, 64, 6
	rows := vectors(n, dims, 1)
	queries := vectors(16, dims, 2)
	allow := roaring.New()
	allow.AddRange(100, 900)
	var indexes []*Index
	for _, kind := range kinds {
		indexes = append(indexes, build(t, snapshot.IndexParams{Kind: kind}, rows, dims))
	}
	search := func(x *Index, a *roaring.Bitmap) []int64 {
		pos, _, err := x.Search(queries, k, a)
		if err != nil {
			t.Error(err)
		}
		return pos
	}
	want := map[*Index][2][]int64{}
	for _, x := range indexes {
		want[x] = [2][]int64{search(x, nil), search(x, allow)}
	}
	before := threads(t)
	var wg sync.WaitGroup
	var peak sync.Map
	for g := range goroutines {
		wg.Go(func() {
			for r := range rounds {
				x := indexes[(g+r)%len(indexes)]
				if !slices.Equal(search(x, nil), want[x][0]) || !slices.Equal(search(x, allow), want[x][1]) {
					t.Error("an answer changed under load")
				}
			}
			peak.Store(g, threads(t))
		})
	}
	wg.Wait()
	most := before
	peak.Range(func(_, v any) bool { most = max(most, v.(int)); return true })
	// A thread for each core inside C, and those the Go runtime starts for
	// itself while they are there (file reads of this test among them).
	if bound := before + 4*runtime.GOMAXPROCS(0) + 8; most > bound {
		t.Errorf("%d threads before, %d under load, want at most %d", before, most, bound)
	}
}

func TestBuildsLeaveNoThreadsBehind(t *testing.T) {
	rows := vectors(2000, 32, 1)
	build(t, snapshot.IndexParams{Kind: snapshot.HNSW}, rows, 32).Close()
	before := threads(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			build(t, snapshot.IndexParams{Kind: snapshot.HNSW, EfConstruction: 20}, rows[:500*32], 32).Close()
		})
	}
	wg.Wait()
	if after := threads(t); after > before+2*runtime.GOMAXPROCS(0)+8 {
		t.Errorf("%d threads before, %d after", before, after)
	}
}

func TestCloseWaitsForSearchesAndHappensOnce(t *testing.T) {
	rows := vectors(3000, 32, 1)
	for _, kind := range kinds {
		x := build(t, snapshot.IndexParams{Kind: kind}, rows, 32)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-start
				for {
					if _, _, err := x.Search(rows[:32], 5, nil); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		close(start)
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		for name, err := range map[string]error{
			"Close":     x.Close(),
			"WriteFile": x.WriteFile(t.TempDir() + "/x"),
			"Vector":    x.Vector(0, make([]float32, 32)),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	}
}

// scanWhole scans in one part.
func scanWhole(t *testing.T, x *Index, queries []float32, nq, k int, out hits) {
	t.Helper()
	sc, err := x.s.scan(queries, nq, k)
	if err != nil {
		t.Fatal(err)
	}
	defer sc.end()
	if err := sc.part(0, x.n, out); err != nil {
		t.Fatal(err)
	}
}

func TestASplitScanAnswersLikeOneInOrder(t *testing.T) {
	const n, dims, k = 1000, 8, 7
	// Many equal scores: only the order of positions tells them apart.
	rows := make([]float32, n*dims)
	for r := range n {
		rows[r*dims+r%3] = 1
	}
	x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
	queries := vectors(5, dims, 3)
	whole := newHits(5 * k)
	scanWhole(t, x, queries, 5, k, whole)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		pieces := 1 + rng.IntN(12)
		step := (n + pieces - 1) / pieces
		partial := newHits(pieces * 5 * k)
		sc, err := x.s.scan(queries, 5, k)
		if err != nil {
			t.Fatal(err)
		}
		for p := range pieces {
			out := partial.slice(p*5*k, (p+1)*5*k)
			if err := sc.part(min(n, p*step), min(n, (p+1)*step), out); err != nil {
				t.Fatal(err)
			}
		}
		sc.end()
		got := newHits(5 * k)
		for q := range 5 {
			merge(partial, pieces, 5*k, q*k, k, got.slice(q*k, (q+1)*k))
		}
		if !slices.Equal(got.pos, whole.pos) || !slices.Equal(got.scores, whole.scores) {
			t.Fatalf("%d pieces: %v, want %v", pieces, got.pos, whole.pos)
		}
	}
}

func TestCoresBoundWhatRunsAndEveryPieceRunsOnce(t *testing.T) {
	c := newCores(3)
	var mu sync.Mutex
	running, most := 0, 0
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			done := make([]int, 50)
			err := c.each(len(done), func(i int) error {
				mu.Lock()
				running++
				most = max(most, running)
				done[i]++
				mu.Unlock()
				runtime.Gosched()
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			})
			if err != nil || slices.ContainsFunc(done, func(n int) bool { return n != 1 }) {
				t.Errorf("pieces ran %v, %v", done, err)
			}
		})
	}
	wg.Wait()
	if most > 3 {
		t.Errorf("%d pieces at once on 3 cores", most)
	}
	if len(c.slots) != 0 {
		t.Errorf("%d slots not returned", len(c.slots))
	}
	boom := errors.New("boom")
	if err := c.each(9, func(i int) error { return boom }); !errors.Is(err, boom) || len(c.slots) != 0 {
		t.Errorf("error %v, %d slots held", err, len(c.slots))
	}
}
