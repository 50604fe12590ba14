package serve

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

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestStoreDownAtStartServesTheCacheThenConverges(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue()[:3])
	a := w.start(t)
	a.serving(p.ID)
	local := a.local
	a.close()

	var o outage
	o.down.Store(true)
	r := w.start(t, o.on, func(_ *Deps, c *Config) { c.LocalDir, c.StoreTimeout = local, 50*time.Millisecond })
	r.serving(p.ID)
	if h := r.health(); h.Source != "local-cache" || h.Snapshot != p.ID {
		t.Errorf("%+v", h)
	}
	if code, _, _ := r.do("GET", "/ready", ""); code != 200 {
		t.Errorf("/ready %d", code)
	}
	r.search(`{"query":"会計"}`)
	o.down.Store(false)
	eventually(t, "confirmed", func() bool { return r.health().Source == "dir/current" })
	if n := r.open.open.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
	next := w.publish(catalogue())
	r.serving(next.ID)
	if got := r.health().Source; got != "rebuilt->dir/current" {
		t.Errorf("source %q", got)
	}
}

func TestDamagedCacheIsNotServed(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	a := w.start(t)
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
	must(t, os.WriteFile(files[0], flip(data), 0o600))

	var o outage
	o.down.Store(true)
	r := w.start(t, o.on, func(_ *Deps, c *Config) { c.LocalDir, c.StoreTimeout = local, 50*time.Millisecond })
	eventually(t, "start ended", func() bool { return r.follow.view().pollErr != "" })
	time.Sleep(200 * time.Millisecond)
	if h := r.health(); h.Source != "none" {
		t.Errorf("%+v", h)
	}
	o.down.Store(false)
	r.serving(p.ID)
}

func TestSecondProcessTakesAPrivateCache(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	a := w.start(t)
	a.serving(p.ID)
	b := w.start(t, func(_ *Deps, c *Config) { c.LocalDir = a.local })
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
	w := newWorld(t)
	r := w.start(t)
	var ids []string
	for i := range 4 {
		p := w.publish(catalogue()[:2+i])
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
	eventually(t, "pruned", func() bool { return slices.Equal(dirs(), ids[2:]) })
}

// TestADiskForTwoSnapshotsTakesAThird: while the files of the one before the served one are there, writing fails.
func TestADiskForTwoSnapshotsTakesAThird(t *testing.T) {
	w := newWorld(t)
	var local string
	var previous atomic.Pointer[string]
	var full atomic.Int64
	r := w.start(t, func(d *Deps, c *Config) {
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
	first := w.publish(catalogue()[:3])
	r.serving(first.ID)
	second := w.publish(catalogue()[:4])
	r.serving(second.ID)
	previous.Store(&first.ID)
	third := w.publish(catalogue())
	r.serving(third.ID)
	if full.Load() == 0 {
		t.Error("the disk was never full")
	}
	eventually(t, "committed", func() bool { return len(r.follow.cache.pointers()) == 2 })
	if got := r.follow.cache.pointers(); got[0].ID != third.ID || got[1].ID != second.ID {
		t.Errorf("kept %s and %s", got[0].ID, got[1].ID)
	}
	// When even the served one is in the way, it stays, and says why.
	previous.Store(&third.ID)
	w.publish(catalogue()[:2])
	eventually(t, "refused for the disk", func() bool { return r.reason() == reasonDisk })
	if len(r.search(`{"filter":{},"k":100}`).Results) != len(catalogue()) {
		t.Error("what was served is not any more")
	}
}
