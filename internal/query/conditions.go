package query

import (
	"context"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/relevance"
)

// meets parts the scores: what meets the conditions of a question fits it, whatever else there is to say, and lies above;
// the others below.
const meets = 0.5

// findConditions looks for what the question asks of single fields. A question that is a name, or begins one, asks for
// nothing else, and what stands within a name in it is no condition.
func (q *question) findConditions() error {
	found := q.find.Find(q.Text)
	if len(found) == 0 {
		return nil
	}
	if pos, scores, _ := q.view.Words(q.Text, 1, q.allow); len(pos) > 0 {
		switch names, _ := lexical.Split(scores[0]); relevance.Tier(names) {
		case relevance.Exact, relevance.Begun:
			return nil
		case relevance.Named:
			d, err := q.view.Doc(int(pos[0]))
			if err != nil {
				return err
			}
			found = conditions.Outside(found, d.Name)
		}
	}
	q.found = found
	return nil
}

// byConditions returns the first n results: a record that is what the question says, those that meet its conditions, the
// others; best first within each.
func (q *question) byConditions(ctx context.Context, n int) ([]Hit, error) {
	meeting, others := q.view.Select(conditions.Filter(q.found)), q.allow
	if others == nil {
		others = q.view.All()
	}
	meeting.And(others)
	others = roaring.AndNot(others, meeting)
	first, err := q.among(meeting).byRelevance(ctx, min(n, int(meeting.GetCardinality())))
	if err != nil {
		return nil, err
	}
	for i := range first {
		first[i].Score = meets + (1-meets)*first[i].Score
	}
	// One at least: that may be the record that is named.
	rest, err := q.among(others).byRelevance(ctx, min(max(n-len(first), 1), int(others.GetCardinality())))
	if err != nil {
		return nil, err
	}
	var hits []Hit
	for len(rest) > 0 && rest[0].Score == 1 {
		hits, rest = append(hits, rest[0]), rest[1:]
	}
	for i := range rest {
		rest[i].Beyond, rest[i].Score = true, meets*rest[i].Score
	}
	hits = append(append(hits, first...), rest...)
	return hits[:min(n, len(hits))], nil
}

// among is the question within some of the records.
func (q *question) among(allow *roaring.Bitmap) *question {
	within := *q
	within.allow = allow
	return &within
}
