package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// slowly is an address in front of an S3 server that adds d to every request, and counts the bytes of bodies.
type slowly struct {
	url   string
	bytes atomic.Int64 // written to the store, or read from it, but for the catalogue
}

func newSlowly(t *testing.T, endpoint string, d time.Duration) *slowly {
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s := &slowly{}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.Host = r.In.Host // it is signed
		},
		FlushInterval: -1,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		if !strings.HasSuffix(r.URL.Path, "/vendors.json") { // what people write is read whole whatever it changes
			r.Body, w = counted{r.Body, &s.bytes}, &countedWriter{w, &s.bytes}
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestEditsAreServedAsDeltas edits one record after the other of a catalogue that is large enough, on a real S3 server that
// takes 20 ms more for everything, under load: every edit is published as a delta and served by both replicas, no search
// fails, and no record that is edited is ever absent.
func TestEditsAreServedAsDeltas(t *testing.T) {
	n, edits, clients, kind := 2500, 12, 2, "flat" // exact, so that answers can be compared with a full build's
	if soak() {
		n, edits, clients, kind = 100_000, 300, 4, "auto"
	}
	b := s3Backend(t, s3test.Versitygw)
	proxy := newSlowly(t, b.env["AWS_ENDPOINT_URL_S3"], 20*time.Millisecond)
	env := with(b.env, "AWS_ENDPOINT_URL_S3", proxy.url, "RESYNC_INTERVAL", "500ms", "POLL_INTERVAL", "500ms", "LEGACY_COPIES", "off", "INDEX_KIND", kind)
	var source struct {
		Vendors []map[string]any `json:"vendors"`
	}
	if err := json.Unmarshal(catalogue(t, vendorstest.Options{N: n, Seed: 3}), &source); err != nil {
		t.Fatal(err)
	}
	records := source.Vendors
	write := func() {
		data, err := json.Marshal(source)
		if err != nil {
			t.Fatal(err)
		}
		b.put(t, b.layout.Source, data)
	}
	write()
	indexer := harness.StartIndexer(t, with(env, "VECTORSTORE_LOCAL_DIR", t.TempDir()))
	full := b.awaitPointer(t, "the first snapshot", func(p store.Pointer) bool { return p.Source.Records == n })
	var servers []*harness.Server
	for range 2 {
		s := harness.StartServer(t, with(env, "VECTORSTORE_LOCAL_DIR", t.TempDir()))
		harness.AwaitHealth(t, s, "vectorstore_source", "S3/current")
		servers = append(servers, s)
	}
	ids := make([]string, len(records))
	for i, r := range records {
		for _, key := range []string{"vendor_id", "id"} {
			if id, ok := r[key].(string); ok {
				ids[i] = id
				break
			}
		}
	}

	var over atomic.Bool
	var asked, failed, absent atomic.Int64
	var editing atomic.Value
	editing.Store(ids[0])
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; !over.Load(); i++ {
				s := servers[i%2]
				if _, err := harness.Search(s.URL, query(i)); err != nil {
					failed.Add(1)
				}
				if a, err := harness.Do(http.MethodGet, s.URL+"/vendors/"+url.PathEscape(editing.Load().(string)), nil); err != nil || a.Code != http.StatusOK {
					absent.Add(1)
				}
				asked.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	served := hdrhistogram.New(1, 60_000_000, 3)
	written := hdrhistogram.New(1, 1<<40, 3)
	for i := range edits {
		at := (i*7919 + 11) % n
		word := fmt.Sprintf("改訂%d号", i)
		records[at]["description"] = word
		editing.Store(ids[at])
		write()
		before, began := proxy.bytes.Load(), time.Now()
		for _, s := range servers {
			for {
				a := harness.Get(t, s.URL+"/vendors/"+url.PathEscape(ids[at]))
				if strings.Contains(string(a.Body), word) {
					break
				}
				if time.Since(began) > harness.Patience {
					t.Fatalf("edit %d was not served; indexer:\n%s", i, indexer.Tail(20))
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		_ = served.RecordValue(time.Since(began).Microseconds())
		_ = written.RecordValue(proxy.bytes.Load() - before)
		p := b.pointer(t)
		if p.Base == nil || p.Base.ID != full.ID && !soak() {
			t.Fatalf("edit %d made %s, a full snapshot", i, p.ID)
		}
	}
	over.Store(true)
	wg.Wait()
	sameAsFull(t, b, servers[0])
	ms := func(q float64) float64 { return float64(served.ValueAtQuantile(q)) / 1000 }
	t.Logf("%d vendors, %d edits: served by both after p50 %.0f ms, p99 %.0f ms; written and fetched by all three beside the catalogue: median %d KB an edit, mean %.0f; %d searches, %d failed, %d times absent",
		n, edits, ms(50), ms(99), written.ValueAtQuantile(50)>>10, written.Mean()/1024, asked.Load(), failed.Load(), absent.Load())
	if failed.Load() > 0 || absent.Load() > 0 {
		t.Errorf("%d searches failed, a record was absent %d times", failed.Load(), absent.Load())
	}
	if soak() && (ms(50) > 2000 || ms(99) > 3000) {
		t.Errorf("an edit takes p50 %.0f ms, p99 %.0f ms", ms(50), ms(99))
	}
}

// sameAsFull compares a server's answers with those of a full build of the same catalogue: ids, order and scores of exact
// kinds and of words alone.
func sameAsFull(t *testing.T, b *backend, s *harness.Server) {
	full := dirBackend(t)
	full.put(t, full.layout.Source, b.get(t, b.layout.Source))
	env := with(full.env, "DELTA", "off", "INDEX_KIND", b.pointer(t).Index.Kind, "VECTORSTORE_LOCAL_DIR", t.TempDir())
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("reconcile: exit %d %s", code, stderr)
	}
	whole := harness.StartServer(t, with(full.env, "VECTORSTORE_LOCAL_DIR", t.TempDir()))
	harness.AwaitHealth(t, whole, "vectorstore_source", "dir/current")
	compared := 0
	for i := range 40 {
		for _, mode := range []string{"semantic", "lexical"} {
			if mode == "semantic" && b.pointer(t).Index.Kind != "flat" {
				continue // a graph is another for other insertions
			}
			body := fmt.Sprintf(`{"query":"物流 倉庫 改訂%d号","k":10,"mode":%q}`, i, mode)
			got, err := harness.Search(s.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			want, err := harness.Search(whole.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			compared += len(want.Results)
			if g, w := ranking(got), ranking(want); g != w {
				t.Errorf("%s: %s, a full build answers %s", body, g, w)
			}
		}
	}
	if compared < 40 {
		t.Errorf("%d results were compared", compared)
	}
}

// ranking is ids with their scores.
func ranking(f harness.Found) string {
	var b strings.Builder
	for _, r := range f.Results {
		fmt.Fprintf(&b, "%s %v ", r.ID, r.Score)
	}
	return b.String()
}
