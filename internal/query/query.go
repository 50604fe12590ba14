// Package query answers questions from a view: [Searcher] embeds what is asked, waits for a core and ranks.
//
//	Query → vector (cached; one call for equal texts; a breaker) → filter's bitmap → admission to a core
//	→ by meaning, by words, or by both → the page that is asked for → Answer
//
// A query is answered from one view, which the caller keeps open. Batches of concurrent queries live inside one view, so
// they cannot mix two. Everything is bounded: waiting searches, cached embeddings, calls to the provider, time.
package query

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/tracing"
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

// Query is one question. What is asked is Text, Vector or Similar; without any of them Filter alone.
type Query struct {
	Text     string    // "" for none
	Vector   []float32 // a unit vector in place of the text's, of the view's dimensions; nil for none
	Similar  string    // the id of a record whose neighbours are wanted, without itself; "" for none
	K        int       // results wanted
	Offset   int       // results left out before them
	Mode     string    // by meaning alone where there is no text
	Filter   *filter.Filter
	MinScore float32  // results below it are left out
	Sort     *Sort    // in place of the order by score
	Facets   []string // fields whose values are counted
	// AutoFilter looks for conditions in the text: records that meet them come before the others. Not by meaning alone.
	AutoFilter bool

	degraded bool // the provider failed: answer by the words
	trace    tracing.Trace
}

// Sort is an order by the values of a field. What is asked for is ranked first, and the best MaxSorted that score at least
// MinSorted are put in order.
type Sort struct {
	Field      string
	Descending bool
}

// Limits of what a question can ask for.
const (
	MaxOffset   = 10_000
	MaxFacets   = 16  // fields
	FacetValues = 200 // of each
	MaxSorted   = 100
	MinSorted   = 0.3
)

// Answer is what is found.
type Answer struct {
	Hits     []Hit
	Total    int                    // records that match the filter, whatever they score
	Facets   [][]filter.FacetCount  // of those, for each field of the query
	Unknown  []string               // paths of the query that no record has
	Degraded bool                   // by words alone, because the embedding provider failed
	Found    []conditions.Condition // in the question; records that do not meet them all come last
}

// Hit is one result: a position in the view.
type Hit struct {
	Pos           int
	Score         float32 // 0..1
	Similarity    float32 // cosine, when HasSimilarity
	HasSimilarity bool
	Beyond        bool // it does not meet the conditions in the question
}

// ErrUnknownRecord: no record has the id of Query.Similar.
var ErrUnknownRecord = errors.New("no vendor has this id")

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
	synonyms  *synonyms
	parallel  int // searches of one batch under way; those that wait for a core together are searched together
	timeout   time.Duration
	m         *Metrics
}

// Metrics of searching.
type Metrics struct {
	total, embed, index prometheus.Observer
	cacheHit, cacheMiss prometheus.Counter
	degraded, slow      prometheus.Counter
	empty, unfit        prometheus.Counter
}

// slowAfter is when a search is slow: people notice.
const slowAfter = time.Second

// unfitBelow is the score below which a record is merely the nearest of what does not fit.
const unfitBelow = 0.3

// Took is told of each request how long it took as a whole, with the id of its trace, "" for none.
func (m *Metrics) Took(took time.Duration, trace string) {
	if took > slowAfter {
		m.slow.Inc()
	}
	if with, ok := m.total.(prometheus.ExemplarObserver); ok && trace != "" {
		with.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": trace})
		return
	}
	m.total.Observe(took.Seconds())
}

// found counts questions that came to nothing: no result, or none that fits what is asked in words.
func (m *Metrics) found(q *Query, a *Answer) {
	switch {
	case q.Offset > 0:
	case len(a.Hits) == 0:
		m.empty.Inc()
	case q.Text != "" && q.Mode != Semantic && q.Sort == nil && a.Hits[0].Score < unfitBelow:
		m.unfit.Inc()
	}
}

func newMetrics(reg prometheus.Registerer) *Metrics {
	seconds := promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
		Name: "vectorstore_search_duration_seconds", Help: "Time of a search by stage.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17), // 0.1 ms … 6.6 s
	}, []string{"stage"})
	cache := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "vectorstore_query_embedding_cache_total", Help: "Look-ups in the cache of query embeddings.",
	}, []string{"result"})
	nothing := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "vectorstore_search_empty_total", Help: "Questions answered without a result (none), or without one that fits (unfit: the best scores below 0.3).",
	}, []string{"reason"})
	return &Metrics{
		empty: nothing.WithLabelValues("none"), unfit: nothing.WithLabelValues("unfit"),
		slow: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "vectorstore_search_slow_total", Help: "Requests for searches that took more than a second.",
		}),
		total: seconds.WithLabelValues("total"), embed: seconds.WithLabelValues("embed"), index: seconds.WithLabelValues("index"),
		cacheHit: cache.WithLabelValues("hit"), cacheMiss: cache.WithLabelValues("miss"),
		degraded: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "vectorstore_search_degraded_total", Help: "Hybrid searches answered by words alone, because the embedding provider failed.",
		}),
	}
}

// New returns a Searcher that registers its metrics with reg.
func New(l Limits, reg prometheus.Registerer) *Searcher {
	m := newMetrics(reg)
	return &Searcher{
		admission: newAdmission(l.Cores, l.MaxQueue), vectors: newQueryVectors(l.EmbedTimeout, m), recent: &recentVectors{}, synonyms: &synonyms{},
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
func (r *Searcher) Forget(v *view.View) {
	r.admission.forget(v)
	r.synonyms.forget(v)
}

// SetSynonyms are the words that people use for values from now on; nil for none.
func (r *Searcher) SetSynonyms(words conditions.Synonyms) { r.synonyms.set(words) }

// embedParallel bounds the calls to the embedding provider that one batch makes at a time.
const embedParallel = 8

// Search answers one query.
func (r *Searcher) Search(ctx context.Context, v *view.View, q Query) (Answer, error) {
	q.trace = tracing.Of(ctx)
	within := &limited{Context: ctx, until: time.Now().Add(r.timeout)}
	defer within.end()
	if err := r.embed(within, v, &q); err != nil {
		return Answer{}, within.blame(err)
	}
	defer r.indexed(time.Now())
	a, err := r.answer(within, v, q)
	return a, within.blame(err)
}

// Batch answers queries in order.
func (r *Searcher) Batch(ctx context.Context, v *view.View, qs []Query) ([]Answer, error) {
	traced := tracing.Of(ctx)
	within := &limited{Context: ctx, until: time.Now().Add(r.timeout)}
	defer within.end()
	g, gctx := errgroup.WithContext(within)
	g.SetLimit(embedParallel)
	for i := range qs {
		qs[i].trace = traced
		g.Go(func() error { return r.embed(gctx, v, &qs[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, within.blame(err)
	}
	defer r.indexed(time.Now())
	out := make([]Answer, len(qs))
	g, gctx = errgroup.WithContext(within)
	g.SetLimit(r.parallel)
	for i := range qs {
		g.Go(func() (err error) {
			out[i], err = r.answer(gctx, v, qs[i])
			return err
		})
	}
	return out, within.blame(g.Wait())
}

func (r *Searcher) indexed(since time.Time) { r.m.index.Observe(time.Since(since).Seconds()) }

// embed fills in the query's vector where its mode uses one. By words alone no provider is called; a model in this process
// adds the similarity. When the provider fails, a hybrid query is answered by its words.
func (r *Searcher) embed(ctx context.Context, v *view.View, q *Query) error {
	by := v.Embedding()
	if q.Vector != nil {
		r.recent.add(by, q.Vector)
		return nil
	}
	if q.Text == "" || q.Mode == Lexical && !by.InProcess() {
		return nil
	}
	start := time.Now()
	vector, err := r.vectors.get(ctx, by, v, q.Text)
	r.m.embed.Observe(time.Since(start).Seconds())
	q.trace.Since("embed", start)
	switch {
	case err == nil:
		q.Vector = vector
		r.recent.add(by, vector)
	case ctx.Err() != nil || q.Mode == Semantic:
		return err
	case q.Mode == Hybrid:
		q.degraded = true
		r.m.degraded.Inc()
	}
	return nil
}
