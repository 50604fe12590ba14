package simtest

import (
	"context"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
)

// heldUp says who is stopped, at which call, for how long.
type heldUp struct {
	leader bool // the collecting indexer; otherwise the operator's command
	at     int  // -1: nobody
	pause  time.Duration
	same   bool // all snapshots are of the catalogue that is there, so that the command pins nothing
	lose   bool // somebody deletes gc.json meanwhile

	suspend bool // at that call of the leader, who is not stopped; nothing is promoted
}

// heldUpRun lets an operator promote a snapshot that garbage collection is about to delete, and stops one of the
// two in the middle. It returns how many calls the stopped party makes around there.
func heldUpRun(t *testing.T, h heldUp, m mutation) (calls int, res result) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorld(t, uint64(h.at+2))
		defer w.close()
		w.mutate = m
		s := &schedule{w: w, people: w.people(), operator: &operator{w: w, rng: w.rng}}
		s.people.store(ctx)
		leader := w.startIndexer("indexer", "disk", 0)
		old := s.promoted("")
		last := old
		for range 2 { // the second promotion leaves the first snapshot to its age
			if h.same {
				s.rebuild(ctx)
			} else {
				s.people.touchAll(ctx)
			}
			last = s.promoted(last)
			nap(ctx, time.Second)
		}
		nap(ctx, 3*time.Second) // the next collection is due in a few seconds
		p, o := s.operator.command("promote")
		if h.suspend {
			w.mu.Lock()
			before := leader.calls
			w.mu.Unlock()
			leader.reach(ctx, before+h.at)
			defer func() { calls = leader.calls - before }()
			if err := o.Suspend(ctx, "now"); err != nil {
				t.Error(err)
			}
			s.operator.suspended(true)
		} else if h.leader {
			w.mu.Lock()
			before := leader.calls
			leader.stopAt, leader.stopFor = before+h.at, h.pause
			w.mu.Unlock()
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && !leader.stopped(); {
				nap(ctx, 5*time.Millisecond)
			}
			defer func() { calls = leader.calls - before }()
		} else {
			p.stopAt, p.stopFor = h.at, h.pause
			defer func() { calls = p.calls }()
		}
		if h.lose && h.leader {
			w.lose(w.layout.GC())
		} else if h.lose {
			go func() {
				for !p.stopped() && p.ctx.Err() == nil {
					nap(p.ctx, 5*time.Millisecond)
				}
				w.lose(w.layout.GC())
			}()
		}
		var err error
		if !h.suspend {
			err = o.Promote(p.ctx, old, true)
			w.say("promote: %v", err)
		}
		p.kill()
		if err == nil && !h.same && !h.suspend {
			s.operator.pinned(old)
		}
		nap(ctx, time.Minute)
		s.end()
		w.mu.Lock()
		defer w.mu.Unlock()
		if h.at < 0 && !h.leader && !h.suspend && (err != nil || w.state.pointer.ID != old) {
			w.violate("the command fails when nobody stops it: %v", err)
		}
		res = w.result()
	})
	return calls, res
}

// rebuild has the catalogue that is there built once more.
func (s *schedule) rebuild(ctx context.Context) {
	_, o := s.operator.command("rebuild")
	if _, err := o.Request(ctx, reconcile.VerbReconcile, true); err != nil {
		s.w.t.Error(err)
	}
}

// lose deletes a document that is nobody's to delete.
func (w *world) lose(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loseLocked(key)
}

func (w *world) loseLocked(key string) {
	if w.mem.Data(key) == nil {
		return
	}
	_ = w.mem.Delete(context.Background(), key)
	w.state.lost[key] = true
	w.note("somebody deletes %s", key)
	w.tally["fault: "+path.Base(key)+" lost"]++
}

// reach waits until the process made n calls, half a minute at most.
func (p *proc) reach(ctx context.Context, n int) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); nap(ctx, time.Millisecond) {
		p.w.mu.Lock()
		made := p.calls
		p.w.mu.Unlock()
		if made >= n {
			return
		}
	}
}

func (p *proc) stopped() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.resume != nil
}

// promoted waits for a pointer to another snapshot than old and returns its id.
func (s *schedule) promoted(old string) string {
	for range 60 {
		nap(s.w.t.Context(), 500*time.Millisecond)
		s.w.mu.Lock()
		id := s.w.state.pointer.ID
		s.w.mu.Unlock()
		if id != "" && id != old {
			return id
		}
	}
	s.w.t.Error("nothing was promoted")
	return ""
}

// atEveryCall stops the party at each of its calls until an invariant breaks.
func atEveryCall(t *testing.T, h heldUp, m mutation) (int, result) {
	h.at = -1
	calls, res := heldUpRun(t, h, m)
	most := calls
	if h.leader || h.suspend {
		most = min(calls, 140) // the passes until the collection and the collection itself
	}
	for h.at = 0; h.at < most && len(res.fails) == 0; h.at++ {
		_, res = heldUpRun(t, h, m)
		if m == nil {
			seen.add("promotion against collection, one of them stopped at every call", res)
		}
	}
	return most, res
}

// TestPromotionAgainstCollection suspends at every call of a collection, and nothing more is deleted; and it stops the operator, or the collecting leader, at every call while a snapshot that
// is about to be collected is promoted, for less and for more than a lease and a hold live: either the snapshot
// stays, or the promotion is refused.
func TestPromotionAgainstCollection(t *testing.T) {
	for name, h := range map[string]heldUp{
		"operator stopped briefly":              {pause: 40 * time.Second},
		"operator stopped longer than its hold": {pause: 3 * time.Minute},
		"leader stopped briefly":                {leader: true, pause: 3 * time.Second},
		"leader stopped longer than its lease":  {leader: true, pause: 30 * time.Second},

		"operator suspends": {suspend: true},

		"leader stopped briefly, gc.json lost":               {leader: true, pause: 3 * time.Second, lose: true},
		"leader stopped longer than its lease, gc.json lost": {leader: true, pause: 30 * time.Second, lose: true},
		"operator stopped briefly, gc.json lost":             {pause: 40 * time.Second, lose: true},
		"operator who pins nothing stopped briefly":          {pause: 40 * time.Second, same: true},
		"operator who pins nothing stopped, gc.json lost":    {pause: 40 * time.Second, same: true, lose: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls, res := atEveryCall(t, h, nil)
			if len(res.fails) > 0 {
				t.Fatalf("%s\n%s", strings.Join(res.fails, "\n  "), strings.Join(res.trace, "\n"))
			}
			t.Logf("%d calls", calls)
		})
	}
}

// byHeldUp stops the collecting leader until an invariant breaks.
func byHeldUp(t *testing.T, m mutation) []string {
	_, res := atEveryCall(t, heldUp{leader: true, pause: 3 * time.Second}, m)
	return res.fails
}
