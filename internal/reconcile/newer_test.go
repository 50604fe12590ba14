package reconcile_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Two releases on one store: a deploy replaces one by the other, in either direction.

// newerSpec makes the pointer one of a later release, which added a member to the spec and promoted.
func (r *rig) newerSpec() store.Pointer {
	r.t.Helper()
	r.edit(r.layout.Pointer(), func(doc map[string]any) {
		spec := doc["spec"].(map[string]any)
		spec["quantisation"] = "none"
		data, err := json.Marshal(spec)
		must(r.t, err)
		sum := sha256.Sum256(data)
		doc["spec_digest"], doc["generation"], doc["endorsement"] = hex.EncodeToString(sum[:]), 2, "abc"
	})
	return r.pointer()
}

func TestSpecOfANewerReleaseIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.promoted("a")
		p := r.newerSpec()
		r.catalogue(0, 4, "b")
		r.once() // a takeover: it fences
		q := r.pointer()
		if q.ID != p.ID || q.Generation != 2 || q.SpecDigest != p.SpecDigest {
			t.Errorf("generation %d, spec digest kept: %v", q.Generation, q.SpecDigest == p.SpecDigest)
		}
		raw := string(r.mem.Data(r.layout.Pointer()))
		if !strings.Contains(raw, "quantisation") || !strings.Contains(raw, "endorsement") {
			t.Error("what the newer release wrote is gone")
		}
		r.condition(reconcile.Built, reconcile.False, "NewerSpec")
		r.condition(reconcile.Ready, reconcile.False, "NewerSpec")
		r.condition(reconcile.Intact, reconcile.True, "")
		// The pointer is restored with all of it.
		r.remove(r.layout.Pointer())
		r.once()
		if raw := string(r.mem.Data(r.layout.Pointer())); !strings.Contains(raw, "quantisation") {
			t.Error("a restored pointer lacks what the newer release wrote")
		}
		// Somebody who wants this release for good says so.
		r.want(r.onceWith(reconcile.OnceOptions{Force: true, Yes: true}), reconcile.ResultPromoted, 0)
		r.want(r.once(), reconcile.ResultUnchanged, 0)
		r.condition(reconcile.Ready, reconcile.True, "")
		if p := r.pointer(); p.Spec.Unknown != "" || strings.Contains(string(r.mem.Data(r.layout.Pointer())), "endorsement") {
			t.Errorf("spec %+v", p.Spec)
		}
	})
}

func TestControlOfANewerReleaseKeepsItsMembers(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	must(t, r.operator().Suspend(t.Context(), "x"))
	r.edit(r.layout.Control(), func(doc map[string]any) {
		doc["novel"] = []string{"h1"}
		doc["suspended"].(map[string]any)["until"] = "tomorrow"
	})
	must(t, r.operator().Pin(t.Context(), ids[0]))
	for range 2 {
		raw := string(r.mem.Data(r.layout.Control()))
		if !strings.Contains(raw, `"h1"`) || !strings.Contains(raw, "tomorrow") || !strings.Contains(raw, ids[0]) {
			t.Errorf("control %s", raw)
		}
		r.once()
		r.remove(r.layout.Control()) // and so it is restored
		r.once()
	}
	must(t, r.operator().Resume(t.Context()))
	if raw := string(r.mem.Data(r.layout.Control())); strings.Contains(raw, "suspended") || !strings.Contains(raw, `"h1"`) {
		t.Errorf("after resume: %s", raw)
	}
}

// TestLeaderStepsDownForANewerFormat: it says so, waits without the lease, and leads again when the document is of its
// own format.
func TestLeaderStepsDownForANewerFormat(t *testing.T) {
	layout := store.NewLayout("p", "")
	for _, key := range []string{layout.Pointer(), layout.Control(), layout.GC(), layout.Status(), layout.Lease()} {
		t.Run(strings.TrimPrefix(key, "p/"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				ids := r.three()
				must(t, r.operator().Pin(t.Context(), ids[2]))
				must(t, r.operator().Unpin(t.Context()))
				x := r.indexer()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- x.Run(ctx) }()
				time.Sleep(3 * time.Minute)
				before := r.pointer()

				good := r.mem.Data(key)
				r.edit(key, func(doc map[string]any) { doc["format_version"] = 99 })
				newer := string(r.mem.Data(key))
				r.catalogue(0, 9, "edited under the newer release")
				time.Sleep(10 * time.Minute)
				if got := string(r.mem.Data(key)); got != newer {
					t.Errorf("the newer document was replaced by\n%s", got)
				}
				if c := x.Status().Conditions; len(c) == 0 || c[0].Type != reconcile.Leader || c[0].Status != reconcile.False || c[0].Reason != "NewerFormat" {
					t.Errorf("it says %+v", c)
				}
				if key != layout.Lease() {
					if l, _, err := store.ReadDoc[store.Lease](t.Context(), r.mem, layout.Lease(), store.GetOptions{}); err != nil || !l.Released {
						t.Errorf("the lease is kept from a newer release: %+v, %v", l, err)
					}
				}

				r.put(key, good)
				time.Sleep(10 * time.Minute)
				if p := r.pointer(); p.Generation != before.Generation+1 {
					t.Errorf("generation %d after %d", p.Generation, before.Generation)
				}
				r.condition(reconcile.Ready, reconcile.True, "")
				cancel()
				must(t, <-done)
			})
		})
	}
}

func TestManifestsAndVerdictsOfANewerFormatArePassedOver(t *testing.T) {
	r := newRig(t)
	ids := r.three()
	r.edit(r.layout.Manifest(ids[0]), func(doc map[string]any) { doc["format_version"] = 99 })
	r.edit(r.layout.Verdict(ids[1]), func(doc map[string]any) { doc["format_version"] = 99 })
	r.edit(r.layout.Verdict(ids[2]), func(doc map[string]any) { doc["format_version"] = 99 })
	for i := range 2 {
		r.catalogue(0, 3+i, "a") // what those were built from
		r.want(r.once(), reconcile.ResultPromoted, 0)
		r.condition(reconcile.Ready, reconcile.True, "")
	}
	if err := r.operator().Promote(t.Context(), ids[0], true); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("promote a snapshot of a newer format: %v", err)
	}
}
