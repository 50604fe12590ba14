package main

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/notify"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

// building are the settings of whoever builds snapshots: run and reconcile.
type building struct {
	Provider wire.Provider `embed:""`
	Model    wire.Model    `embed:""`
	Signing  wire.Signing  `embed:""`
	Notify   wire.Notify   `embed:""`
	Traces   wire.Traces   `embed:""`

	Catalogue rules `embed:""`

	Concurrency int     `name:"embedding-concurrency" env:"EMBEDDING_CONCURRENCY" default:"4" help:"Calls to the embedding provider in flight at most."`
	Batch       int     `name:"embedding-batch" env:"EMBEDDING_BATCH" default:"0" placeholder:"N" help:"Texts a call to the embedding provider at most; default the provider's own limit, or what it is found to take."`
	MaxTokens   int     `name:"max-embed-tokens" env:"MAX_EMBED_TOKENS" default:"0" help:"Token budget of one build: above it the build is held before any purchase; 0 is off."`
	Price       float64 `name:"embedding-price" env:"EMBEDDING_PRICE" default:"-1" placeholder:"USD" help:"Price of a million tokens, for plans and budgets; default the list price of a known model."`
	IndexKind   string  `name:"index-kind" env:"INDEX_KIND" default:"auto" help:"auto (by size), flat, hnsw, ivf, hnsw-sq8 or ivf-sq8 (a byte per component)."`

	Delta string `name:"delta" env:"DELTA" default:"auto" enum:"auto,off" help:"auto: a small change of a large catalogue is published as a delta over the served snapshot, in seconds; off: every change is a full build."`

	Legacy string `name:"legacy-copies" env:"LEGACY_COPIES" default:"l2" enum:"l2,ip,off" help:"What old (LangChain) readers find as current/index.faiss: l2 (distances, lower is better, LangChain's default reading), ip (inner products, higher is better) or off (nothing)."`

	Resync  time.Duration `name:"resync-interval" env:"RESYNC_INTERVAL" default:"5s" help:"How often the catalogue is looked at."`
	Lease   time.Duration `name:"lease-ttl" env:"LEASE_TTL" default:"60s" help:"How long a silent leader keeps others from taking over, 5s to 5m."`
	Retain  int           `name:"retain-snapshots" env:"RETAIN_SNAPSHOTS" default:"5" help:"Promoted snapshots that are kept. Of delta snapshots also what was current at each hour of the last day and each midnight of the last week."`
	Grace   time.Duration `name:"retain-grace" env:"RETAIN_GRACE" default:"1h" help:"Nothing younger, or retired less long ago, is deleted."`
	Removed float64       `name:"gate-max-removed" env:"GATE_MAX_REMOVED" default:"0.5" help:"Share of the served vendors that may be gone; above it the candidate is held."`
	Recall  float64       `name:"gate-min-recall" env:"GATE_MIN_RECALL" default:"0.95" help:"Least recall@10 against exact search; below it the candidate is held."`
	MinNDCG float64       `name:"gate-min-ndcg" env:"GATE_MIN_NDCG" default:"0" help:"nDCG@10 of the golden queries below which a build is held; 0 is off."`
	MaxDrop float64       `name:"gate-max-ndcg-drop" env:"GATE_MAX_NDCG_DROP" default:"0" help:"How far that may fall below the served snapshot's; 0 is off."`
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (s building) Validate() error {
	if _, err := vecindex.Resolve(s.IndexKind, 1000, 64); err != nil {
		return wire.SettingError("INDEX_KIND", "%w", err)
	}
	if s.Concurrency < 1 || s.Concurrency > 256 {
		return wire.SettingError("EMBEDDING_CONCURRENCY", "must be 1 to 256, is %d", s.Concurrency)
	}
	if s.Batch < 0 || s.Batch > embed.MaxBatchTexts {
		return wire.SettingError("EMBEDDING_BATCH", "must be 1 to %d, is %d", embed.MaxBatchTexts, s.Batch)
	}
	return nil
}

// rules say how a catalogue is read.
type rules struct {
	Duplicates string `name:"duplicate-ids" env:"DUPLICATE_IDS" default:"suffix" help:"A repeated id: suffix keeps every record (the second as ID~2), last keeps the last one, refuse refuses the catalogue."`
	ID         string `name:"record-id" env:"RECORD_ID" default:"vendor_id,id" placeholder:"PATHS" help:"Where a record's id stands: dotted paths, the first that is present wins; without one its name is its id."`
	Name       string `name:"record-name" env:"RECORD_NAME" default:"name,company_name,title" placeholder:"PATHS" help:"The same for its name; without one its first text is its name."`
}

func (r rules) rules() vendors.Rules {
	return vendors.Rules{Duplicates: r.Duplicates, ID: r.ID, Name: r.Name}
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (r rules) Validate() error { return r.rules().Validate() }

func (s building) config(e embed.Embedder, build wire.Build, dir string) reconcile.Config {
	cfg := reconcile.DefaultConfig()
	cfg.Embedding, cfg.EmbedHost = e.Embedding(), e.Endpoint()
	cfg.IndexKind, cfg.Catalogue = s.IndexKind, s.Catalogue.rules()
	cfg.ResyncInterval, cfg.LeaseTTL = s.Resync, s.Lease
	cfg.RetainSnapshots, cfg.RetainGrace = s.Retain, s.Grace
	cfg.GateMaxRemoved, cfg.GateMinRecall = s.Removed, s.Recall
	cfg.GateMinNDCG, cfg.GateMaxNDCGDrop = s.MinNDCG, s.MaxDrop
	cfg.MaxEmbedTokens = s.MaxTokens
	cfg.Delta, cfg.LegacyCopies = s.Delta, s.Legacy
	if usd, known := embed.Price(e.Embedding().Model, 1_000_000); known {
		cfg.TokenPrice = usd
	}
	if s.Price >= 0 {
		cfg.TokenPrice = s.Price
	}
	cfg.Builder = "vectorstore " + build.String()
	cfg.Host, _ = os.Hostname() // for people only; "" is shown as unknown
	cfg.Dir = dir
	return cfg
}

// signs refuses to build what could not be promoted: a snapshot at every pass, for good.
func (s building) signs(a *app) error {
	if keys, err := a.keys.Open(); err == nil && len(keys) > 0 && s.Signing.Key == "" {
		return usage(wire.SettingError("SIGNING_KEY", "is not set, and with MANIFEST_KEYS an indexer promotes only what is signed"))
	}
	return nil
}

// newRegistry carries what every process shows of itself.
func newRegistry(b wire.Build) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "vectorstore_build_info", Help: "What is running, always 1."}, []string{"version", "commit", "faiss"})
	info.WithLabelValues(b.Version, b.Commit, vecindex.Version()).Set(1)
	reg.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// settle is what chooses the local model by what the store serves, nil when a setting says what embeds.
func (s building) settle(log *slog.Logger) func(snapshot.Embedding) (reconcile.Embedder, snapshot.Embedding, string) {
	if !s.Provider.Chooses(s.Model) {
		return nil
	}
	return func(served snapshot.Embedding) (reconcile.Embedder, snapshot.Embedding, string) {
		e, why := s.Provider.Choose(s.Model, served)
		level := slog.LevelInfo
		if why != "" && served == (snapshot.Embedding{}) {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "local model", "embedding_model", e.Embedding().Model, "why", why)
		return e, e.Embedding(), why
	}
}

// withReconciler wires a reconciler and hands it to use, with the registry that carries its metrics.
func (s building) withReconciler(a *app, log *slog.Logger, patience time.Duration, use func(*reconcile.Reconciler, *prometheus.Registry) error) error {
	reg := newRegistry(a.build)
	objects, err := a.store.Open(a.ctx, reg, patience)
	if err != nil {
		return usage(err)
	}
	metrics := reconcile.NewMetrics(reg)
	embedder, err := s.Provider.Open(a.ctx, s.Model, wire.Calls{Concurrency: s.Concurrency, Batch: s.Batch, Patience: patience, Observer: observer(metrics, log)})
	if err != nil {
		return usage(err)
	}
	keys, err := a.keys.Open()
	if err != nil {
		return usage(err)
	}
	eraseKey, err := a.erasing.Open()
	if err != nil {
		return usage(err)
	}
	signer, err := s.Signing.Open(a.ctx)
	if err != nil {
		return err
	}
	sender, err := s.Notify.Open(a.ctx, a.store, reg, log)
	if err != nil {
		return usage(err)
	}
	var tell func(reconcile.Event)
	if sender != nil {
		tell = func(e reconcile.Event) { sender.Tell(notify.Event(e)) }
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), lastWords)
			defer cancel()
			sender.Close(ctx)
		}()
	}
	tracer, closeTraces, err := s.Traces.Open(a.ctx, "vectorstore-indexer", a.build, log)
	if err != nil {
		return usage(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), wire.LastTraces)
		defer cancel()
		closeTraces(ctx)
	}()
	dir, release, err := a.store.Scratch("indexer")
	if err != nil {
		return usage(err)
	}
	defer release()
	r, err := reconcile.New(reconcile.Deps{
		Signer: signer, Keys: keys, EraseKey: eraseKey,
		Tell: tell, Tracer: tracer,
		Objects: objects, Layout: a.store.Layout(), Embedder: embedder, Settle: s.settle(log), Indexes: vecindex.FAISS{},
		Progress: newProgress(a.stderr, log), Metrics: metrics, Log: log,
	}, s.config(embedder, a.build, dir))
	if err != nil {
		return usage(err)
	}
	wire.WarnOfStrangers(log, a.strangers)
	spec := embedder.Embedding()
	wire.Started(log, a.store, spec.Provider, spec.Model)
	return use(r, reg)
}

// lastWords is how long a process that ends still tells what it did.
const lastWords = 10 * time.Second

// quietRetries is how long after a warning about a repeated call the next ones are no news.
const quietRetries = time.Minute

// observer counts and logs what happens between the embedding client and its provider.
func observer(m *reconcile.Metrics, log *slog.Logger) embed.Observer {
	var warned atomic.Int64 // Unix nanoseconds
	return embed.Observer{
		Retry: func(reason string, err error) {
			m.EmbeddingRetry()
			level, now, last := slog.LevelDebug, time.Now().UnixNano(), warned.Load()
			if now-last > int64(quietRetries) && warned.CompareAndSwap(last, now) {
				level = slog.LevelWarn
			}
			log.Log(context.Background(), level, "embedding call repeated", "reason", reason, "error", err)
		},
		Cut: func(text, bytes, kept int) {
			log.Warn("text cut to the model's limit", "text", text, "bytes", bytes, "kept", kept)
		},
		Lacks: func(feature, message string) {
			log.Info("embedding server lacks a feature", "feature", feature, "message", message)
		},
	}
}

func usage(err error) error { return &wire.Coded{Code: wire.ExitUsage, Err: err} }
