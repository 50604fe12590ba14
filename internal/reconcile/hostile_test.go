package reconcile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// What others write into the store: people with a console, a server's role in the wrong hands, another release.

// edit replaces a stored document by what change makes of its JSON.
func (r *rig) edit(key string, change func(doc map[string]any)) {
	r.t.Helper()
	dec := json.NewDecoder(bytes.NewReader(r.mem.Data(key)))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		r.t.Fatal(err)
	}
	change(doc)
	r.put(key, doc)
}

func (r *rig) remove(key string) {
	r.t.Helper()
	if err := r.mem.Delete(r.t.Context(), key); err != nil {
		r.t.Fatal(err)
	}
}

// promoted makes one more snapshot and returns its id and generation.
func (r *rig) promoted(rev string) (string, int64) {
	r.t.Helper()
	r.catalogue(0, 4, rev)
	r.want(r.once(), reconcile.ResultPromoted, 0)
	p := r.pointer()
	return p.ID, p.Generation
}

func TestGenerationOfAHeartbeatIsAdvice(t *testing.T) {
	for _, c := range []struct {
		name string
		says int64
		want int64 // of the next promotion, after generation 1
	}{
		{"the last number", math.MaxInt64, 2},
		{"the one before it", math.MaxInt64 - 1, 2},
		{"the end of a lineage", store.MaxGeneration, 2},
		{"a million ahead", 1_000_001, 2},
		{"just out of bounds", 12, 2},
		{"just within bounds", 11, 12},
		{"a promotion that nobody else saw", 2, 3},
		{"nothing yet", 0, 2},
		{"below zero", math.MinInt64, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.promoted("a")
				r.beat(store.Heartbeat{ID: "evil", Generation: c.says, Lineage: r.pointer().Lineage})
				if _, g := r.promoted("b"); g != c.want {
					t.Errorf("generation %d, want %d", g, c.want)
				}
				r.remove(r.layout.Replica("evil"))
				r.promoted("c")
				r.condition(reconcile.Ready, reconcile.True, "")
			})
		})
	}
}

func TestReplicasMayBeAheadByWhatWasPromotedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.promoted("a")
		time.Sleep(time.Minute) // 600 promotions at most
		r.beat(store.Heartbeat{ID: "a", Generation: 611, Lineage: r.pointer().Lineage})
		r.beat(store.Heartbeat{ID: "b", Generation: 700, Lineage: r.pointer().Lineage})
		if _, g := r.promoted("b"); g != 612 {
			t.Errorf("generation %d, want 612", g)
		}
	})
}

func TestLineageWhoseGenerationsAreUsedUpIsFollowedByAnother(t *testing.T) {
	r := newRig(t)
	r.promoted("a")
	r.edit(r.layout.Pointer(), func(doc map[string]any) { doc["generation"] = store.MaxGeneration })
	r.remove(r.layout.Status()) // nobody remembers better
	r.remove(r.layout.Lease())
	old := r.pointer()
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	_, g := r.promoted("b")
	if p := r.pointer(); g != 1 || p.Lineage == old.Lineage || p.History[0].ID != old.ID {
		t.Errorf("generation %d of %s after %s", g, p.Lineage, old.Lineage)
	}
	if _, g := r.promoted("c"); g != 2 {
		t.Errorf("then generation %d", g)
	}
	r.condition(reconcile.Ready, reconcile.True, "")
}

// TestNumbersOutOfBoundsStopNobody writes one number into one document; the next passes heal it or go on without.
func TestNumbersOutOfBoundsStopNobody(t *testing.T) {
	layout := store.NewLayout("p", "")
	for _, key := range []string{layout.Pointer(), layout.Lease(), layout.Status(), layout.GC()} {
		for _, number := range []string{"9223372036854775807", "9223372036854775806", "-1", "9007199254740992", "1e400", "0.5"} {
			for _, field := range []string{"epoch", "generation", "ttl_seconds"} {
				t.Run(strings.TrimPrefix(key, "p/")+"/"+field+"="+number, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := newRig(t)
						r.promoted("a")
						lineage := r.pointer().Lineage
						if !bytes.Contains(r.mem.Data(key), []byte(`"`+field+`"`)) {
							return
						}
						good := r.mem.Data(key)
						r.edit(key, func(doc map[string]any) { doc[field] = json.Number(number) })
						r.catalogue(0, 4, "b")
						r.once()
						if key == layout.GC() {
							r.put(key, good) // what was announced for deletion is known by nobody else: people repair it
						}
						time.Sleep(10 * time.Minute)
						r.once()
						r.once()
						r.condition(reconcile.Ready, reconcile.True, "")
						if p := r.pointer(); p.Generation < 2 || p.Generation > 3 || p.Lineage != lineage || p.Epoch > 10 {
							t.Errorf("generation %d, epoch %d, lineage kept: %v", p.Generation, p.Epoch, p.Lineage == lineage)
						}
					})
				})
			}
		}
	}
}

func TestLeaseOfManyYearsIsWaitedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.promoted("a")
		r.edit(r.layout.Lease(), func(doc map[string]any) {
			doc["ttl_seconds"], doc["released"], doc["owner"] = 1e9, false, "somebody"
		})
		for _, want := range []bool{true, false} {
			if alive, err := r.operator().LeaderAlive(t.Context()); alive != want || err != nil {
				t.Errorf("the holder is alive: %v, %v; want %v", alive, err, want)
			}
			time.Sleep(5 * time.Minute)
		}
		r.catalogue(0, 4, "b")
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		if err := r.indexer().Run(ctx); err != nil {
			t.Fatal(err)
		}
		if g := r.pointer().Generation; g != 2 {
			t.Errorf("generation %d after eight minutes", g)
		}
	})
}

func TestThousandsOfHeartbeatsStopOnlyCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Minute
		ids := r.many(4)
		p := r.pointer()
		largest := store.Heartbeat{
			Lineage: p.Lineage, Source: strings.Repeat("s", 128), Version: strings.Repeat("v", 512), Using: p.ID,
			Fetching: p.ID, Rejected: &store.Rejection{ID: p.ID, Reason: strings.Repeat("r", 128), Message: strings.Repeat("\x1b[2J", 1000)},
		}
		for i := range 1500 {
			largest.ID = fmt.Sprintf("flood-%04d-%s", i, strings.Repeat("x", 100))
			r.beat(largest)
		}
		r.promoted("flooded")
		r.condition(reconcile.Ready, reconcile.True, "")
		r.condition(reconcile.Collected, reconcile.False, "Unreadable")
		if s := r.status(); len(s.Replicas) != 1024 || strings.Contains(s.Replicas[0].Rejected.Message, "\x1b") {
			t.Errorf("%d replicas in the status", len(s.Replicas))
		}
		time.Sleep(25 * time.Hour) // they are not renewed
		r.gc()                     // buries them, whatever else it can do
		r.gc()
		r.condition(reconcile.Collected, reconcile.True, "")
		if n := len(r.mem.Keys(r.layout.Replicas())); n != 0 || r.stored(ids[0]) {
			t.Errorf("%d heartbeats left, the oldest snapshot stored: %v", n, r.stored(ids[0]))
		}
	})
}

// TestHeartbeatsThatAreNoneStopOnlyCollection: whatever lies under replicas/ is read, or said to be unreadable.
func TestHeartbeatsThatAreNoneStopOnlyCollection(t *testing.T) {
	good := `{"format_version":1,"id":"s1","using":"","generation":1,"lineage":"l","ttl_seconds":60`
	for name, body := range map[string]string{
		"empty":                  "",
		"of a newer format":      `{"format_version":99}`,
		"as large as a document": good + `,"x":"` + strings.Repeat("x", 4<<20-200) + `"}`,
		"larger than a document": good + `,"x":"` + strings.Repeat("x", 5<<20) + `"}`,
		"of another server":      strings.Replace(good, "s1", "s2", 1) + "}",
		"a path as id":           strings.Replace(good, "s1", "../s1", 1) + "}",
		"a path as snapshot":     strings.Replace(good, `"using":""`, `"using":"../../etc"`, 1) + "}",
		"an array":               "[1,2]",
		"a deep one":             strings.Repeat("[", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.promoted("a")
				r.put(r.layout.Replica("s1"), []byte(body))
				r.promoted("b")
				r.condition(reconcile.Ready, reconcile.True, "")
				r.condition(reconcile.Collected, reconcile.False, "Unreadable")
				r.remove(r.layout.Replica("s1"))
				r.want(r.gc(), reconcile.ResultCollected, 0)
				r.condition(reconcile.Collected, reconcile.True, "")
			})
		})
	}
}

func TestHeartbeatCountsForADayAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		r.beat(store.Heartbeat{ID: "s1", Using: ids[0], TTLSeconds: 1e300, LoadedAt: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)})
		time.Sleep(23 * time.Hour)
		if r.gc(); !r.stored(ids[0]) {
			t.Error("a snapshot in use was deleted")
		}
		time.Sleep(2 * time.Hour)
		if r.gc(); r.stored(ids[0]) {
			t.Error("it is kept for a dead replica")
		}
	})
}

func TestComplaintsDoNotKeepTheLeaderReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		id, _ := r.promoted("a")
		p := r.pointer()
		reads := 0
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if op == store.OpGet && key == r.layout.File(id, snapshot.FileIndex) {
				reads++
				time.Sleep(10 * time.Second)
			}
			return call()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		done := make(chan struct{})
		defer func() { cancel(); <-done }()
		go func() {
			defer close(done)
			for i := 0; ctx.Err() == nil; i++ {
				r.beat(store.Heartbeat{ID: fmt.Sprintf("s%d", i%50), Rejected: &store.Rejection{
					ID: id, ManifestSHA256: p.ManifestSHA256, Reason: reconcile.RejectedHash, Since: time.Now(),
				}})
				time.Sleep(time.Second)
			}
		}()
		if err := r.indexer().Run(ctx); err != nil {
			t.Fatal(err)
		}
		if reads < 2 || reads > 13 { // 10 s of every 50
			t.Errorf("the snapshot was read %d times in ten minutes", reads)
		}
	})
}

func TestPointerOfAnEarlierDayIsRepairedAboveWhatWasSeen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *rig) // beside the pointer
		want   int64        // generation; 3 was seen
	}{
		"nothing else is wrong":     {func(*rig) {}, 4},
		"no heartbeat contradicts":  {func(r *rig) { r.remove(r.layout.Replica("s1")) }, 4},
		"a replica saw more":        {func(r *rig) { r.seen(6) }, 7},
		"the status is lost":        {func(r *rig) { r.remove(r.layout.Status()) }, 4},
		"the status cannot be read": {func(r *rig) { r.put(r.layout.Status(), []byte("{")) }, 4},
		"the lease is lost":         {func(r *rig) { r.remove(r.layout.Lease()) }, 4},
		"suspended":                 {func(r *rig) { must(r.t, r.operator().Suspend(r.t.Context(), "")) }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.promoted("a")
			old := r.mem.Data(r.layout.Pointer())
			r.promoted("b")
			last, _ := r.promoted("c")
			r.seen(3)
			c.change(r)
			r.put(r.layout.Pointer(), old)
			out := r.once()
			p := r.pointer()
			if p.Generation < c.want || p.Generation > c.want+1 { // one more when the old snapshot had to be replaced
				t.Errorf("%s: generation %d, want %d", out.Result, p.Generation, c.want)
			}
			if p.ID != last {
				t.Errorf("the pointer names %s, %s was served", p.ID, last)
			}
			r.condition(reconcile.Intact, reconcile.False, "PointerOlder")
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seen is a replica that serves the pointer's snapshot as generation g.
func (r *rig) seen(g int64) {
	p := r.pointer()
	r.beat(store.Heartbeat{ID: "s1", Using: p.ID, Generation: g, Lineage: p.Lineage})
}

func TestPointerThatWasNotLeftHereIsRepaired(t *testing.T) {
	for reason, change := range map[string]func(r *rig, ids [3]string){
		"PointerForeign": func(r *rig, _ [3]string) {
			r.edit(r.layout.Pointer(), func(doc map[string]any) { doc["lineage"], doc["generation"] = "another", 900 })
		},
		"PointerAhead": func(r *rig, _ [3]string) {
			r.edit(r.layout.Pointer(), func(doc map[string]any) { doc["generation"] = store.MaxGeneration })
		},
		"PointerEdited": func(r *rig, ids [3]string) {
			var m map[string]any
			must(r.t, json.Unmarshal(r.mem.Data(r.layout.Manifest(ids[0])), &m))
			r.edit(r.layout.Pointer(), func(doc map[string]any) {
				for k, v := range m {
					doc[k] = v
				}
				doc["manifest_sha256"] = store.ManifestDigest(r.mem.Data(r.layout.Manifest(ids[0])))
			})
		},
		"PointerInvalid": func(r *rig, ids [3]string) { r.put(r.layout.Pointer(), r.mem.Data(r.layout.Manifest(ids[1]))) },
		"PointerDeleted": func(r *rig, _ [3]string) { r.remove(r.layout.Pointer()) },
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				ids := r.three()
				good := r.pointer()
				change(r, ids)
				r.want(r.once(), reconcile.ResultUnchanged, 0)
				if p := r.pointer(); p.ID != ids[2] || p.Lineage != good.Lineage || p.Generation != 4 || len(p.History) != 2 {
					t.Errorf("%s generation %d of %s, history %d", p.ID, p.Generation, p.Lineage, len(p.History))
				}
				r.condition(reconcile.Intact, reconcile.False, reason)
				r.condition(reconcile.Ready, reconcile.True, "")
				time.Sleep(2 * time.Hour)
				r.want(r.once(), reconcile.ResultUnchanged, 0)
				r.condition(reconcile.Intact, reconcile.True, "")
			})
		})
	}
}

func TestReadyIsFalseWhileAReplicaIsOffThePointer(t *testing.T) {
	for name, c := range map[string]struct {
		beat   store.Heartbeat
		status string
	}{
		"ahead":                      {store.Heartbeat{Generation: 9}, reconcile.False},
		"on another of this number":  {store.Heartbeat{Generation: 1, Using: "20260101T000000Z-0123abcd"}, reconcile.False},
		"of another lineage":         {store.Heartbeat{Generation: 1, Lineage: "another"}, reconcile.False},
		"where it should be":         {store.Heartbeat{Generation: 1}, reconcile.True},
		"behind":                     {store.Heartbeat{Generation: 0, Using: "20260101T000000Z-0123abcd"}, reconcile.True},
		"ahead beyond belief":        {store.Heartbeat{Generation: math.MaxInt64}, reconcile.True},
		"serving nothing":            {store.Heartbeat{Generation: 9, Using: "-"}, reconcile.True},
		"ahead, but silent for long": {store.Heartbeat{Generation: 9, TTLSeconds: -1}, reconcile.True},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				id, _ := r.promoted("a")
				b := c.beat
				b.ID = "s1"
				if b.Using == "" {
					b.Using = id
				}
				if b.Using == "-" {
					b.Using = ""
				}
				if b.Lineage == "" {
					b.Lineage = r.pointer().Lineage
				}
				r.beat(b)
				time.Sleep(time.Second)
				r.once()
				reason := ""
				if c.status == reconcile.False {
					reason = "ReplicaAstray"
				}
				r.condition(reconcile.Ready, c.status, reason)
				r.promoted("b") // above it, whatever it says within belief
				r.seen(r.pointer().Generation)
				r.once()
				r.condition(reconcile.Ready, reconcile.True, "")
			})
		})
	}
}

func TestDeletedDocumentsAreRestoredFromTheStatus(t *testing.T) {
	for name, c := range map[string]struct {
		intend func(r *rig, ids [3]string)
		remove func(l store.Layout) []string
		want   string // result of the pass
	}{
		"the pointer": {func(*rig, [3]string) {}, func(l store.Layout) []string { return []string{l.Pointer()} }, reconcile.ResultUnchanged},
		"the pointer, pinned": {func(r *rig, ids [3]string) { must(r.t, r.operator().Pin(r.t.Context(), ids[0])) },
			func(l store.Layout) []string { return []string{l.Pointer()} }, reconcile.ResultPinned},
		"the pointer, suspended": {func(r *rig, _ [3]string) { must(r.t, r.operator().Suspend(r.t.Context(), "x")) },
			func(l store.Layout) []string { return []string{l.Pointer()} }, reconcile.ResultSuspended},
		"the control, pinned": {func(r *rig, ids [3]string) { must(r.t, r.operator().Pin(r.t.Context(), ids[1])) },
			func(l store.Layout) []string { return []string{l.Control()} }, reconcile.ResultPinned},
		"the control, suspended": {func(r *rig, _ [3]string) { must(r.t, r.operator().Suspend(r.t.Context(), "x")) },
			func(l store.Layout) []string { return []string{l.Control()} }, reconcile.ResultSuspended},
		"both, pinned and suspended": {func(r *rig, ids [3]string) {
			must(r.t, r.operator().Pin(r.t.Context(), ids[0]))
			must(r.t, r.operator().Suspend(r.t.Context(), "x"))
		}, func(l store.Layout) []string { return []string{l.Pointer(), l.Control()} }, reconcile.ResultSuspended},
		"the lease and gc.json": {func(*rig, [3]string) {}, func(l store.Layout) []string { return []string{l.Lease(), l.GC()} }, reconcile.ResultUnchanged},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			ids := r.three()
			c.intend(r, ids)
			r.want(r.once(), c.want, 0) // the leader sees what is wanted
			before := r.pointer()
			for _, key := range c.remove(r.layout) {
				r.remove(key)
			}
			r.catalogue(0, 9, "edited meanwhile")
			out := r.once()
			if c.want != reconcile.ResultUnchanged { // an intent holds: the edit waits
				r.want(out, c.want, 0)
				if p := r.pointer(); p.ID != before.ID || p.Lineage != before.Lineage {
					t.Errorf("the pointer names %s, %s was wanted", p.ID, before.ID)
				}
				if got := r.control(); got.Pin == nil && got.Suspended == nil {
					t.Error("nothing is wanted any more")
				}
			} else {
				r.want(out, reconcile.ResultPromoted, 0)
			}
			if p := r.pointer(); p.Lineage != before.Lineage || p.Generation < before.Generation {
				t.Errorf("generation %d of %s after %d of %s", p.Generation, p.Lineage, before.Generation, before.Lineage)
			}
		})
	}
}

func TestPointerLostAfterAnUnseenRollbackGoesToThePin(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	if _, err := r.operator().Rollback(t.Context(), ids[0]); err != nil { // no pass sees it
		t.Fatal(err)
	}
	r.remove(r.layout.Pointer())
	r.want(r.once(), reconcile.ResultPinned, 0)
	if p := r.pointer(); p.ID != ids[0] || p.Generation != 4 {
		t.Errorf("%s generation %d", p.ID, p.Generation)
	}
}

func TestDeletedControlStillHoldsForTheNextCommand(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	must(t, r.operator().Pin(t.Context(), ids[1]))
	r.once()
	r.remove(r.layout.Control())
	must(t, r.operator().Suspend(t.Context(), "look at it"))
	if c := r.control(); c.Pin == nil || c.Pin.ID != ids[1] || c.Suspended == nil {
		t.Errorf("control %+v", c)
	}
}

func TestDeletionsUnderWayOutliveGCJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		r.cfg.RetainGrace = 30 * time.Second
		r.gc()
		doc := r.status().Deleting
		if len(doc) == 0 {
			t.Fatal("nothing was deleted")
		}
		r.remove(r.layout.GC())
		r.want(r.gc(), reconcile.ResultCollected, 0)
		r.condition(reconcile.Intact, reconcile.False, "GCDeleted")
		if err := r.operator().Pin(t.Context(), ids[0]); err == nil {
			t.Error("a snapshot whose deletion had begun was pinned")
		}
	})
}

func TestReservationsOfTheFutureGrowOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.many(4)
		r.cfg.RetainGrace = 30 * time.Second
		r.edit(r.layout.GC(), func(doc map[string]any) {
			doc["holds"] = map[string]any{ids[0]: map[string]any{"at": "9999-12-31T00:00:00Z", "by": "nobody"}}
		})
		nonce := r.pointer().Nonce
		r.gc() // drops the hold, behind a fence
		if r.pointer().Nonce == nonce {
			t.Error("the hold was dropped without a fence, or not at all")
		}
		if r.gc(); r.stored(ids[0]) {
			t.Error("a snapshot is held for ever")
		}
	})
}

func TestDeleteMarkersThatRefuseWritesAreSaid(t *testing.T) {
	versioned := func(t *testing.T) (*rig, [3]string) {
		r := newRig(t)
		r.mem = storetest.NewVersionedMem(nil)
		r.objects = r.mem
		return r, r.three()
	}
	t.Run("control", func(t *testing.T) {
		r, ids := versioned(t)
		must(t, r.operator().Pin(t.Context(), ids[0]))
		r.once()
		r.remove(r.layout.Control())
		r.catalogue(0, 9, "edited")
		r.want(r.once(), reconcile.ResultPinned, 0)
		r.condition(reconcile.Intact, reconcile.False, "ControlDeleted")
	})
	t.Run("pointer, pinned", func(t *testing.T) {
		r, ids := versioned(t)
		must(t, r.operator().Pin(t.Context(), ids[0]))
		r.once()
		r.remove(r.layout.Pointer())
		r.want(r.once(), reconcile.ResultFailed, 1)
		r.condition(reconcile.Promoted, reconcile.False, "PointerDeleted")
	})
}

func TestStatusLostWithinATermIsStillKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ids := r.three()
		must(t, r.operator().Pin(t.Context(), ids[1]))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.indexer().Run(ctx) }()
		time.Sleep(2 * time.Minute)
		r.remove(r.layout.Status())
		r.remove(r.layout.Pointer())
		r.remove(r.layout.Control())
		time.Sleep(2 * time.Minute)
		cancel()
		must(t, <-done)
		if p := r.pointer(); p.ID != ids[1] || p.Generation < 4 {
			t.Errorf("%s generation %d", p.ID, p.Generation)
		}
		if c := r.control(); c.Pin == nil || c.Pin.ID != ids[1] {
			t.Errorf("control %+v", c)
		}
	})
}
