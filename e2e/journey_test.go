package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// eachBackend runs the test on the directory store and on both real S3 servers.
func eachBackend(t *testing.T, test func(*testing.T, *backend)) {
	t.Run("dir", func(t *testing.T) { test(t, dirBackend(t)) })
	t.Run("versitygw", func(t *testing.T) { test(t, s3Backend(t, s3test.Versitygw)) })
	t.Run("minio", func(t *testing.T) { test(t, s3Backend(t, s3test.Minio)) })
}

func TestCatalogueBecomesAnswersOnEveryReplica(t *testing.T) {
	t.Parallel()
	eachBackend(t, journey)
}

func journey(t *testing.T, b *backend) {
	replicas := []*harness.Server{harness.StartServer(t, b.env), harness.StartServer(t, b.env)}
	ix := harness.StartIndexer(t, b.env)
	for _, s := range replicas {
		if a := harness.Get(t, s.URL+"/ready"); a.Code != 503 {
			t.Fatalf("/ready is %d with no snapshot, want 503", a.Code)
		}
		if a := harness.Post(t, s.URL+"/search", `{"query":"x"}`); a.Code != 503 || a.Header.Get("Retry-After") == "" {
			t.Fatalf("/search is %d (Retry-After %q) with no snapshot, want 503 and when to come back", a.Code, a.Header.Get("Retry-After"))
		}
	}

	b.put(t, b.layout.Source, sample(t))
	put := time.Now()
	for _, s := range replicas {
		harness.AwaitHealth(t, s, "vectorstore_source", "rebuilt->"+b.name+"/current")
	}
	t.Logf("%s: vendors.json to both replicas in %s (poll 0.2 s, resync 0.5 s)", t.Name(), time.Since(put).Round(time.Millisecond))
	first := b.pointer(t)
	for _, msg := range []string{"index rebuilt from vendors.json", "snapshot uploaded", "promoted to current/"} {
		ix.Await(t, msg, 1)
	}
	if got, want := ix.Await(t, "snapshot uploaded", 1).Str("url"), b.objects.URL(b.layout.Snapshot(first.ID)); got != want {
		t.Errorf("snapshot uploaded to %q, want %q", got, want)
	}
	for _, file := range []string{snapshot.FileManifest, snapshot.FileIndex, snapshot.FilePickle} {
		harness.Eventually(t, "current/"+file+" for old readers", func() error {
			if !b.exists(t, b.layout.Current(file)) {
				return fmt.Errorf("missing")
			}
			return nil
		})
	}
	searchesWell(t, replicas[0])

	late := harness.StartServer(t, b.env)
	harness.AwaitHealth(t, late, "vectorstore_source", b.name+"/current")
	replicas = append(replicas, late)

	const said = "量子もつれ羊羹の定期配送"
	b.put(t, b.layout.Source, edited(t, first0(t, b), said))
	second := b.awaitPointer(t, "a second generation", func(p store.Pointer) bool { return p.Generation == first.Generation+1 })
	for _, s := range replicas {
		harness.AwaitHealth(t, s, "snapshot", second.ID)
		f, err := harness.Search(s.URL, `{"query":"`+said+`","k":1}`)
		if err != nil || len(f.Results) != 1 || f.Results[0].ID != first0(t, b) || f.Snapshot != second.ID {
			t.Errorf("after the edit: %+v, %v", f, err)
		}
	}
	if second.Stats.Embedded != 1 || second.Stats.Changed != 1 {
		t.Errorf("one vendor was edited; the build says %+v", second.Stats)
	}

	for _, s := range replicas {
		s.Signal(15)
		if code := s.Wait(t); code != 0 {
			t.Errorf("server ended with %d after SIGTERM", code)
		}
	}
	ix.Signal(15)
	if code := ix.Wait(t); code != 0 {
		t.Errorf("indexer ended with %d after SIGTERM", code)
	}
}

// first0 is the id of the sample's first vendor.
func first0(t *testing.T, _ *backend) string {
	t.Helper()
	var doc struct {
		Vendors []struct {
			ID string `json:"vendor_id"`
		} `json:"vendors"`
	}
	if err := json.Unmarshal(sample(t), &doc); err != nil || len(doc.Vendors) < 80 {
		t.Fatalf("sample: %v, %d vendors", err, len(doc.Vendors))
	}
	return doc.Vendors[0].ID
}

// searchesWell asks the sample queries: hybrid, the default mode, hits at least 0.95 in the first three.
func searchesWell(t *testing.T, s *harness.Server) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(harness.Root(), "testdata", "queries.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Queries []sampleQuery `json:"queries"`
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Queries) < 40 {
		t.Fatalf("queries.json: %v, %d queries", err, len(file.Queries))
	}
	hits := 0
	for _, q := range file.Queries {
		body, _ := json.Marshal(map[string]any{"query": q.Query, "k": 3})
		f, err := harness.Search(s.URL, string(body))
		if err != nil {
			t.Fatalf("%s: %v", q.Query, err)
		}
		hit := false
		for _, r := range f.Results {
			for _, want := range q.Expect {
				hit = hit || r.ID == want
			}
		}
		if hit {
			hits++
		} else {
			t.Logf("missed: %s wants %v", q.Query, q.Expect)
		}
	}
	if share := float64(hits) / float64(len(file.Queries)); share < 0.95 {
		t.Errorf("hit@3 is %.3f, want at least 0.95", share)
	}
}
