package embed_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed"
)

type labelled struct {
	Query  string
	Grades map[string]int
	Note   string // its group
}

func labelledQuestions(t *testing.T, name string) (out []labelled) {
	t.Helper()
	f, err := os.Open(filepath.Join(harness.Root(), "testdata", "questions", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var q labelled
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			t.Fatal(err)
		}
		out = append(out, q)
	}
	return out
}

// found is how a group of questions fared: the share whose record came first, in the first three and five, and nDCG@10.
type found struct {
	n                  int
	first, three, five float64
	ndcg               float64
}

// rank asks all questions and sums up by group; "" is all of them.
func rank(t *testing.T, e embed.Embedder, ids, texts []string, asked []labelled) map[string]found {
	t.Helper()
	rows, dims := make([]float32, len(texts)*e.Embedding().Dims), e.Embedding().Dims
	err := e.Embed(t.Context(), texts, func(first int, vectors []float32, _ int) error {
		copy(rows[first*dims:], vectors)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]found{}
	for _, q := range asked {
		v := vector(t, e, q.Query)
		order := make([]int, len(ids))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(dot(rows[b*dims:][:dims], v), dot(rows[a*dims:][:dims], v)) })
		best, place, gained, possible := 0, len(ids), 0.0, 0.0
		var grades []int
		for _, g := range q.Grades {
			best, grades = max(best, g), append(grades, g)
		}
		slices.SortFunc(grades, func(a, b int) int { return b - a })
		for i, g := range grades {
			possible += (math.Exp2(float64(g)) - 1) / math.Log2(float64(i+2))
		}
		for i, at := range order {
			g := q.Grades[ids[at]]
			if g == best {
				place = min(place, i)
			}
			if i < 10 {
				gained += (math.Exp2(float64(g)) - 1) / math.Log2(float64(i+2))
			}
		}
		for _, group := range []string{"", q.Note} {
			f := out[group]
			f.n++
			for _, c := range []struct {
				sum    *float64
				within int
			}{{&f.first, 1}, {&f.three, 3}, {&f.five, 5}} {
				if place < c.within {
					*c.sum++
				}
			}
			f.ndcg += gained / possible
			out[group] = f
		}
	}
	for group, f := range out {
		n := float64(f.n)
		out[group] = found{f.n, f.first / n, f.three / n, f.five / n, f.ndcg / n}
	}
	return out
}

// What meaning can find is found: on the questions nobody tuned by, the model is far better than n-grams where the words
// differ, and worse nowhere that a ranking by words does not make up for.
func TestTheSentenceModelFindsWhatMeansTheSame(t *testing.T) {
	model := embed.NewSentence(harness.Weights(t))
	var ids, texts []string
	records, _ := sample(t)
	for _, r := range records {
		ids, texts = append(ids, r.ID), append(texts, r.Text)
	}
	for _, file := range []string{"tuning.jsonl", "heldout.jsonl"} {
		asked := labelledQuestions(t, file)
		grams, meaning := rank(t, embed.NewLocal(0), ids, texts, asked), rank(t, model, ids, texts, asked)
		for group, g := range grams {
			m := meaning[group]
			t.Logf("%s %-12s n-gram %.2f %.2f %.2f nDCG %.2f, sentence %.2f %.2f %.2f nDCG %.2f", file, cmp.Or(group, "all"), g.first, g.three, g.five, g.ndcg, m.first, m.three, m.five, m.ndcg)
		}
		for _, group := range []string{"paraphrase", "english"} {
			if gain := meaning[group].five - grams[group].five; gain < 0.3 {
				t.Errorf("%s: %s found %.2f more often in the first five than by n-grams, want .3", file, group, gain)
			}
		}
		if m := meaning[""]; m.first < 0.47 || m.five < 0.64 {
			t.Errorf("%s: %.2f first, %.2f in the first five", file, m.first, m.five)
		}
	}
}
