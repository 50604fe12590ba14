package golden

import (
	"cmp"
	"math"
	"slices"
)

// Depth of a ranking that is looked at.
const Depth = 10

// Quality is how well rankings answer questions; of several the mean.
type Quality struct {
	Queries int     `json:"queries"`
	Hit1    float64 `json:"hit@1"` // share of questions with something of use first
	Hit3    float64 `json:"hit@3"`
	Hit5    float64 `json:"hit@5"`
	Recall  float64 `json:"recall@10"` // share of what is of use among the first ten, or of ten
	MRR     float64 `json:"mrr"`       // 1 / place of the first of use, among the first ten
	NDCG    float64 `json:"ndcg@10"`   // discounted gain by grade, as a share of the best order's
}

// Measure says how well the ids found, best first, answer q.
func (q Query) Measure(ids []string) Quality {
	ids = ids[:min(len(ids), Depth)]
	out := Quality{Queries: 1}
	of := func(hit bool) float64 {
		if hit {
			return 1
		}
		return 0
	}
	var gained float64
	found, first := 0, -1
	for i, id := range ids {
		if g := q.Grades[id]; g > 0 {
			gained += gain(g, i)
			if found++; first < 0 {
				first = i
			}
		}
	}
	if first >= 0 {
		out.Hit1, out.Hit3, out.Hit5, out.MRR = of(first < 1), of(first < 3), of(first < 5), 1/float64(first+1)
	}
	grades := make([]int, 0, len(q.Grades))
	for _, g := range q.Grades {
		grades = append(grades, g)
	}
	slices.SortFunc(grades, func(a, b int) int { return cmp.Compare(b, a) })
	grades = grades[:min(len(grades), Depth)]
	var ideal float64
	for i, g := range grades {
		ideal += gain(g, i)
	}
	if ideal > 0 {
		out.Recall, out.NDCG = float64(found)/float64(len(grades)), gained/ideal
	}
	return out
}

// gain of a grade at a place, after Järvelin and Kekäläinen as Burges et al. use it: 2^grade - 1, discounted by log2.
func gain(grade, place int) float64 {
	return (math.Exp2(float64(grade)) - 1) / math.Log2(float64(place)+2)
}

// Mean is that of several measurements.
func Mean(all []Quality) Quality {
	var out Quality
	for _, q := range all {
		out.Queries += q.Queries
		n := float64(q.Queries)
		out.Hit1 += n * q.Hit1
		out.Hit3 += n * q.Hit3
		out.Hit5 += n * q.Hit5
		out.Recall += n * q.Recall
		out.MRR += n * q.MRR
		out.NDCG += n * q.NDCG
	}
	if n := float64(out.Queries); n > 0 {
		out.Hit1, out.Hit3, out.Hit5, out.Recall, out.MRR, out.NDCG = out.Hit1/n, out.Hit3/n, out.Hit5/n, out.Recall/n, out.MRR/n, out.NDCG/n
	}
	return out
}
