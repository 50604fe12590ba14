package reconcile_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// interrupted is an operator that is interrupted once, right after its n-th call of op on key took effect.
func (r *rig) interrupted(op, key string, n int, meanwhile func()) *reconcile.Operator {
	seen := 0
	return reconcile.NewOperator(store.Hooked(r.mem, func(_ context.Context, o, k string, call func() error) error {
		err := call()
		if o == op && k == key {
			if seen++; seen == n {
				meanwhile()
			}
		}
		return err
	}), r.layout, "interrupted")
}

func (r *rig) control() store.Control {
	r.t.Helper()
	c, _, err := store.ReadDoc[store.Control](context.Background(), r.mem, r.layout.Control(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		r.t.Fatal(err)
	}
	return c
}

// Two operators pin at once: whoever is told that it succeeded is the one whose snapshot is served.
func TestOfTwoOperatorsTheOneWhoSucceedsIsServed(t *testing.T) {
	layout := store.NewLayout("p", "")
	for name, at := range map[string]struct {
		op, key string
		n       int
		moved   bool // the loser had moved the pointer already
	}{
		"after stating the pin":          {store.OpPut, layout.Control(), 1, false},
		"after reading the pointer":      {store.OpGet, layout.Pointer(), 2, false}, // the first read decides whether to pin
		"after holding the snapshot":     {store.OpPut, layout.GC(), 1, false},
		"right after moving the pointer": {store.OpPut, layout.Pointer(), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			ids := r.three()
			one := r.interrupted(at.op, at.key, at.n, func() {
				if err := r.operator().Pin(t.Context(), ids[1]); err != nil {
					t.Fatalf("the second operator: %v", err)
				}
			})
			err := one.Promote(t.Context(), ids[0], false) // of another source state: it pins
			if reconcile.ExitCode(err) != reconcile.ExitConflict {
				t.Errorf("the first operator: %v, want a conflict", err)
			}
			if pin := r.control().Pin; pin == nil || pin.ID != ids[1] || r.pointer().ID != ids[1] {
				t.Errorf("the pin in force is %+v, served is %s; want %s", pin, r.pointer().ID, ids[1])
			}
		})
	}
}

// The loser moved the pointer, the winner died after stating its pin: the next pass serves what is pinned.
func TestPassServesThePinThatStands(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	loser := r.interrupted(store.OpPut, r.layout.Pointer(), 1, func() {
		winner := reconcile.NewOperator(killedAfter(r.mem, r.layout.Control()), r.layout, "winner")
		_, _ = winner.Rollback(t.Context(), ids[0])
	})
	if err := loser.Pin(t.Context(), ids[1]); reconcile.ExitCode(err) != reconcile.ExitConflict {
		t.Errorf("the loser: %v, want a conflict", err)
	}
	if pin := r.control().Pin; pin == nil || pin.ID != ids[0] {
		t.Fatalf("the pin in force is %+v", pin)
	}
	before := r.pointer()
	r.want(r.once(), reconcile.ResultPinned, 0)
	p := r.pointer()
	if p.ID != ids[0] || p.Generation != before.Generation+1 || p.Reason != reconcile.ReasonRollback || !p.History[0].RolledBack {
		t.Errorf("served is %s generation %d %q, history %+v", p.ID, p.Generation, p.Reason, p.History[0])
	}
	r.condition(reconcile.Promoted, reconcile.True, "Pinned")
	info, err := r.mem.Head(t.Context(), r.layout.Current(snapshot.FileIndex))
	if err != nil || info.Metadata["snapshot-id"] != ids[0] {
		t.Errorf("old readers see %v, %v", info.Metadata, err)
	}
	r.want(r.once(), reconcile.ResultPinned, 0)
	if q := r.pointer(); q.Generation != p.Generation {
		t.Error("promoted again")
	}
}

// killedAfter lets nothing through once key was written, not even the undoing of it.
func killedAfter(o store.Objects, key string) store.Objects {
	gone := false
	return store.Hooked(o, func(_ context.Context, op, k string, call func() error) error {
		if gone {
			return store.ErrDenied
		}
		gone = op == store.OpPut && k == key
		return call()
	})
}

func TestOperatorsWhoWantTheSameBothSucceed(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	one := r.interrupted(store.OpPut, r.layout.Control(), 1, func() {
		if err := r.operator().Pin(t.Context(), ids[0]); err != nil {
			t.Fatal(err)
		}
	})
	if err := one.Pin(t.Context(), ids[0]); err != nil {
		t.Errorf("the first: %v", err)
	}
	// A request changes control.json, not the intent.
	two := r.interrupted(store.OpPut, r.layout.Control(), 1, func() {
		c := r.control()
		c.Request, c.Nonce = &store.Request{Token: store.NewNonce(), Verb: reconcile.VerbGC}, store.NewNonce()
		r.put(r.layout.Control(), c)
	})
	if err := two.Pin(t.Context(), ids[1]); err != nil {
		t.Errorf("beside a request: %v", err)
	}
}

// What was changed under an operator's feet is never reported as done.
func TestIntentThatWasOverruledIsAConflict(t *testing.T) {
	for name, c := range map[string]struct {
		do        func(*reconcile.Operator, [3]string) error
		meanwhile func(*reconcile.Operator, [3]string) error
	}{
		"pin, unpinned": {
			func(o *reconcile.Operator, ids [3]string) error { return o.Pin(t.Context(), ids[0]) },
			func(o *reconcile.Operator, _ [3]string) error { return o.Unpin(t.Context()) },
		},
		"rollback, another pin": {
			func(o *reconcile.Operator, _ [3]string) error { _, err := o.Rollback(t.Context(), ""); return err },
			func(o *reconcile.Operator, ids [3]string) error { return o.Pin(t.Context(), ids[0]) },
		},
		"suspend, resumed": {
			func(o *reconcile.Operator, _ [3]string) error { return o.Suspend(t.Context(), "") },
			func(o *reconcile.Operator, _ [3]string) error { return o.Resume(t.Context()) },
		},
	} {
		for _, key := range []string{"control", "pointer"} {
			t.Run(name+" after "+key, func(t *testing.T) {
				r := newRig(t)
				ids := r.three()
				written := r.layout.Control()
				if key == "pointer" {
					written = r.layout.Pointer()
				}
				o := r.interrupted(store.OpPut, written, 1, func() {
					if err := c.meanwhile(r.operator(), ids); err != nil {
						t.Fatal(err)
					}
				})
				if err := c.do(o, ids); reconcile.ExitCode(err) != reconcile.ExitConflict {
					t.Errorf("%v, want a conflict", err)
				}
			})
		}
	}
}

// A pin that cannot be fulfilled does not stay: it would stop every pass.
func TestFailedPinIsUndone(t *testing.T) {
	for name, spoil := range map[string]func(*rig, string) func(){
		"chosen for deletion": func(r *rig, id string) func() {
			return func() {
				r.put(r.layout.GC(), store.GC{FormatVersion: 1, Deleting: map[string]store.Mark{id: {At: time.Now()}}, Nonce: store.NewNonce()})
			}
		},
		"a file is gone": func(r *rig, id string) func() {
			return func() { _ = r.mem.Delete(context.Background(), r.layout.File(id, snapshot.FileOffsets)) }
		},
		"the manifest is another": func(r *rig, id string) func() {
			return func() { r.mem.Corrupt(r.layout.Manifest(id), func(b []byte) []byte { return append(b, ' ') }) }
		},
	} {
		for _, pinned := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t)
				ids := r.three()
				want := ""
				if pinned {
					if err := r.operator().Pin(t.Context(), ids[2]); err != nil {
						t.Fatal(err)
					}
					want = ids[2]
				}
				o := r.interrupted(store.OpPut, r.layout.Control(), 1, spoil(r, ids[0]))
				if err := o.Pin(t.Context(), ids[0]); err == nil {
					t.Fatal("pinned a snapshot that cannot be served")
				}
				got := ""
				if p := r.control().Pin; p != nil {
					got = p.ID
				}
				if got != want {
					t.Errorf("the pin is %q, want %q as before the command", got, want)
				}
				r.catalogue(0, 7, "b")
				out := r.once()
				if pinned {
					r.want(out, reconcile.ResultPinned, 0)
				} else {
					r.want(out, reconcile.ResultPromoted, 0)
				}
			})
		}
	}
}

// A leader that had seen the pin before it was undone does not promote it afterwards.
func TestUndoneIntentIsFenced(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	nonce := r.pointer().Nonce
	o := r.interrupted(store.OpPut, r.layout.Control(), 1, func() {
		_ = r.mem.Delete(context.Background(), r.layout.File(ids[0], snapshot.FileOffsets))
	})
	if err := o.Pin(t.Context(), ids[0]); !errors.Is(err, reconcile.ErrIncomplete) {
		t.Fatalf("pin: %v", err)
	}
	if r.pointer().Nonce == nonce || r.pointer().ID != ids[2] {
		t.Error("the pointer was not fenced after the pin was taken back")
	}
}

// A request that was answered is not answered again when people delete status.json, which says so.
func TestForcedRequestIsNotReplayed(t *testing.T) {
	for name, lose := range map[string]func(r *rig, earlier []byte){
		"status.json is deleted":   func(r *rig, _ []byte) { _ = r.mem.Delete(context.Background(), r.layout.Status()) },
		"an older one is put back": func(r *rig, earlier []byte) { r.put(r.layout.Status(), earlier) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.catalogue(0, 3, "a")
				_, stop := r.run()
				time.Sleep(5 * time.Second)
				earlier := r.mem.Data(r.layout.Status())
				h, err := r.operator().Request(t.Context(), reconcile.VerbReconcile, true)
				if err != nil || h.Result != reconcile.ResultPromoted || r.pointer().Generation != 2 {
					t.Fatalf("forced: %+v, %v, generation %d", h, err, r.pointer().Generation)
				}
				stop()
				lose(r, earlier)
				_, stop = r.run()
				time.Sleep(5 * time.Minute)
				if g := r.pointer().Generation; g != 2 {
					t.Errorf("generation %d: the request was replayed", g)
				}
				// The next one is served.
				if h, err = r.operator().Request(t.Context(), reconcile.VerbReconcile, true); err != nil || r.pointer().Generation != 3 {
					t.Errorf("forced again: %+v, %v, generation %d", h, err, r.pointer().Generation)
				}
				stop()
			})
		})
	}
}

// A leader that died between the two copies leaves a mixed pair: the next one completes it, suspended or not.
func TestLegacyPairIsCompletedWhileSuspended(t *testing.T) {
	r := newRig(t)
	r.three()
	r.put(r.layout.Current(snapshot.FilePickle), []byte("of another snapshot"))
	if err := r.operator().Suspend(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultSuspended, 0)
	if got := r.copies(); got != "l2" {
		t.Errorf("the copies are %q", got)
	}
}
