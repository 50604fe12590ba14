package follow

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/filter"
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

// replica is a follower that runs.
type replica struct {
	*Follower
	t     testing.TB
	open  *followtest.Openers
	local string
	log   *lockedBuffer
	stop  context.CancelFunc
	done  chan struct{}
}

// start runs a follower of a world; change adjusts what it stands on and its settings.
func start(t testing.TB, w *followtest.World, change ...func(*Deps, *Config)) *replica {
	t.Helper()
	r := &replica{t: t, open: &followtest.Openers{}, log: new(lockedBuffer), done: make(chan struct{})}
	deps, cfg := settings(t, w, r.open)
	for _, c := range change {
		c(&deps, &cfg)
	}
	r.local = cfg.LocalDir
	r.Follower = New(deps, cfg, "v1.2.3", slog.New(slog.NewJSONHandler(r.log, nil)), prometheus.NewRegistry())
	must(t, r.Open())
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.done)
		r.Run(ctx, func(string) {})
	}()
	t.Cleanup(r.close)
	return r
}

func settings(t testing.TB, w *followtest.World, o *followtest.Openers) (Deps, Config) {
	return Deps{
			Objects: w.Objects, Layout: w.Layout, Indexes: o,
			Embedder: func(snapshot.Embedding) (view.Embedder, error) { return followtest.Embedder, nil },
		}, Config{
			LocalDir: filepath.Join(t.TempDir(), "local"), PollInterval: 20 * time.Millisecond, StoreTimeout: time.Second, SwapWhenTight: TightRefuse,
		}
}

// close stops the follower and checks that nothing was used after it was closed, and everything was closed.
func (r *replica) close() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	<-r.done
	if err := r.Close(); err != nil {
		r.t.Errorf("closed with %v", err)
	}
	if n := r.open.Abused.Load(); n != 0 {
		r.t.Errorf("%d uses of an index after Close", n)
	}
	if n := r.m.residentBytes(); n != 0 {
		r.t.Errorf("%d bytes of indexes left open", n)
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (r *replica) serving(id string) {
	r.t.Helper()
	followtest.Eventually(r.t, "serving "+id, func() bool { return r.ServedID() == id })
}

func (r *replica) ready() bool { return r.ServedID() != "" }

// answer is what a view gives to a query that asks for everything.
type answer struct {
	Snapshot string
	Records  int
}

func (r *replica) search() answer {
	r.t.Helper()
	s := r.Acquire()
	if s == nil {
		r.t.Fatal("nothing is served")
	}
	defer r.Release(s)
	if _, _, err := s.Search(followtest.Gram("会計"), 1, nil); err != nil {
		r.t.Fatal(err)
	}
	return answer{s.ID(), int(s.Select(filter.Filter{}).GetCardinality())}
}

// health is what is served, in short.
type health struct {
	Source, Snapshot string
	Generation       int64
	Vectors          int
	Fallback         bool
}

func (r *replica) health() health {
	st := r.Status()
	h := health{Source: st.Source}
	if v := st.Served; v != nil {
		h.Snapshot, h.Generation, h.Vectors, h.Fallback = v.Manifest.ID, v.Pointer.Generation, v.Vectors, v.Fallback
	}
	return h
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
