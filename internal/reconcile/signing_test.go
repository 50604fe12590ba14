package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func newSigner(t *testing.T) store.Signer {
	t.Helper()
	private, _, err := store.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signedBy asks the served snapshot as a replica with these keys would.
func (r *rig) signedBy(keys ...store.Signer) error {
	r.t.Helper()
	var public store.Keys
	for _, k := range keys {
		public = append(public, k.Public())
	}
	p := r.pointer()
	s, err := store.VerifyManifest(r.t.Context(), r.mem, r.layout, p.ID, p.ManifestSHA256, public)
	if err == nil && (p.Signature == nil || p.Signature.Key != s.Key || !slices.Equal(p.Signature.Value, s.Value)) {
		return errors.New("the pointer does not carry the signature")
	}
	return err
}

func TestSnapshotsAreSignedBeforeTheirManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.signer = newSigner(t)
		r.catalogue(0, 5, "a")
		order := []string{}
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if op == store.OpPut {
				order = append(order, key)
			}
			return call()
		})
		r.want(r.once(), reconcile.ResultPromoted, 0)
		if err := r.signedBy(r.signer); err != nil {
			t.Error(err)
		}
		id := r.pointer().ID
		sig, manifest := slices.Index(order, r.layout.Signature(id)), slices.Index(order, r.layout.Manifest(id))
		if sig < 0 || manifest < 0 || sig > manifest {
			t.Errorf("signature written as number %d, manifest as %d", sig, manifest)
		}
		r.want(r.once(), reconcile.ResultUnchanged, 0)
	})
}

// Whoever turns signing on, or changes keys, has the served snapshot built again and signed: without buying a vector, and
// with no moment at which a replica that has both keys would refuse what is served.
func TestKeysAreChangedWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 5, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		bought := r.embed.Bought()
		old, fresh := newSigner(t), newSigner(t)

		r.signer = old
		r.want(r.once(), reconcile.ResultPromoted, 0)
		if err := r.signedBy(old); err != nil {
			t.Error(err)
		}
		// The new key signs, the old one is still trusted: what is served stays.
		r.signer, r.keys = fresh, store.Keys{old.Public()}
		r.want(r.once(), reconcile.ResultUnchanged, 0)
		if err := r.signedBy(old, fresh); err != nil {
			t.Error(err)
		}
		r.catalogue(0, 5, "b")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		if err := r.signedBy(fresh); err != nil {
			t.Error(err)
		}
		// The old one is no longer trusted: nothing changes, its snapshots are not gone back to.
		r.keys = nil
		r.want(r.once(), reconcile.ResultUnchanged, 0)
		o := r.operator()
		o.Keys = store.Keys{fresh.Public()}
		if _, err := o.Rollback(t.Context(), ""); !errors.Is(err, store.ErrUnsigned) {
			t.Errorf("rolled back to a snapshot of a key that is not trusted: %v", err)
		}
		if n := r.embed.Bought() - bought; n > 5 { // those of revision b
			t.Errorf("%d texts were bought", n)
		}
	})
}

// A snapshot that somebody with access to the bucket made, whole and consistent but not signed, is neither adopted nor
// kept.
func TestForeignSnapshotsAreNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.signer = newSigner(t)
		r.catalogue(0, 5, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		ours := r.signer
		r.signer = newSigner(t) // the attacker's indexer
		r.catalogue(0, 6, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		theirs := r.pointer().ID
		r.signer = ours
		out := r.once()
		if p := r.pointer(); p.ID == theirs || r.signedBy(ours) != nil {
			t.Errorf("served: %s, signed by ours: %v; %s %v", p.ID, r.signedBy(ours), out.Result, out.Err)
		}
	})
}

// A plan says that a served snapshot which no longer counts would be built again: one that is not signed, or lacks a file.
func TestAPlanSeesWhatIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 5, "a")
		r.want(r.once(), reconcile.ResultPromoted, 0)
		upToDate := func() bool {
			t.Helper()
			p, err := r.indexer().Plan(t.Context(), reconcile.OnceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return p.UpToDate
		}
		if !upToDate() {
			t.Error("nothing changed, and the plan would build")
		}
		r.signer = newSigner(t)
		if upToDate() {
			t.Error("the plan keeps what is not signed")
		}
		r.signer = nil
		if err := r.mem.Delete(t.Context(), r.layout.File(r.pointer().ID, snapshot.FileOffsets)); err != nil {
			t.Fatal(err)
		}
		if upToDate() {
			t.Error("the plan keeps what lacks a file")
		}
	})
}
