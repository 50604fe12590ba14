package query

import (
	"context"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// question is a query at a view: embedded, its filter turned into a bitmap.
type question struct {
	Query
	view  *view.View
	queue *queue
	allow *roaring.Bitmap // nil for all
	find  *conditions.Finder
	own   int // the record whose neighbours are wanted, -1 for none
	found []conditions.Condition
}

// answer answers an embedded query.
func (r *Searcher) answer(ctx context.Context, v *view.View, q Query) (Answer, error) {
	a := Answer{Total: v.Len(), Degraded: q.degraded}
	at := question{Query: q, view: v, queue: r.admission.of(v), find: r.synonyms.finder(v), own: -1}
	if q.Filter != nil {
		at.allow = v.Select(*q.Filter)
		a.Total, a.Unknown = int(at.allow.GetCardinality()), v.Unknown(*q.Filter)
	}
	if q.Similar != "" {
		if err := at.likeRecord(); err != nil {
			return a, err
		}
		if at.allow == nil || at.allow.ContainsInt(at.own) {
			a.Total--
		}
	}
	if q.AutoFilter && q.Text != "" && q.Mode != Semantic {
		if err := at.findConditions(); err != nil {
			return a, err
		}
		a.Found = at.found
	}
	if err := at.count(ctx, &a); err != nil {
		return a, err
	}
	if a.Total == 0 {
		r.m.found(&q, &a)
		return a, nil
	}
	var err error
	a.Hits, err = at.hits(ctx)
	if err == nil {
		r.m.found(&q, &a)
	}
	return a, err
}

// onCore does work on a core, and tells of the wait for one.
func (q *question) onCore(ctx context.Context, name string, s *search) error {
	asked := q.trace.Now()
	err := q.queue.wait(ctx, s)
	if q.trace.On() {
		began := asked
		if !s.began.IsZero() {
			began = s.began
		}
		q.trace.Part("wait", asked, began)
		q.trace.Since(name, began)
	}
	return err
}

// likeRecord asks with the vector of a record. Of one that has none nothing is near.
func (q *question) likeRecord() error {
	var ok bool
	if q.own, ok = q.view.Find(q.Similar); !ok {
		return ErrUnknownRecord
	}
	if !q.view.HasVector(q.own) {
		return nil
	}
	q.Vector = make([]float32, q.view.Dims())
	return q.view.Vector(q.own, q.Vector)
}

// count counts the values of fields in the records that match, and notes fields that no record has.
func (q *question) count(ctx context.Context, a *Answer) error {
	if q.Sort != nil && !q.view.Has(q.Sort.Field) {
		a.Unknown = append(a.Unknown, q.Sort.Field)
	}
	if q.Facets == nil {
		return nil
	}
	return q.onCore(ctx, "facets", &search{work: func() {
		for _, field := range q.Facets {
			a.Facets = append(a.Facets, q.view.Facets(field, FacetValues, q.allow))
			if !q.view.Has(field) {
				a.Unknown = append(a.Unknown, field)
			}
		}
	}})
}

// hits are the results on the page that is asked for.
func (q *question) hits(ctx context.Context) ([]Hit, error) {
	end := q.Offset + q.K
	switch {
	case q.Sort != nil:
		return q.sorted(ctx, end)
	case q.Text == "" && q.Vector == nil:
		return q.page(q.inOrder(q.allow, end+1, q.unasked())), nil
	}
	hits, err := q.ranked(ctx, end)
	return q.page(hits), err
}

// unasked is the score of what nothing but a filter asks for; nothing is like a record without a vector.
func (q *question) unasked() float32 {
	if q.own >= 0 {
		return 0
	}
	return 1
}

// page cuts the page out of the first results.
func (q *question) page(hits []Hit) []Hit {
	hits = slices.DeleteFunc(hits, func(h Hit) bool { return h.Score < q.MinScore || h.Pos == q.own })
	from := min(q.Offset, len(hits))
	return hits[from:min(from+q.K, len(hits))]
}

// sorted puts the best results, or all that match, in the order of a field.
func (q *question) sorted(ctx context.Context, end int) ([]Hit, error) {
	among, ranked := q.allow, map[int]Hit(nil)
	if q.Text != "" || q.Vector != nil {
		best, err := q.ranked(ctx, MaxSorted)
		if err != nil {
			return nil, err
		}
		among, ranked = roaring.New(), make(map[int]Hit, len(best))
		for _, h := range best {
			if h.Score >= max(q.MinScore, MinSorted) && h.Pos != q.own {
				among.AddInt(h.Pos)
				ranked[h.Pos] = h
			}
		}
	}
	if among == nil {
		return nil, nil
	}
	var hits []Hit
	err := q.onCore(ctx, "sort", &search{work: func() {
		for _, pos := range q.view.Sorted(q.Sort.Field, q.Sort.Descending, among, end+1) {
			h, ok := ranked[int(pos)]
			if !ok {
				h = Hit{Pos: int(pos), Score: q.unasked()}
			}
			hits = append(hits, h)
		}
	}})
	return q.page(hits), err
}

// ranked returns the first n results, best first, and one more where the record itself is to be left out. With a filter
// there are always min(n, matching).
func (q *question) ranked(ctx context.Context, n int) ([]Hit, error) {
	if q.own >= 0 {
		n++
	}
	n = min(n, q.view.Len())
	if q.allow != nil {
		n = min(n, int(q.allow.GetCardinality()))
	}
	if q.Mode == Semantic || q.Text == "" {
		near, err := q.byMeaning(ctx, n)
		return q.withUnembedded(near, n), err
	}
	if len(q.found) > 0 {
		return q.byConditions(ctx, n)
	}
	return q.byRelevance(ctx, n)
}

// inOrder returns the first k allowed records.
func (q *question) inOrder(allow *roaring.Bitmap, k int, score float32) []Hit {
	var hits []Hit
	if allow == nil {
		return nil
	}
	for _, pos := range q.view.InOrder(allow, k) {
		hits = append(hits, Hit{Pos: int(pos), Score: score})
	}
	return hits
}

// byMeaning ranks the records that have a vector by cosine alone.
func (q *question) byMeaning(ctx context.Context, k int) ([]Hit, error) {
	allow := q.allow
	if bare := q.view.Bare(); allow != nil && len(bare) > 0 {
		allow = roaring.AndNot(allow, roaring.BitmapOf(bare...))
		if allow.IsEmpty() {
			return nil, nil
		}
	}
	s := &search{queries: q.Vector, k: k, allow: allow}
	if err := q.onCore(ctx, "index", s); err != nil {
		return nil, err
	}
	hits := make([]Hit, 0, k)
	for i, p := range s.pos {
		if p >= 0 {
			hits = append(hits, Hit{Pos: int(p), Score: min(max(s.scores[i], 0), 1)})
		}
	}
	return hits, nil
}

// withUnembedded appends allowed records without a vector to fewer than k hits, so that there are always min(k, matching).
func (q *question) withUnembedded(hits []Hit, k int) []Hit {
	for _, bare := range q.view.Bare() {
		pos := int(bare)
		if len(hits) >= k {
			break
		}
		there := slices.ContainsFunc(hits, func(h Hit) bool { return h.Pos == pos })
		if !there && (q.allow == nil || q.allow.ContainsInt(pos)) {
			hits = append(hits, Hit{Pos: pos})
		}
	}
	return hits
}

// stretches are parts of a ranking of which both lists have a say. Each is ranked from the first of them, twice as many as
// where it ends, and comes behind the one before: what stands on a page is the same whichever pages are asked for.
var stretches = [...]int{25, 100, 1000, MaxOffset + 2*MaxSorted}

// depth is how much of each list decides on the first n results.
func depth(n int) int {
	i, _ := slices.BinarySearch(stretches[:], n)
	return 2 * stretches[i]
}

// byRelevance ranks by words and, in hybrid mode, by meaning.
func (q *question) byRelevance(ctx context.Context, n int) ([]Hit, error) {
	var known legs
	asked := q.trace.Now()
	known.words, known.scores, known.reach = q.view.Words(q.Text, depth(n), q.allow)
	q.trace.Since("words", asked)
	if known.embedded = q.Mode == Hybrid && q.Vector != nil; known.embedded {
		near, err := q.byMeaning(ctx, min(depth(n), q.view.Len()))
		if err != nil {
			return nil, err
		}
		known.near = near
	}
	both := q.trace.Now()
	defer func() { q.trace.Since("rank", both) }()
	hits := make([]Hit, 0, n)
	there := make(map[int]bool, n)
	least := float32(1)
	for _, end := range stretches {
		records, err := q.rank(known, 2*end)
		if err != nil {
			return nil, err
		}
		for i := 0; i < len(records) && len(hits) < min(end, n); i++ {
			if x := &records[i]; !there[x.Pos] {
				there[x.Pos], least = true, min(least, float32(x.Relevance))
				hits = append(hits, Hit{Pos: x.Pos, Score: least, Similarity: float32(x.Cosine), HasSimilarity: x.Embedded})
			}
		}
		if len(hits) == n || len(hits) < end && 2*end >= max(len(known.words), len(known.near)) {
			break
		}
	}
	if known.embedded {
		hits = q.withUnembedded(hits, n)
	}
	if q.allow != nil && len(hits) < n { // records that neither finds
		others := q.allow.Clone()
		for _, h := range hits {
			others.Remove(uint32(h.Pos))
		}
		hits = append(hits, q.inOrder(others, n-len(hits), 0)...)
	}
	return hits, nil
}

// legs are the two lists that a ranking is made of, best first.
type legs struct {
	words    []int64
	scores   []float32 // of the words
	reach    float64   // of the words: see relevance.Question
	near     []Hit
	embedded bool // the question's meaning is known
}

// rank orders what the beginnings of both lists name.
func (q *question) rank(known legs, depth int) ([]relevance.Record, error) {
	words, near := known.words[:min(depth, len(known.words))], known.near[:min(depth, len(known.near))]
	records := make([]relevance.Record, len(words), len(words)+len(near))
	found := make(map[int]bool, len(words)+len(near))
	for i, pos := range words {
		names, share := lexical.Split(known.scores[i])
		records[i] = relevance.Record{Pos: int(pos), Order: q.view.Order(int(pos)), Tier: relevance.Tier(names), Words: float64(share)}
		found[int(pos)] = true
	}
	for _, h := range near {
		if !found[h.Pos] {
			records = append(records, relevance.Record{Pos: h.Pos, Order: q.view.Order(h.Pos)})
			found[h.Pos] = true
		}
	}
	if q.Vector != nil { // words are ranked by themselves, and shown with it
		if err := q.compare(records); err != nil {
			return nil, err
		}
	}
	asked := relevance.Question{Curve: q.view.Curve(), Reach: known.reach, Embedded: known.embedded}
	if asked.Embedded {
		asked.Mean, asked.Spread = q.view.Cosines(q.Vector)
	}
	relevance.Rank(asked, records)
	return records, nil
}

// compare fills in the cosine of each record that has a vector: as stored, whichever ranking found it.
func (q *question) compare(records []relevance.Record) error {
	stored := make([]float32, q.view.Dims())
	for i := range records {
		x := &records[i]
		if !q.view.HasVector(x.Pos) {
			continue
		}
		if err := q.view.Vector(x.Pos, stored); err != nil {
			return err
		}
		var dot float32
		for d, c := range stored {
			dot += c * q.Vector[d]
		}
		x.Cosine, x.Embedded = float64(min(max(dot, -1), 1)), true
	}
	return nil
}
