package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/api"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// realServer is the whole query server as a process, reached over connections in memory.
type realServer struct {
	*proc
	client     *http.Client
	mu         sync.Mutex
	generation int64
	last       string
}

// startServer runs a real server on a local disk of its own, or on one that an earlier server left, and asks it
// questions all the time.
func (w *world) startServer(name, disk string) *realServer {
	s := w.quietServer(name, disk, pollEvery)
	go func() {
		s.begin()
		for s.ctx.Err() == nil {
			nap(s.ctx, 1500*time.Millisecond)
			s.probe(s.ctx)
		}
	}()
	return s
}

// quietServer is a server that nobody asks.
func (w *world) quietServer(name, disk string, poll time.Duration) *realServer {
	s := &realServer{proc: w.newProc(name, false)}
	cfg := api.Defaults()
	cfg.LocalDir, cfg.ReplicaID, cfg.Log = filepath.Join(w.dir, disk), name, s.logger()
	cfg.PollInterval = poll
	server, err := api.New(follow.Deps{
		Objects: s.objects(), Layout: w.layout,
		Indexes:     snapshottest.Indexes{},
		Embedder:    func(snapshot.Embedding) (view.Embedder, error) { return w.embed, nil },
		MemoryLimit: func() int64 { return 1 << 40 },
		MemoryUsed:  func() int64 { return 0 },
		Spread:      s.clock().Spread,
	}, cfg, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	public, admin := newPipes(), newPipes()
	s.client = &http.Client{Transport: &http.Transport{DialContext: public.dial, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	go func() {
		defer close(s.done)
		s.begin()
		if err := server.Serve(s.ctx, public, admin); err != nil {
			w.say("%s stopped: %v", name, err)
		}
	}()
	return s
}

// probe asks a question and checks that the answer is of one snapshot, and never of an older one than before.
func (s *realServer) probe(ctx context.Context) {
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://sim/search", strings.NewReader(`{"query":"vendor","k":8,"mode":"semantic"}`))
	res, err := s.client.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	var answer struct {
		Results []struct {
			ID       string          `json:"id"`
			Metadata json.RawMessage `json:"metadata"`
		} `json:"results"`
		Snapshot string `json:"snapshot"`
	}
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(data, &answer) != nil {
		return
	}
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally["check answer"]++
	if id := res.Header.Get("X-Snapshot-Id"); id != answer.Snapshot {
		w.violate("%s answers from %s under the header %s", s.name, answer.Snapshot, id)
	}
	documents := w.state.documents[answer.Snapshot]
	if documents == nil { // its files were damaged when it was promoted: what it should say is not known
		return
	}
	if len(answer.Results) != bytes.Count(documents, []byte("\n")) {
		w.violate("%s: %d results from %s, which has %d records", s.name, len(answer.Results), answer.Snapshot, bytes.Count(documents, []byte("\n")))
	}
	for _, r := range answer.Results {
		if !bytes.Contains(documents, r.Metadata) {
			w.violate("%s serves a mix: %s is not a record of %s", s.name, r.Metadata, answer.Snapshot)
		}
	}
	generation := w.state.generations[answer.Snapshot]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = answer.Snapshot
	// A snapshot may be promoted again later: the highest generation it ever had counts.
	if generation < s.generation {
		w.violate("%s went back to %s, whose last generation is %d, from generation %d", s.name, answer.Snapshot, generation, s.generation)
	}
	s.generation = max(s.generation, w.state.lowest[answer.Snapshot])
}

func (s *realServer) served() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// pipes is a listener whose connections are made in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), gone: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.gone) })
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "127.0.0.1:1" }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.gone:
		return nil, fmt.Errorf("dial: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
