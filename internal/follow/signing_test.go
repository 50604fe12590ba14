package follow

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func signer(t *testing.T) store.Signer {
	t.Helper()
	private, _, err := store.GenerateKey()
	must(t, err)
	s, err := store.NewSigner(private)
	must(t, err)
	return s
}

// sign writes the signature of a snapshot, and its copy into the pointer when there is one.
func sign(t *testing.T, w *followtest.World, s store.Signer, id string) *store.Signature {
	t.Helper()
	m, _, err := store.ReadManifest(context.Background(), w.Objects, w.Layout, id, "")
	must(t, err)
	data, err := store.MarshalManifest(m)
	must(t, err)
	signature, err := s.Sign(context.Background(), data)
	must(t, err)
	must(t, store.PutSignature(context.Background(), w.Objects, w.Layout, id, signature))
	return &signature
}

// signed publishes a snapshot that s signed.
func signed(t *testing.T, w *followtest.World, s store.Signer, records []string) store.Pointer {
	t.Helper()
	m, digest := w.Build(records)
	signature := sign(t, w, s, m.ID)
	p := w.Promote(m, digest)
	p.Signature = signature
	w.Put(p)
	return p
}

func trusting(keys ...store.Signer) func(*Deps, *Config) {
	return func(d *Deps, _ *Config) {
		for _, k := range keys {
			d.Keys = append(d.Keys, k.Public())
		}
	}
}

func (r *replica) serves(id string) bool { return r.ServedID() == id }

// A snapshot that somebody with access to the bucket put in place of ours, manifest, pointer and files consistent, is
// refused, and said; what is served stays. A key that is changed leaves no gap.
func TestOnlySignedSnapshotsAreServed(t *testing.T) {
	ours, next, attacker := signer(t), signer(t), signer(t)
	w := followtest.New(t)
	first := signed(t, w, ours, followtest.Catalogue())
	r := start(t, w, trusting(ours, next))
	followtest.Eventually(t, "the snapshot is served or refused", func() bool { return r.serves(first.ID) })

	unsigned := w.Publish(followtest.Catalogue()[:3])
	followtest.Eventually(t, "the snapshot is served or refused", func() bool { return strings.Contains(r.status(), "unsigned") })
	forged := signed(t, w, attacker, followtest.Catalogue()[:2])
	followtest.Eventually(t, "the snapshot is served or refused", func() bool {
		return strings.Contains(r.status(), forged.ID) && strings.Contains(r.status(), "unsigned")
	})
	copied, digest := w.Build(followtest.Catalogue()[:1])
	p := w.Promote(copied, digest)
	p.Signature = first.Signature // the signature of another manifest
	w.Put(p)
	followtest.Eventually(t, "the snapshot is served or refused", func() bool { return strings.Contains(r.status(), p.ID) && strings.Contains(r.status(), "unsigned") })
	if !r.serves(first.ID) {
		t.Errorf("something else than %s is served after %s, %s and %s", first.ID, unsigned.ID, forged.ID, p.ID)
	}

	second := signed(t, w, next, followtest.Catalogue()[:4])
	followtest.Eventually(t, "the snapshot is served or refused", func() bool { return r.serves(second.ID) })
}

// Without keys a server takes what is not signed; with keys it starts from its cache while the store is away.
func TestTheCacheIsCheckedToo(t *testing.T) {
	ours := signer(t)
	w := followtest.New(t)
	p := signed(t, w, ours, followtest.Catalogue())
	r := start(t, w)
	followtest.Eventually(t, "the snapshot is served or refused", func() bool { return r.serves(p.ID) })
	local := r.local
	r.close()
	gone := func(d *Deps, c *Config) {
		d.Objects = store.Hooked(d.Objects, func(context.Context, string, string, func() error) error {
			return context.DeadlineExceeded
		})
		c.LocalDir = local
		c.StoreTimeout = 50 * time.Millisecond
	}
	again := start(t, w, gone, trusting(ours))
	followtest.Eventually(t, "the snapshot is served or refused", func() bool { return again.serves(p.ID) })
	again.close()
	stranger := start(t, w, gone, trusting(signer(t)))
	followtest.Eventually(t, "the cached snapshot is refused", func() bool {
		log := stranger.log.String()
		return strings.Contains(log, "cached snapshot not usable") && strings.Contains(log, store.ErrUnsigned.Error())
	})
	if stranger.serves(p.ID) {
		t.Error("a cached snapshot of an unknown key is served")
	}
}

// The pointer's copy of a signature may be missing, as in that of a release which knows none, or wrong: manifest.sig has
// the last word. What was found there is kept with the cached snapshot, through a pointer that is only written anew: a start
// without the store needs nothing of it, and asks it for nothing.
func TestTheSignatureBesideTheManifestCounts(t *testing.T) {
	ours := signer(t)
	for name, copied := range map[string]*store.Signature{
		"no copy":    nil,
		"wrong copy": {FormatVersion: 1, Key: ours.Public().ID, Algorithm: store.AlgorithmEd25519, Value: []byte("not a signature")},
	} {
		t.Run(name, func(t *testing.T) {
			w := followtest.New(t)
			p := signed(t, w, ours, followtest.Catalogue())
			p.Signature = copied
			w.Put(p)
			r := start(t, w, trusting(ours))
			followtest.Eventually(t, "the snapshot is served", func() bool { return r.serves(p.ID) })
			p.Nonce = store.NewNonce() // fenced by a leader
			w.Put(p)
			followtest.Eventually(t, "the pointer is confirmed", func() bool {
				kept := r.cache.pointers()
				return len(kept) > 0 && kept[0].Nonce == p.Nonce
			})
			local := r.local
			r.close()
			var asked atomic.Int64
			again := start(t, w, trusting(ours), func(d *Deps, c *Config) {
				d.Objects = store.Hooked(d.Objects, func(_ context.Context, _, key string, _ func() error) error {
					if key == d.Layout.Signature(p.ID) || key == d.Layout.Manifest(p.ID) {
						asked.Add(1)
					}
					return context.DeadlineExceeded
				})
				c.LocalDir, c.StoreTimeout = local, 50*time.Millisecond
			})
			followtest.Eventually(t, "the cached snapshot is served", func() bool { return again.serves(p.ID) })
			if n := asked.Load(); n != 0 {
				t.Errorf("a store that is away was asked %d times for what the cache holds", n)
			}
		})
	}
}

// status tells of what was refused.
func (r *replica) status() string {
	q := r.refused()
	if q == nil {
		return ""
	}
	return q.ID + " " + q.Reason
}
