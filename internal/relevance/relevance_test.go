package relevance_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

var curve = snapshot.Curve{Noise: 0.1, Spread: 0.04}

func question() relevance.Question {
	return relevance.Question{Curve: curve, Embedded: true, Mean: 0.02, Spread: 0.04, Reach: 5}
}

func positions(records []relevance.Record) (out []int) {
	for _, r := range records {
		out = append(out, r.Pos)
	}
	return out
}

func TestALegThatKnowsNothingHasNoVote(t *testing.T) {
	for _, tt := range []struct {
		what    string
		records []relevance.Record
		want    []int
	}{
		{"cosines within the noise leave the order to the words", []relevance.Record{
			{Pos: 0, Cosine: 0.06, Embedded: true}, {Pos: 1, Cosine: 0.05, Embedded: true, Words: 0.1}, {Pos: 2, Cosine: 0.02, Embedded: true, Words: 0.3},
		}, []int{2, 1, 0}},
		{"a stray word leaves it to the meaning", []relevance.Record{
			{Pos: 0, Cosine: 0.01, Embedded: true, Words: 0.01}, {Pos: 1, Cosine: 0.3, Embedded: true}, {Pos: 2, Cosine: 0.2, Embedded: true},
		}, []int{1, 2, 0}},
		{"what both know", []relevance.Record{
			{Pos: 0, Cosine: 0.3, Embedded: true}, {Pos: 1, Cosine: 0.3, Embedded: true, Words: 0.3}, {Pos: 2, Words: 0.3},
		}, []int{1, 2, 0}},
		{"names first, the whole name before its beginning", []relevance.Record{
			{Pos: 0, Cosine: 0.5, Embedded: true, Words: 0.9}, {Pos: 1, Tier: relevance.Begun}, {Pos: 2, Tier: relevance.Exact}, {Pos: 3, Tier: relevance.Named},
		}, []int{2, 1, 3, 0}},
		{"ties in catalogue order", []relevance.Record{{Pos: 3, Words: 0.2}, {Pos: 1, Words: 0.2}, {Pos: 2, Words: 0.2}}, []int{1, 2, 3}},
		{"nothing", nil, nil},
	} {
		relevance.Rank(question(), tt.records)
		if got := positions(tt.records); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

func TestRelevanceMeansTheSameForEveryModel(t *testing.T) {
	fits := func(c snapshot.Curve) float64 {
		at := func(above float64) float64 { return c.Noise + above*c.Spread }
		records := []relevance.Record{{Cosine: at(5), Embedded: true}, {Pos: 1, Cosine: at(-1), Embedded: true}}
		relevance.Rank(relevance.Question{Curve: c, Embedded: true, Mean: at(-2), Spread: c.Spread}, records)
		return records[0].Relevance
	}
	a, b := fits(curve), fits(snapshot.Curve{Noise: 0.82, Spread: 0.017})
	if math.Abs(a-b) > 1e-9 || a < 0.5 {
		t.Errorf("five spreads above the noise are %v with one model and %v with another, want the same above 0.5", a, b)
	}
	records := []relevance.Record{{Cosine: 0.1, Embedded: true}, {Pos: 1, Cosine: 0.05, Embedded: true}}
	relevance.Rank(question(), records)
	if r := records[0].Relevance; r >= 0.3 {
		t.Errorf("the nearest within the noise has %v", r)
	}
	exact := []relevance.Record{{Tier: relevance.Exact}}
	if relevance.Rank(relevance.Question{}, exact); exact[0].Relevance != 1 {
		t.Errorf("an exact name has %v", exact[0].Relevance)
	}
}

// Whatever a manifest and an index hold, scores are numbers from 0 to 1 that fall.
func TestScoresFall(t *testing.T) {
	odd := rapid.OneOf(rapid.Float64Range(-2, 2), rapid.SampledFrom([]float64{0, math.NaN(), math.Inf(1), math.Inf(-1), 1e300}))
	sound := rapid.Float64Range(-1, 1)
	rapid.Check(t, func(t *rapid.T) {
		q := relevance.Question{
			Curve: snapshot.Curve{Noise: odd.Draw(t, "noise"), Spread: odd.Draw(t, "spread")}, Embedded: rapid.Bool().Draw(t, "embedded"),
			Mean: sound.Draw(t, "mean"), Spread: max(0, sound.Draw(t, "deviation")), Reach: rapid.Float64Range(0, 50).Draw(t, "reach"),
		}
		records := make([]relevance.Record, rapid.IntRange(0, 20).Draw(t, "n"))
		for i := range records {
			records[i] = relevance.Record{
				Pos: i, Cosine: sound.Draw(t, "cosine"), Embedded: rapid.Bool().Draw(t, "has a vector"),
				Words: rapid.Float64Range(0, 1).Draw(t, "words"), Tier: rapid.SampledFrom([]relevance.Tier{relevance.Plain, relevance.Plain, relevance.Named, relevance.Begun, relevance.Exact}).Draw(t, "tier"),
			}
		}
		relevance.Rank(q, records)
		for i, r := range records {
			if !(r.Relevance >= 0 && r.Relevance <= 1) || i > 0 && r.Relevance > records[i-1].Relevance {
				t.Fatalf("record %d of %+v", i, records)
			}
		}
	})
}

func TestTheCurveIsNotMovedByAFewThatFit(t *testing.T) {
	best := make([]float64, len(relevance.OffTopic))
	for i := range best {
		best[i] = 0.1 + 0.001*float64(i%20)
	}
	a, ok := relevance.NewCurve(best)
	for i := range 5 {
		best[i*7] = 0.9 // a catalogue of bakers
	}
	b, _ := relevance.NewCurve(best)
	if !ok || !a.Usable() || math.Abs(a.Noise-b.Noise) > 0.003 || math.Abs(a.Spread-b.Spread) > 0.005 {
		t.Errorf("%+v and %+v", a, b)
	}
	if _, ok := relevance.NewCurve(best[:len(best)/2-1]); ok {
		t.Error("a curve of less than half of the questions")
	}
	same := make([]float64, len(relevance.OffTopic))
	if c, ok := relevance.NewCurve(same); !ok || !c.Usable() {
		t.Errorf("of equal cosines: %+v", c)
	}
}
