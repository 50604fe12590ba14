package simtest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lostLeaseRun stops an indexer at its k-th call, on its way to lead or leading. Somebody deletes lease.json meanwhile, and
// another indexer takes the lease, whose epoch is then known from the other documents only. It finds nothing to promote:
// the catalogue goes back to what it was, and forth again right before the first one wakes up. Both of its states have
// snapshots, so nothing is bought, and nobody asks the store for the lease. How many calls the first makes is returned.
func lostLeaseRun(t *testing.T, k int, m mutation) (calls int, res result) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorld(t, uint64(k+3))
		defer w.close()
		w.mutate = m
		s := &schedule{w: w, people: w.people(), operator: &operator{w: w, rng: w.rng}}
		one := s.people.revs
		s.people.store(ctx)
		w.converged(ctx, s.people)
		s.people.touchAll(ctx)
		other := s.people.revs
		w.converged(ctx, s.people) // and the lease is released
		first := w.newProc("first", true)
		frozen := true
		s.people.revs = one
		s.people.store(ctx)
		first.stopAt, first.stopFor, first.freeze = k, 20*time.Second, &frozen
		w.launch(first, "disk-1")
		for range 3000 {
			if first.stopped() {
				break
			}
			nap(ctx, time.Millisecond)
		}
		if first.stopped() {
			w.lose(w.layout.Lease())
			s.people.revs = other
			s.people.store(ctx)
			w.startIndexer("second", "disk-2", 0)
			nap(ctx, first.stopFor-time.Second)
			s.people.revs = one
			s.people.store(ctx)
		}
		nap(ctx, time.Minute)
		calls = first.calls
		s.end()
		w.mu.Lock()
		defer w.mu.Unlock()
		res = w.result()
	})
	return calls, res
}

// lostLease plays lostLeaseRun at each call of the first pass until an invariant breaks.
func lostLease(t *testing.T, m mutation) result {
	var res result
	calls, _ := lostLeaseRun(t, -1, nil)
	for k := 0; k < min(calls, 90) && len(res.fails) == 0; k++ {
		_, res = lostLeaseRun(t, k, m)
		if m == nil {
			seen.add("lease deleted while an indexer is stopped at every call", res)
		}
	}
	return res
}

// TestLeaseLostBetweenTwoLeaders: two terms may count the same epoch when lease.json is deleted before the first of them
// has left a trace in another document. They are told apart all the same.
func TestLeaseLostBetweenTwoLeaders(t *testing.T) {
	if res := lostLease(t, nil); len(res.fails) > 0 {
		t.Fatalf("%s\n%s", strings.Join(res.fails, "\n  "), strings.Join(res.trace, "\n"))
	}
}
