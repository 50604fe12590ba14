package simtest

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// commands are what operators do to a store with two snapshots, the newer of which is served.
var commands = map[string]func(ctx context.Context, o *reconcile.Operator, old string) error{
	"rollback": func(ctx context.Context, o *reconcile.Operator, _ string) error {
		_, err := o.Rollback(ctx, "")
		return err
	},
	"pin":     func(ctx context.Context, o *reconcile.Operator, old string) error { return o.Pin(ctx, old) },
	"promote": func(ctx context.Context, o *reconcile.Operator, old string) error { return o.Promote(ctx, old, true) },
	"suspend": func(ctx context.Context, o *reconcile.Operator, _ string) error { return o.Suspend(ctx, "test") },
	"unpin":   func(ctx context.Context, o *reconcile.Operator, _ string) error { return o.Unpin(ctx) },
}

// commandRun kills a command at its k-th call while an indexer and a replica go on. What control.json says then is what
// is served, and it can be taken back. How many calls the command makes is returned.
func commandRun(t *testing.T, run func(context.Context, *reconcile.Operator, string) error, k int, after bool) (calls int, res result) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorld(t, uint64(k+5))
		defer w.close()
		w.cfg.RetainSnapshots = 3
		s := &schedule{w: w, people: w.people(), operator: &operator{w: w, rng: w.rng}}
		s.people.store(ctx)
		s.indexers = append(s.indexers, w.startIndexer("indexer", "disk", 0))
		s.replicas = append(s.replicas, w.startReplica("server"))
		old := s.promoted("")
		s.people.touchAll(ctx)
		s.promoted(old)
		nap(ctx, time.Second)
		p, o := s.operator.command("victim")
		p.crashAt, p.after = k, after
		err := run(p.ctx, o, old)
		p.kill()
		calls = p.calls
		w.say("%v", err)
		nap(ctx, 30*time.Second)
		w.mu.Lock()
		control, _ := decode[store.Control](w.mem.Data(w.layout.Control()))
		switch pin, served := control.Pin, w.state.pointer.ID; {
		case k < 0 && err != nil:
			w.violate("the command fails when nobody stops it: %v", err)
		case pin != nil && served != pin.ID:
			w.violate("%s is served, %s is pinned", served, pin.ID)
		}
		w.mu.Unlock()
		s.calm(ctx)
		s.end()
		w.mu.Lock()
		defer w.mu.Unlock()
		res = w.result()
	})
	return calls, res
}

// TestCommandsCrashAtEveryCall kills each command before and after every call that it makes.
func TestCommandsCrashAtEveryCall(t *testing.T) {
	for name, run := range commands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls, res := commandRun(t, run, -1, false)
			for k := 0; k < 2*calls && len(res.fails) == 0; k++ {
				_, res = commandRun(t, run, k/2, k%2 == 1)
				seen.add("command killed at every call", res)
			}
			if len(res.fails) > 0 {
				t.Fatalf("%s\n%s", strings.Join(res.fails, "\n  "), strings.Join(res.trace, "\n"))
			}
			t.Logf("%d calls", calls)
		})
	}
}
