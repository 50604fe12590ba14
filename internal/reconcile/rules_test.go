package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// A leader that was stopped on its way to a copy does not put it over the one that its successor wrote.
func TestCopyThatSomebodyWroteMeanwhileStays(t *testing.T) {
	for name, before := range map[string]int{"a first copy": 0, "a later one": 3} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if before > 0 {
				r.catalogue(0, before, "a")
				r.want(r.once(), reconcile.ResultPromoted, 0)
			}
			r.catalogue(0, 4, "a")
			key, met := r.layout.Current(snapshot.FileIndex), false
			r.objects = store.Hooked(r.mem, func(_ context.Context, op, at string, call func() error) error {
				if at == key && (op == store.OpPutFile || op == store.OpPut) && !met {
					met = true
					r.put(key, []byte("the successor's"))
				}
				return call()
			})
			r.once()
			if got := string(r.mem.Data(key)); !met || got != "the successor's" {
				t.Errorf("met: %v; the copy is %d bytes of somebody else", met, len(got))
			}
		})
	}
}

// An intent that comes between a pass's look and its collection stops it before anything is announced.
func TestIntentSeenLateStopsACollection(t *testing.T) {
	for name, c := range map[string]func(id string) store.Control{
		"pin":        func(id string) store.Control { return store.Control{Pin: &store.Intent{ID: id, By: "somebody"}} },
		"suspension": func(string) store.Control { return store.Control{Suspended: &store.Intent{By: "somebody"}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
				ids := r.many(4)
				time.Sleep(2 * time.Hour)
				r.cfg.RetainGrace = time.Second
				looks, late := 0, false
				r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
					switch {
					case op == store.OpGet && key == r.layout.Pointer():
						looks++
					case op == store.OpGet && key == r.layout.GC() && looks >= 2 && !late: // the collection begins
						late = true
						doc := c(ids[3])
						doc.FormatVersion, doc.Nonce = 1, store.NewNonce()
						r.put(r.layout.Control(), doc)
					}
					return call()
				})
				r.gc()
				doc, _, err := store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
				if err != nil || !late || len(doc.Deleting) != 0 {
					t.Errorf("late: %v; announced: %v, %v", late, doc.Deleting, err)
				}
				for i, id := range ids {
					if !r.stored(id) {
						t.Errorf("snapshot %d is gone", i)
					}
				}
			})
		})
	}
}

// doom marks id as being deleted.
func (r *rig) doom(id string) {
	r.t.Helper()
	doc, _, err := store.ReadDoc[store.GC](context.Background(), r.mem, r.layout.GC(), store.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	doc.Deleting = map[string]store.Mark{id: {At: time.Now(), By: "somebody"}}
	doc.Nonce = store.NewNonce()
	r.put(r.layout.GC(), doc)
}

// A snapshot that is being deleted is as good as gone: a pass that could adopt it builds another.
func TestSnapshotBeingDeletedIsNotAdopted(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	first := r.pointer().ID
	r.catalogue(0, 4, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.doom(first)
	r.catalogue(0, 3, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if r.pointer().ID == first {
		t.Error("it was adopted")
	}
}

// A deletion that is announced between a pass's choice and its hold is seen by the hold.
func TestReservationComesTooLateForWhatIsBeingDeleted(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	first := r.pointer().ID
	r.catalogue(0, 4, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.catalogue(0, 3, "a")
	met := false
	r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
		if op == store.OpHead && key == r.layout.Manifest(first) && !met {
			met = true
			r.doom(first)
		}
		return call()
	})
	r.once()
	if !met || r.pointer().ID == first {
		t.Errorf("met: %v; promoted what is being deleted: %v", met, r.pointer().ID == first)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if r.pointer().ID == first {
		t.Error("it was adopted")
	}
}

// Of a snapshot that goes the manifest goes first: what is left of it is none.
func TestManifestsAreDeletedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		time.Sleep(2 * time.Hour)
		r.cfg.RetainGrace = time.Second
		n := 0
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			for _, id := range ids {
				if op == store.OpDelete && strings.HasPrefix(key, r.layout.Snapshot(id)) {
					n++
					if key != r.layout.Manifest(id) && r.mem.Data(r.layout.Manifest(id)) != nil {
						t.Errorf("%s goes before its manifest", key)
					}
				}
			}
			return call()
		})
		r.gc()
		if n == 0 {
			t.Error("nothing was deleted")
		}
	})
}

// A hold that grew old may be of a promoter that only sleeps: the pointer that it read is moved before its hold goes.
func TestStaleReservationIsFencedBeforeItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ids := r.many(3)
		doc, _, err := store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		doc.Reserved, doc.Nonce = map[string]store.Mark{ids[0]: {At: time.Now(), By: "sleeper"}}, store.NewNonce()
		r.put(r.layout.GC(), doc)
		time.Sleep(r.cfg.RetainGrace + time.Hour)
		looks, etag := 0, ""
		r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
			switch {
			case op == store.OpGet && key == r.layout.Pointer():
				looks++
			case op == store.OpGet && key == r.layout.GC() && looks >= 2 && etag == "": // the sleeper read the pointer just before
				info, _ := r.mem.Head(ctx, r.layout.Pointer())
				etag = info.ETag
			}
			return call()
		})
		r.gc()
		doc, _, _ = store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
		if len(doc.Reserved) != 0 || etag == "" {
			t.Fatalf("holds %v, pointer read at %q", doc.Reserved, etag)
		}
		if info, _ := r.mem.Head(t.Context(), r.layout.Pointer()); info.ETag == etag {
			t.Error("the sleeper's promotion would still land")
		}
	})
}

// An operator whose suspension was acknowledged before a pass looked at the pointer is heard by that pass: control.json is
// read after it. Wherever the pass is, nothing is promoted afterwards.
func TestNoPromotionAfterAnAcknowledgedSuspension(t *testing.T) {
	for k := 1; ; k++ {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		r.catalogue(0, 4, "a")
		looks, served := 0, ""
		r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
			if op == store.OpGet && key == r.layout.Pointer() {
				if looks++; looks == k {
					if err := reconcile.NewOperator(r.mem, r.layout, "tester").Suspend(ctx, "now"); err != nil {
						t.Error(err)
					}
					served = r.pointer().ID
				}
			}
			return call()
		})
		r.once()
		if looks < k {
			if k < 3 {
				t.Errorf("the pointer is read %d times", looks)
			}
			return
		}
		if got := r.pointer().ID; got != served {
			t.Errorf("suspended at look %d, promoted nevertheless", k)
		}
	}
}

// What is pinned stays in the plan that people see, though it is neither served nor young.
func TestWhatIsPinnedIsKeptByThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		time.Sleep(2 * time.Hour)
		r.put(r.layout.Control(), store.Control{FormatVersion: 1, Nonce: store.NewNonce(), Pin: &store.Intent{ID: ids[0], By: "somebody"}})
		lines, err := r.operator().GCPlan(t.Context(), 1, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		gone := 0
		for _, l := range lines {
			if l.Delete {
				gone++
			}
			if l.Delete && strings.HasPrefix(l.Key, r.layout.Snapshot(ids[0])) {
				t.Errorf("%s", l)
			}
		}
		if gone == 0 {
			t.Error("nothing would go")
		}
	})
}

// Before anything is deleted gc.json and status.json both say so: whoever loses one of them is told by the other, even by
// a leader that is gone.
func TestDeletionsAreAnnouncedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		r.cfg.RetainGrace = 30 * time.Second
		ctx, die := context.WithCancel(t.Context())
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if op == store.OpDelete && strings.HasPrefix(key, r.layout.Root()+"2") {
				die()
				return ctx.Err()
			}
			return call()
		})
		if _, err := r.indexer().Once(ctx, reconcile.OnceOptions{GC: true, Yes: true}); err == nil || ctx.Err() == nil {
			t.Fatal("nothing was to be deleted")
		}
		r.objects = r.mem
		r.remove(r.layout.GC())
		if err := r.operator().Pin(t.Context(), ids[0]); !errors.Is(err, reconcile.ErrDeleting) {
			t.Errorf("pin of what the dead leader may still delete: %v", err)
		}
	})
}

// Somebody removes gc.json between the announcement and the first deletion: nothing is deleted by that announcement.
func TestAnnouncementTakenAwayDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		r.cfg.RetainGrace = 30 * time.Second
		met := false
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if op == store.OpPut && key == r.layout.Status() && !met {
				met = true
				r.remove(r.layout.GC())
			}
			return call()
		})
		r.want(r.gc(), reconcile.ResultFailed, reconcile.ExitConflict)
		if !met || !r.stored(ids[0]) {
			t.Errorf("met: %v; still stored: %v", met, r.stored(ids[0]))
		}
		r.want(r.gc(), reconcile.ResultCollected, 0)
		if r.stored(ids[0]) {
			t.Error("the next collection does not go on")
		}
	})
}

// lease.json is deleted between a leader's acquisition and its fence, and another leader counts the same epoch. The pointer
// tells the first one that it is of somebody else's term.
func TestTwoTermsOfOneEpoch(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.catalogue(0, 4, "a")
	other := *r
	led := false
	r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
		if op == store.OpGet && key == r.layout.Pointer() && !led {
			if held, _, _ := store.ReadDoc[store.Lease](t.Context(), r.mem, r.layout.Lease(), store.GetOptions{}); held.Released || held.Epoch < 2 {
				return call()
			}
			led = true
			r.remove(r.layout.Lease())
			other.objects = r.mem
			other.want(other.once(), reconcile.ResultPromoted, 0)
		}
		return call()
	})
	r.want(r.once(), reconcile.ResultFollower, reconcile.ExitConflict)
	if p := r.pointer(); !led || p.Epoch != 2 || p.Generation != 2 {
		t.Errorf("led: %v; epoch %d, generation %d", led, p.Epoch, p.Generation)
	}
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
}
