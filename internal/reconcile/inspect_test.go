package reconcile_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Three compositions of one catalogue are listed, told apart and compared as what they hold, whatever they are made of.
func TestCompositionsAreListedAndCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		all, ids := entriesOf(100), []string{}
		publish := func() {
			t.Helper()
			writeEntries(r, all)
			r.want(r.once(), reconcile.ResultPromoted, 0)
			ids = append(ids, r.pointer().ID)
		}
		publish()
		all[5].text, all[9].text = "edited", "edited"
		publish()
		all[5].text = "edited again"
		all = slices.Delete(all, 9, 10)
		all = slices.Insert(all, 20, entry{"V-new", "new"})
		publish()
		rows, err := r.operator().List(t.Context())
		must(t, err)
		for i, row := range rows { // the newest first
			want := reconcile.SnapshotRow{Kind: reconcile.KindDelta, Base: ids[0], Rows: []int{3, 2, 0}[i]}
			if i == 2 {
				want.Kind, want.Base = reconcile.KindFull, ""
			}
			if got := (reconcile.SnapshotRow{Kind: row.Kind, Base: row.Base, Rows: row.Rows}); row.ID != ids[2-i] || got != want {
				t.Errorf("%s is listed as %+v, want %+v", row.ID, got, want)
			}
		}
		none := []string{}
		for _, c := range []struct {
			from, to       int
			added, removed []string
			changed        []string
		}{
			{0, 1, none, none, []string{"V-005", "V-009"}},
			{1, 2, []string{"V-new"}, []string{"V-009"}, []string{"V-005"}},
			{2, 0, []string{"V-009"}, []string{"V-new"}, []string{"V-005"}},
			{2, 2, none, none, nil},
		} {
			d, err := r.operator().Diff(t.Context(), ids[c.from], ids[c.to], t.TempDir())
			must(t, err)
			want := reconcile.Diff{From: ids[c.from], To: ids[c.to], Added: c.added, Removed: c.removed, Changed: []reconcile.RecordChange{}}
			for _, id := range c.changed {
				want.Changed = append(want.Changed, reconcile.RecordChange{ID: id, Fields: []string{"description"}})
			}
			if diff := cmp.Diff(want, d); diff != "" {
				t.Errorf("from %d to %d: %s", c.from, c.to, diff)
			}
		}
	})
}

// Verify reads everything that a composition is made of, and names what is wrong.
func TestVerifyNamesThePartThatIsWrong(t *testing.T) {
	r := deltaRig(t)
	base, delta := r.aDelta()
	if _, err := r.operator().Verify(t.Context(), delta, nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		r.layout.File(base, snapshot.FileIndex), r.layout.File(delta, snapshot.FileDelta), r.layout.Manifest(base),
	} {
		whole := r.bytes(key)
		r.mem.Corrupt(key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		if _, err := r.operator().Verify(t.Context(), delta, nil); !errors.Is(err, snapshot.ErrCorrupt) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is damaged: %v", key, err)
		}
		r.put(key, whole)
	}
}

// A base is made to be gone on from. Nobody promotes it by itself, however it is asked for.
func TestABaseIsNotPromotedByItself(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	r.edit(r.layout.Manifest(ids[0]), func(doc map[string]any) { doc["role"] = store.RoleBase })
	before := r.pointer()
	for what, act := range map[string]func(*reconcile.Operator) error{
		"promote":  func(o *reconcile.Operator) error { return o.Promote(t.Context(), ids[0], true) },
		"pin":      func(o *reconcile.Operator) error { return o.Pin(t.Context(), ids[0]) },
		"rollback": func(o *reconcile.Operator) error { _, err := o.Rollback(t.Context(), ids[0]); return err },
	} {
		if err := act(r.operator()); !errors.Is(err, reconcile.ErrBase) || !strings.Contains(err.Error(), "indexer") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if p := r.pointer(); p.ID != before.ID || p.Nonce != before.Nonce {
		t.Errorf("%s is served", p.ID)
	}
	rows, err := r.operator().List(t.Context())
	must(t, err)
	if last := rows[len(rows)-1]; last.ID != ids[0] || last.Kind != reconcile.KindBase {
		t.Errorf("listed as %+v", last)
	}
}

// Whoever makes the first delta over a base vouches for it: with keys it must be signed by one.
func TestABaseThatNobodySignedIsNotGoneOnFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		base := r.pointer().ID
		id := r.over(base)
		signer := newSigner(t)
		sign := func(id string) {
			s, err := signer.Sign(t.Context(), r.bytes(r.layout.Manifest(id)))
			must(t, err)
			must(t, store.PutSignature(t.Context(), r.mem, r.layout, id, s))
		}
		sign(id)
		o := r.operator()
		o.Keys = store.Keys{signer.Public()}
		if err := o.Promote(t.Context(), id, true); !errors.Is(err, store.ErrUnsigned) || !strings.Contains(err.Error(), base) {
			t.Errorf("over an unsigned base: %v", err)
		}
		sign(base)
		must(t, o.Promote(t.Context(), id, true))
	})
}
