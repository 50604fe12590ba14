package simtest

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// scenario is a deployment up to the moment whose pass is swept: what the indexer finds when it starts.
type scenario struct {
	name  string
	setup func(ctx context.Context, w *world, e *people)
	held  bool // and so it stays
}

var scenarios = []scenario{
	{name: "first pass on an empty store", setup: func(ctx context.Context, w *world, e *people) {}},
	{name: "update of everything, with garbage to collect", setup: func(ctx context.Context, w *world, e *people) {
		for range 3 { // each retires the one before; the oldest is past the grace at the end
			w.converged(ctx, e)
			e.touchAll(ctx)
			nap(ctx, 30*time.Second)
		}
	}},
	{name: "unpin after a rollback", setup: func(ctx context.Context, w *world, e *people) {
		w.converged(ctx, e)
		e.touchAll(ctx)
		w.converged(ctx, e)
		_, o := (&operator{w: w}).command("rollback")
		if _, err := o.Rollback(ctx, ""); err != nil {
			w.t.Error(err)
		}
		if err := o.Unpin(ctx); err != nil {
			w.t.Error(err)
		}
	}},
	{name: "another spec", setup: func(ctx context.Context, w *world, e *people) {
		w.converged(ctx, e)
		w.nextSpec()
	}},
	{name: "catalogue that shrank too much", held: true, setup: func(ctx context.Context, w *world, e *people) {
		w.converged(ctx, e)
		w.cfg.GateMaxRemoved = .2
		e.gone[1], e.gone[2], e.gone[3] = true, true, true
		e.touchAll(ctx)
	}},
	{name: "damaged snapshot", setup: func(ctx context.Context, w *world, e *people) {
		w.converged(ctx, e)
		ptr, _ := decode[store.Pointer](w.mem.Data(w.layout.Pointer()))
		f, _ := ptr.File(snapshot.FileDocuments)
		w.state.damaged[ptr.ID], w.state.damaged[cmp.Or(f.From, ptr.ID)] = true, true
		w.mem.Corrupt(w.layout.FileKey(ptr.Manifest, f), func(b []byte) []byte { return b[:len(b)/2] })
		beat := store.Heartbeat{FormatVersion: 1, ID: "server", Using: ptr.ID, TTLSeconds: 1e6, Rejected: &store.Rejection{
			ID: ptr.ID, ManifestSHA256: ptr.ManifestSHA256, Reason: reconcile.RejectedHash, Since: time.Now()}}
		if _, err := store.WriteDoc(ctx, w.mem, w.layout.Replica("server"), beat, store.PutOptions{}); err != nil {
			w.t.Error(err)
		}
	}},
}

// touchAll changes every record.
func (e *people) touchAll(ctx context.Context) {
	e.rev++
	for i := range e.revs {
		e.revs[i] = e.rev
	}
	e.store(ctx)
}

// converged runs passes of a healthy indexer until there is nothing to do.
func (w *world) converged(ctx context.Context, e *people) {
	w.t.Helper()
	p := w.newProc(fmt.Sprintf("setup-%d", len(w.procs)), true)
	r := w.reconciler(p, "setup")
	for range 3 {
		out, err := r.Once(ctx, reconcile.OnceOptions{})
		if err == nil && out.Result == reconcile.ResultUnchanged {
			return
		}
	}
	w.t.Errorf("setup does not converge")
}

// crashRun plays a scenario whose next indexer crashes at call k (-1: never) and a successor finishes. It returns
// the number of calls of a pass that was not disturbed.
func crashRun(t *testing.T, sc scenario, k int, after, keepDisk bool, m mutation) (calls int, res result) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorld(t, uint64(k+2))
		defer w.close()
		e := w.people()
		e.store(ctx)
		sc.setup(ctx, w, e)
		w.mu.Lock()
		w.mutate = m
		w.state.allowance = w.again() // the setup was not interrupted
		w.mu.Unlock()
		want := digest(w.mem.Data(w.layout.Source))

		p := w.newProc("victim", true)
		p.crashAt, p.after = k, after
		r := w.reconciler(p, "disk")
		_, _ = r.Once(p.ctx, reconcile.OnceOptions{Yes: true}) // its settings are the deployment's
		p.kill()
		calls = p.calls
		if k >= 0 {
			q := w.newProc("successor", true)
			disk := "disk"
			if !keepDisk {
				disk = "other"
			}
			r := w.reconciler(q, disk)
			for range 4 {
				nap(ctx, 15*time.Second)
				if out, err := r.Once(ctx, reconcile.OnceOptions{Yes: true}); err == nil && out.Result == reconcile.ResultUnchanged {
					break
				}
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.state.purchases()
		ptr, _ := decode[store.Pointer](w.mem.Data(w.layout.Pointer()))
		st, _ := decode[store.Status](w.mem.Data(w.layout.Status()))
		if sc.held {
			if k >= 0 && (ptr.Source.SHA256 == want || !w.held(want)) {
				w.violate("the successor does not hold the candidate: pointer %s, last pass %s %s", ptr.ID, st.LastPass.Result, st.LastPass.Message)
			}
		} else if k >= 0 && (ptr.Source.SHA256 != want || ptr.Spec.Embedding.Version != w.cfg.Embedding.Version || st.LastPass.Result != reconcile.ResultUnchanged || w.state.damaged[ptr.ID]) {
			w.violate("the successor did not converge: pointer %s, last pass %s %s", ptr.ID, st.LastPass.Result, st.LastPass.Message)
		}
		res = w.result()
		nap(ctx, time.Minute)
	})
	return calls, res
}

// TestCrashAtEveryCall kills the indexer before and after every single store call of a pass, with its local disk
// kept or lost in turn: what is served stays whole, the successor converges, and buys again at most what was in flight.
func TestCrashAtEveryCall(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			calls, res := crashRun(t, sc, -1, false, false, nil)
			if len(res.fails) > 0 {
				t.Fatalf("undisturbed: %s\n%s", strings.Join(res.fails, "\n"), strings.Join(res.trace, "\n"))
			}
			for k := range calls {
				for _, after := range []bool{false, true} {
					keep := (k%2 == 0) == after
					_, res := crashRun(t, sc, k, after, keep, nil)
					seen.add("crash at every call: "+sc.name, res)
					if len(res.fails) > 0 {
						t.Fatalf("crash at call %d (after its effect: %v, disk kept: %v): %s\n%s", k, after, keep,
							strings.Join(res.fails, "\n  "), strings.Join(res.trace, "\n"))
					}
				}
			}
			t.Logf("%d calls, %d crashes", calls, 2*calls)
		})
	}
}
