package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// replica is a running server under test.
type replica struct {
	*Server
	t     testing.TB
	open  *followtest.Openers
	reg   *prometheus.Registry
	local string
	url   string
	admin string
	log   *bytes.Buffer
	stop  context.CancelFunc
	done  chan error
}

// start runs a server on free ports; change adjusts its settings.
func start(t testing.TB, w *followtest.World, change ...func(*follow.Deps, *Config)) *replica {
	t.Helper()
	r := &replica{t: t, reg: prometheus.NewRegistry(), open: &followtest.Openers{}, local: filepath.Join(t.TempDir(), "local"), log: new(bytes.Buffer), done: make(chan error, 1)}
	cfg := Defaults()
	cfg.ListenAddr, cfg.AdminAddr, cfg.LocalDir = "127.0.0.1:0", "127.0.0.1:0", r.local
	cfg.PollInterval, cfg.StoreTimeout, cfg.DrainTime = 20*time.Millisecond, time.Second, 100*time.Millisecond
	cfg.Version, cfg.Commit, cfg.FAISS = "v1.2.3", "abc", "1.0"
	cfg.Log = slog.New(slog.NewJSONHandler(&lockedWriter{w: r.log}, nil))
	deps := follow.Deps{
		Objects: w.Objects, Layout: w.Layout, Indexes: r.open,
		Embedder: func(snapshot.Embedding) (view.Embedder, error) { return followtest.Embedder, nil },
	}
	for _, c := range change {
		c(&deps, &cfg)
	}
	r.local = cfg.LocalDir
	var err error
	r.Server, err = New(deps, cfg, r.reg)
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
	if n := r.open.Abused.Load(); n != 0 {
		r.t.Errorf("%d uses of an index after Close", n)
	}
	if n := r.follower.ResidentBytes(); n != 0 {
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

func (r *replica) serving(id string) {
	r.t.Helper()
	followtest.Eventually(r.t, "serving "+id, func() bool { return r.follower.ServedID() == id })
}

// answer is a decoded answer of /search.
type answer struct {
	Results []struct {
		ID, Text   string
		Score      float64
		Similarity *float64
		Highlight  string
		Beyond     bool `json:"beyond_conditions"`
		Metadata   json.RawMessage
	}
	Total    int
	Facets   map[string][]filter.FacetCount
	Found    []conditions.Condition `json:"filters_found"`
	Degraded string
	Warnings []string
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

// gateEmbedder waits for its gate.
type gateEmbedder struct {
	entered chan<- struct{}
	gate    <-chan struct{}
}

func (g gateEmbedder) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	g.entered <- struct{}{}
	select {
	case <-g.gate:
		return followtest.Gram(text), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
