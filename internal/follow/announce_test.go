package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// refusing makes calls of op on keys with prefix fail while set.
type refusing struct {
	on      atomic.Bool
	refused atomic.Int32
	op      string
	match   func(key string) bool
}

func (x *refusing) install(d *Deps, _ *Config) {
	d.Objects = store.Hooked(d.Objects, func(_ context.Context, op, key string, call func() error) error {
		if x.on.Load() && op == x.op && x.match(key) {
			x.refused.Add(1)
			return store.ErrDenied
		}
		return call()
	})
}

// fetched counts reads of the files of a snapshot.
type fetched struct {
	id atomic.Value
	n  atomic.Int32
}

func (x *fetched) install(d *Deps, _ *Config) {
	d.Objects = store.Hooked(d.Objects, func(_ context.Context, op, key string, call func() error) error {
		if id, _ := x.id.Load().(string); op == store.OpGet && id != "" && strings.Contains(key, id) {
			x.n.Add(1)
		}
		return call()
	})
}

func TestNothingIsFetchedThatCouldNotBeAnnounced(t *testing.T) {
	isBeat := func(key string) bool { return strings.Contains(key, "/replicas/") }
	isPointer := func(key string) bool { return strings.HasSuffix(key, "current/manifest.json") }
	for name, x := range map[string]*refusing{
		"heartbeat refused":   {op: store.OpPut, match: isBeat},
		"second look refused": {op: store.OpGet, match: isPointer},
	} {
		t.Run(name, func(t *testing.T) {
			w := followtest.New(t)
			good := w.Publish(followtest.Catalogue()[:3])
			var reads fetched
			announced := &atomic.Bool{}
			r := start(t, w, x.install, reads.install, func(d *Deps, _ *Config) {
				// The first look tells of the new snapshot; what fails is what comes after it.
				d.Objects = store.Hooked(d.Objects, func(_ context.Context, op, key string, call func() error) error {
					err := call()
					if x.op == store.OpGet && op == store.OpPut && isBeat(key) && announced.Load() {
						x.on.Store(true)
					}
					return err
				})
			})
			r.serving(good.ID)
			if x.op == store.OpPut {
				x.on.Store(true)
			}
			m, digest := w.Build(followtest.Catalogue())
			reads.id.Store(m.ID)
			announced.Store(true)
			w.Promote(m, digest)
			followtest.Eventually(t, "it gave up", func() bool { return x.refused.Load() > 0 && (x.op == store.OpGet || r.reason() == ReasonStore) })
			followtest.Eventually(t, "it tried again", func() bool { return x.refused.Load() > 2 })
			if n := reads.n.Load(); n != 0 {
				t.Errorf("%d reads of a snapshot that was not announced", n)
			}
			announced.Store(false)
			x.on.Store(false)
			r.serving(m.ID)
		})
	}
}

func TestWithNothingToServeTheFirstSnapshotIsFetchedUnannounced(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	x := &refusing{op: store.OpPut, match: func(key string) bool { return strings.Contains(key, "/replicas/") }}
	x.on.Store(true)
	r := start(t, w, x.install)
	r.serving(p.ID)
}

// heldOpen starts a server whose next opening of an index waits.
func heldOpen(t *testing.T, w *followtest.World) (r *replica, entered, gate chan struct{}, hold *atomic.Bool) {
	entered, gate, hold = make(chan struct{}, 8), make(chan struct{}), &atomic.Bool{}
	r = start(t, w, func(d *Deps, _ *Config) {
		open := d.Indexes.Open
		d.Indexes = followtest.Opening(d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			if hold.CompareAndSwap(true, false) {
				entered <- struct{}{}
				<-gate
			}
			return open(path, p)
		})
	})
	return r, entered, gate, hold
}

func TestWhatBecomesOfALoadThatThePointerLeft(t *testing.T) {
	for name, c := range map[string]struct {
		leave     func(w *followtest.World, loading store.Pointer, third store.Manifest, digest string)
		published bool
	}{
		"the pointer moved on": {func(w *followtest.World, _ store.Pointer, third store.Manifest, digest string) {
			w.Promote(third, digest)
		}, true},
		"it was rolled back from, to a third": {func(w *followtest.World, _ store.Pointer, third store.Manifest, digest string) {
			w.History[0].RolledBack = true
			w.Promote(third, digest)
		}, false},
		"an earlier promotion of it was rolled back from": {func(w *followtest.World, loading store.Pointer, third store.Manifest, digest string) {
			w.History = append(w.History, store.Promotion{ID: loading.ID, Generation: 1, RolledBack: true})
			w.Promote(third, digest)
		}, true},
		"the pointer was repaired below it": {func(w *followtest.World, loading store.Pointer, third store.Manifest, digest string) {
			w.Generation = loading.Generation - 2
			w.Promote(third, digest)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := followtest.New(t)
			first := w.Publish(followtest.Catalogue()[:3])
			r, entered, gate, hold := heldOpen(t, w)
			r.serving(first.ID)
			third, digest := w.Build(followtest.Catalogue()[:4])
			hold.Store(true)
			w.Generation = 9
			loading := w.Publish(followtest.Catalogue())
			<-entered
			c.leave(w, loading, third, digest)
			followtest.Eventually(t, "the move is seen", func() bool { return r.current().Desired.ID == third.ID })
			close(gate)
			r.serving(third.ID)
			published := false
			for _, s := range r.current().Swaps {
				published = published || s.ID == loading.ID
			}
			if published != c.published {
				t.Errorf("what was loaded was published: %v", published)
			}
		})
	}
}

func TestWhatWasOnlyDesiredBindsNobody(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue()[:3])
	r := start(t, w)
	r.serving(good.ID)
	m := good.Manifest
	m.ID = snapshot.NewID(time.Now(), w.Newest, "missing")
	w.Generation = 10
	w.Promote(m, good.ManifestSHA256) // somebody's mistake: there is no such snapshot
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonMissing })
	w.Generation = 1 << 40
	w.Promote(good.Manifest, good.ManifestSHA256) // and another: taken, it would bind this server for good
	for range 2 {
		at := r.current().LastPoll
		followtest.Eventually(t, "another poll", func() bool { return r.current().LastPoll.After(at) })
	}
	w.Generation = 1
	next := w.Publish(followtest.Catalogue()) // the leader repaired it
	r.serving(next.ID)
	if h := r.health(); h.Generation != 2 {
		t.Errorf("generation %d", h.Generation)
	}
}

// TestPointerThatCannotBeFollowedAtStart: a server that has served before serves its last good snapshot.
func TestPointerThatCannotBeFollowedAtStart(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"no pointer":        func([]byte) []byte { return []byte(`{"format_version":1}`) },
		"not even JSON":     func([]byte) []byte { return []byte("{") },
		"of a newer format": func([]byte) []byte { return []byte(`{"format_version":99}`) },
		"the last generation": func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"generation": 1`, `"generation": 9223372036854775807`, 1))
		},
		"larger than a number": func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"generation": 1`, `"generation": 1e40`, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := followtest.New(t)
			good := w.Publish(followtest.Catalogue())
			r := start(t, w)
			r.serving(good.ID)
			local := r.local
			w.Damage(w.Layout.Pointer(), change)
			followtest.Eventually(t, "noticed", func() bool { return r.current().PollErr != "" })
			if r.ServedID() != good.ID {
				t.Error("a running server stopped serving")
			}
			r.close()
			r = start(t, w, func(_ *Deps, c *Config) { c.LocalDir = local })
			r.serving(good.ID)
			if h := r.health(); h.Source != sourceCache {
				t.Errorf("source %q", h.Source)
			}
			w.Damage(w.Layout.Pointer(), func([]byte) []byte {
				data, err := store.Encode(good)
				must(t, err)
				return data
			})
			followtest.Eventually(t, "it follows again", func() bool { return r.health().Source == "dir/current" })
		})
	}
}

func compactJSON(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	must(t, json.Compact(&b, data))
	return b.String()
}

func TestEmbeddingOfANewerReleaseIsRefused(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue()[:3])
	r := start(t, w)
	r.serving(good.ID)
	m, _ := w.Build(followtest.Catalogue())
	spec, err := store.Encode(m.Spec)
	must(t, err)
	m.Spec.Unknown = snapshot.Unknown(strings.Replace(compactJSON(t, spec), `"provider"`, `"pooling":"mean","provider"`, 1))
	m.SpecDigest = m.Spec.Digest()
	data, err := store.MarshalManifest(m)
	must(t, err)
	w.Damage(w.Layout.Manifest(m.ID), func([]byte) []byte { return data })
	w.Promote(m, store.ManifestDigest(data))
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonEmbedding })
	if r.ServedID() != good.ID {
		t.Error("the old one is not served any more")
	}
}
