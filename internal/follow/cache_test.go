package follow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestStoreDownAtStartServesTheCacheThenConverges(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue()[:3])
	a := start(t, w)
	a.serving(p.ID)
	local := a.local
	a.close()

	var o outage
	o.down.Store(true)
	r := start(t, w, o.on, func(_ *Deps, c *Config) { c.LocalDir, c.StoreTimeout = local, 50*time.Millisecond })
	r.serving(p.ID)
	if h := r.health(); h.Source != "local-cache" || h.Snapshot != p.ID {
		t.Errorf("%+v", h)
	}
	r.search()
	o.down.Store(false)
	followtest.Eventually(t, "confirmed", func() bool { return r.health().Source == "dir/current" })
	if n := r.open.Opened.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
	next := w.Publish(followtest.Catalogue())
	r.serving(next.ID)
	if got := r.health().Source; got != "rebuilt->dir/current" {
		t.Errorf("source %q", got)
	}
}

func TestDamagedCacheIsNotServed(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	a := start(t, w)
	a.serving(p.ID)
	local := a.local
	a.close()
	files, err := filepath.Glob(filepath.Join(local, "server", "*", "*", p.ID, snapshot.FileIndex))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("cache holds %v", files)
	}
	data, err := os.ReadFile(files[0])
	must(t, err)
	must(t, os.WriteFile(files[0], followtest.Flip(data), 0o600))

	var o outage
	o.down.Store(true)
	r := start(t, w, o.on, func(_ *Deps, c *Config) { c.LocalDir, c.StoreTimeout = local, 50*time.Millisecond })
	followtest.Eventually(t, "start ended", func() bool { return r.current().PollErr != "" })
	time.Sleep(200 * time.Millisecond)
	if h := r.health(); h.Source != "none" {
		t.Errorf("%+v", h)
	}
	o.down.Store(false)
	r.serving(p.ID)
}

func TestSecondProcessTakesAPrivateCache(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	a := start(t, w)
	a.serving(p.ID)
	b := start(t, w, func(_ *Deps, c *Config) { c.LocalDir = a.local })
	b.serving(p.ID)
	private, _ := filepath.Glob(filepath.Join(a.local, "server", "private-*"))
	if len(private) != 1 {
		t.Fatalf("private directories: %v", private)
	}
	b.close()
	if exists(private[0]) {
		t.Error("left behind")
	}
}

func TestCacheKeepsCurrentAndPreviousOnly(t *testing.T) {
	w := followtest.New(t)
	r := start(t, w)
	var ids []string
	for i := range 4 {
		p := w.Publish(followtest.Catalogue()[:2+i])
		r.serving(p.ID)
		ids = append(ids, p.ID)
	}
	dirs := func() []string {
		found, _ := filepath.Glob(filepath.Join(r.local, "server", "*", "*", "2*Z-*"))
		for i, d := range found {
			found[i] = filepath.Base(d)
		}
		slices.Sort(found)
		return found
	}
	followtest.Eventually(t, "pruned", func() bool { return slices.Equal(dirs(), ids[2:]) })
}

// TestADiskForTwoSnapshotsTakesAThird: while the files of the one before the served one are there, writing fails.
func TestADiskForTwoSnapshotsTakesAThird(t *testing.T) {
	w := followtest.New(t)
	var local string
	var previous atomic.Pointer[string]
	var full atomic.Int64
	r := start(t, w, func(d *Deps, c *Config) {
		local = c.LocalDir
		d.Objects = store.Hooked(d.Objects, func(_ context.Context, _, key string, call func() error) error {
			if id := previous.Load(); id != nil && strings.HasSuffix(key, snapshot.FileDocuments) {
				if dirs, _ := filepath.Glob(filepath.Join(local, "server", "*", "*", *id)); len(dirs) > 0 {
					full.Add(1)
					return fmt.Errorf("write: %w", unix.ENOSPC)
				}
			}
			return call()
		})
	})
	first := w.Publish(followtest.Catalogue()[:3])
	r.serving(first.ID)
	second := w.Publish(followtest.Catalogue()[:4])
	r.serving(second.ID)
	previous.Store(&first.ID)
	third := w.Publish(followtest.Catalogue())
	r.serving(third.ID)
	if full.Load() == 0 {
		t.Error("the disk was never full")
	}
	followtest.Eventually(t, "committed", func() bool { return len(r.cache.pointers()) == 2 })
	if got := r.cache.pointers(); got[0].ID != third.ID || got[1].ID != second.ID {
		t.Errorf("kept %s and %s", got[0].ID, got[1].ID)
	}
	// When even the served one is in the way, it stays, and says why.
	previous.Store(&third.ID)
	w.Publish(followtest.Catalogue()[:2])
	followtest.Eventually(t, "refused for the disk", func() bool { return r.reason() == ReasonDisk })
	if r.search().Records != len(followtest.Catalogue()) {
		t.Error("what was served is not any more")
	}
}
