package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"
)

// hit is one result: a position in the snapshot.
type hit struct {
	pos           int64
	score         float32 // 0..1
	similarity    float32 // cosine, when hasSimilarity
	hasSimilarity bool
}

// searcher answers queries from the snapshot it is given.
type searcher struct {
	vectors  *queryVectors
	recent   *recentQueries
	parallel int // searches of one batch under way; those that wait for a core together are searched together
	m        *metrics
}

// embedParallel bounds the calls to the embedding provider that one batch makes at a time.
const embedParallel = 8

// search answers one query. The caller holds a reference on snap.
func (r *searcher) search(ctx context.Context, snap *view, q query) ([]hit, error) {
	if err := r.embed(ctx, snap, "body", &q); err != nil {
		return nil, err
	}
	defer r.indexed(time.Now())
	return run(ctx, snap, q)
}

// batch answers queries in order.
func (r *searcher) batch(ctx context.Context, snap *view, qs []query) ([][]hit, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(embedParallel)
	for i := range qs {
		g.Go(func() error { return r.embed(gctx, snap, fmt.Sprintf("body.queries[%d]", i), &qs[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	defer r.indexed(time.Now())
	out := make([][]hit, len(qs))
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(r.parallel)
	for i := range qs {
		g.Go(func() (err error) {
			out[i], err = run(gctx, snap, qs[i])
			return err
		})
	}
	return out, g.Wait()
}

func (r *searcher) indexed(since time.Time) { r.m.indexSeconds.Observe(time.Since(since).Seconds()) }

// embed fills in the query's vector where its mode uses one, and checks a given one.
func (r *searcher) embed(ctx context.Context, snap *view, at string, q *query) error {
	if q.vector != nil {
		if len(q.vector) != snap.dims() {
			return wrong(at+".vector", "has %d dimensions, the index has %d", len(q.vector), snap.dims())
		}
		r.recent.add(snap.manifest.Spec.Embedding, q.vector)
		return nil
	}
	if q.text == "" {
		return nil
	}
	start := time.Now()
	v, err := r.vectors.get(ctx, snap.manifest.Spec.Embedding, snap.embedder, q.text)
	r.m.embedSeconds.Observe(time.Since(start).Seconds())
	if err != nil && q.mode == ModeLexical && snap.words != nil && ctx.Err() == nil {
		return nil // words need no vector; the answer comes without similarity
	}
	q.vector = v
	if err == nil {
		r.recent.add(snap.manifest.Spec.Embedding, v)
	}
	return err
}

// candidates is how deep each ranking is read before fusing, at least.
const candidates = 50

// depth is how many results of each ranking a query is fused from.
func (q *query) depth() int { return max(candidates, 2*q.k) }

// run answers an embedded query.
func run(ctx context.Context, snap *view, q query) ([]hit, error) {
	var allow *roaring.Bitmap
	matching := snap.docs.Len()
	if q.filter != nil {
		allow = snap.attrs.Select(*q.filter)
		if matching = int(allow.GetCardinality()); matching == 0 {
			return nil, nil
		}
	}
	q.k = min(q.k, matching)
	switch {
	case q.vector == nil && q.text == "":
		return inOrder(allow, q.k, 1), nil
	case q.mode == ModeSemantic || q.text == "" || snap.words == nil:
		hits, err := byMeaning(ctx, snap, q.vector, q.k, allow)
		return snap.withRest(hits, q.k, allow), err
	case q.mode == ModeLexical:
		return byWords(ctx, snap, q, allow)
	default:
		return byBoth(ctx, snap, q, allow)
	}
}

// inOrder returns the first k allowed positions.
func inOrder(allow *roaring.Bitmap, k int, score float32) []hit {
	hits := make([]hit, 0, k)
	for it := allow.Iterator(); it.HasNext() && len(hits) < k; {
		hits = append(hits, hit{pos: int64(it.Next()), score: score})
	}
	return hits
}

// byMeaning ranks the records that have a vector by cosine alone.
func byMeaning(ctx context.Context, snap *view, vector []float32, k int, allow *roaring.Bitmap) ([]hit, error) {
	if rows, all := snap.index.Len(), snap.docs.Len(); allow != nil && rows < all {
		allow = allow.Clone()
		allow.RemoveRange(uint64(rows), uint64(all))
		if allow.IsEmpty() {
			return nil, nil
		}
	}
	pos, scores, err := snap.lane.search(ctx, vector, k, allow)
	if err != nil {
		return nil, err
	}
	hits := make([]hit, 0, k)
	for i, p := range pos {
		if p >= 0 {
			hits = append(hits, hit{pos: p, score: min(max(scores[i], 0), 1)})
		}
	}
	return hits, nil
}

// withRest appends allowed records without a vector to fewer than k hits, so that there are always min(k, matching).
func (s *view) withRest(hits []hit, k int, allow *roaring.Bitmap) []hit {
	for pos := s.index.Len(); pos < s.docs.Len() && len(hits) < k; pos++ {
		there := slices.ContainsFunc(hits, func(h hit) bool { return h.pos == int64(pos) })
		if !there && (allow == nil || allow.ContainsInt(pos)) {
			hits = append(hits, hit{pos: int64(pos)})
		}
	}
	return hits
}

// byWords ranks by words alone. With a filter the records without any of the words follow, so that there are always
// min(k, matching) results.
func byWords(ctx context.Context, snap *view, q query, allow *roaring.Bitmap) ([]hit, error) {
	hits := snap.fused(q, nil, allow)
	if allow != nil && len(hits) < q.k {
		rest := allow.Clone()
		for _, h := range hits {
			rest.Remove(uint32(h.pos))
		}
		hits = append(hits, inOrder(rest, q.k-len(hits), 0)...)
	}
	return hits, similarities(ctx, snap, q.vector, hits)
}

// byBoth fuses meaning, words and exact names.
func byBoth(ctx context.Context, snap *view, q query, allow *roaring.Bitmap) ([]hit, error) {
	near, err := byMeaning(ctx, snap, q.vector, min(q.depth(), snap.docs.Len()), allow)
	if err != nil {
		return nil, err
	}
	ranking := make([]int64, len(near))
	for i, h := range near {
		ranking[i] = h.pos
	}
	hits := snap.withRest(snap.fused(q, ranking, allow), q.k, allow)
	return hits, similarities(ctx, snap, q.vector, hits)
}

// fused merges the ranking by meaning with the one by words.
func (s *view) fused(q query, ranking []int64, allow *roaring.Bitmap) []hit {
	words, scores := s.words.Search(q.text, q.depth(), allow)
	pos, fused := s.fuse(q.k, ranking, words, scores)
	hits := make([]hit, len(pos))
	for i, p := range pos {
		hits[i] = hit{pos: p, score: fused[i]}
	}
	return hits
}

// similarities fills in the cosine of each hit. Only the hits are compared: the filter is the hits themselves.
func similarities(ctx context.Context, snap *view, vector []float32, hits []hit) error {
	if vector == nil || len(hits) == 0 {
		return nil
	}
	stored := make([]float32, snap.dims())
	for i := range hits {
		if hits[i].pos >= int64(snap.index.Len()) {
			continue // it has no vector
		}
		if err := snap.index.Vector(int(hits[i].pos), stored); err != nil {
			return err
		}
		var dot float32
		for d, x := range stored {
			dot += x * vector[d]
		}
		hits[i].similarity, hits[i].hasSimilarity = min(max(dot, -1), 1), true
	}
	return nil
}

// Errors that answers are made of.
var (
	errNoSnapshot = errors.New("no snapshot is loaded")
	errProvider   = errors.New("the embedding provider failed")
)
