package reconcile

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Embedder turns texts into unit vectors of the configured dimensions.
type Embedder interface {
	// Embed embeds texts (at least one) and calls done once per finished batch, serially, in any order:
	// first is the index of the batch's first text, vectors its rows, valid only during the call, tokens what
	// the batch cost. What was passed to done stays valid when Embed returns an error. An error with a method
	// RefusedTexts() map[int]error names texts that were refused for themselves; others may not have been asked for yet.
	Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error
	// EmbedQuery embeds one query as the servers do, for golden queries.
	EmbedQuery(ctx context.Context, text string) ([]float32, error)
	// EstimateTokens guesses what one text will cost.
	EstimateTokens(text string) int
}

// Indexes makes and opens vector indexes over rows 0..n-1.
type Indexes interface {
	// Resolve turns an asked-for kind ("auto" included) into parameters for n rows of dims.
	Resolve(kind string, n, dims int) (store.IndexParams, error)
	// NewBuilder starts an index that will receive n rows.
	NewBuilder(p store.IndexParams, dims, n int) (Builder, error)
	// Open reads an index file. The caller closes the Index.
	Open(path string, p store.IndexParams) (Index, error)
}

// Builder takes rows in order, any number per call, in bounded memory.
type Builder interface {
	// Reuse lets the build take over what it has in common with the earlier index in the file at path, which is read
	// here only. from[i] is where row i was there, -1 for a new row, and only a hint. Before the first Add; after an
	// error the build goes on without.
	Reuse(path string, p store.IndexParams, from []int64) error
	Add(ctx context.Context, rows []float32) error
	// WriteFile finishes the index and writes it where Indexes.Open can read it.
	WriteFile(ctx context.Context, path string) error
	// Built says, after WriteFile, what to open the file with, and how many rows were taken over from the earlier
	// index: 0 when all was made anew.
	Built() (p store.IndexParams, carried int)
	// Close frees the builder, finished or not.
	Close() error
}

// Index is an opened index, used by one goroutine. Results are row-major, len(queries)/Dims() × k, best first, position -1 = none.
type Index interface {
	Search(queries []float32, k int, allow *roaring.Bitmap) (positions []int64, scores []float32, err error)
	// Exact scans every stored vector, whatever the kind of index.
	Exact(queries []float32, k int, allow *roaring.Bitmap) (positions []int64, scores []float32, err error)
	// Tune measures how wide a search must be for a recall@10 of target on the queries, and returns the parameters
	// and the recall that was reached. Search is as wide from then on.
	Tune(target float64, queries []float32) (store.IndexParams, float64, error)
	// Vector copies the stored vector at pos.
	Vector(pos int, dst []float32) error
	Len() int
	Dims() int
	Close() error
}

// PickleWriter writes the documents of a snapshot in the form that old readers load beside index.faiss.
type PickleWriter func(w io.Writer, n int, doc func(i int) (id, text string, metadata []byte, err error)) error

// DistanceWriter writes the index file at src again, as dst, with squared L2 distances for inner products. Of unit vectors
// both rank alike. dst is as large as src.
type DistanceWriter func(src, dst string) error

// LexicalBuilder indexes the words of n records, words(i) in catalogue order, and returns the arrays that replicas open.
type LexicalBuilder func(n int, words func(i int) (vendors.Words, error)) (arrays [][]byte, err error)

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
	Objects   store.Objects
	Layout    store.Layout
	Embedder  Embedder
	Indexes   Indexes
	Pickle    PickleWriter   // nil: snapshots carry no index.pkl
	Distances DistanceWriter // nil: old readers get the index file as it is
	Lexical   LexicalBuilder // nil: snapshots carry no words.idx
	Signer    store.Signer   // nil: manifests are not signed
	Keys      store.Keys     // whose signatures are taken over, the signer's own among them; none: everything is
	Progress  Progress       // nil: none shown
	Metrics   *Metrics       // nil: not counted
	Log       *slog.Logger
	Clock     Clock // zero: SystemClock
}
