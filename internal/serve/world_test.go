package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// world is a store with a minimal indexer: it publishes snapshots the way the protocol says.
type world struct {
	t       testing.TB
	objects store.Objects
	layout  store.Layout
	newest  string
	lineage string
	mu      sync.Mutex
	history []store.Promotion
	gen     int64

	writeIndex func(path string, dims int, rows []float32) error
	bare       int                     // this many of the last records have no vector
	plain      bool                    // snapshots carry neither words.idx nor filters.idx
	spoil      func([][]byte) [][]byte // what is written instead of their arrays
}

func newWorld(t testing.TB) *world {
	t.Helper()
	d, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, objects: d, layout: store.NewLayout("vectorstore/prod", ""), lineage: "lineage-1", writeIndex: writeBrute}
}

// catalogue is the default one: names, kinds, scores, tags, a product each.
func catalogue() []string {
	return []string{
		`{"vendor_id":"V-001","name":"北斗ロジスティクス","description":"冷凍倉庫の温度監視と低温輸送","type":"物流","score_num":8,"tags":["倉庫","低温"],"engagement":{"status":"面談済"},"active":true}`,
		`{"vendor_id":"V-002","name":"Sakura Cloud","description":"会計のSaaS。請求書の自動処理","type":"SaaS","score_num":7,"tags":["会計"],"engagement":{"status":"未接触"},"active":true}`,
		`{"vendor_id":"V-003","name":"青葉システムズ","description":"製造業の生産管理システム開発","type":"SI","score_num":5,"products":[{"name":"ライン眼"}],"engagement":{"status":"面談済"},"active":false}`,
		`{"vendor_id":"V-004","name":"みなと翻訳","description":"契約書の英訳、和訳、法律文書","type":"サービス","tags":["翻訳","法務"],"engagement":{"status":"契約中"}}`,
		`{"vendor_id":"V-005","name":"セキュアゲート","description":"ゼロトラストの認証基盤","type":"SaaS","score_num":9,"products":[{"name":"GateKey 3","code":"GK-3000"}],"active":true}`,
	}
}

// build uploads a snapshot of records and returns its manifest and digest.
func (w *world) build(records []string) (store.Manifest, string) {
	w.t.Helper()
	dir := w.t.TempDir()
	var rows []float32
	docs, err := store.NewDocWriter(dir)
	must(w.t, err)
	read, err := vendorstest.Records(strings.NewReader("[" + strings.Join(records, ",") + "]"))
	must(w.t, err)
	for i, rec := range read {
		must(w.t, docs.Add(rec.ID, rec.Name, rec.Answer, rec.Raw, rec.Digest))
		if i < len(records)-w.bare {
			rows = append(rows, gram(rec.Text)...)
		}
	}
	files, err := docs.Close()
	must(w.t, err)
	index := filepath.Join(dir, snapshot.FileIndex)
	must(w.t, w.writeIndex(index, testDims, rows))
	f, err := store.HashFile(context.Background(), index, nil)
	must(w.t, err)
	files = append(files, w.arrays(dir)...)
	if w.bare > 0 {
		must(w.t, store.WriteUnembedded(dir, make([]store.Unembedded, w.bare)))
		f, err := store.HashFile(context.Background(), filepath.Join(dir, snapshot.FileUnembedded), nil)
		must(w.t, err)
		files = append(files, f)
	}
	spec := snapshot.Spec{
		Embedding: snapshot.Embedding{Provider: "local", Model: embed.LocalModel, Dims: testDims, Version: "1"},
		Metric:    "inner_product", TextTemplate: vendors.TextTemplate, IndexKind: "flat",
	}
	w.mu.Lock()
	id := snapshot.NewID(time.Now(), w.newest, fmt.Sprint(len(records)))
	w.newest = id
	w.mu.Unlock()
	m := store.Manifest{
		FormatVersion: store.FormatVersion, ID: id, CreatedAt: time.Now().UTC(),
		Source: store.Source{Key: w.layout.Source, ETag: "e", SHA256: strings.Repeat("0", 64), Records: len(records)},
		Spec:   spec, SpecDigest: spec.Digest(), Index: snapshot.IndexParams{Kind: "flat"},
		Files: append([]snapshot.File{f}, files...), Stats: store.Stats{Vectors: len(records) - w.bare}, Builder: "test",
	}
	_, err = store.PutSnapshot(context.Background(), w.objects, w.layout, dir, m, nil)
	must(w.t, err)
	data, err := store.MarshalManifest(m)
	must(w.t, err)
	return m, store.ManifestDigest(data)
}

// arrays writes what replicas map to search by words and filters, unless the world is one of an older release.
func (w *world) arrays(dir string) (files []snapshot.File) {
	if w.plain {
		return nil
	}
	docs, err := store.OpenDocs(dir)
	must(w.t, err)
	defer docs.Close()
	attrs, err := filter.Build(docs.Len(), docs.Metadata)
	must(w.t, err)
	words, err := lexical.Build(docs.Len(), nil, func(i int) (snapshot.Words, error) {
		id, name, raw, err := docs.Record(i)
		must(w.t, err)
		found, err := vendors.WordsOf(id, name, raw)
		return found, err
	})
	must(w.t, err)
	for name, arrays := range map[string][][]byte{snapshot.FileFilters: attrs.Arrays(), snapshot.FileWords: words.Arrays()} {
		if w.spoil != nil {
			arrays = w.spoil(arrays)
		}
		path := filepath.Join(dir, name)
		must(w.t, store.WriteArrays(path, arrays))
		f, err := store.HashFile(context.Background(), path, nil)
		must(w.t, err)
		files = append(files, f)
	}
	return files
}

// promote points at a snapshot.
func (w *world) promote(m store.Manifest, digest string) store.Pointer {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gen++
	p := store.Pointer{
		Kind: store.KindPointer, Manifest: m, ManifestSHA256: digest, Lineage: w.lineage, Generation: w.gen, Epoch: 1,
		PromotedAt: time.Now().UTC(), Reason: "test", Nonce: store.NewNonce(), History: w.history,
	}
	w.put(p)
	w.history = append([]store.Promotion{{ID: m.ID, Generation: w.gen}}, w.history...)[:min(len(w.history)+1, store.HistoryLength)]
	return p
}

func (w *world) put(p store.Pointer) {
	w.t.Helper()
	_, info, err := store.ReadPointer(context.Background(), w.objects, w.layout, "")
	cond := store.PutOptions{IfMatch: info.ETag}
	if errors.Is(err, store.ErrNotFound) {
		cond = store.PutOptions{IfAbsent: true}
	}
	_, err = store.WriteDoc(context.Background(), w.objects, w.layout.Pointer(), p, cond)
	must(w.t, err)
}

func (w *world) publish(records []string) store.Pointer {
	w.t.Helper()
	return w.promote(w.build(records))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// embedFunc is an Embedder.
type embedFunc func(ctx context.Context, text string) ([]float32, error)

func (f embedFunc) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return f(ctx, text)
}

// replica is a running server under test.
type replica struct {
	*Server
	t     testing.TB
	open  *openers
	local string
	url   string
	admin string
	log   *bytes.Buffer
	stop  context.CancelFunc
	done  chan error
}

// start runs a server on free ports; change adjusts its settings.
func (w *world) start(t testing.TB, change ...func(*Deps, *Config)) *replica {
	t.Helper()
	reg := prometheus.NewRegistry()
	r := &replica{t: t, open: &openers{}, local: filepath.Join(t.TempDir(), "local"), log: new(bytes.Buffer), done: make(chan error, 1)}
	cfg := Defaults()
	cfg.ListenAddr, cfg.AdminAddr, cfg.LocalDir = "127.0.0.1:0", "127.0.0.1:0", r.local
	cfg.PollInterval, cfg.StoreTimeout, cfg.DrainTime = 20*time.Millisecond, time.Second, 100*time.Millisecond
	cfg.Build = Build{"v1.2.3", "abc", "1.0"}
	cfg.Log = slog.New(slog.NewJSONHandler(&lockedWriter{w: r.log}, nil))
	deps := Deps{
		Objects: w.objects, Layout: w.layout, Indexes: r.open,
		Embedder: func(snapshot.Embedding) (Embedder, error) {
			return embedFunc(func(_ context.Context, text string) ([]float32, error) { return gram(text), nil }), nil
		},
		OpenLexical:  func(arrays [][]byte, n int) (Lexical, error) { return lexical.From(arrays, n) },
		BuildLexical: buildWords, Fuse: lexical.Fuse,
		Registerer: reg, Gatherer: reg,
	}
	for _, c := range change {
		c(&deps, &cfg)
	}
	r.local = cfg.LocalDir
	var err error
	r.Server, err = New(deps, cfg)
	must(t, err)
	public, err := net.Listen("tcp", cfg.ListenAddr)
	must(t, err)
	admin, err := net.Listen("tcp", cfg.AdminAddr)
	must(t, err)
	r.url, r.admin = "http://"+public.Addr().String(), "http://"+admin.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- r.Serve(ctx, public, admin) }()
	t.Cleanup(func() { r.close() })
	return r
}

// close stops the server and checks that nothing was used after it was closed, and everything was closed.
func (r *replica) close() {
	r.stop()
	err, ok := <-r.done
	if !ok {
		return
	}
	close(r.done)
	http.DefaultClient.CloseIdleConnections()
	if err != nil {
		r.t.Errorf("server ended with %v", err)
	}
	if n := r.open.abused.Load(); n != 0 {
		r.t.Errorf("%d uses of an index after Close", n)
	}
	if n := r.m.residentBytes(); n != 0 {
		r.t.Errorf("%d bytes of indexes left open", n)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// eventually polls cond until it holds; the time is a bound for hopelessness, not an expectation.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func (r *replica) serving(id string) {
	r.t.Helper()
	eventually(r.t, "serving "+id, func() bool { return r.holder.id() == id })
}

// answer is a decoded answer of /search.
type answer struct {
	Results []struct {
		ID, Text   string
		Score      float64
		Similarity *float64
		Metadata   json.RawMessage
	}
	Snapshot string
	TookMS   *float64 `json:"took_ms"`
}

func (a answer) ids() []string {
	ids := make([]string, len(a.Results))
	for i, h := range a.Results {
		ids[i] = h.ID
	}
	return ids
}

// do sends a request and returns status, headers and body.
func (r *replica) do(method, path, body string, header ...string) (int, http.Header, []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	must(r.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(r.t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	must(r.t, err)
	return res.StatusCode, res.Header, data
}

func (r *replica) search(body string) answer {
	r.t.Helper()
	code, h, data := r.do("POST", "/search", body)
	if code != 200 {
		r.t.Fatalf("search %s: %d %s", body, code, data)
	}
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		r.t.Fatalf("%v in %s", err, data)
	}
	if h.Get(headerSnapshot) != a.Snapshot {
		r.t.Errorf("header says %s, body %s", h.Get(headerSnapshot), a.Snapshot)
	}
	return a
}

func getJSON[T any](r *replica, path string) T {
	r.t.Helper()
	code, _, data := r.do("GET", path, "")
	if code != 200 {
		r.t.Fatalf("GET %s: %d %s", path, code, data)
	}
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		r.t.Fatalf("%v in %s", err, data)
	}
	return v
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// gateEmbedder waits for its gate.
type gateEmbedder struct {
	entered chan<- struct{}
	gate    <-chan struct{}
}

func (g gateEmbedder) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	g.entered <- struct{}{}
	select {
	case <-g.gate:
		return gram(text), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
