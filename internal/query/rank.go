package query

import (
	"context"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// candidates is how deep each ranking is read before both are merged, at least.
const candidates = 50

// ranked ranks by words and, in hybrid mode, by meaning. With a filter the records that neither finds follow, so that
// there are always min(k, matching) results.
func (r *Searcher) ranked(ctx context.Context, v *view.View, q Query, allow *roaring.Bitmap) ([]Hit, error) {
	depth := max(candidates, 2*q.K)
	words, scores, reach := v.Words(q.Text, depth, allow)
	question := relevance.Question{Curve: v.Curve(), Reach: reach}
	records := make([]relevance.Record, len(words), len(words)+depth)
	found := make(map[int]bool, len(words)+depth)
	for i, pos := range words {
		names, share := lexical.Split(scores[i])
		records[i] = relevance.Record{Pos: int(pos), Tier: relevance.Tier(names), Words: float64(share)}
		found[int(pos)] = true
	}
	if q.Mode == Hybrid && q.Vector != nil {
		question.Embedded = true
		question.Mean, question.Spread = v.Cosines(q.Vector)
		near, err := r.byMeaning(ctx, v, q.Vector, min(depth, v.Len()), allow)
		if err != nil {
			return nil, err
		}
		for _, h := range near {
			if !found[h.Pos] {
				records = append(records, relevance.Record{Pos: h.Pos})
				found[h.Pos] = true
			}
		}
	}
	if q.Vector != nil { // words are ranked by themselves, and shown with it
		if err := compare(v, q.Vector, records); err != nil {
			return nil, err
		}
	}
	relevance.Rank(question, records)
	hits := make([]Hit, min(q.K, len(records)))
	for i := range hits {
		x := &records[i]
		hits[i] = Hit{Pos: x.Pos, Score: float32(x.Relevance), Similarity: float32(x.Cosine), HasSimilarity: x.Embedded}
	}
	if question.Embedded {
		hits = withUnembedded(v, hits, q.K, allow)
	}
	if allow != nil && len(hits) < q.K {
		others := allow.Clone()
		for _, h := range hits {
			others.Remove(uint32(h.Pos))
		}
		hits = append(hits, inOrder(others, q.K-len(hits), 0)...)
	}
	return hits, nil
}

// compare fills in the cosine of each record that has a vector: as stored, whichever ranking found it.
func compare(v *view.View, vector []float32, records []relevance.Record) error {
	stored := make([]float32, v.Dims())
	for i := range records {
		x := &records[i]
		if x.Pos >= v.Vectors() {
			continue
		}
		if err := v.Vector(x.Pos, stored); err != nil {
			return err
		}
		var dot float32
		for d, c := range stored {
			dot += c * vector[d]
		}
		x.Cosine, x.Embedded = float64(min(max(dot, -1), 1)), true
	}
	return nil
}
