// Package query answers questions from a view: [Searcher] embeds what is asked, waits for a core and ranks.
//
//	Query → vector (cached; one call for equal texts; a breaker) → filter's bitmap → admission to a core
//	→ by meaning, by words, or both fused → similarity of each hit → []Hit
//
// A query is answered from one view, which the caller keeps open. Batches of concurrent queries live inside one view, so
// they cannot mix two. Everything is bounded: waiting searches, cached embeddings, calls to the provider, time.
package query

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// Modes of a search.
const (
	Semantic = "semantic"
	Lexical  = "lexical"
	Hybrid   = "hybrid"
)

// KnownMode tells whether m is a mode.
func KnownMode(m string) bool { return m == Semantic || m == Lexical || m == Hybrid }

// Query is one question.
type Query struct {
	Text   string    // "" for none
	Vector []float32 // a unit vector in place of the text's, of the view's dimensions; nil for none
	K      int       // results wanted
	Mode   string    // by meaning alone where there is no text
	Filter *filter.Filter
}

// Hit is one result: a position in the view.
type Hit struct {
	Pos           int
	Score         float32 // 0..1
	Similarity    float32 // cosine, when HasSimilarity
	HasSimilarity bool
}

// ErrProvider: the embedding provider failed.
var ErrProvider = errors.New("the embedding provider failed")

// Limits of a Searcher.
type Limits struct {
	Cores         int           // searches that compute at a time
	MaxQueue      int           // MAX_QUEUE: searches waiting for a core; beyond it ErrBusy
	SearchTimeout time.Duration // of one question or batch; beyond it ErrDeadline
	EmbedTimeout  time.Duration // of one call to the embedding provider
}

// Searcher answers queries from the view that it is given with each.
type Searcher struct {
	admission *admission
	vectors   *queryVectors
	recent    *recentVectors
	parallel  int // searches of one batch under way; those that wait for a core together are searched together
	timeout   time.Duration
	m         *Metrics
}

// Metrics of searching.
type Metrics struct {
	Total               prometheus.Observer // of the whole of a request, for whoever takes requests
	embed, index        prometheus.Observer
	cacheHit, cacheMiss prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *Metrics {
	seconds := promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
		Name: "vectorstore_search_duration_seconds", Help: "Time of a search by stage.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17), // 0.1 ms … 6.6 s
	}, []string{"stage"})
	cache := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "vectorstore_query_embedding_cache_total", Help: "Look-ups in the cache of query embeddings.",
	}, []string{"result"})
	return &Metrics{
		Total: seconds.WithLabelValues("total"), embed: seconds.WithLabelValues("embed"), index: seconds.WithLabelValues("index"),
		cacheHit: cache.WithLabelValues("hit"), cacheMiss: cache.WithLabelValues("miss"),
	}
}

// New returns a Searcher that registers its metrics with reg.
func New(l Limits, reg prometheus.Registerer) *Searcher {
	m := newMetrics(reg)
	return &Searcher{
		admission: newAdmission(l.Cores, l.MaxQueue), vectors: newQueryVectors(l.EmbedTimeout, m), recent: &recentVectors{},
		parallel: max(1, min(maxTogether, l.MaxQueue/2)), timeout: l.SearchTimeout, m: m,
	}
}

// Close ends the calls of the provider that are under way; no search may begin any more.
func (r *Searcher) Close() { r.vectors.close() }

// Metrics are those that New registered.
func (r *Searcher) Metrics() *Metrics { return r.m }

// Provider is the state of the embedding provider that was called last.
func (r *Searcher) Provider() BreakerState { return r.vectors.provider() }

// Recent are query vectors of late, to warm a view with that is embedded in that way.
func (r *Searcher) Recent(by snapshot.Embedding) [][]float32 { return r.recent.of(by) }

// Forget lets go of a view that is about to be closed.
func (r *Searcher) Forget(v *view.View) { r.admission.forget(v) }

// embedParallel bounds the calls to the embedding provider that one batch makes at a time.
const embedParallel = 8

// Search answers one query.
func (r *Searcher) Search(ctx context.Context, v *view.View, q Query) ([]Hit, error) {
	within := &limited{Context: ctx, until: time.Now().Add(r.timeout)}
	defer within.end()
	if err := r.embed(within, v, &q); err != nil {
		return nil, within.blame(err)
	}
	defer r.indexed(time.Now())
	hits, err := r.run(within, v, q)
	return hits, within.blame(err)
}

// Batch answers queries in order.
func (r *Searcher) Batch(ctx context.Context, v *view.View, qs []Query) ([][]Hit, error) {
	within := &limited{Context: ctx, until: time.Now().Add(r.timeout)}
	defer within.end()
	g, gctx := errgroup.WithContext(within)
	g.SetLimit(embedParallel)
	for i := range qs {
		g.Go(func() error { return r.embed(gctx, v, &qs[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, within.blame(err)
	}
	defer r.indexed(time.Now())
	out := make([][]Hit, len(qs))
	g, gctx = errgroup.WithContext(within)
	g.SetLimit(r.parallel)
	for i := range qs {
		g.Go(func() (err error) {
			out[i], err = r.run(gctx, v, qs[i])
			return err
		})
	}
	return out, within.blame(g.Wait())
}

func (r *Searcher) indexed(since time.Time) { r.m.index.Observe(time.Since(since).Seconds()) }

// embed fills in the query's vector where its mode uses one.
func (r *Searcher) embed(ctx context.Context, v *view.View, q *Query) error {
	if q.Vector != nil {
		r.recent.add(v.Embedding(), q.Vector)
		return nil
	}
	if q.Text == "" {
		return nil
	}
	start := time.Now()
	vector, err := r.vectors.get(ctx, v.Embedding(), v, q.Text)
	r.m.embed.Observe(time.Since(start).Seconds())
	if err != nil && q.Mode == Lexical && ctx.Err() == nil {
		return nil // words need no vector; the answer comes without similarity
	}
	q.Vector = vector
	if err == nil {
		r.recent.add(v.Embedding(), vector)
	}
	return err
}

// run answers an embedded query.
func (r *Searcher) run(ctx context.Context, v *view.View, q Query) ([]Hit, error) {
	var allow *roaring.Bitmap
	matching := v.Len()
	if q.Filter != nil {
		allow = v.Select(*q.Filter)
		if matching = int(allow.GetCardinality()); matching == 0 {
			return nil, nil
		}
	}
	q.K = min(q.K, matching)
	switch {
	case q.Vector == nil && q.Text == "":
		return inOrder(allow, q.K, 1), nil
	case q.Mode == Semantic || q.Text == "":
		hits, err := r.byMeaning(ctx, v, q.Vector, q.K, allow)
		return withUnembedded(v, hits, q.K, allow), err
	default:
		return r.ranked(ctx, v, q, allow)
	}
}

// inOrder returns the first k allowed positions.
func inOrder(allow *roaring.Bitmap, k int, score float32) []Hit {
	hits := make([]Hit, 0, k)
	for it := allow.Iterator(); it.HasNext() && len(hits) < k; {
		hits = append(hits, Hit{Pos: int(it.Next()), Score: score})
	}
	return hits
}

// byMeaning ranks the records that have a vector by cosine alone.
func (r *Searcher) byMeaning(ctx context.Context, v *view.View, vector []float32, k int, allow *roaring.Bitmap) ([]Hit, error) {
	if rows, all := v.Vectors(), v.Len(); allow != nil && rows < all {
		allow = allow.Clone()
		allow.RemoveRange(uint64(rows), uint64(all))
		if allow.IsEmpty() {
			return nil, nil
		}
	}
	pos, scores, err := r.admission.of(v).search(ctx, vector, k, allow)
	if err != nil {
		return nil, err
	}
	hits := make([]Hit, 0, k)
	for i, p := range pos {
		if p >= 0 {
			hits = append(hits, Hit{Pos: int(p), Score: min(max(scores[i], 0), 1)})
		}
	}
	return hits, nil
}

// withUnembedded appends allowed records without a vector to fewer than k hits, so that there are always min(k, matching).
func withUnembedded(v *view.View, hits []Hit, k int, allow *roaring.Bitmap) []Hit {
	for pos := v.Vectors(); pos < v.Len() && len(hits) < k; pos++ {
		there := slices.ContainsFunc(hits, func(h Hit) bool { return h.Pos == pos })
		if !there && (allow == nil || allow.ContainsInt(pos)) {
			hits = append(hits, Hit{Pos: pos})
		}
	}
	return hits
}
