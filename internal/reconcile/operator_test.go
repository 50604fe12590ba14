package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// three promotes three snapshots and returns their ids.
func (r *rig) three() [3]string {
	r.t.Helper()
	var ids [3]string
	for i := range ids {
		r.catalogue(0, 3+i, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		ids[i] = r.pointer().ID
	}
	return ids
}

func TestRollbackPinsAndTheNextPassDoesNotUndoIt(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	op := r.operator()
	got, err := op.Rollback(t.Context(), "")
	if err != nil || got != ids[1] {
		t.Fatalf("rolled back to %q, %v; want %q", got, err, ids[1])
	}
	p := r.pointer()
	if p.ID != ids[1] || p.Generation != 4 || p.Reason != reconcile.ReasonRollback || !p.History[0].RolledBack || p.History[0].ID != ids[2] {
		t.Errorf("pointer %s generation %d %q, history %+v", p.ID, p.Generation, p.Reason, p.History[0])
	}
	r.want(r.once(), reconcile.ResultPinned, 0)
	if r.pointer().ID != ids[1] {
		t.Error("the pass undid the rollback")
	}
	info, err := r.mem.Head(t.Context(), r.layout.Current(snapshot.FileIndex))
	if err != nil || info.Metadata["snapshot-id"] != ids[1] {
		t.Errorf("old readers see %v, %v", info.Metadata, err)
	}
	r.condition(reconcile.Suspended, reconcile.True, "Pinned")
	if again, err := op.Rollback(t.Context(), ""); err != nil || again != ids[0] {
		t.Errorf("second rollback to %q, %v; want the one before, %q", again, err, ids[0])
	}
	if err := op.Unpin(t.Context()); err != nil {
		t.Fatal(err)
	}
	bought := r.embed.Bought()
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if p := r.pointer(); p.ID != ids[2] || p.Reason != reconcile.ReasonAdopted || p.Generation != 6 {
		t.Errorf("after unpin: %s %q generation %d, want %s adopted", p.ID, p.Reason, p.Generation, ids[2])
	}
	if r.embed.Bought() != bought {
		t.Error("unpin bought texts again")
	}
}

func TestSuspendStopsEverythingUntilResume(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	p := r.pointer()
	if err := r.operator().Suspend(t.Context(), "maintenance"); err != nil {
		t.Fatal(err)
	}
	if q := r.pointer(); q.Nonce == p.Nonce || q.Epoch != p.Epoch || q.Generation != p.Generation {
		t.Errorf("suspend did not fence the pointer: %+v", q)
	}
	r.catalogue(0, 4, "a")
	r.want(r.once(), reconcile.ResultSuspended, 0)
	r.condition(reconcile.Suspended, reconcile.True, "Suspended")
	if r.pointer().ID != p.ID {
		t.Error("promoted while suspended")
	}
	if err := r.operator().Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
}

func TestPromotionThatMissedAnIntentFails(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	id := r.pointer().ID
	r.catalogue(0, 4, "a")
	// The operator suspends while the pass embeds: it has read control.json already.
	r.embed.Before = func(ctx context.Context, _ []string) error {
		r.embed.Before = nil
		return r.operator().Suspend(ctx, "now")
	}
	out := r.once()
	r.want(out, reconcile.ResultFailed, reconcile.ExitConflict)
	if !errors.Is(out.Err, store.ErrConflict) || r.pointer().ID != id {
		t.Errorf("%v, pointer %s", out.Err, r.pointer().ID)
	}
}

func TestPromotionOfAnotherSourceStatePins(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	if err := r.operator().Promote(t.Context(), ids[0], false); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPinned, 0)
	if err := r.operator().Promote(t.Context(), ids[2], false); err != nil {
		t.Fatal(err)
	}
	if p := r.pointer(); p.ID != ids[2] {
		t.Errorf("pointer %s", p.ID)
	}
	r.want(r.once(), reconcile.ResultPinned, 0) // the pin moved along
}

func TestOperatorsRefuseWhatCannotBeServed(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	op := r.operator()
	if _, err := op.Rollback(t.Context(), "20200101T000000Z-00000000"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown snapshot: %v", err)
	}
	if err := op.Pin(t.Context(), "../escape"); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("not an id: %v", err)
	}
	doc := store.GC{FormatVersion: 1, Deleting: map[string]store.Mark{ids[0]: {}}, Nonce: store.NewNonce()}
	if _, err := store.WriteDoc(t.Context(), r.mem, r.layout.GC(), doc, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := op.Pin(t.Context(), ids[0]); !errors.Is(err, reconcile.ErrDeleting) {
		t.Errorf("a snapshot that is being deleted: %v", err)
	}
	r.mem.Corrupt(r.layout.File(ids[1], snapshot.FileIndex), func(b []byte) []byte { b[9] ^= 1; return b })
	if _, err := op.Verify(t.Context(), ids[1], nil); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("verify a damaged snapshot: %v", err)
	}
	if err := op.Promote(t.Context(), ids[1], true); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("promote a damaged snapshot by force: %v", err)
	}
	r.mem.Corrupt(r.layout.File(ids[1], snapshot.FileIndex), func(b []byte) []byte { b[9] ^= 1; return b })
	if _, err := op.Verify(t.Context(), ids[1], nil); err != nil {
		t.Errorf("verify a repaired snapshot: %v", err)
	}
	if err := op.Promote(t.Context(), ids[1], true); err != nil {
		t.Errorf("promote a repaired snapshot: %v", err)
	}
	if err := r.mem.Delete(t.Context(), r.layout.File(ids[2], snapshot.FileOffsets)); err != nil {
		t.Fatal(err)
	}
	if _, err := op.Rollback(t.Context(), ids[2]); !errors.Is(err, reconcile.ErrIncomplete) {
		t.Errorf("roll back to an incomplete snapshot: %v", err)
	}
}

func TestListShowsStates(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	rows, err := r.operator().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, row.ID+" "+row.State)
	}
	want := []string{ids[2] + " current", ids[1] + " previous", ids[0] + " retained"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if rows[0].Vectors != 5 || rows[0].CreatedAt.IsZero() || rows[0].Index != "flat" {
		t.Errorf("row %+v", rows[0])
	}
	d, err := r.operator().Show(t.Context(), ids[0])
	if err != nil || d.State != reconcile.StateRetained || d.Verdict == nil || d.Verdict.Result != reconcile.VerdictPassed {
		t.Errorf("show: %+v, %v", d, err)
	}
}

func TestDiffNamesRecordsAndFields(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	from := r.pointer().ID
	data := strings.Replace(string(catalogue(1, 4, "a")), `"name":"vendor 2"`, `"name":"vendor two"`, 1)
	r.put(r.layout.Source, []byte(data))
	r.once()
	d, err := r.operator().Diff(t.Context(), from, r.pointer().ID, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := reconcile.Diff{
		From: from, To: r.pointer().ID, Added: []string{"V-003"}, Removed: []string{"V-000"},
		Changed: []reconcile.RecordChange{{ID: "V-002", Fields: []string{"name"}}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

func TestRequestIsFollowedToItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.indexer().Run(ctx) }()
		time.Sleep(5 * time.Second)
		op := r.operator()
		if alive, err := op.LeaderAlive(t.Context()); err != nil || !alive {
			t.Errorf("leader alive: %v, %v", alive, err)
		}
		first := r.pointer().ID
		h, err := op.Request(t.Context(), reconcile.VerbReconcile, true)
		if err != nil || h.Result != reconcile.ResultPromoted || h.ExitCode != 0 || r.pointer().ID == first {
			t.Errorf("forced pass: %+v, %v", h, err)
		}
		h, err = op.Request(t.Context(), reconcile.VerbGC, false)
		if err != nil || h.Result != reconcile.ResultCollected {
			t.Errorf("gc: %+v, %v", h, err)
		}
		r.put(r.layout.Source, []byte(`[]`))
		h, err = op.Request(t.Context(), reconcile.VerbReconcile, false)
		if err != nil || h.Result != reconcile.ResultFailed || h.ExitCode != 1 {
			t.Errorf("pass over a bad catalogue: %+v, %v", h, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if alive, err := op.LeaderAlive(t.Context()); err != nil || alive {
			t.Errorf("leader alive after it stopped: %v, %v", alive, err)
		}
	})
}
