package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// keepsAnswering fails the test when the server does not answer from want.
func keepsAnswering(t *testing.T, s *harness.Server, want string) {
	t.Helper()
	f, err := harness.Search(s.URL, `{"query":"物流","k":3}`)
	if err != nil || f.Snapshot != want || len(f.Results) != 3 {
		t.Fatalf("answer from %q with %d results, %v; want %q", f.Snapshot, len(f.Results), err, want)
	}
}

// refused waits until /snapshot says which snapshot the server refuses, and why.
func refused(t *testing.T, s *harness.Server, reason ...string) map[string]any {
	t.Helper()
	var got map[string]any
	harness.Eventually(t, "/snapshot refused", func() error {
		a, err := harness.Do(http.MethodGet, s.URL+"/snapshot", nil)
		if err != nil {
			return err
		}
		r, ok := a.JSON(t)["refused"].(map[string]any)
		if !ok {
			return fmt.Errorf("nothing is refused")
		}
		for _, want := range reason {
			if strings.Contains(fmt.Sprint(r["reason"]), want) {
				got = r
				return nil
			}
		}
		return fmt.Errorf("refused is %v", r)
	})
	return got
}

// metric reads one sample of the admin port, -1 when absent.
func metric(t *testing.T, admin, series string) float64 {
	t.Helper()
	for _, line := range strings.Split(string(harness.Get(t, admin+"/metrics").Body), "\n") {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			fmt.Sscan(rest, &v)
			return v
		}
	}
	return -1
}

func TestBrokenCatalogueChangesNothing(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	ix := harness.StartIndexer(t, b.env)
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)
	good := b.pointer(t)
	for name, bad := range map[string]string{
		"cut off":    string(sample(t)[:2000]),
		"not JSON":   "<html>",
		"empty":      `{"vendors":[]}`,
		"invalid id": `{"vendors":[{"id":"V-1","name":"a"},{"id":"V\u0000","name":"b"}]}`,
	} {
		b.put(t, b.layout.Source, []byte(bad))
		harness.Eventually(t, name+": SourceReady is False", func() error {
			c := condition(statusOf(t, b), "SourceReady")
			if c.Status == "False" && (name != "invalid id" || strings.Contains(c.Message, `invalid id "record 2"`)) {
				return nil
			}
			return fmt.Errorf("SourceReady is %+v", c)
		})
		keepsAnswering(t, s, good.ID)
		if p := b.pointer(t); p.Generation != good.Generation {
			t.Fatalf("%s: promoted generation %d", name, p.Generation)
		}
	}
	b.put(t, b.layout.Source, edited(t, first0(t, b), "直った"))
	p := b.awaitPointer(t, "promotion after repair", func(p store.Pointer) bool { return p.Generation > good.Generation })
	harness.AwaitHealth(t, s, "snapshot", p.ID)
	if ix.Exited() {
		t.Error("the indexer ended")
	}
}

// damage replaces a file of the promoted snapshot with other bytes, behind everyone's back.
func damage(t *testing.T, b *backend, id, file string, change func([]byte) []byte) []byte {
	t.Helper()
	key := b.layout.File(id, file)
	good := b.get(t, key)
	b.put(t, key, change(bytes.Clone(good)))
	return good
}

func TestDamagedSnapshotIsRefusedByNewServersAndHealed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		change     func([]byte) []byte
	}{
		{"flipped bit in index.faiss", snapshot.FileIndex, func(d []byte) []byte { d[len(d)/2] ^= 1; return d }},
		{"truncated documents", snapshot.FileDocuments, func(d []byte) []byte { return d[:len(d)-100] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := dirBackend(t)
			b.put(t, b.layout.Source, sample(t))
			ix := harness.StartIndexer(t, b.env)
			old := harness.StartServer(t, b.env)
			old.Await(t, "server ready", 1)
			bad := b.pointer(t)
			ix.Signal(15) // nobody repairs for now
			ix.Wait(t)
			damage(t, b, bad.ID, c.file, c.change)

			fresh := harness.StartServer(t, b.env)
			harness.Eventually(t, "a server with nothing else says what it refuses", func() error {
				a := harness.Get(t, fresh.URL+"/snapshot")
				if detail := fmt.Sprint(a.JSON(t)["detail"]); a.Code != 503 || !strings.Contains(detail, bad.ID+" was refused") {
					return fmt.Errorf("/snapshot: %d %s", a.Code, a.Body)
				}
				return nil
			})
			if a := harness.Get(t, fresh.URL+"/ready"); a.Code != 503 {
				t.Errorf("/ready is %d with nothing but a damaged snapshot", a.Code)
			}
			if v := metric(t, fresh.Admin, `vectorstore_swaps_total{result="failed"}`); v < 1 {
				t.Errorf("swaps_total{failed} is %v", v)
			}
			keepsAnswering(t, old, bad.ID)

			harness.StartIndexer(t, b.env) // sees the heartbeat, re-hashes, rebuilds without buying again
			p := b.awaitPointer(t, "a rebuilt snapshot", func(p store.Pointer) bool { return p.ID != bad.ID })
			if p.Stats.Embedded != 0 {
				t.Errorf("the rebuild bought %d texts", p.Stats.Embedded)
			}
			for _, s := range []*harness.Server{old, fresh} {
				harness.AwaitHealth(t, s, "snapshot", p.ID)
				keepsAnswering(t, s, p.ID)
			}
		})
	}
}

func TestPointerToMissingSnapshotIsRefusedAndHealed(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	ix := harness.StartIndexer(t, b.env)
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)
	good := b.pointer(t)
	ix.Signal(15)
	ix.Wait(t)

	p, info, err := store.ReadPointer(t.Context(), b.objects, b.layout, "")
	if err != nil {
		t.Fatal(err)
	}
	p.ID = snapshot.NewID(time.Now(), p.ID, "missing")
	p.Generation++
	p.Nonce = store.NewNonce()
	if _, err := store.WriteDoc(t.Context(), b.objects, b.layout.Pointer(), p, store.PutOptions{IfMatch: info.ETag}); err != nil {
		t.Fatal(err)
	}
	refused(t, s, "missing", "not found")
	keepsAnswering(t, s, good.ID)

	harness.StartIndexer(t, b.env)
	healed := b.awaitPointer(t, "a pointer to something that exists", func(q store.Pointer) bool { return q.Generation > p.Generation && b.exists(t, b.layout.Manifest(q.ID)) })
	harness.AwaitHealth(t, s, "snapshot", healed.ID)
}

func TestStoreOutageIsSurvivedByOldAndNewServers(t *testing.T) {
	t.Parallel()
	outage := 5 * time.Second
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		outage = 30 * time.Second
	}
	b := s3Backend(t, s3test.Versitygw)
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, b.env)
	cache := t.TempDir()
	s := harness.StartServer(t, b.env)
	cached := harness.StartServer(t, with(b.env, "VECTORSTORE_LOCAL_DIR", cache))
	s.Await(t, "server ready", 1)
	cached.Await(t, "server ready", 1)
	good := b.pointer(t)
	cached.Signal(2)
	cached.Wait(t)

	b.server.Kill()
	down := time.Now()
	again := harness.StartServer(t, with(b.env, "VECTORSTORE_LOCAL_DIR", cache))
	harness.AwaitHealth(t, again, "vectorstore_source", "local-cache")
	if a := harness.Get(t, again.URL+"/ready"); a.Code != 200 {
		t.Errorf("/ready is %d on the local cache", a.Code)
	}
	for time.Since(down) < outage {
		keepsAnswering(t, s, good.ID)
		keepsAnswering(t, again, good.ID)
		time.Sleep(50 * time.Millisecond)
	}
	harness.Eventually(t, "failed polls are counted", func() error {
		if v := metric(t, s.Admin, `vectorstore_pointer_polls_total{result="error"}`); v < 1 {
			return fmt.Errorf("pointer_polls_total{error} is %v", v)
		}
		return nil
	})

	b.server.Start()
	harness.AwaitHealth(t, again, "vectorstore_source", "S3/current")
	b.put(t, b.layout.Source, edited(t, first0(t, b), "停電のあとで"))
	p := b.awaitPointer(t, "a promotion after the outage", func(p store.Pointer) bool { return p.Generation > good.Generation })
	for _, s := range []*harness.Server{s, again} {
		harness.AwaitHealth(t, s, "snapshot", p.ID)
	}
}

func TestServerCacheHoldsNoMoreThanCurrentAndPrevious(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, revision(0, 10))
	harness.StartIndexer(t, with(b.env, "GATE_MAX_REMOVED", "1"))
	cache := t.TempDir()
	s := harness.StartServer(t, with(b.env, "VECTORSTORE_LOCAL_DIR", cache))
	s.Await(t, "server ready", 1)
	for rev := 1; rev <= 4; rev++ {
		before := b.pointer(t)
		b.put(t, b.layout.Source, revision(rev, 10))
		p := b.awaitPointer(t, "promotion", func(p store.Pointer) bool { return p.Generation > before.Generation })
		harness.AwaitHealth(t, s, "snapshot", p.ID)
	}
	harness.Eventually(t, "at most two indexes in the cache", func() error {
		var found []string
		err := filepath.WalkDir(cache, func(path string, _ os.DirEntry, err error) error {
			if filepath.Base(path) == snapshot.FileIndex {
				found = append(found, path)
			}
			return nil
		})
		if err != nil || len(found) == 0 || len(found) > 2 {
			return fmt.Errorf("%v, %v", found, err)
		}
		return nil
	})
}
