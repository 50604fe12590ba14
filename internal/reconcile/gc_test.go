package reconcile_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

func (r *rig) beat(b store.Heartbeat) {
	r.t.Helper()
	b.FormatVersion = 1
	if b.TTLSeconds == 0 {
		b.TTLSeconds = 60
	}
	data, err := json.Marshal(b)
	if err != nil {
		r.t.Fatal(err)
	}
	r.put(r.layout.Replica(b.ID), data)
}

func (r *rig) stored(id string) bool { return len(r.mem.Keys(r.layout.Snapshot(id))) > 0 }

func (r *rig) gc() reconcile.Outcome {
	r.t.Helper()
	return r.onceWith(reconcile.OnceOptions{GC: true, Yes: true})
}

// many promotes n snapshots, a minute apart.
func (r *rig) many(n int) []string {
	r.t.Helper()
	var ids []string
	for i := range n {
		r.catalogue(0, 3+i, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		ids = append(ids, r.pointer().ID)
		time.Sleep(time.Minute)
	}
	return ids
}

func TestCollectionKeepsWhatIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 2, 24*time.Hour
		ids := r.many(8)
		r.cfg.RetainGrace = 90 * time.Second
		r.beat(store.Heartbeat{ID: "s1", Using: ids[0]})
		r.beat(store.Heartbeat{ID: "s2", Using: ids[7], Fetching: ids[1]})
		doc, info, err := store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		doc.Reserved = map[string]store.Mark{ids[2]: {At: time.Now(), By: "somebody"}}
		doc.Nonce = store.NewNonce()
		if _, err := store.WriteDoc(t.Context(), r.mem, r.layout.GC(), doc, store.PutOptions{IfMatch: info.ETag}); err != nil {
			t.Fatal(err)
		}
		lines, err := r.operator().GCPlan(t.Context(), r.cfg.RetainSnapshots, r.cfg.RetainGrace)
		if err != nil {
			t.Fatal(err)
		}
		why := map[string]string{}
		for _, l := range lines {
			if strings.HasSuffix(l.Key, "/"+snapshot.FileManifest) {
				why[l.Key] = l.String()
			}
		}
		for i, want := range map[int]string{
			0: "keep", 1: "keep", 2: "keep", 3: "delete", 4: "delete", 5: "delete", 6: "keep", 7: "keep",
		} {
			if got := why[r.layout.Manifest(ids[i])]; !strings.HasPrefix(got, want+" ") {
				t.Errorf("snapshot %d: %q, want %s", i, got, want)
			}
		}
		r.want(r.gc(), reconcile.ResultCollected, 0)
		for i, want := range []bool{true, true, true, false, false, false, true, true} {
			if r.stored(ids[i]) != want {
				t.Errorf("snapshot %d stored: %v, want %v", i, !want, want)
			}
		}
		time.Sleep(5 * time.Minute) // the replicas died, the hold is stale
		before := r.pointer().Nonce
		r.gc()
		if r.pointer().Nonce == before {
			t.Error("a stale hold was dropped without moving the pointer's ETag")
		}
		r.gc()
		for i := range 3 {
			if r.stored(ids[i]) {
				t.Errorf("snapshot %d outlived its last user", i)
			}
		}
		time.Sleep(25 * time.Hour)
		r.gc()
		if keys := r.mem.Keys(r.layout.Replicas()); len(keys) != 0 {
			t.Errorf("dead heartbeats stay: %v", keys)
		}
		doc, _, _ = store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
		if len(doc.Deleting) != 0 || len(doc.Reserved) != 0 {
			t.Errorf("gc.json remembers %v and %v", doc.Deleting, doc.Reserved)
		}
	})
}

func TestCollectionStopsAtWhatItCannotRead(t *testing.T) {
	for name, key := range map[string]func(store.Layout) string{
		"heartbeat": func(l store.Layout) string { return l.Replica("s1") },
		"gc.json":   store.Layout.GC,
		"control":   store.Layout.Control,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, 24*time.Hour
				ids := r.many(4)
				r.cfg.RetainGrace = time.Second
				r.put(key(r.layout), []byte("not json"))
				r.want(r.gc(), reconcile.ResultFailed, 1)
				for i, id := range ids {
					if !r.stored(id) {
						t.Errorf("snapshot %d was deleted", i)
					}
				}
				if name == "heartbeat" {
					r.condition(reconcile.Collected, reconcile.False, "Unreadable")
				}
			})
		})
	}
}

func TestCollectionRemovesOrphansAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainGrace = 10 * time.Minute
		r.catalogue(0, 3, "a")
		r.once()
		orphan := "20260101T000000Z-0123abcd"
		r.put(r.layout.File(orphan, snapshot.FileIndex), []byte("half an upload"))
		r.put(r.layout.Probe("left"), []byte("x"))
		r.gc()
		if !r.stored(orphan) {
			t.Fatal("an upload under way was deleted")
		}
		time.Sleep(11 * time.Minute)
		r.gc()
		if r.stored(orphan) || slices.Contains(r.mem.Keys(r.layout.Probe("")), r.layout.Probe("left")) {
			t.Error("orphans stay")
		}
	})
}

func TestReplicasComplaintLeadsToARebuildFromTheLedger(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.once()
	p := r.pointer()
	complaint := &store.Rejection{ID: p.ID, ManifestSHA256: p.ManifestSHA256, Reason: reconcile.RejectedHash, Since: time.Now()}
	r.beat(store.Heartbeat{ID: "s1", Rejected: complaint})
	r.want(r.once(), reconcile.ResultUnchanged, 0) // the replica's own disk is at fault
	r.mem.Corrupt(r.layout.File(p.ID, snapshot.FileIndex), func(b []byte) []byte { b[20] ^= 1; return b })
	if _, err := r.operator().Rollback(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPinned, 0)
	r.condition(reconcile.Verified, reconcile.False, "Corrupt") // pinned: only said
	if err := r.operator().Unpin(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	q := r.pointer()
	if q.ID == p.ID || q.Reason != reconcile.ReasonBroken || r.embed.Bought() != 5 {
		t.Errorf("pointer %s %q, %d texts bought", q.ID, q.Reason, r.embed.Bought())
	}
	v, _, err := store.ReadDoc[store.Verdict](t.Context(), r.mem, r.layout.Verdict(p.ID), store.GetOptions{})
	if err != nil || v.Result != reconcile.VerdictCorrupt {
		t.Errorf("verdict %+v, %v", v, err)
	}
	r.condition(reconcile.Ready, reconcile.True, "")
}

func TestMissingFileOfTheServedSnapshotIsReplaced(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.once()
	p := r.pointer()
	if err := r.mem.Delete(t.Context(), r.layout.File(p.ID, snapshot.FileOffsets)); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if r.pointer().ID == p.ID || r.embed.Bought() != 5 {
		t.Error("not rebuilt from the ledger")
	}
}

func TestInvalidPointerIsRepairedFromTheStatus(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	good := r.pointer()
	r.beat(store.Heartbeat{ID: "s1", Using: ids[2], Generation: 7, Lineage: good.Lineage}) // it saw more than the status
	manifest := r.mem.Data(r.layout.Manifest(ids[0]))
	r.put(r.layout.Pointer(), manifest)
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	p := r.pointer()
	if p.ID != good.ID || p.Lineage != good.Lineage || p.Generation != 8 {
		t.Errorf("repaired to %s generation %d", p.ID, p.Generation)
	}
}

func TestInvalidPointerOfAnUnknownPastIsReplacedByAPromotion(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.put(r.layout.Pointer(), []byte(`{"format_version":1}`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if p := r.pointer(); p.Generation != 1 || p.Lineage == "" {
		t.Errorf("pointer %+v", p)
	}
}

func TestDeletedPointerIsWrittenAgainInItsLineage(t *testing.T) {
	r := newRig(t)
	r.three()
	good := r.pointer()
	if err := r.mem.Delete(t.Context(), r.layout.Pointer()); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	if p := r.pointer(); p.Lineage != good.Lineage || p.Generation != good.Generation+1 || p.ID != good.ID {
		t.Errorf("written as %s generation %d", p.ID, p.Generation)
	}
}

func TestDeleteMarkerOverThePointerIsReportedWithTheRepair(t *testing.T) {
	r := newRig(t)
	versioned := storetest.NewVersionedMem(nil)
	r.mem, r.objects = versioned, versioned
	r.three()
	if err := r.mem.Delete(t.Context(), r.layout.Pointer()); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultFailed, 1)
	r.condition(reconcile.Promoted, reconcile.False, "PointerDeleted")
	for _, c := range r.status().Conditions {
		if c.Type == reconcile.Promoted && !strings.Contains(c.Message, "delete-object") {
			t.Errorf("message %q does not say how to repair", c.Message)
		}
	}
}

// An operator who suspends, or pins, in the middle of a collection stops it before the next deletion.
func TestCollectionStopsBetweenDeletions(t *testing.T) {
	for name, stop := range map[string]func(*reconcile.Operator, string) error{
		"suspend": func(o *reconcile.Operator, _ string) error { return o.Suspend(t.Context(), "stop") },
		"pin":     func(o *reconcile.Operator, id string) error { return o.Pin(t.Context(), id) },
	} {
		for after := 1; after <= 5; after += 2 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
					ids := r.many(4)
					r.cfg.RetainGrace = time.Second
					deleted := 0
					r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
						err := call()
						if op == store.OpDelete && strings.HasPrefix(key, r.layout.Root()+"2") {
							if deleted++; deleted == after {
								if err := stop(reconcile.NewOperator(r.mem, r.layout, "tester"), ids[3]); err != nil {
									t.Error(err)
								}
							}
						}
						return err
					})
					if out := r.gc(); out.ExitCode != 0 {
						t.Errorf("%s: %v", out.Result, out.Err)
					}
					if deleted != after {
						t.Errorf("%d deletions, the operator came after %d", deleted, after)
					}
					for _, end := range []func(context.Context) error{r.operator().Resume, r.operator().Unpin} {
						if err := end(t.Context()); err != nil {
							t.Error(err)
						}
					}
					if out := r.gc(); out.Result != reconcile.ResultCollected || r.stored(ids[0]) {
						t.Errorf("afterwards: %s %v", out.Result, out.Err)
					}
				})
			})
		}
	}
}

// An older pointer that is put back between a pass's look at it and its collection names nothing that may go: the next
// pass needs the newer snapshot to repair it.
func TestCollectionDoesNotGoByAPointerThatWasPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		r.many(3)
		old := r.bytes(r.layout.Pointer())
		r.catalogue(0, 9, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		newest := r.pointer().ID
		time.Sleep(2 * time.Hour)
		r.cfg.RetainGrace = time.Second
		looks, back := 0, false
		r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
			switch {
			case op == store.OpGet && key == r.layout.Pointer():
				looks++
			case op == store.OpGet && key == r.layout.GC() && looks >= 2 && !back: // the collection begins
				back = true
				r.put(r.layout.Pointer(), old)
			}
			return call()
		})
		r.gc()
		if !back || !r.stored(newest) {
			t.Fatalf("put back: %v; the newest snapshot is there: %v", back, r.stored(newest))
		}
		r.objects = r.mem
		r.want(r.once(), reconcile.ResultUnchanged, 0)
		if id := r.pointer().ID; id != newest {
			t.Errorf("the pointer names %s, want %s", id, newest)
		}
	})
}

// A heartbeat that status.json knows counts though a listing lacks it.
func TestCollectionReadsKnownHeartbeatsThatAreNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		r.beat(store.Heartbeat{ID: "s1", Using: ids[0], TTLSeconds: 3600})
		r.once() // status.json has it
		r.cfg.RetainGrace = time.Second
		r.objects = forgetful{r.mem, r.layout.Replicas()}
		r.want(r.gc(), reconcile.ResultCollected, 0)
		if !r.stored(ids[0]) || r.stored(ids[1]) {
			t.Errorf("kept %v and %v, want the first, which a replica uses, alone", r.stored(ids[0]), r.stored(ids[1]))
		}
	})
}

// forgetful lists nothing below prefix.
type forgetful struct {
	store.Objects
	prefix string
}

func (f forgetful) List(ctx context.Context, prefix string, each func(store.Info) error) error {
	return f.Objects.List(ctx, prefix, func(i store.Info) error {
		if strings.HasPrefix(i.Key, f.prefix) {
			return nil
		}
		return each(i)
	})
}
