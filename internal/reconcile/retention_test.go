package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// steady is a store on which somebody edits and a leader publishes deltas: what gc.json, the pointer and the listing say.
type steady struct {
	now     time.Time
	doc     store.GC
	ptr     store.Pointer
	stored  map[string]store.SnapshotInfo
	parts   map[string][]string
	served  []span // all there ever was
	deletes int
}

func newSteady() *steady {
	s := &steady{
		now:    time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		stored: map[string]store.SnapshotInfo{}, parts: map[string][]string{},
	}
	s.promote(true)
	return s
}

// promote publishes a delta over what is current, or a base and a delta over it. The leader merges deltas as it publishes.
func (s *steady) promote(rebase bool) {
	id := snapshot.NewID(s.now, "", fmt.Sprint(len(s.served)))
	put := func(id string, files ...string) {
		all := map[string]store.Info{snapshot.FileManifest: {}}
		for _, f := range files {
			all[f] = store.Info{}
		}
		s.stored[id] = store.SnapshotInfo{ID: id, HasManifest: true, Newest: s.now, Files: all}
	}
	next := store.Manifest{ID: id}
	if rebase {
		base := snapshot.NewID(s.now, "base", id)
		put(base, snapshot.FileIndex)
		next.Base = &store.Base{ID: base}
	} else {
		next.Base, next.Deltas = s.ptr.Base, slices.Clone(s.ptr.Deltas)
		for n := len(next.Deltas); n > 1 && next.Deltas[n-2].Rows <= next.Deltas[n-1].Rows*2; n = len(next.Deltas) {
			next.Deltas = next.Deltas[:n-1]
			next.Deltas[n-2].Rows *= 2 // stands for the merge, which is a publication of its own
		}
	}
	next.Deltas = append(next.Deltas, store.DeltaRef{ID: id, Rows: 1})
	put(id, snapshot.FileDelta)
	s.parts[id] = next.Needs()
	m := promotion{manifest: next}
	if s.ptr.ID != "" {
		m.over.pointer = &s.ptr
		s.served[len(s.served)-1].to = s.now
	}
	m.retire(&s.doc, s.now)
	s.ptr = m.next(s.now, nil)
	s.served = append(s.served, span{id: id, from: s.now, to: s.now})
}

func (s *steady) collect(t interface{ Fatalf(string, ...any) }, grace time.Duration) {
	v := gcView{now: s.now, doc: s.doc, pointer: s.ptr, parts: map[string][]string{}}
	for _, id := range slices.Sorted(maps.Keys(s.stored)) {
		v.found = append(v.found, s.stored[id])
		if parts, ok := s.parts[id]; ok {
			v.parts[id] = parts
		}
	}
	plan := v.plan(gcRules{retain: 5, grace: grace, points: true, served: &s.ptr})
	if plan.stop != "" {
		t.Fatalf("the collection stops: %s", plan.stop)
	}
	s.doc = plan.doc
	for _, l := range plan.lines {
		if id, _, _ := strings.Cut(l.Key, "/"); l.Delete {
			delete(s.stored, id)
			delete(s.parts, id)
			s.deletes++
		}
	}
}

// back is the snapshot that a rollback to t goes to, of those that are whole.
func (s *steady) back(t time.Time) (span, bool) {
	for _, at := range servedAt(servedTimes(s.ptr, s.doc.Retired, s.now), t) {
		_, there := s.stored[at.id]
		for _, part := range s.parts[at.id] {
			_, ok := s.stored[part]
			there = there && ok
		}
		if there {
			return at, true
		}
	}
	return span{}, false
}

// One edit a second for a day and some hours: what is stored stays bounded, gc.json small, and people can go back to an hour
// ago and to a day ago, to within an hour.
func TestADayOfSteadyEdits(t *testing.T) {
	s := newSteady()
	const grace = 10 * time.Minute
	most, doc := 0, 0
	for i := range 27 * 3600 {
		s.now = s.now.Add(time.Second)
		s.promote(i%9000 == 8999) // a compaction every 2½ hours
		if i%60 == 0 {
			s.collect(t, grace)
			most = max(most, len(s.stored))
			data, err := store.Encode(s.doc)
			if err != nil {
				t.Fatal(err)
			}
			doc = max(doc, len(data))
		}
		if i%3600 == 1800 {
			for _, back := range []time.Duration{4 * time.Minute, time.Hour, 24 * time.Hour} {
				if at := s.now.Add(-back); !at.Before(s.served[0].from.Add(time.Hour)) {
					got, ok := s.back(at)
					if !ok || at.Sub(got.from) > time.Hour {
						t.Fatalf("after %d edits a rollback to %s ago goes to %s ago (%v)", i, back, s.now.Sub(got.from), ok)
					}
				}
			}
		}
	}
	// Within the grace all stay, and a minute more until the next collection; besides them the points to go back to, with the
	// deltas that they are made of, and bases.
	if limit := 660 + (hourlyFor+dailyFor+5)*12; most > limit {
		t.Errorf("up to %d snapshots are stored, want at most %d", most, limit)
	}
	if doc > 24<<10 {
		t.Errorf("gc.json grows to %d bytes", doc)
	}
	if s.deletes < 26*3600 {
		t.Errorf("%d deletions of %d edits", s.deletes, len(s.served))
	}
	t.Logf("up to %d snapshots, gc.json up to %d bytes", most, doc)
}

// Whatever the pace, retirements are never lost: what was current for a minute stays for the grace after it retired.
func TestRetirementsAreRememberedAtAnyPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSteady()
		grace := time.Duration(rapid.IntRange(60, 7200).Draw(t, "grace")) * time.Second
		for range rapid.IntRange(1, 120).Draw(t, "edits") {
			pace := rapid.SampledFrom([]int{1, 1, 1, 1, 5, 59, 60, 61, 600, 4000}).Draw(t, "seconds")
			s.now = s.now.Add(time.Duration(pace) * time.Second)
			s.promote(rapid.IntRange(0, 20).Draw(t, "rebase") == 0)
			if rapid.Bool().Draw(t, "collect") {
				s.collect(t, grace)
			}
		}
		s.collect(t, grace)
		for _, at := range s.served {
			if _, there := s.stored[at.id]; !there && at.to.Sub(at.from) >= rememberedFrom && s.now.Sub(at.to) < grace {
				t.Fatalf("%s is gone, retired %s ago", at.id, s.now.Sub(at.to))
			}
		}
		for _, at := range servedTimes(s.ptr, s.doc.Retired, s.now)[:min(5, len(s.served))] {
			if _, ok := s.back(at.from); !ok {
				t.Fatalf("no way back to %s", at.id)
			}
		}
	})
}
