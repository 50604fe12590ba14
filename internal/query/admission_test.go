package query

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// slowIndex is an index whose searches take a second of virtual time and answer the query's first number.
type slowIndex struct {
	calls, rows atomic.Int64
	running     atomic.Int64
	most        atomic.Int64
}

func (x *slowIndex) Dims() int { return 2 }

func (x *slowIndex) Search(queries []float32, k int, _ *roaring.Bitmap) ([]int64, []float32, error) {
	x.calls.Add(1)
	x.rows.Add(int64(len(queries) / 2))
	x.most.Store(max(x.most.Load(), x.running.Add(1)))
	time.Sleep(time.Second)
	x.running.Add(-1)
	pos, scores := make([]int64, 0), make([]float32, 0)
	for i := 0; i < len(queries); i += 2 {
		for range k {
			pos, scores = append(pos, int64(queries[i])), append(scores, 1)
		}
	}
	return pos, scores, nil
}

func TestConcurrentSearchesAreTakenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &slowIndex{}
		q := newQueue(x, true, newAdmission(2, 256))
		var wg sync.WaitGroup
		for i := range 34 {
			wg.Go(func() {
				k := 1 + i%3
				pos, _, err := q.search(t.Context(), []float32{float32(i), 0}, k, nil)
				if err != nil || len(pos) != k || pos[0] != int64(i) || pos[k-1] != int64(i) {
					t.Errorf("query %d: %v %v", i, pos, err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		if x.rows.Load() != 34 || x.calls.Load() != 2 || x.most.Load() != 1 {
			t.Errorf("%d queries in %d calls, %d at a time; want 34 in 2 (one alone, 33 together), 1 at a time", x.rows.Load(), x.calls.Load(), x.most.Load())
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// Clients that are answered together ask again together, and none of them is searched for alone in between.
func TestThoseAnsweredTogetherStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, rounds = 16, 20
		x := &slowIndex{}
		q := newQueue(x, true, newAdmission(2, 256))
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range rounds {
					if _, _, err := q.search(t.Context(), []float32{float32(i), 0}, 1, nil); err != nil {
						t.Error(err)
					}
					time.Sleep(gatherTime / 2) // what a client does between two
				}
			})
		}
		start := time.Now()
		wg.Wait()
		// The first search runs alone, and in the end some are ahead of others. Apart it would be twice the rounds.
		if calls := x.calls.Load(); calls > rounds*5/4+2 {
			t.Errorf("%d calls for %d rounds", calls, rounds)
		}
		if d, most := time.Since(start), (rounds*5/4+2)*(time.Second+2*gatherTime); d > most {
			t.Errorf("took %v, more than %v", d, most)
		}
	})
}

// A batch whose company has gone waits for it, briefly, and less and less often.
func TestABatchDoesNotWaitForThoseWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(&slowIndex{}, true, newAdmission(1, 256))
		q.company = 8
		start := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for range 10 {
					_, _, _ = q.search(t.Context(), []float32{1, 0}, 1, nil)
				}
			})
		}
		wg.Wait()
		if d := time.Since(start) - 20*time.Second; d > 4*gatherTime {
			t.Errorf("waited %v for company", d)
		}
	})
}

func TestLoneSearchRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(&slowIndex{}, true, newAdmission(1, 0))
		start := time.Now()
		for range 3 {
			if _, _, err := q.search(t.Context(), []float32{1, 0}, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("three searches of a second took %v", d)
		}
	})
}

func TestGraphSearchesAndFilteredOnesRunAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			shares bool
			k      int
			allow  *roaring.Bitmap
		}{"hnsw": {false, 1, nil}, "filtered": {true, 1, roaring.BitmapOf(1)}, "deep": {true, maxDepth + 1, nil}} {
			x := &slowIndex{}
			q := newQueue(x, c.shares, newAdmission(2, 256))
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() { _, _, _ = q.search(t.Context(), []float32{1, 0}, c.k, c.allow) })
			}
			wg.Wait()
			if x.calls.Load() != 6 || x.most.Load() != 2 {
				t.Errorf("%s: %d calls, %d at a time", name, x.calls.Load(), x.most.Load())
			}
		}
	})
}

// Other work waits for a core as searches do, and ends with them when its caller leaves.
func TestOtherWorkTakesACore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(2, 8)
		q := newQueue(&slowIndex{}, true, a)
		var running, most, done atomic.Int64
		work := func() {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			done.Add(1)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := q.compute(t.Context(), work); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := q.compute(impatient, func() { t.Error("the work of a caller who left was done") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wg.Wait()
		if most.Load() != 2 || done.Load() != 4 {
			t.Errorf("%d done, %d at a time", done.Load(), most.Load())
		}
		if err := q.compute(t.Context(), func() { panic("a bug") }); !errors.Is(err, errPanicked) {
			t.Errorf("a panic became %v", err)
		}
	})
}

// TestFilteredSearchesPassAScan: a filtered search takes the other core while a batch is under way.
func TestFilteredSearchesPassAScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &slowIndex{}
		a := newAdmission(2, 256)
		q := newQueue(x, true, a)
		var wg sync.WaitGroup
		for _, allow := range []*roaring.Bitmap{nil, roaring.BitmapOf(1), nil, nil} {
			wg.Go(func() { _, _, _ = q.search(t.Context(), []float32{1, 0}, 1, allow) })
			synctest.Wait()
		}
		start := time.Now()
		wg.Wait()
		if x.calls.Load() != 3 || x.most.Load() != 2 || time.Since(start) != 2*time.Second {
			t.Errorf("%d calls, %d at a time, %v", x.calls.Load(), x.most.Load(), time.Since(start))
		}
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.busy != 0 || a.parked != 0 || q.scans != 0 {
			t.Errorf("%d busy, %d parked, %d scans", a.busy, a.parked, q.scans)
		}
	})
}

func TestQueueIsBoundedAndLeavable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &slowIndex{}
		a := newAdmission(1, 2)
		q := newQueue(x, false, a)
		var wg sync.WaitGroup
		search := func(ctx context.Context, want error) {
			wg.Go(func() {
				if _, _, err := q.search(ctx, []float32{1, 0}, 1, nil); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
			synctest.Wait()
		}
		search(t.Context(), nil) // runs
		search(t.Context(), nil) // waits
		impatient, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, ErrDeadline)
		defer cancel()
		search(impatient, ErrDeadline) // waits, then leaves
		search(t.Context(), ErrBusy)
		time.Sleep(200 * time.Millisecond)
		search(t.Context(), nil) // takes the place of the one that left
		search(t.Context(), ErrBusy)
		wg.Wait()
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		if x.calls.Load() != 3 || a.busy != 0 || a.parked != 0 || q.scans != 0 {
			t.Errorf("%d calls, %d busy, %d parked, %d scans", x.calls.Load(), a.busy, a.parked, q.scans)
		}
	})
}

func TestSearchBeingRunIsWaitedForEvenWhenItsCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &slowIndex{}
		q := newQueue(x, false, newAdmission(1, 8))
		go func() { _, _, _ = q.search(t.Context(), []float32{1, 0}, 1, nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if _, _, err := q.search(ctx, []float32{1, 0}, 1, nil); err != nil {
			t.Error(err)
		}
		if x.running.Load() != 0 {
			t.Error("returned while the index is in use")
		}
	})
}

func (q *queue) search(ctx context.Context, queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	s := &search{queries: queries, k: k, allow: allow}
	err := q.wait(ctx, s)
	return s.pos, s.scores, err
}

func (q *queue) compute(ctx context.Context, work func()) error {
	return q.wait(ctx, &search{work: work})
}
