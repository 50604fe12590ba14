package reconcile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
	"github.com/taksuehiro/vectorstore/internal/tracing"
)

const dims = 8

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a store in memory with one indexer on it.
type rig struct {
	settle  func(served snapshot.Embedding) (reconcile.Embedder, snapshot.Embedding, string)
	t       *testing.T
	mem     *storetest.Mem
	objects store.Objects
	layout  store.Layout
	embed   *recontest.Embedder
	indexes snapshottest.Indexes
	overs   int // delta snapshots that were made by hand
	cfg     reconcile.Config
	reg     *prometheus.Registry
	logs    *lines
	tracer  *tracing.Tracer

	signer   store.Signer
	keys     store.Keys
	eraseKey *store.EraseKey
	tell     func(reconcile.Event)
}

func newRig(t *testing.T) *rig {
	mem := storetest.NewMem(nil)
	cfg := reconcile.DefaultConfig()
	cfg.Embedding = snapshot.Embedding{Provider: "fake", Model: "hash", Dims: dims, Version: "1"}
	cfg.Builder, cfg.Host, cfg.Dir = "test", "host", tempDir(t)
	return &rig{
		t: t, mem: mem, objects: mem, layout: store.NewLayout("p", ""), embed: &recontest.Embedder{Dims: dims},
		cfg: cfg, logs: &lines{},
	}
}

// tempDir is in memory where that is possible: passes of a simulation write many small files.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shm(), "reconcile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func shm() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// indexer returns a fresh process: nothing in memory.
func (r *rig) indexer() *reconcile.Reconciler {
	r.t.Helper()
	r.reg = prometheus.NewRegistry()
	x, err := reconcile.New(reconcile.Deps{
		Objects: r.objects, Layout: r.layout, Embedder: r.embed, Settle: r.settle, Indexes: r.indexes,
		Signer: r.signer, Keys: r.keys, EraseKey: r.eraseKey,
		Metrics: reconcile.NewMetrics(r.reg), Tell: r.tell, Tracer: r.tracer,
		Log: slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

func (r *rig) once() reconcile.Outcome {
	r.t.Helper()
	return r.onceWith(reconcile.OnceOptions{Yes: true}) // as a daemon, whose settings are the deployment's
}

func (r *rig) onceWith(o reconcile.OnceOptions) reconcile.Outcome {
	r.t.Helper()
	out, _ := r.indexer().Once(r.t.Context(), o)
	return out
}

func (r *rig) want(out reconcile.Outcome, result string, code int) {
	r.t.Helper()
	if out.Result != result || out.ExitCode != code {
		r.t.Fatalf("outcome %s (exit %d, %v), want %s (exit %d)", out.Result, out.ExitCode, out.Err, result, code)
	}
}

func (r *rig) put(key string, v any) {
	r.t.Helper()
	data, ok := v.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(v); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.mem.Put(r.t.Context(), key, data, store.PutOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// catalogue writes vendors.json with ids from..to-1, each described by rev.
func (r *rig) catalogue(from, to int, rev string) {
	r.t.Helper()
	r.put(r.layout.Source, catalogue(from, to, rev))
}

func catalogue(from, to int, rev string) []byte {
	var b strings.Builder
	b.WriteString(`{"vendors":[`)
	for i := from; i < to; i++ {
		if i > from {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"id":"V-%03d","name":"vendor %d","description":"about %d %s"}`, i, i, i, rev)
	}
	b.WriteString("]}")
	return []byte(b.String())
}

func (r *rig) pointer() store.Pointer {
	r.t.Helper()
	p, _, err := store.ReadPointer(context.Background(), r.mem, r.layout, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) status() store.Status {
	r.t.Helper()
	s, _, err := store.ReadDoc[store.Status](context.Background(), r.mem, r.layout.Status(), store.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) condition(kind, status, reason string) {
	r.t.Helper()
	for _, c := range r.status().Conditions {
		if c.Type == kind {
			if c.Status != status || (reason != "" && c.Reason != reason) {
				r.t.Errorf("%s is %s/%s (%s), want %s/%s", kind, c.Status, c.Reason, c.Message, status, reason)
			}
			return
		}
	}
	r.t.Errorf("no condition %s", kind)
}

func (r *rig) operator() *reconcile.Operator {
	o := reconcile.NewOperator(r.objects, r.layout, "tester")
	o.Poll, o.EraseKey = 10*time.Millisecond, r.eraseKey
	return o
}
