package follow

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// purgedName stands in one of the records that are left out later.
const purgedName = "青葉システムズ"

// holding lists the files below dir in which text stands.
func holding(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), text) {
			files = append(files, path)
		}
		return err
	})
	must(t, err)
	return files
}

func (r *replica) heartbeat(w *followtest.World) store.Heartbeat {
	h, _, err := store.ReadDoc[store.Heartbeat](context.Background(), w.Objects, w.Layout.Replica(r.id), store.GetOptions{})
	must(r.t, err)
	return h
}

// A pointer that says what was purged leaves no copy in the local cache that may hold it, and the heartbeat says so
// when it is done.
func TestPurgedRecordsLeaveTheLocalCache(t *testing.T) {
	w := followtest.New(t)
	r := start(t, w)
	with, without := followtest.Catalogue()[:4], followtest.Catalogue()[:2]
	r.serving(w.Publish(with).ID)
	r.serving(w.Publish(with[:3]).ID)
	followtest.Eventually(t, "two copies", func() bool { return len(holding(t, r.local, purgedName)) > 1 })
	if h := r.heartbeat(w); h.Erased != "" {
		t.Errorf("it says %q", h.Erased)
	}
	// What a process that was killed left behind, and a store that this directory was used with before.
	for _, dir := range []string{"private-1/0123456789abcdef/x/y", "0123456789abcdef/x/y"} {
		dir = filepath.Join(r.local, "server", dir)
		must(t, os.MkdirAll(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "documents.jsonl"), []byte(purgedName), 0o600))
	}
	w.Erased = "aa"
	clean := w.Publish(without)
	r.serving(clean.ID)
	followtest.Eventually(t, "said", func() bool { return r.heartbeat(w).Erased == "aa" })
	if left := holding(t, r.local, purgedName); len(left) > 0 {
		t.Errorf("left in %v", left)
	}
	// From now on there is a previous one again.
	r.serving(w.Publish(followtest.Catalogue()[:1]).ID)
	followtest.Eventually(t, "two copies again", func() bool { return len(r.cache.pointers()) == 2 })
	// A mark on the snapshot that is served already counts as well: nothing is loaded for it.
	w.Erased = "bb"
	r.serving(w.Publish(followtest.Catalogue()[:1]).ID)
	followtest.Eventually(t, "said again", func() bool { return r.heartbeat(w).Erased == "bb" })
	if n := len(r.cache.pointers()); n != 1 {
		t.Errorf("%d copies", n)
	}
}

// The mark comes after the promotion when the snapshot was free of the records already.
func TestAMarkOfTheServedSnapshotEmptiesTheCache(t *testing.T) {
	w := followtest.New(t)
	r := start(t, w)
	r.serving(w.Publish(followtest.Catalogue()[:4]).ID)
	m, digest := w.Build(followtest.Catalogue()[:2])
	r.serving(w.Promote(m, digest).ID)
	if len(holding(t, r.local, purgedName)) == 0 {
		t.Fatal("no previous copy")
	}
	w.Erased = "aa"
	w.Promote(m, digest)
	followtest.Eventually(t, "said", func() bool { return r.heartbeat(w).Erased == "aa" })
	if left := holding(t, r.local, purgedName); len(left) > 0 {
		t.Errorf("left in %v", left)
	}
}

// A disk that does not take it is tried again, and until then nothing is claimed.
func TestACacheThatCannotBeEmptiedIsNotSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.Erased = "aa"
		w.Publish(followtest.Catalogue())
		var local string
		var said []string
		began := time.Now()
		follows := func(_ context.Context, op, key string, call func() error) error {
			err := call()
			if op == store.OpPut && strings.HasPrefix(key, w.Layout.Replicas()) {
				h, _, err := store.ReadDoc[store.Heartbeat](context.Background(), w.Objects, key, store.GetOptions{})
				must(t, err)
				if h.Using != "" {
					said = append(said, h.Erased)
				}
			}
			dirs, _ := filepath.Glob(filepath.Join(local, "server", "*", "state.json", "in the way"))
			switch stuck := len(dirs) > 0; {
			case stuck && time.Since(began) > 10*time.Minute:
				must(t, os.RemoveAll(filepath.Dir(dirs[0])))
			case !stuck && time.Since(began) < time.Minute: // before anything is in the cache
				roots, _ := filepath.Glob(filepath.Join(local, "server", "????????????????"))
				for _, root := range roots {
					must(t, os.MkdirAll(filepath.Join(root, "state.json", "in the way"), 0o700))
				}
			}
			return err
		}
		followsTelling(t, w, time.Hour, slog.DiscardHandler, follows, func(c *Config) { local = c.LocalDir })
		first, last := said[0], said[len(said)-1]
		if first != "" || last != "aa" || len(said) < 12 || len(said) > 60 {
			t.Errorf("%d heartbeats said %q", len(said), said)
		}
	})
}
