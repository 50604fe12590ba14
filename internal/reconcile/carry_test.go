package reconcile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// edited is catalogue(0, n, "a") with other texts for the first few.
func edited(n, few int, rev string) []byte {
	s := string(catalogue(0, n, "a"))
	for i := range few {
		s = strings.Replace(s, fmt.Sprintf(`"about %d a"`, i), fmt.Sprintf(`"about %d %s"`, i, rev), 1)
	}
	return []byte(s)
}

func carryRig(t *testing.T) *rig {
	r := newRig(t)
	r.indexes.Kind = "hnsw"
	r.catalogue(0, 100, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantCarried(0, 0)
	return r
}

func (r *rig) wantCarried(carried, changed int) {
	r.t.Helper()
	if s := r.pointer().Stats; s.Carried != carried || s.ChangedSinceFull != changed {
		r.t.Fatalf("%d rows carried, %d changed since the last full build; want %d and %d", s.Carried, s.ChangedSinceFull, carried, changed)
	}
}

func TestSmallChangesAreCarriedOverUntilTheyAddUp(t *testing.T) {
	r := carryRig(t)
	for i, want := range []struct{ carried, changed int }{{92, 8}, {92, 16}, {0, 0}, {92, 8}} {
		r.put(r.layout.Source, edited(100, 8, fmt.Sprint("b", i)))
		r.want(r.once(), reconcile.ResultPromoted, 0)
		r.wantCarried(want.carried, want.changed)
	}
	// Ten of the hundred leave: nothing new, and as many rows lost.
	r.put(r.layout.Source, catalogueWithout(100, 10, 20, "b3"))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantCarried(90, 18)
	if strings.Contains(r.logs.String(), "served index not reused") {
		t.Error("an index could not be reused")
	}
}

// catalogueWithout is edited(n, 8, rev) without the records from..to-1.
func catalogueWithout(n, from, to int, rev string) []byte {
	s := string(edited(n, 8, rev))
	for i := from; i < to; i++ {
		s = strings.Replace(s, fmt.Sprintf(`{"id":"V-%03d","name":"vendor %d","description":"about %d a"},`, i, i, i), "", 1)
	}
	return []byte(s)
}

func TestRecordsWhoseTextStayedAreCarriedOver(t *testing.T) {
	r := carryRig(t)
	// Every record changes, the text of none.
	r.put(r.layout.Source, []byte(strings.ReplaceAll(string(catalogue(0, 100, "a")), `"name"`, `"score_num":1,"name"`)))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if s := r.pointer().Stats; s.Changed != 100 || s.Embedded != 0 {
		t.Fatalf("%+v: want all changed, none embedded", s)
	}
	r.wantCarried(100, 0)
}

func TestNothingIsCarriedOver(t *testing.T) {
	for name, change := range map[string]func(r *rig) reconcile.OnceOptions{
		"when forced": func(*rig) reconcile.OnceOptions { return reconcile.OnceOptions{Force: true} },
		"after much has changed": func(r *rig) reconcile.OnceOptions {
			r.put(r.layout.Source, edited(100, 21, "c"))
			return reconcile.OnceOptions{}
		},
		"to another kind": func(r *rig) reconcile.OnceOptions {
			r.indexes.Kind, r.cfg.IndexKind = "ivf", "ivf"
			return reconcile.OnceOptions{}
		},
		"of another model, which the ledger has": func(r *rig) reconcile.OnceOptions {
			r.cfg.Embedding.Version = "2"
			r.want(r.once(), reconcile.ResultPromoted, 0)
			r.cfg.Embedding.Version = "1"
			r.put(r.layout.Source, edited(100, 2, "b"))
			return reconcile.OnceOptions{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := carryRig(t)
			r.put(r.layout.Source, edited(100, 1, "b"))
			o := change(r)
			o.Yes = true
			r.want(r.onceWith(o), reconcile.ResultPromoted, 0)
			r.wantCarried(0, 0)
		})
	}
}

func TestAServedIndexThatCannotBeReadMeansAFullBuild(t *testing.T) {
	r := carryRig(t)
	// The same size, so that only its digest tells.
	key := r.layout.File(r.pointer().ID, snapshot.FileIndex)
	f, _ := r.pointer().File(snapshot.FileIndex)
	r.put(key, make([]byte, f.Size))
	r.put(r.layout.Source, edited(100, 1, "b"))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantCarried(0, 0)
	if !strings.Contains(r.logs.String(), "served index not reused") {
		t.Error("nothing was said of it")
	}
}

func TestACarriedIndexThatLacksRecallIsBuiltAnew(t *testing.T) {
	r := carryRig(t)
	r.indexes.MissCarried = true
	r.put(r.layout.Source, edited(100, 1, "b"))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantCarried(0, 0)
	if n := strings.Count(r.logs.String(), "index rebuilt"); n != 3 {
		t.Errorf("built %d times, want 1 + 2", n)
	}
	// One that lacks recall though built anew is held as ever, after one attempt.
	r.indexes.Miss = true
	r.put(r.layout.Source, edited(100, 2, "c"))
	r.want(r.once(), reconcile.ResultHeld, 3)
	if n := strings.Count(r.logs.String(), "index rebuilt"); n != 5 {
		t.Errorf("built %d times, want 5", n)
	}
}

func TestTheMeasuredEfIsInTheManifest(t *testing.T) {
	r := carryRig(t)
	p := r.pointer()
	m, _, err := store.ReadManifest(t.Context(), r.objects, r.layout, p.ID, p.ManifestSHA256)
	if err != nil {
		t.Fatal(err)
	}
	if m.Index.EfSearch != snapshottest.TunedEf || p.Index != m.Index {
		t.Errorf("manifest %+v, pointer %+v, want an ef of %d", m.Index, p.Index, snapshottest.TunedEf)
	}
	r.indexes.Kind, r.cfg.IndexKind = "", "flat"
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if w := r.pointer().Index.EfSearch; w != 0 {
		t.Errorf("a flat index got an ef of %d", w)
	}
}
