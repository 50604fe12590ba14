package reconcile_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
)

// A person stands in a base, in a delta, or is named by a tombstone alone: none of these snapshots, and nothing made of
// them, outlives a purge, and what is served afterwards is a full build. Before it is done nobody goes back to one.
func TestAPurgeGoesThroughCompositions(t *testing.T) {
	person := entry{personID, personName}
	for name, at := range map[string]int{"in the base": 0, "in a delta that is merged": 1, "in the last delta": 3, "taken away since": 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newErasing(t)
				e.cfg.Delta, e.cfg.DeltaFrom, e.cfg.RetainGrace = reconcile.DeltaAuto, 0, time.Hour
				all, ids := entriesOf(100), []string{}
				publish := func(edit func()) {
					t.Helper()
					edit()
					writeEntries(e.rig, all)
					e.want(e.once(), reconcile.ResultPromoted, 0)
					ids = append(ids, e.pointer().ID)
					time.Sleep(time.Minute)
				}
				without := func() {
					all = slices.DeleteFunc(all, func(x entry) bool { return x.id == personID })
				}
				for i := range 5 {
					publish(func() {
						all[i].text = "edited"
						if i == at || at == 4 && i == 0 {
							all = append(all, person)
						}
						if at == 4 && i == 3 { // only its base and a tombstone know it
							without()
						}
					})
				}
				if e.pointer().Base == nil {
					t.Fatal("what is served is no composition")
				}
				old := slices.Clone(ids)
				without()
				writeEntries(e.rig, all)
				if _, err := e.purge(reconcile.PurgeOptions{}, personID); err != nil {
					t.Fatal(err)
				}
				if _, err := e.operator().Rollback(t.Context(), old[4]); !errors.Is(err, reconcile.ErrErased) {
					t.Errorf("back to what holds it: %v", err)
				}
				for i := range 6 {
					if e.once(); i == 2 {
						if _, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(time.Minute)
				}
				p := e.pointer()
				if p.Base != nil && slices.Contains(old, p.Base.ID) {
					t.Errorf("%s is served over %s", p.ID, p.Base.ID)
				}
				first := len(old)
				for i, id := range old {
					if e.stored(id) {
						first = min(first, i)
					}
				}
				if first < len(old) && (at == 0 || at == 4 || first >= at) {
					t.Errorf("snapshot %d of %d is stored; the person came with %d", first, len(old), at)
				}
				e.condition(reconcile.Erased, reconcile.True, reconcile.ReasonProven)
				if places := e.found(); len(places) > 0 {
					t.Errorf("found in %v", places)
				}
			})
		})
	}
}
