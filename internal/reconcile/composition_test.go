package reconcile_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// over stores a delta snapshot that goes on from another. Nothing here reads what stands in its delta.
func (r *rig) over(id string) string {
	r.t.Helper()
	m, sha, err := store.ReadManifest(r.t.Context(), r.mem, r.layout, id, "")
	must(r.t, err)
	if m.Base == nil {
		m.Base = &store.Base{ID: m.ID, ManifestSHA256: sha, Records: m.Source.Records, Vectors: m.Stats.Vectors}
		m.ContentDigest = strings.Repeat("0", 64)
	}
	for i := range m.Files {
		if m.Files[i].From == "" {
			m.Files[i].From = m.ID
		}
	}
	if keep := store.MaxDeltas / 2; len(m.Deltas) == store.MaxDeltas { // the rest is merged into the own
		m.Deltas = m.Deltas[:keep]
		m.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f snapshot.File) bool {
			return f.Name == snapshot.FileDelta && !slices.ContainsFunc(m.Deltas, func(d store.DeltaRef) bool { return d.ID == f.From })
		})
	}
	r.overs++
	m.FormatVersion, m.ID, m.CreatedAt, m.Gate = store.FormatDelta, snapshot.NewID(time.Now(), m.ID, fmt.Sprint(r.overs)), time.Now().UTC(), nil
	data := []byte("the changes of " + m.ID)
	sum := sha256.Sum256(data)
	f := snapshot.File{Name: snapshot.FileDelta, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	m.Files = append(m.Files, f)
	m.Deltas = append(slices.Clone(m.Deltas), store.DeltaRef{ID: m.ID, SHA256: f.SHA256, Size: f.Size, Rows: 1})
	r.put(r.layout.File(m.ID, snapshot.FileDelta), data)
	manifest, err := store.MarshalManifest(m)
	must(r.t, err)
	if _, err := store.ParseManifest(manifest, m.ID); err != nil {
		r.t.Fatal(err)
	}
	r.put(r.layout.Manifest(m.ID), manifest)
	return m.ID
}

// compositions promotes a full snapshot and n delta snapshots, each over the one before, a minute apart.
func (r *rig) compositions(n int) []string {
	r.t.Helper()
	r.catalogue(0, 3, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	ids := []string{r.pointer().ID}
	for range n {
		time.Sleep(time.Minute)
		id := r.over(ids[len(ids)-1])
		must(r.t, r.operator().Promote(r.t.Context(), id, false))
		ids = append(ids, id)
	}
	return ids
}

func TestCollectionKeepsWhatCompositionsAreMadeOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.compositions(3)
		other := r.over(ids[0]) // never promoted
		time.Sleep(3 * time.Hour)
		r.cfg.RetainGrace = time.Minute
		r.want(r.gc(), reconcile.ResultCollected, 0)
		for _, id := range ids {
			if !r.stored(id) {
				t.Errorf("%s is gone, and %s is made of it", id, ids[3])
			}
		}
		if r.stored(other) {
			t.Errorf("%s stays", other)
		}
		lines, err := r.operator().GCPlan(t.Context(), 1, time.Minute)
		must(t, err)
		if !slices.ContainsFunc(lines, func(l reconcile.GCLine) bool {
			return l.Key == r.layout.Manifest(ids[0]) && l.Why == "needed by "+ids[2] || l.Why == "needed by "+ids[3]
		}) {
			t.Errorf("it does not say why the base stays: %v", lines)
		}
	})
}

// What a kept snapshot is made of has to be known, or anything may be a part of it.
func TestCollectionStopsAtACompositionThatItCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 2, time.Hour
		ids := r.compositions(2)
		garbage := "20200101T000000Z-0123abcd"
		r.put(r.layout.File(garbage, snapshot.FileIndex), []byte("half an upload"))
		time.Sleep(3 * time.Hour)
		whole := r.mem.Data(r.layout.Manifest(ids[1]))
		r.put(r.layout.Manifest(ids[1]), []byte("torn"))
		r.want(r.gc(), reconcile.ResultFailed, 1)
		for _, c := range r.status().Conditions {
			if c.Type == reconcile.Collected && (c.Status != reconcile.False || !strings.Contains(c.Message, ids[1])) {
				t.Errorf("%+v does not name it", c)
			}
		}
		if !r.stored(garbage) || !r.stored(ids[0]) {
			t.Error("something was deleted")
		}
		r.put(r.layout.Manifest(ids[1]), whole)
		r.want(r.gc(), reconcile.ResultCollected, 0)
		if r.stored(garbage) || !r.stored(ids[0]) {
			t.Error("it does not go on")
		}
	})
}

// Whoever promotes a delta snapshot reserves all that it is made of, in one write, before looking whether it is there.
func TestPromotionReservesTheWholeComposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ids := r.compositions(3)
		must(t, r.operator().Pin(t.Context(), ids[0]))
		want := []string{ids[0], ids[1], ids[2]}
		slices.Sort(want)
		for name, act := range map[string]func(*reconcile.Operator) error{
			"promote":  func(o *reconcile.Operator) error { return o.Promote(t.Context(), ids[2], false) },
			"pin":      func(o *reconcile.Operator) error { return o.Pin(t.Context(), ids[2]) },
			"rollback": func(o *reconcile.Operator) error { _, err := o.Rollback(t.Context(), ids[2]); return err },
		} {
			var mu sync.Mutex
			var reserved []string
			looked, writes := map[string]bool{}, 0
			o := reconcile.NewOperator(store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case op == store.OpPut && key == r.layout.GC():
					writes++
				case op == store.OpHead && strings.HasSuffix(key, "/"+snapshot.FileDelta):
					doc, _, err := store.ReadDoc[store.GC](ctx, r.mem, r.layout.GC(), store.GetOptions{})
					if err != nil {
						t.Error(err)
					}
					reserved = slices.Sorted(maps.Keys(doc.Reserved))
					fallthrough
				case op == store.OpHead:
					looked[key] = true
				}
				return call()
			}), r.layout, "tester")
			must(t, act(o))
			if !slices.Equal(reserved, want) {
				t.Errorf("%s reserves %v, want %v", name, reserved, want)
			}
			for _, key := range []string{r.layout.File(ids[0], snapshot.FileIndex), r.layout.File(ids[1], snapshot.FileDelta), r.layout.File(ids[2], snapshot.FileDelta)} {
				if !looked[key] {
					t.Errorf("%s does not look at %s", name, key)
				}
			}
			doc, _, err := store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
			if err != nil || len(doc.Reserved) != 0 || writes != 2 {
				t.Errorf("%s leaves reserved %v, %v; gc.json was written %d times, want 2", name, doc.Reserved, err, writes)
			}
			must(t, r.operator().Pin(t.Context(), ids[0]))
		}
	})
}

func TestPromotionRefusesACompositionWithAPartMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ids := r.compositions(2)
		must(t, r.operator().Pin(t.Context(), ids[0]))
		before := r.pointer().Nonce
		r.doom(ids[1])
		if err := r.operator().Pin(t.Context(), ids[2]); !errors.Is(err, reconcile.ErrDeleting) || !strings.Contains(err.Error(), ids[1]) {
			t.Errorf("a part of it is being deleted: %v", err)
		}
		if r.pointer().Nonce != before {
			t.Error("a pin was written that cannot be fulfilled")
		}
		r.put(r.layout.GC(), store.GC{FormatVersion: 1, Nonce: store.NewNonce()})
		// It comes between the first look and the reservation.
		late := false
		o := reconcile.NewOperator(store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if op == store.OpHead && key == r.layout.Manifest(ids[2]) && !late {
				late = true
				r.doom(ids[1])
			}
			return call()
		}), r.layout, "tester")
		if err := o.Pin(t.Context(), ids[2]); !errors.Is(err, reconcile.ErrDeleting) || !late {
			t.Errorf("late: %v; a part of it is being deleted: %v", late, err)
		}
		r.put(r.layout.GC(), store.GC{FormatVersion: 1, Nonce: store.NewNonce()})
		r.remove(r.layout.File(ids[1], snapshot.FileDelta))
		if err := r.operator().Pin(t.Context(), ids[2]); !errors.Is(err, reconcile.ErrIncomplete) || !strings.Contains(err.Error(), ids[1]) {
			t.Errorf("a part of it is gone: %v", err)
		}
		if id := r.pointer().ID; id != ids[0] {
			t.Errorf("%s is served", id)
		}
	})
}

// What was current at a time is found though the history forgot it, passing over what is gone or was rolled back from.
func TestCurrentAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		ids := r.compositions(30) // a minute each
		now := time.Now()
		at := func(n int) time.Time { return began.Add(time.Duration(n)*time.Minute + 30*time.Second) }
		for _, n := range []int{0, 3, 17, 29} {
			past, err := r.operator().CurrentAt(t.Context(), at(n))
			if err != nil || past.ID != ids[n] || past.To.Sub(past.From) < 50*time.Second {
				t.Errorf("%d: %+v, %v; want %s", n, past, err, ids[n])
			}
			if n <= 3 && past.Fetch != 0 { // it is a part of what is served
				t.Errorf("%d: %d bytes to fetch", n, past.Fetch)
			}
		}
		if past, err := r.operator().CurrentAt(t.Context(), now); err == nil || !strings.Contains(err.Error(), ids[30]) {
			t.Errorf("what is current: %+v, %v", past, err)
		}
		if past, err := r.operator().CurrentAt(t.Context(), began.Add(-time.Minute)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("before there was anything: %+v, %v", past, err)
		}
		r.remove(r.layout.Manifest(ids[17]))
		if past, err := r.operator().CurrentAt(t.Context(), at(17)); err != nil || past.ID != ids[16] {
			t.Errorf("after it was removed: %+v, %v; want %s", past, err, ids[16])
		}
		r.doom(ids[16])
		if past, err := r.operator().CurrentAt(t.Context(), at(17)); err != nil || past.ID != ids[15] {
			t.Errorf("while it is being deleted: %+v, %v; want %s", past, err, ids[15])
		}
		r.put(r.layout.GC(), store.GC{FormatVersion: 2, Nonce: store.NewNonce()})
		if _, err := r.operator().Rollback(t.Context(), ids[20]); err != nil {
			t.Fatal(err)
		}
		if past, err := r.operator().CurrentAt(t.Context(), now.Add(30*time.Second)); err == nil {
			t.Errorf("it goes back to what was rolled back from: %+v", past)
		}
		if past, err := r.operator().CurrentAt(t.Context(), at(19)); err != nil || past.ID != ids[19] {
			t.Errorf("after a rollback: %+v, %v", past, err)
		}
	})
}

// Delta snapshots go eight at a time, each manifest first, and an operator who comes meanwhile is heard after those.
func TestDeltaSnapshotsGoAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Hour
		ids := r.compositions(1)
		for range 20 { // never promoted
			r.over(ids[0])
		}
		time.Sleep(3 * time.Hour)
		var mu sync.Mutex
		gone, looks, suspended := map[string]int{}, 0, false
		r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
			mu.Lock()
			defer mu.Unlock()
			id, file, _ := strings.Cut(strings.TrimPrefix(key, r.layout.Root()), "/")
			switch {
			case op == store.OpGet && key == r.layout.Control():
				looks++
			case op == store.OpDelete && strings.HasPrefix(id, "2"):
				if first := gone[id] == 0; first != (file == snapshot.FileManifest) {
					t.Errorf("%s goes as number %d of its snapshot", key, gone[id])
				}
				if gone[id]++; !suspended {
					suspended = true
					must(t, reconcile.NewOperator(r.mem, r.layout, "tester").Suspend(ctx, "stop"))
				}
			}
			return call()
		})
		r.gc()
		if len(gone) != 8 {
			t.Errorf("%d snapshots went after the suspension, want 8", len(gone))
		}
		must(t, reconcile.NewOperator(r.mem, r.layout, "tester").Resume(t.Context()))
		looks = 0
		r.want(r.gc(), reconcile.ResultCollected, 0)
		if len(gone) != 20 || looks > 8 {
			t.Errorf("%d of 20 went, control.json was read %d times", len(gone), looks)
		}
	})
}

// TestAComplaintIsNotOutrunByEdits: it is about a snapshot that was edited since, and the damage is in what both are made of.
func TestAComplaintIsNotOutrunByEdits(t *testing.T) {
	for name, damaged := range map[string]bool{"the replica's own disk is at fault": false, "the base is damaged": true} {
		t.Run(name, func(t *testing.T) {
			r := deltaRig(t)
			var all []entry
			for i := range 60 {
				all = append(all, entry{fmt.Sprintf("V-%d", i), "a"})
			}
			writeEntries(r, all)
			pass := r.leading()
			pass(func() {})
			base := r.pointer().ID
			edit := func(text string) store.Pointer {
				all[0].text = text
				pass(func() { writeEntries(r, all) })
				return r.pointer()
			}
			p := edit("b")
			if now := edit("c"); p.Base == nil || now.Base == nil {
				t.Fatal("the edits are no deltas")
			}
			r.beat(store.Heartbeat{ID: "s1", Rejected: &store.Rejection{ID: p.ID, ManifestSHA256: p.ManifestSHA256, Reason: reconcile.RejectedHash, Since: time.Now()}})
			if damaged {
				r.mem.Corrupt(r.layout.File(base, snapshot.FileIndex), func(b []byte) []byte { b[20] ^= 1; return b })
			}
			r.once()
			if q := r.pointer(); damaged != (q.Base == nil && q.Reason == reconcile.ReasonBroken) {
				t.Errorf("then %s, %s, base %v", q.ID, q.Reason, q.Base)
			}
		})
	}
}
