package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/api/front"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/query"
)

// Limits of the HTTP servers. The idle timeout is longer than an ALB's default of 60 s: a backend that closes first
// turns reused connections into 502s.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeader         = 32 << 10
	stopTimeout       = 10 * time.Second // for requests in flight at the end
)

// Server answers searches from the snapshot that the pointer names.
type Server struct {
	cfg      Config
	log      *slog.Logger
	m        *metrics
	gatherer prometheus.Gatherer
	follower *follow.Follower
	searcher *query.Searcher
	keys     keyring
	limit    *limiter
	page     *page

	searches slots // of /search
	batches  slots // of /search/batch
	calls    slots // of /mcp
	answers  slots // bytes of large ones
	packers  packers
	refusals refusals
	mcp      http.Handler
	listed   atomic.Pointer[listed]

	draining atomic.Bool
	drain    chan struct{}
	once     sync.Once
}

// New checks the configuration and registers the metrics with reg, which /metrics shows; nothing runs or is opened yet.
// Recent, Forget and Tracer of deps are the server's own.
func New(deps follow.Deps, cfg Config, reg *prometheus.Registry) (*Server, error) {
	cfg.AllowedOrigins = trimmed(cfg.AllowedOrigins, "/")
	cfg.APIKeys = trimmed(cfg.APIKeys, "")
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, m: newMetrics(reg, cfg), gatherer: reg,
		searcher: query.New(cfg.Limits, reg),
		limit:    newLimiter(cfg.RateLimit),
		packers:  newPackers(cfg.Cores),
		drain:    make(chan struct{}),
	}
	s.refusals.log = s.log
	s.searches.most, s.batches.most, s.calls.most, s.answers.most = maxSearches, maxBatches, maxCalls, maxAnswers
	var err error
	if s.keys, err = newKeyring(cfg.APIKeys); err != nil {
		return nil, err
	}
	if s.page, err = newPage(); err != nil {
		return nil, err
	}
	s.mcp = s.newMCP()
	deps.Tracer = cfg.Tracer
	deps.Recent, deps.Forget, deps.Synonyms = s.searcher.Recent, s.searcher.Forget, s.searcher.SetSynonyms
	s.follower = follow.New(deps, cfg.Config, cfg.Version, cfg.Log, reg)
	return s, nil
}

func trimmed(in []string, suffix string) []string {
	var out []string
	for _, v := range in {
		if v = strings.TrimSuffix(strings.TrimSpace(v), suffix); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// Drain makes /ready answer 503; the server goes on answering for DrainTime and Run returns then. Safe to call from
// a signal's goroutine, any number of times.
func (s *Server) Drain() {
	s.once.Do(func() {
		s.draining.Store(true)
		close(s.drain)
	})
}

// Run binds both addresses, serves and follows the pointer until ctx ends (at once) or Drain was called and its time
// has passed. Requests in flight are finished either way. A nil error is a wanted end.
func (s *Server) Run(ctx context.Context) error {
	public, err := net.Listen("tcp", s.cfg.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	admin, err := net.Listen("tcp", s.cfg.AdminAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("ADMIN_ADDR: %w", err), public.Close())
	}
	return s.Serve(ctx, public, admin)
}

// Serve is Run on listeners that are bound already. It closes them.
func (s *Server) Serve(ctx context.Context, public, admin net.Listener) error {
	if err := s.follower.Open(); err != nil {
		return errors.Join(fmt.Errorf("VECTORSTORE_LOCAL_DIR: %w", err), public.Close(), admin.Close())
	}
	addrs := []any{"listen_addr", public.Addr().String(), "admin_addr", admin.Addr().String()}
	var ready sync.Once
	served := func(id string) {
		ready.Do(func() { s.log.Info("server ready", append(addrs, "snapshot", id)...) })
	}
	servers := []*http.Server{s.httpServer(s.publicHandler(), writeTimeout), s.httpServer(s.adminHandler(), 0)}
	failed := make(chan error, len(servers))
	searches := s.front(public, servers[0])
	var wg sync.WaitGroup
	for i, l := range []net.Listener{searches, admin} {
		wg.Go(func() {
			if err := servers[i].Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	s.log.Info("server listening", addrs...)

	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wg.Go(func() { s.follower.Run(following, served) })
	err := s.wait(ctx, failed)
	s.draining.Store(true)
	stop()
	err = errors.Join(err, shutdown(context.WithoutCancel(ctx), searches, servers))
	wg.Wait()
	s.searcher.Close()
	_ = s.follower.Close() // the cache is read back with care
	s.log.Info("server stopped")
	return err
}

// front takes POST /search off net/http's path: its own work for a request is about as much as a search.
func (s *Server) front(l net.Listener, h *http.Server) *front.Listener {
	h.ConnState = front.ConnState
	return front.Listen(l, front.Config{
		Path: "/search", MaxBody: maxBody, Handler: h.Handler, ErrorLog: h.ErrorLog,
		HeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	})
}

// shutdown lets requests in flight end, for stopTimeout.
func shutdown(ctx context.Context, searches *front.Listener, servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var g errgroup.Group
	for _, h := range servers {
		g.Go(func() error {
			if h.Shutdown(ctx) != nil {
				return h.Close()
			}
			return nil
		})
	}
	_ = searches.Shutdown(ctx) // what did not end is closed
	return g.Wait()
}

// wait returns when it is time to stop.
func (s *Server) wait(ctx context.Context, failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	case <-s.drain:
	}
	s.log.Info("draining", "seconds", s.cfg.DrainTime.Seconds())
	t := time.NewTimer(s.cfg.DrainTime)
	defer t.Stop()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	case <-t.C:
	}
	return nil
}

func (s *Server) httpServer(h http.Handler, write time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      write,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// ready reports whether this server is to get traffic.
func (s *Server) ready() bool { return !s.draining.Load() && s.follower.ServedID() != "" }
