package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/taksuehiro/vectorstore/internal/api"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
	"github.com/taksuehiro/vectorstore/internal/view"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type serveCmd struct {
	Store    wire.Store    `embed:""`
	Provider wire.Provider `embed:""`
	Keys     wire.Keys     `embed:""`
	Traces   wire.Traces   `embed:""`

	ListenAddr     string        `name:"listen-addr" env:"LISTEN_ADDR" default:":8080" help:"Address of the public API and page."`
	AdminAddr      string        `name:"admin-addr" env:"ADMIN_ADDR" default:":9090" help:"Address of /metrics, /health, /ready, /status and pprof; never behind the load balancer."`
	PollInterval   time.Duration `name:"poll-interval" env:"POLL_INTERVAL" default:"2s" help:"How often the pointer is polled, jittered by 10 %."`
	DrainTime      time.Duration `name:"drain-time" env:"DRAIN_TIME" default:"15s" help:"After SIGTERM /ready is 503 and queries are served this long; longer than the load balancer's deregistration delay. SIGINT skips it."`
	TrustedProxies int           `name:"trusted-proxies" env:"TRUSTED_PROXIES" default:"0" help:"Hops of X-Forwarded-For that are believed (an ALB is 1)."`
	MaxQueue       int           `name:"max-queue" env:"MAX_QUEUE" default:"256" help:"Searches waiting for a core; beyond it 503."`
	SwapWhenTight  string        `name:"swap-when-tight" env:"SWAP_WHEN_TIGHT" default:"refuse" help:"When two indexes do not fit into memory: refuse the new one, or drop the old one first and answer 503 while loading."`
	DefaultMode    string        `name:"default-mode" env:"DEFAULT_MODE" default:"hybrid" help:"Mode of a text query that names none: hybrid, semantic or lexical."`
	AccessLog      string        `name:"access-log" env:"ACCESS_LOG" default:"off" help:"One line in the log for each request: off, on, or queries, with the text of the questions."`
	AllowedOrigins string        `name:"allowed-origins" env:"ALLOWED_ORIGINS" placeholder:"ORIGIN,…" help:"Origins that browsers may call from (CORS); default none."`
	APIKeys        string        `name:"api-keys" env:"API_KEYS" placeholder:"SHA256,…" help:"SHA-256 (hex) of each accepted bearer key; default none, which leaves the API open."`
	RateLimit      float64       `name:"rate-limit" env:"RATE_LIMIT" default:"0" help:"Requests per second and client, 429 beyond; 0 is off."`
	StrictContent  bool          `name:"strict-content-type" env:"STRICT_CONTENT_TYPE" help:"Refuse (415) a body whose Content-Type is not JSON, in place of a warning in the answer."`
}

// Validate reports an address that cannot be one; the command line's parser calls it.
func (c serveCmd) Validate() error {
	return errors.Join(wire.CheckAddr("LISTEN_ADDR", c.ListenAddr), wire.CheckAddr("ADMIN_ADDR", c.AdminAddr))
}

func (c serveCmd) config(log *slog.Logger, b wire.Build) api.Config {
	cfg := api.Defaults()
	cfg.ListenAddr, cfg.AdminAddr, cfg.LocalDir = c.ListenAddr, c.AdminAddr, c.Store.LocalDir
	cfg.PollInterval, cfg.DrainTime = c.PollInterval, c.DrainTime
	cfg.TrustedProxies, cfg.MaxQueue = c.TrustedProxies, c.MaxQueue
	cfg.SwapWhenTight, cfg.DefaultMode = c.SwapWhenTight, c.DefaultMode
	cfg.AccessLog = c.AccessLog
	cfg.AllowedOrigins, cfg.APIKeys, cfg.RateLimit = list(c.AllowedOrigins), list(c.APIKeys), c.RateLimit
	cfg.StrictContentType = c.StrictContent
	cfg.Cores = c.cores()
	cfg.Version, cfg.Commit, cfg.FAISS = b.Version, b.Commit, vecindex.Version()
	cfg.Log = log
	return cfg
}

// Beside the searches: of a load one goroutine downloads, one hashes and one opens, and the package front may have one
// sleep in the kernel.
const (
	loading  = 3
	sleeping = 1
)

// cores fixes how many searches run at a time and lets Go run loads beside them. Loads run on threads of low priority;
// such a thread, while the system makes it wait, keeps the right to run Go code, and the queries must not lack it.
func (serveCmd) cores() int {
	n := vecindex.Cores()
	runtime.GOMAXPROCS(n + loading + sleeping)
	return n
}

// Run serves until a signal: SIGTERM drains first, SIGINT (or a second signal) does not.
func (c serveCmd) Run(log *slog.Logger, b wire.Build, strangers []wire.Stranger) error {
	cfg := c.config(log, b)
	if err := cfg.Validate(); err != nil {
		return &wire.Coded{Code: wire.ExitUsage, Err: err}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	objects, err := c.Store.Open(ctx, reg, wire.Daemon)
	if err != nil {
		return &wire.Coded{Code: wire.ExitUsage, Err: err}
	}
	keys, err := c.Keys.Open()
	if err != nil {
		return &wire.Coded{Code: wire.ExitUsage, Err: err}
	}
	tracer, closeTraces, err := c.Traces.Open(ctx, "vectorstore-server", b, log)
	if err != nil {
		return &wire.Coded{Code: wire.ExitUsage, Err: err}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), wire.LastTraces)
		defer cancel()
		closeTraces(ctx)
	}()
	cfg.Tracer = tracer
	wire.WarnOfStrangers(log, strangers)
	wire.Started(log, c.Store, c.Provider.Resolved(), "the snapshot's")
	s, err := api.New(follow.Deps{
		Objects: objects,
		Layout:  c.Store.Layout(),
		Keys:    keys,
		Indexes: vecindex.FAISS{},
		Embedder: func(e snapshot.Embedding) (view.Embedder, error) {
			return c.Provider.ForSnapshot(ctx, e)
		},
		ReleaseMemory: vecindex.ReleaseMemory,
		Pause:         vecindex.Pause,
	}, cfg, reg)
	if err != nil {
		return err
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		if <-signals == syscall.SIGTERM {
			s.Drain()
			<-signals
		}
		cancel()
	}()
	return s.Run(ctx)
}

// list splits a comma-separated setting, ignoring blanks around and between.
func list(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
