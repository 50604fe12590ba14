package follow

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// edited is the catalogue with another first record, and the change that makes it so.
func edited(description string) (followtest.Change, []string) {
	all := followtest.Catalogue()
	all[0] = `{"vendor_id":"V-001","name":"北斗ロジスティクス","description":"` + description + `"}`
	return followtest.Change{Records: all[:1], Keys: []uint64{1 << 32}}, all
}

// gets are the keys that a replica reads, as they come.
type gets struct {
	mu   sync.Mutex
	keys []string
}

func (g *gets) on(d *Deps, _ *Config) {
	d.Objects = store.Hooked(d.Objects, func(_ context.Context, op, key string, call func() error) error {
		g.mu.Lock()
		if op == store.OpGet {
			g.keys = append(g.keys, strings.TrimPrefix(key, "vectorstore/prod/"))
		}
		g.mu.Unlock()
		return call()
	})
}

// files are those of snapshots that were read since it was asked last.
func (g *gets) files() (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.keys {
		if strings.HasPrefix(k, "2") && !strings.HasSuffix(k, "/"+snapshot.FileManifest) {
			out = append(out, k)
		}
	}
	g.keys = nil
	slices.Sort(out)
	return out
}

func (r *replica) finds(id string) bool {
	s := r.Acquire()
	defer r.Release(s)
	_, ok := s.Find(id)
	return ok
}

// TestAnEditMovesItsDeltaAlone: over the served base, nothing else is fetched or opened; what it shares stays open; and going
// back to what is cached opens and hashes nothing that is open.
func TestAnEditMovesItsDeltaAlone(t *testing.T) {
	w := followtest.New(t)
	base, sha := w.Build(followtest.Catalogue())
	w.Promote(base, sha)
	var g gets
	r := start(t, w, g.on)
	r.serving(base.ID)
	if len(g.files()) < 5 {
		t.Fatal("the base was not fetched")
	}
	change, all := edited("航空貨物")
	first, firstSHA := w.BuildDelta(base, sha, 0, change, all)
	w.Promote(first, firstSHA)
	r.serving(first.ID)
	if got, want := g.files(), []string{first.ID + "/delta"}; !slices.Equal(got, want) {
		t.Errorf("fetched %v, want %v", got, want)
	}
	second, secondSHA := w.BuildDelta(first, sha, 1, followtest.Change{Gone: []string{"V-002"}}, slices.Delete(slices.Clone(all), 1, 2))
	w.Promote(second, secondSHA)
	r.serving(second.ID)
	if got, want := g.files(), []string{second.ID + "/delta"}; !slices.Equal(got, want) {
		t.Errorf("fetched %v, want %v", got, want)
	}
	if r.finds("V-002") || !r.finds("V-001") {
		t.Error("the second edit is not served")
	}
	if n := r.open.Opened.Load(); n != 2 { // the base's and the first delta's: the second has no vector
		t.Errorf("%d indexes opened, want 2", n)
	}
	w.Promote(first, firstSHA)
	r.serving(first.ID)
	if got := g.files(); len(got) != 0 {
		t.Errorf("going back fetched %v", got)
	}
	if n := r.open.Opened.Load(); n != 2 || !r.finds("V-002") {
		t.Errorf("%d indexes opened after going back", n)
	}
}

// TestAMergedDeltaTakesOverOthers: the deltas that it leaves out are closed, the base stays open.
func TestAMergedDeltaTakesOverOthers(t *testing.T) {
	w := followtest.New(t)
	base, sha := w.Build(followtest.Catalogue())
	w.Promote(base, sha)
	r := start(t, w)
	r.serving(base.ID)
	change, all := edited("航空貨物")
	m, digest := w.BuildDelta(base, sha, 0, change, all)
	w.Promote(m, digest)
	r.serving(m.ID)
	alone := r.ResidentBytes()
	for range 3 {
		m, digest = w.BuildDelta(m, sha, 0, change, all)
		w.Promote(m, digest)
		r.serving(m.ID)
	}
	followtest.Eventually(t, "what was taken over is closed", func() bool { return r.ResidentBytes() == alone })
	if n := r.open.Opened.Load(); n != 2 { // a delta of the same bytes is the same segment
		t.Errorf("%d indexes opened, want 2", n)
	}
}

// TestWhatIsNotItsContentIsRefused: every file is what the manifest says, and together they are something else.
func TestWhatIsNotItsContentIsRefused(t *testing.T) {
	w := followtest.New(t)
	base, sha := w.Build(followtest.Catalogue())
	w.Promote(base, sha)
	r := start(t, w)
	r.serving(base.ID)
	change, all := edited("航空貨物")
	wrong, digest := w.BuildDelta(base, sha, 0, change, append(slices.Clone(all[:4]), `{"vendor_id":"V-009","name":"別会社"}`))
	w.Promote(wrong, digest)
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonHash })
	if a := r.search(); a.Snapshot != base.ID {
		t.Errorf("answers from %s", a.Snapshot)
	}
	right, digest := w.BuildDelta(base, sha, 0, change, all)
	w.Promote(right, digest)
	r.serving(right.ID)
	if r.refused() != nil {
		t.Error("still refused")
	}
}

// TestADamagedDeltaIsRefusedAndTakenOnceRepaired, while what was served answers.
func TestADamagedDeltaIsRefusedAndTakenOnceRepaired(t *testing.T) {
	w := followtest.New(t)
	base, sha := w.Build(followtest.Catalogue())
	w.Promote(base, sha)
	r := start(t, w)
	r.serving(base.ID)
	change, all := edited("航空貨物")
	m, digest := w.BuildDelta(base, sha, 0, change, all)
	w.Damage(w.Layout.File(m.ID, snapshot.FileDelta), followtest.Flip)
	w.Promote(m, digest)
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonHash })
	w.Damage(w.Layout.File(m.ID, snapshot.FileDelta), followtest.Flip)
	r.serving(m.ID)
}

// TestANewerFormatIsKeptOutAndSaid: a server that does not know what a pointer says keeps what it serves.
func TestANewerFormatIsKeptOutAndSaid(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	r := start(t, w)
	r.serving(p.ID)
	next := p
	next.FormatVersion, next.Generation, next.Nonce = store.FormatDelta+1, p.Generation+1, store.NewNonce()
	w.Put(next)
	followtest.Eventually(t, "said", func() bool { return r.current().PollErr != "" })
	if a := r.search(); a.Snapshot != p.ID {
		t.Errorf("answers from %s", a.Snapshot)
	}
}

// TestTheStoreDownAtStartServesACachedComposition from the files under their local names, every one of them hashed.
func TestTheStoreDownAtStartServesACachedComposition(t *testing.T) {
	w := followtest.New(t)
	base, sha := w.Build(followtest.Catalogue())
	change, all := edited("航空貨物")
	m, digest := w.BuildDelta(base, sha, 0, change, all)
	next, nextSHA := w.BuildDelta(m, sha, 1, followtest.Change{Gone: []string{"V-002"}}, slices.Delete(slices.Clone(all), 1, 2))
	w.Promote(m, digest)
	a := start(t, w)
	a.serving(m.ID)
	w.Promote(next, nextSHA)
	a.serving(next.ID)
	local := a.local
	a.close()
	deltas, err := filepath.Glob(filepath.Join(local, "server", "*", "*", next.ID, "*.delta"))
	must(t, err)
	if len(deltas) != 2 {
		t.Fatalf("the cache holds %v", deltas)
	}
	var o outage
	o.down.Store(true)
	down := func(_ *Deps, c *Config) { c.LocalDir, c.StoreTimeout = local, 50e6 }
	r := start(t, w, o.on, down)
	r.serving(next.ID)
	if r.finds("V-002") {
		t.Error("the edits are not served")
	}
	r.close()
	// A damaged delta of the newest leaves the one before, which does without it.
	own := filepath.Join(filepath.Dir(deltas[0]), next.ID+".delta")
	data, err := os.ReadFile(own)
	must(t, err)
	must(t, os.WriteFile(own, followtest.Flip(data), 0o600))
	r = start(t, w, o.on, down)
	r.serving(m.ID)
}

// TestTheCacheKeepsThePreviousBase: steady edits do not push out what a rollback over a compaction goes to.
func TestTheCacheKeepsThePreviousBase(t *testing.T) {
	w := followtest.New(t)
	old, oldSHA := w.Build(followtest.Catalogue())
	w.Promote(old, oldSHA)
	var g gets
	r := start(t, w, g.on)
	r.serving(old.ID)
	base, sha := w.Build(followtest.Catalogue()[1:])
	var last, before store.Manifest
	var digest string
	for i := range 4 {
		before = last
		last, digest = w.BuildDelta(base, sha, 0, followtest.Change{Gone: []string{[]string{"V-002", "V-003", "V-004", "V-005"}[i]}}, slices.Delete(slices.Clone(followtest.Catalogue()[1:]), i, i+1))
		w.Promote(last, digest)
		r.serving(last.ID)
	}
	want := []string{old.ID, before.ID, last.ID}
	followtest.Eventually(t, "the cache keeps what was before, over either base", func() bool {
		kept, _ := filepath.Glob(filepath.Join(r.local, "server", "*", "*", "2*Z-*"))
		for i, d := range kept {
			kept[i] = filepath.Base(d)
		}
		slices.Sort(kept)
		return slices.Equal(kept, want)
	})
	g.files()
	w.Promote(old, oldSHA)
	r.serving(old.ID)
	if got := g.files(); len(got) != 0 {
		t.Errorf("going back over the base fetched %v", got)
	}
}
