package reconcile_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// A command builds by its shell's settings: when they make another spec it must be told that this is meant.
func TestOnceOfAnotherSpecIsRefusedAndNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*reconcile.Config)
		named  string
	}{
		"dimensions": {func(c *reconcile.Config) { c.Embedding.Dims = 2 * dims }, "embedding.dims 8 → 16"},
		"model":      {func(c *reconcile.Config) { c.Embedding.Model = "other" }, "embedding.model hash → other"},
		"provider":   {func(c *reconcile.Config) { c.Embedding.Provider = "real" }, "embedding.provider fake → real"},
		"index":      {func(c *reconcile.Config) { c.IndexKind = "flat" }, "index_kind auto → flat"},
		"repeats":    {func(c *reconcile.Config) { c.Catalogue.Duplicates = "last" }, "duplicate_ids suffix → last"},
		"names":      {func(c *reconcile.Config) { c.Catalogue.Name = "name" }, "record_name name,company_name,title → name"},
		"two": {func(c *reconcile.Config) { c.IndexKind, c.Embedding.Version = "flat", "2" },
			"embedding.version 1 → 2, index_kind auto → flat"},
	} {
		for _, force := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t)
				r.catalogue(0, 5, "a")
				r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultPromoted, 0) // the first is whatever it is
				before, status := r.pointer(), string(r.mem.Data(r.layout.Status()))
				c.change(&r.cfg)
				r.embed.Dims = r.cfg.Embedding.Dims
				r.catalogue(0, 6, "a")
				out := r.onceWith(reconcile.OnceOptions{Force: force})
				r.want(out, reconcile.ResultRefused, reconcile.ExitConflict)
				if !errors.Is(out.Err, reconcile.ErrDiffers) || !strings.Contains(out.Message, c.named) {
					t.Errorf("%q does not name %q", out.Message, c.named)
				}
				if r.pointer().ID != before.ID || string(r.mem.Data(r.layout.Status())) != status || r.embed.Bought() != 5 {
					t.Error("something was changed or bought")
				}
				r.want(r.onceWith(reconcile.OnceOptions{Force: force, Yes: true}), reconcile.ResultPromoted, 0)
				if r.pointer().SpecDigest == before.SpecDigest {
					t.Error("the spec is the old one")
				}
			})
		}
	}
}

// A command deletes by no other retention than the one that the deployment collects by.
func TestOnceOfAnotherRetentionDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 20, 720*time.Hour
		ids := r.many(4)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Second
		out := r.onceWith(reconcile.OnceOptions{GC: true})
		r.want(out, reconcile.ResultRefused, reconcile.ExitConflict)
		if want := "RETAIN_SNAPSHOTS 20 → 1, RETAIN_GRACE 720h0m0s → 1s"; !strings.Contains(out.Message, want) {
			t.Errorf("%q does not name %q", out.Message, want)
		}
		// Neither does a build, which collects after it promoted; and it does not rewrite what status.json says.
		r.catalogue(0, 9, "a")
		r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultPromoted, 0)
		if !r.stored(ids[0]) {
			t.Error("collected by another retention")
		}
		r.want(r.onceWith(reconcile.OnceOptions{GC: true}), reconcile.ResultRefused, reconcile.ExitConflict)
		// With the deployment's it works; and with its own, when that is meant. From then on it is the deployment's.
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 20, 720*time.Hour
		r.want(r.onceWith(reconcile.OnceOptions{GC: true}), reconcile.ResultCollected, 0)
		r.cfg.RetainSnapshots, r.cfg.RetainGrace = 1, time.Second
		r.want(r.onceWith(reconcile.OnceOptions{GC: true, Yes: true}), reconcile.ResultCollected, 0)
		if r.stored(ids[0]) {
			t.Error("--yes collected nothing")
		}
		r.want(r.onceWith(reconcile.OnceOptions{GC: true}), reconcile.ResultCollected, 0)
		// A status.json that is gone is no permission.
		if err := r.mem.Delete(t.Context(), r.layout.Status()); err != nil {
			t.Fatal(err)
		}
		r.want(r.onceWith(reconcile.OnceOptions{GC: true}), reconcile.ResultRefused, reconcile.ExitConflict)
	})
}

// Whatever a command comes to, the lease is free afterwards.
func TestOnceReleasesTheLease(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*rig)
		result  string
		code    int
	}{
		"promoted": {func(r *rig) { r.catalogue(0, 9, "b") }, reconcile.ResultPromoted, 0},
		"refused":  {func(r *rig) { r.cfg.IndexKind = "flat" }, reconcile.ResultRefused, 4},
		"failed":   {func(r *rig) { r.put(r.layout.Source, []byte(`[`)) }, reconcile.ResultFailed, 1},
		"held":     {func(r *rig) { r.cfg.GateMaxRemoved = 0; r.catalogue(9, 12, "b") }, reconcile.ResultHeld, 3},
		"suspended": {func(r *rig) {
			if err := r.operator().Suspend(r.t.Context(), ""); err != nil {
				r.t.Fatal(err)
			}
			r.cfg.IndexKind = "flat" // said before it would be refused
		}, reconcile.ResultSuspended, 0},
		"pinned": {func(r *rig) {
			if err := r.operator().Pin(r.t.Context(), r.pointer().ID); err != nil {
				r.t.Fatal(err)
			}
			r.cfg.IndexKind = "flat"
		}, reconcile.ResultPinned, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.catalogue(0, 5, "a")
			r.once()
			c.prepare(r)
			out := r.onceWith(reconcile.OnceOptions{})
			r.want(out, c.result, c.code)
			if c.code != 1 && c.result != reconcile.ResultPromoted && out.Message == "" {
				t.Error("nothing is said")
			}
			l, _, err := store.ReadDoc[store.Lease](t.Context(), r.mem, r.layout.Lease(), store.GetOptions{})
			if err != nil || !l.Released {
				t.Errorf("the lease is %+v, %v", l, err)
			}
		})
	}
}

// Beside a live leader a one-shot gives up after two TTLs.
func TestOnceWaitsForTheLeaseAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		r.cfg.Dir = tempDir(t)
		began := time.Now()
		r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultFollower, reconcile.ExitConflict)
		if took := time.Since(began); took < 2*r.cfg.LeaseTTL || took > 3*r.cfg.LeaseTTL {
			t.Errorf("gave up after %s", took)
		}
	})
}

// A request whose leader dies is not waited for for ever.
func TestRequestEndsWhenTheLeaderDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		l := store.Lease{FormatVersion: 1, Epoch: 3, Owner: "dead", TTLSeconds: 30, Nonce: store.NewNonce()}
		r.put(r.layout.Lease(), l)
		_, err := r.operator().Request(t.Context(), reconcile.VerbReconcile, false)
		if !errors.Is(err, reconcile.ErrNoLeader) || reconcile.ExitCode(err) != reconcile.ExitConflict {
			t.Errorf("%v", err)
		}
		if c := r.control(); c.Request != nil {
			t.Errorf("the request stays for whoever leads next: %+v", c.Request)
		}
		if alive, err := r.operator().LeaderAlive(t.Context()); alive || err != nil {
			t.Errorf("alive %v, %v", alive, err)
		}
	})
}

// The gate says what a change of spec changes, and asks sampled texts across it.
func TestGateReportsAndAsksAcrossAChangeOfSpec(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 40, "a")
	r.once()
	for _, c := range r.pointer().Gate.Checks {
		if c.Name == reconcile.CheckSpec {
			t.Errorf("no change of spec, but %+v", c)
		}
	}
	r.cfg.Embedding.Version = "2"
	r.want(r.once(), reconcile.ResultPromoted, 0)
	check := func() store.GateCheck {
		t.Helper()
		m, _, err := store.ReadManifest(t.Context(), r.mem, r.layout, r.newest(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range m.Gate.Checks {
			if c.Name == reconcile.CheckSpec {
				return c
			}
		}
		t.Fatal("the gate does not report the change of spec")
		return store.GateCheck{}
	}
	if c := check(); c.Result != reconcile.VerdictPassed || c.Value != 1 ||
		!strings.Contains(c.Message, "embedding.version 1 → 2") || !strings.Contains(c.Message, "golden.json") {
		t.Errorf("%+v", c)
	}
	// A model whose queries are of another space than its documents answers nonsense: held.
	good := r.pointer().ID
	r.cfg.Embedding.Version = "3"
	r.embed.Query = func(text string) []float32 { return recontest.Vector("somewhere else entirely: "+text, dims) }
	r.want(r.once(), reconcile.ResultHeld, reconcile.ExitHeld)
	if c := check(); c.Result != reconcile.VerdictHeld || r.pointer().ID != good {
		t.Errorf("%+v, served %s", c, r.pointer().ID)
	}
}

// newest is the newest stored snapshot.
func (r *rig) newest() string {
	keys := r.mem.Keys(r.layout.Root() + "2")
	id, _, _ := strings.Cut(strings.TrimPrefix(keys[len(keys)-1], r.layout.Root()), "/")
	return id
}
