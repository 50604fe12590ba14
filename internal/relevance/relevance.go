package relevance

import (
	"cmp"
	"math"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// uncalibrated is the curve of a snapshot that has none: one that an older release built, or whose questions the provider
// refused. It is that of text-embedding-3-small, roughly.
var uncalibrated = snapshot.Curve{Noise: 0.25, Spread: 0.05}

// NewCurve measures with the best cosine to each of OffTopic; false when too few of them are known.
func NewCurve(best []float64) (snapshot.Curve, bool) {
	if 2*len(best) < len(OffTopic) {
		return snapshot.Curve{}, false
	}
	best = slices.Sorted(slices.Values(best))
	at := func(share float64) float64 { return best[int(math.Round(share*float64(len(best)-1)))] }
	return snapshot.Curve{Noise: at(0.5), Spread: max((at(0.84)-at(0.16))/2, 1e-4)}, true
}

// Tier is how a record's name or codes answer a question, before meaning and words do.
type Tier uint8

// Tiers, from package lexical.
const (
	Plain Tier = iota
	Named      // its name stands in the question
	Begun      // its name begins with the question
	Exact      // its name or code is the question
)

// Record is what is known of a record that may answer.
type Record struct {
	Pos       int
	Order     uint64  // where it stands in the catalogue: of equal records the first comes first
	Cosine    float64 // of its meaning; only when Embedded
	Embedded  bool
	Words     float64 // share of the question that its words are, 0..1
	Tier      Tier
	Relevance float64 // 0..1; Rank sets it
	logit     float64
}

// Question is what is known of a question as a whole.
type Question struct {
	Curve        snapshot.Curve // of the snapshot; the zero value when it has none
	Mean, Spread float64        // of its cosine to the snapshot's records; unused unless Embedded
	Embedded     bool           // its meaning is known
	Reach        float64        // what its words could reach, in rare words
}

// The weights of a record's logit: 1, cosine above the noise and above the mean, both in spreads, root of the share of
// words, log of the matched rare words, and the product of the last two.
var (
	weights     = [6]float64{-6.353, 0.172, 0.710, 3.882, -1.275, 13.043}
	wordWeights = [4]float64{-3.05, 3.339, 3.288, 2.344} // of words alone: 1, root of share, log of rare words, product
	// Of a question's level: 1, the record's logit, the nearest record's cosine above the noise, that above the mean, the
	// root of the best share. They move all records of a question together.
	levels = [5]float64{1.526, 0.814, 0.729, -0.291, 3.218}
)

// knots turn a level into relevance, linear between them.
var knots = [...]struct{ level, relevance float64 }{{-6, 0}, {0.1, 0.3}, {0.4, 0.5}, {6, 0.9}}

// What a name reaches at least; words and meaning alone end where that begins.
var tierFloor = [...]float64{Plain: 0, Named: 0.9, Begun: 0.96, Exact: 1}

// Rank orders records by how well they answer, best first and at a tie by position, and sets their Relevance.
func Rank(q Question, records []Record) {
	if !q.Curve.Usable() {
		q.Curve = uncalibrated
	}
	var nearest, standout, words float64
	nearest, standout = math.Inf(-1), math.Inf(-1)
	for i := range records {
		r := &records[i]
		above, outstanding := q.cosines(r)
		nearest, standout, words = max(nearest, above), max(standout, outstanding), max(words, r.Words)
		r.logit = q.logit(r, above, outstanding)
	}
	for i := range records {
		r := &records[i]
		level := r.logit
		if q.Embedded {
			level = levels[0] + levels[1]*r.logit + levels[2]*nearest + levels[3]*standout + levels[4]*math.Sqrt(words)
		}
		r.Relevance = relevanceOf(level)
		if r.Tier > Plain {
			r.Relevance = tierFloor[r.Tier] + (tierCeiling(r.Tier)-tierFloor[r.Tier])*r.Relevance
		}
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(b.Tier, a.Tier), cmp.Compare(b.logit, a.logit), cmp.Compare(a.Order, b.Order), a.Pos-b.Pos)
	})
}

// tierCeiling is where the next tier begins.
func tierCeiling(t Tier) float64 {
	if t == Exact {
		return 1
	}
	return tierFloor[t+1]
}

// cosines are a record's cosine in spreads above the noise, and above the mean of the question's.
func (q *Question) cosines(r *Record) (above, outstanding float64) {
	if !q.Embedded || !r.Embedded {
		return 0, 0
	}
	return clip((r.Cosine-q.Curve.Noise)/q.Curve.Spread, -3, 8), clip((r.Cosine-q.Mean)/max(q.Spread, 1e-4), -2, 6)
}

func (q *Question) logit(r *Record, above, outstanding float64) float64 {
	share := math.Sqrt(clip(r.Words, 0, 0.95))
	rare := math.Log1p(clip(r.Words, 0, 0.95) * q.Reach)
	if !q.Embedded {
		return wordWeights[0] + wordWeights[1]*share + wordWeights[2]*rare + wordWeights[3]*share*rare
	}
	return weights[0] + weights[1]*above + weights[2]*outstanding + weights[3]*share + weights[4]*rare + weights[5]*share*rare
}

func relevanceOf(level float64) float64 {
	last := len(knots) - 1
	if level <= knots[0].level {
		return knots[0].relevance
	}
	for i := 1; i <= last; i++ {
		if a, b := knots[i-1], knots[i]; level < b.level {
			return a.relevance + (b.relevance-a.relevance)*(level-a.level)/(b.level-a.level)
		}
	}
	return knots[last].relevance
}

func clip(x, low, high float64) float64 { return min(max(x, low), high) }
