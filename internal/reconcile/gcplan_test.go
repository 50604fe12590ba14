package reconcile

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// What a collection does, by what it saw. The view has four snapshots, 1 to 4, an hour old each and promoted in this order;
// 4 is served, the grace is ten minutes, one promoted snapshot is retained.
func TestWhatACollectionDoes(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	long, short := now.Add(-time.Hour), now.Add(-time.Minute)
	for _, c := range []struct {
		what     string
		change   func(*gcView, *gcRules)
		gone     string // snapshots that go, by number
		deleting string // what gc.json announces then
		stop     gcStop
		fence    bool
		announce bool
	}{
		{"retired long ago", nil, "1 2", "1 2", "", false, true},
		{"nothing to do", func(v *gcView, r *gcRules) { r.retain = 4 }, "", "", "", false, false},
		{"retired a minute ago", func(v *gcView, r *gcRules) { v.pointer.History[2].RetiredAt = short }, "2", "2", "", false, true},
		{"rolled back from: not the previous one", func(v *gcView, r *gcRules) { v.pointer.History[0].RolledBack = true }, "1 3", "1 3", "", false, true},
		{"held for an operator", func(v *gcView, r *gcRules) { r.held = snapshotID(1) }, "2", "2", "", false, true},
		{"used", func(v *gcView, r *gcRules) { v.beats = []replica{beatOf(1, 0, time.Second)} }, "2", "2", "", false, true},
		{"fetched", func(v *gcView, r *gcRules) { v.beats = []replica{beatOf(4, 2, time.Second)} }, "1", "1", "", false, true},
		{"used by a replica that is silent", func(v *gcView, r *gcRules) { v.beats = []replica{beatOf(1, 0, time.Hour)} }, "1 2", "1 2", "", false, true},
		{"a heartbeat that cannot be read", func(v *gcView, r *gcRules) { v.unclear = errors.New("torn") }, "", "", gcUnclear, false, false},
		{"reserved", func(v *gcView, r *gcRules) { v.doc.Reserved = map[string]store.Mark{snapshotID(1): {At: short}} }, "2", "2", "", false, true},
		{"reserved long ago", func(v *gcView, r *gcRules) { v.doc.Reserved = map[string]store.Mark{snapshotID(1): {At: long}} }, "2", "2", "", true, true},
		{"reserved in the future", func(v *gcView, r *gcRules) {
			v.doc.Reserved = map[string]store.Mark{snapshotID(1): {At: now.Add(time.Hour)}}
		}, "2", "2", "", true, true},
		{"gc.json is gone, and with it whatever was reserved", func(v *gcView, r *gcRules) { v.cond.IfAbsent = true }, "1 2", "1 2", "", true, true},
		{"gc.json is gone, and nothing goes", func(v *gcView, r *gcRules) { v.cond.IfAbsent, r.retain = true, 4 }, "", "", "", false, false},
		{"begun", func(v *gcView, r *gcRules) {
			r.retain = 4
			v.doc.Deleting = map[string]store.Mark{snapshotID(2): {At: short}}
		}, "2", "2", "", false, false},
		{"begun on what is served", func(v *gcView, r *gcRules) {
			r.retain = 4
			v.doc.Deleting = map[string]store.Mark{snapshotID(4): {At: short}}
		}, "", "4", "", false, false},
		{"done long ago", func(v *gcView, r *gcRules) {
			r.retain = 4
			v.doc.Deleting = map[string]store.Mark{snapshotID(9): {At: long}}
		}, "", "", "", false, true},
		{"done just now", func(v *gcView, r *gcRules) {
			r.retain = 4
			v.doc.Deleting = map[string]store.Mark{snapshotID(9): {At: short}}
		}, "", "9", "", false, false},
		{"never promoted", func(v *gcView, r *gcRules) { v.pointer.History = v.pointer.History[:2] }, "1 2", "1 2", "", false, true},
		{"never promoted and young", func(v *gcView, r *gcRules) {
			v.pointer.History, v.found[0].Newest = v.pointer.History[:2], short
		}, "2", "2", "", false, true},
		{"pinned meanwhile", func(v *gcView, r *gcRules) { v.control.Pin = &store.Intent{ID: snapshotID(1)} }, "2", "2", gcForbidden, false, true},
		{"suspended meanwhile", func(v *gcView, r *gcRules) { v.control.Suspended = &store.Intent{} }, "1 2", "1 2", gcForbidden, false, true},
		{"an older pointer", func(v *gcView, r *gcRules) { r.served = &store.Pointer{Lineage: "l", Generation: 8} }, "1 2", "1 2", gcOlderPointer, false, true},
		{"the base of a delta snapshot that is served", func(v *gcView, r *gcRules) { composed(v, 4, 1) }, "2", "2", "", false, true},
		{"the base of one that a replica uses", func(v *gcView, r *gcRules) {
			composed(v, 2, 1)
			v.beats = []replica{beatOf(2, 0, time.Second)}
		}, "", "", "", false, false},
		{"the base of one that is retained", func(v *gcView, r *gcRules) { composed(v, 3, 1) }, "2", "2", "", false, true},
		{"the base of one that is young", func(v *gcView, r *gcRules) {
			composed(v, 2, 1)
			v.pointer.History[1].RetiredAt = short
		}, "", "", "", false, false},
		{"the base of one that is used and was not listed", func(v *gcView, r *gcRules) {
			composed(v, 9, 1)
			v.beats = []replica{beatOf(9, 0, time.Second)}
		}, "2", "2", "", false, true},
		{"the base of one that goes", func(v *gcView, r *gcRules) { composed(v, 2, 1) }, "1 2", "1 2", "", false, true},
		{"the newest over a base", func(v *gcView, r *gcRules) {
			composed(v, 2, 1)
			r.points = true
		}, "", "", "", false, false},
		{"the newest over each of the last two bases", func(v *gcView, r *gcRules) {
			composed(v, 4, 9)
			composed(v, 3, 8)
			composed(v, 2, 1)
			r.points = true
		}, "1 2", "1 2", "", false, true},
		{"remembered, and gone", func(v *gcView, r *gcRules) {
			r.retain = 4
			v.doc.Retired = map[string]store.Served{snapshotID(9): {From: long, To: long}}
		}, "", "", "", false, true},
		{"remembered as retired a minute ago, and forgotten by the history", func(v *gcView, r *gcRules) {
			v.pointer.History = v.pointer.History[:1]
			v.doc.Retired = map[string]store.Served{snapshotID(1): {From: long, To: short}}
		}, "2", "2", "", false, true},
		{"a short history that an earlier release wrote", func(v *gcView, r *gcRules) { fullHistory(v, r, false) }, "", "", "", false, false},
		{"a short history, remembered", func(v *gcView, r *gcRules) { fullHistory(v, r, true) }, "1", "1", "", false, true},
		{"a part of what is served whose deletion was begun", func(v *gcView, r *gcRules) {
			composed(v, 4, 1)
			v.doc.Deleting = map[string]store.Mark{snapshotID(1): {At: short}}
		}, "2", "1 2", "", false, true},
		{"a part of what is retained whose deletion was begun", func(v *gcView, r *gcRules) {
			composed(v, 3, 1)
			v.doc.Deleting = map[string]store.Mark{snapshotID(1): {At: short}}
		}, "1 2", "1 2", "", false, true},
		{"a purged record stands in the base of one that is retained", func(v *gcView, r *gcRules) {
			composed(v, 3, 1)
			r.erased = map[string]bool{snapshotID(1): true}
		}, "1 2 3", "1 2 3", "", false, true},
		{"a purged record stands in the base of what is served", func(v *gcView, r *gcRules) {
			composed(v, 4, 1)
			r.erased = map[string]bool{snapshotID(1): true}
		}, "2", "2", "", false, true},
		{"it is not known what one that is retained is made of", func(v *gcView, r *gcRules) {
			v.unread = map[string]error{snapshotID(3): errors.New("torn")}
		}, "", "", gcUnclear, false, false},
		{"it is not known what one that goes is made of", func(v *gcView, r *gcRules) {
			v.unread = map[string]error{snapshotID(2): errors.New("torn")}
		}, "1 2", "1 2", "", false, true},
		{"it is not known what one that is used and was not listed is made of", func(v *gcView, r *gcRules) {
			v.unread = map[string]error{snapshotID(9): errors.New("torn")}
			v.beats = []replica{beatOf(9, 0, time.Second)}
		}, "", "", gcUnclear, false, false},
		{"a base that is being made", func(v *gcView, r *gcRules) {
			v.doc.Building, v.doc.Epoch = &store.Building{ID: snapshotID(1), Epoch: 3}, 3
		}, "2", "2", "", false, true},
		{"a base that an earlier term was making", func(v *gcView, r *gcRules) {
			v.doc.Building, v.pointer.Epoch = &store.Building{ID: snapshotID(1), Epoch: 3}, 4
		}, "1 2", "1 2", "", false, true},
		{"another lineage", func(v *gcView, r *gcRules) { r.served = &store.Pointer{Lineage: "k", Generation: 1} }, "1 2", "1 2", gcOlderPointer, false, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			v := gcView{now: now, pointer: store.Pointer{Lineage: "l", Generation: 7, PromotedAt: long}}
			v.pointer.ID = snapshotID(4)
			for i := range 4 {
				v.found = append(v.found, store.SnapshotInfo{
					ID: snapshotID(i + 1), HasManifest: true, Newest: long, Files: map[string]store.Info{"manifest.json": {}},
				})
				if i < 3 {
					v.pointer.History = append(v.pointer.History, store.Promotion{ID: snapshotID(3 - i), PromotedAt: long.Add(-time.Duration(i+1) * time.Minute), RetiredAt: long})
				}
			}
			r := gcRules{retain: 1, grace: 10 * time.Minute}
			if c.change != nil {
				c.change(&v, &r)
			}
			plan := v.plan(r)
			var gone []string
			for _, l := range plan.lines {
				if l.Delete {
					gone = append(gone, numberOf(strings.TrimSuffix(l.Key, "/manifest.json")))
				}
			}
			var deleting []string
			for _, id := range slices.Sorted(maps.Keys(plan.doc.Deleting)) {
				deleting = append(deleting, numberOf(id))
			}
			type row struct {
				Gone, Deleting  string
				Stop            gcStop
				Fence, Announce bool
			}
			got := row{strings.Join(gone, " "), strings.Join(deleting, " "), plan.stop, plan.fence, plan.announce}
			if diff := cmp.Diff(row{c.gone, c.deleting, c.stop, c.fence, c.announce}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fullHistory has the history full of promotions of snapshots 2 and 3 within minutes, 1 not among them.
func fullHistory(v *gcView, r *gcRules, remembered bool) {
	r.grace, v.pointer.History = time.Hour, nil
	v.doc.Retired = map[string]store.Served{}
	for i := range store.HistoryLength {
		to := v.now.Add(-time.Duration(i) * 2 * time.Minute)
		id := snapshotID(2 + i%2)
		v.pointer.History = append(v.pointer.History, store.Promotion{ID: id, PromotedAt: to.Add(-2 * time.Minute), RetiredAt: to})
		if remembered {
			v.doc.Retired[id] = store.Served{From: to.Add(-2 * time.Minute), To: to}
		}
	}
}

// composed makes snapshot n one of others, by number.
func composed(v *gcView, n int, of ...int) {
	if v.parts == nil {
		v.parts = map[string][]string{}
	}
	base, parts := &store.Base{ID: snapshotID(of[0])}, []string{}
	var deltas []store.DeltaRef
	for i, part := range of {
		if parts = append(parts, snapshotID(part)); i > 0 {
			deltas = append(deltas, store.DeltaRef{ID: snapshotID(part)})
		}
	}
	v.parts[snapshotID(n)] = parts
	if v.pointer.ID == snapshotID(n) {
		v.pointer.Base, v.pointer.Deltas = base, append(deltas, store.DeltaRef{ID: snapshotID(n)})
	}
}

func beatOf(using, fetching int, age time.Duration) replica {
	b := replica{Heartbeat: store.Heartbeat{ID: "r", Using: snapshotID(using), TTLSeconds: 60}, age: age}
	if fetching > 0 {
		b.Fetching = snapshotID(fetching)
	}
	return b
}

// numberOf is the inverse of snapshotID, up to nine.
func numberOf(id string) string {
	for i := range 10 {
		if snapshotID(i) == id {
			return string(rune('0' + i))
		}
	}
	return id
}
