package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// snapshotID is the i-th id of a series.
func snapshotID(i int) string {
	return snapshot.NewID(time.Date(2026, 1, 1, 0, i, 0, 0, time.UTC), "", fmt.Sprint(i))
}

// drawView makes any state that garbage collection may meet.
func drawView(t *rapid.T) (v gcView, r gcRules) {
	n := rapid.IntRange(1, 40).Draw(t, "snapshots")
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	id := rapid.Custom(func(t *rapid.T) string { return snapshotID(rapid.IntRange(0, n-1).Draw(t, "id")) })
	age := func(label string) time.Duration {
		return time.Duration(rapid.IntRange(0, 7200).Draw(t, label)) * time.Second
	}
	v.now = now
	v.doc = store.GC{Reserved: map[string]store.Mark{}, Deleting: map[string]store.Mark{}}
	for i := range n {
		v.found = append(v.found, store.SnapshotInfo{
			ID: snapshotID(i), HasManifest: rapid.IntRange(0, 5).Draw(t, "manifest") > 0, Newest: now.Add(-age("age")),
			Files: map[string]store.Info{snapshot.FileIndex: {}, snapshot.FileManifest: {}},
		})
	}
	v.pointer.ID = id.Draw(t, "current")
	retired := now
	for range rapid.IntRange(0, store.HistoryLength).Draw(t, "history") {
		retired = retired.Add(-age("retired"))
		v.pointer.History = append(v.pointer.History, store.Promotion{
			ID: id.Draw(t, "promoted"), RetiredAt: retired, RolledBack: rapid.Bool().Draw(t, "rolled back"),
		})
	}
	for range rapid.IntRange(0, 3).Draw(t, "replicas") {
		v.beats = append(v.beats, replica{
			Heartbeat: store.Heartbeat{ID: "r", Using: id.Draw(t, "using"), Fetching: id.Draw(t, "fetching"), TTLSeconds: 60},
			age:       age("beat") / 60,
		})
	}
	for range rapid.IntRange(0, 5).Draw(t, "compositions") {
		of := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, 4, rapid.ID).Draw(t, "parts")
		composed(&v, rapid.IntRange(0, n-1).Draw(t, "composition"), of...)
	}
	if rapid.Bool().Draw(t, "pinned") {
		v.control.Pin = &store.Intent{ID: id.Draw(t, "pin")}
	}
	if rapid.Bool().Draw(t, "reserved") {
		v.doc.Reserved[id.Draw(t, "hold")] = store.Mark{At: now}
	}
	return v, gcRules{held: id.Draw(t, "held"), retain: rapid.IntRange(1, store.HistoryLength).Draw(t, "retain"), grace: age("grace")}
}

func TestCollectionNeverChoosesWhatIsInUse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, r := drawView(t)
		plan := v.plan(r)
		if plan.gone+plan.kept != len(v.found) {
			t.Fatalf("%d gone and %d kept of %d", plan.gone, plan.kept, len(v.found))
		}
		gone := map[string]bool{}
		for _, l := range plan.lines {
			if id, _, _ := strings.Cut(l.Key, "/"); l.Delete {
				gone[id] = true
				if _, announced := plan.doc.Deleting[id]; !announced {
					t.Fatalf("%s is deleted, but not announced", l.Key)
				}
			}
		}
		inUse := map[string]string{v.pointer.ID: "current", r.held: "held"}
		if v.control.Pin != nil {
			inUse[v.control.Pin.ID] = "pinned"
		}
		for id := range v.doc.Reserved {
			inUse[id] = "reserved"
		}
		for _, b := range v.beats {
			if b.age <= time.Minute {
				inUse[b.Using], inUse[b.Fetching] = "used", "fetched"
			}
		}
		for _, h := range v.pointer.History {
			if v.now.Sub(h.RetiredAt) < r.grace {
				inUse[h.ID] = "retired just now"
			}
		}
		for id, why := range inUse {
			for _, part := range append(v.parts[id], id) {
				if gone[part] {
					t.Fatalf("%s is deleted, but %s is %s", part, id, why)
				}
			}
		}
		for _, s := range v.found {
			if gone[s.ID] && v.now.Sub(s.Newest) < r.grace {
				promoted := false
				for _, h := range v.pointer.History {
					promoted = promoted || h.ID == s.ID
				}
				if !promoted {
					t.Fatalf("%s is deleted though never promoted and younger than the grace", s.ID)
				}
			}
		}
	})
}

func TestNextPointerIsAboveEverythingSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := store.Pointer{
			Lineage: "l", Generation: rapid.Int64Range(1, 1000).Draw(t, "generation"), Epoch: rapid.Int64Range(0, 50).Draw(t, "epoch"),
		}
		from.ID = snapshotID(1)
		for range rapid.IntRange(0, store.HistoryLength).Draw(t, "history") {
			from.History = append(from.History, store.Promotion{ID: snapshotID(0)})
		}
		c := promotion{over: basis{pointer: &from}, epoch: rapid.Int64Range(0, 50).Draw(t, "own epoch"), manifest: store.Manifest{ID: snapshotID(2)}}
		for range rapid.IntRange(0, 4).Draw(t, "heartbeats") {
			c.over.beats = append(c.over.beats, replica{Heartbeat: store.Heartbeat{
				Lineage: rapid.SampledFrom([]string{"l", "other"}).Draw(t, "lineage"), Generation: rapid.Int64Range(0, 2000).Draw(t, "seen"),
			}})
		}
		next := c.next(time.Now(), nil)
		if next.Generation <= from.Generation || next.Epoch < from.Epoch || next.Epoch < c.epoch || next.Lineage != "l" {
			t.Fatalf("%+v after %+v", next, from)
		}
		for _, b := range c.over.beats {
			if b.Lineage == "l" && next.Generation <= b.Generation {
				t.Fatalf("generation %d, a replica saw %d", next.Generation, b.Generation)
			}
		}
		if len(next.History) > store.HistoryLength || next.History[0].ID != from.ID {
			t.Fatalf("history %+v", next.History)
		}
	})
}

func TestBackoffDoublesUpToItsMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "attempts")
		d := backoff(30*time.Second, 10*time.Minute, n)
		if d < 30*time.Second || d > 10*time.Minute || (n > 1 && d < backoff(30*time.Second, 10*time.Minute, n-1)) {
			t.Fatalf("%s after %d attempts", d, n)
		}
	})
}

func TestConditionsKeepTheirTransitionTimeWhileTheStatusStays(t *testing.T) {
	then, now := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	c := &conditions{
		prev: []store.Condition{
			{Type: Built, Status: True, LastTransitionTime: then}, {Type: Held, Status: False, LastTransitionTime: then},
			{Type: Leader, Status: True, LastTransitionTime: then},
		},
		next: map[string]store.Condition{}, now: now, generation: 7,
	}
	c.set(Built, True, "UpToDate", "")
	c.set(Held, True, "GateHeld", "")
	got := map[string]store.Condition{}
	for _, n := range c.list() {
		got[n.Type] = n
	}
	if got[Built].LastTransitionTime != then || got[Held].LastTransitionTime != now || got[Leader].LastTransitionTime != then {
		t.Errorf("%+v", got)
	}
	if got[Held].ObservedGeneration != 7 {
		t.Errorf("observed generation %d", got[Held].ObservedGeneration)
	}
}
