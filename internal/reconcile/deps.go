package reconcile

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// Embedder turns texts into unit vectors of the configured dimensions.
type Embedder interface {
	// Embed embeds texts (at least one) and calls done once per finished batch, serially, in any order:
	// first is the index of the batch's first text, vectors its rows, valid only during the call, tokens what
	// the batch cost. What was passed to done stays valid when Embed returns an error. An error with a method
	// RefusedTexts() map[int]error names texts that were refused for themselves; others may not have been asked for yet. One
	// with a method ModelMissing() string names a model that has to be installed here first.
	Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error
	// EmbedQuery embeds one query as the servers do, for golden queries.
	EmbedQuery(ctx context.Context, text string) ([]float32, error)
	// EstimateTokens guesses what one text will cost.
	EstimateTokens(text string) int
}

// Progress shows people how far a pass is. Steps do not overlap.
type Progress interface {
	// Step starts a named step of total units (0 = unknown), ending the one before it.
	Step(name string, total int64)
	// Add reports units done.
	Add(n int64)
	// Done ends the last step.
	Done()
}

type silent struct{}

func (silent) Step(string, int64) {}
func (silent) Add(int64)          {}
func (silent) Done()              {}

// Clock is where time comes from. Elapsed decides (leases, backoff); Now only names and dates things, and
// may be wrong by any amount.
type Clock struct {
	Now     func() time.Time
	Elapsed func() time.Duration // monotonic, from any fixed start
	Spread  func() float64       // random, 0 ≤ x < 1: where in its range a wait falls. Of several goroutines
}

// jitter spreads d by ±10 %, so that processes started together do not stay in step.
func (c Clock) jitter(d time.Duration) time.Duration {
	return d + time.Duration((c.Spread()-0.5)*0.2*float64(d))
}

// SystemClock is the machine's.
func SystemClock() Clock {
	start := time.Now()
	return Clock{Now: time.Now, Elapsed: func() time.Duration { return time.Since(start) }, Spread: rand.Float64}
}

// Deps of a Reconciler. Objects, Layout, Embedder, Indexes and Log are required.
type Deps struct {
	Objects  store.Objects
	Layout   store.Layout
	Embedder Embedder
	// Settle chooses what embeds where no setting does, by what the store serves, the zero Embedding for nothing. It is
	// asked once, before anything is decided by it, and replaces Embedder and the Config's Embedding. why is shown to
	// people beside the snapshot. nil: they stand.
	Settle  func(served snapshot.Embedding) (e Embedder, is snapshot.Embedding, why string)
	Indexes snapshot.Indexes
	Signer  store.Signer // nil: manifests are not signed
	Keys    store.Keys   // whose signatures are taken over, the signer's own among them; none: everything is
	// EraseKey tells which records were purged. nil: while some are, nothing is built or promoted.
	EraseKey *store.EraseKey
	Progress Progress        // nil: none shown
	Metrics  *Metrics        // nil: not counted
	Tell     func(Event)     // told what happened, and does not wait; nil: nobody is
	Tracer   *tracing.Tracer // nil: nothing is traced
	Log      *slog.Logger
	Clock    Clock // zero: SystemClock
}
