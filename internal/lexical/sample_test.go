package lexical_test

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

type question struct {
	Query  string
	Expect []string
}

// collection is the sample catalogue as a server holds it.
type collection struct {
	records  []vendors.Record
	words    []snapshot.Words
	index    *lexical.Index
	embedder *embed.Local
	rows     [][]float32
	curve    snapshot.Curve

	queries, heldout, exact []question
}

func sample(t testing.TB) *collection {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata")
	f, err := os.Open(filepath.Join(dir, "vendors.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &collection{embedder: embed.NewLocal(0)}
	if c.records, err = vendorstest.Records(f); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.records {
		w, err := vendors.WordsOf(r.ID, r.Name, r.Raw)
		if err != nil {
			t.Fatal(err)
		}
		c.words = append(c.words, w)
		c.rows = append(c.rows, c.vector(t, r.Text))
	}
	if c.index, err = lexical.Build(len(c.words), dictionary(t), fieldsOf(c.words)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "queries.json"))
	if err != nil {
		t.Fatal(err)
	}
	var q struct{ Queries, Heldout, Exact []question }
	if err := json.Unmarshal(data, &q); err != nil {
		t.Fatal(err)
	}
	var best []float64
	for _, q := range relevance.OffTopic {
		best = append(best, slices.Max(c.cosines(t, q)))
	}
	c.curve, _ = relevance.NewCurve(best)
	c.queries, c.heldout, c.exact = q.Queries, q.Heldout, q.Exact
	return c
}

func fieldsOf(words []snapshot.Words) func(i int) (snapshot.Words, error) {
	return func(i int) (snapshot.Words, error) {
		return snapshot.Words{Name: words[i].Name, Text: words[i].Text, Keywords: words[i].Keywords}, nil
	}
}

func (c *collection) vector(t testing.TB, text string) []float32 {
	t.Helper()
	v, err := c.embedder.EmbedQuery(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// cosines are those of a query to all records.
func (c *collection) cosines(t testing.TB, query string) []float64 {
	v := c.vector(t, query)
	out := make([]float64, len(c.rows))
	for i, row := range c.rows {
		for d := range row {
			out[i] += float64(row[d]) * float64(v[d])
		}
	}
	return out
}

// semantic is an exact search by cosine.
func (c *collection) semantic(t testing.TB, query string, k int) []int64 {
	scores := c.cosines(t, query)
	order := make([]int64, len(c.rows))
	for i := range order {
		order[i] = int64(i)
	}
	slices.SortStableFunc(order, func(a, b int64) int { return cmp.Compare(scores[b], scores[a]) })
	return order[:min(k, len(order))]
}

// hybrid ranks all records by both.
func (c *collection) hybrid(t testing.TB, query string) []int64 {
	cosines := c.cosines(t, query)
	records := make([]relevance.Record, len(c.rows))
	q := relevance.Question{Curve: c.curve, Embedded: true}
	var squares float64
	for i, cosine := range cosines {
		records[i] = relevance.Record{Pos: i, Cosine: cosine, Embedded: true}
		q.Mean += cosine / float64(len(cosines))
		squares += cosine * cosine / float64(len(cosines))
	}
	q.Spread = math.Sqrt(squares - q.Mean*q.Mean)
	pos, scores, reach := c.index.Search(query, 50, nil)
	q.Reach = reach
	for i, p := range pos {
		names, share := lexical.Split(scores[i])
		records[p].Tier, records[p].Words = relevance.Tier(names), float64(share)
	}
	relevance.Rank(q, records)
	out := make([]int64, 10)
	for i := range out {
		out[i] = int64(records[i].Pos)
	}
	return out
}

// rank is where one of the expected ids stands, from 1; 0 when it is not there.
func (c *collection) rank(pos []int64, expect []string) int {
	return 1 + slices.IndexFunc(pos, func(p int64) bool { return slices.Contains(expect, c.records[p].ID) })
}

func TestSampleQuestionsFindTheirVendors(t *testing.T) {
	c := sample(t)
	for _, tt := range []struct {
		list      string
		questions []question
		atLeast   float64 // of hybrid
	}{
		{"queries", c.queries, 0.95},
		{"heldout", c.heldout, 0.95},
	} {
		hits := map[string]int{}
		for _, q := range tt.questions {
			words, _, _ := c.index.Search(q.Query, 10, nil)
			for mode, pos := range map[string][]int64{"lexical": words, "semantic": c.semantic(t, q.Query, 10), "hybrid": c.hybrid(t, q.Query)} {
				if r := c.rank(pos, q.Expect); r >= 1 && r <= 3 {
					hits[mode]++
				} else {
					t.Logf("%s: %q finds %v at %d", mode, q.Query, q.Expect, r)
				}
			}
		}
		n := float64(len(tt.questions))
		t.Logf("%s: hit@3 of %v: semantic %.3f, lexical %.3f, hybrid %.3f", tt.list, n, float64(hits["semantic"])/n, float64(hits["lexical"])/n, float64(hits["hybrid"])/n)
		if share := float64(hits["hybrid"]) / n; n < 40 || share < tt.atLeast {
			t.Errorf("%s: hit@3 of hybrid is %.3f of %v questions, want at least %.2f of at least 40", tt.list, share, n, tt.atLeast)
		}
	}
}

func TestExactNamesAndCodesComeFirst(t *testing.T) {
	c := sample(t)
	check := func(query string, expect ...string) {
		t.Helper()
		words, _, _ := c.index.Search(query, 10, nil)
		if r := c.rank(words, expect); r != 1 {
			t.Errorf("lexical: %q finds %v at %d", query, expect, r)
		}
		if r := c.rank(c.hybrid(t, query), expect); r != 1 {
			t.Errorf("hybrid: %q finds %v at %d", query, expect, r)
		}
	}
	for _, q := range c.exact {
		check(q.Query, q.Expect...)
	}
	for i, w := range c.words {
		id := c.records[i].ID
		check(w.Name, id)
		check(" "+strings.TrimPrefix(w.Name, "株式会社")+" ", id)
		for _, k := range w.Keywords {
			check(k, id)
			check(strings.ReplaceAll(strings.ToLower(k), "-", " "), id)
			check(strings.ReplaceAll(k, "-", ""), id)
		}
	}
}

func TestNamesWithinAQuestionLeadByWords(t *testing.T) {
	c := sample(t)
	for i, w := range c.words {
		for _, name := range append(w.Keywords, w.Name) {
			query := name + "の導入費用と実績を教えて"
			words, _, _ := c.index.Search(query, 3, nil)
			if r := c.rank(words, []string{c.records[i].ID}); r != 1 {
				t.Errorf("%q finds %s at %d by words", query, c.records[i].ID, r)
			}
			if r := c.rank(c.hybrid(t, query), []string{c.records[i].ID}); r < 1 || r > 3 {
				t.Errorf("%q finds %s at %d", query, c.records[i].ID, r)
			}
		}
	}
}

// Every beginning of a name that no other name has finds it first.
func TestBeginningsOfNamesComeFirst(t *testing.T) {
	c := sample(t)
	asked := 0
	for i, w := range c.words {
		runes := []rune(w.Name)
		for n := 3; n < len(runes); n++ {
			prefix := string(runes[:n])
			others := slices.ContainsFunc(c.words, func(o snapshot.Words) bool { return o.Name != w.Name && strings.HasPrefix(o.Name, prefix) })
			if others {
				continue
			}
			asked++
			words, _, _ := c.index.Search(prefix, 10, nil)
			if r := c.rank(words, []string{c.records[i].ID}); r != 1 {
				t.Errorf("lexical: %q finds %s at %d", prefix, w.Name, r)
			}
			if r := c.rank(c.hybrid(t, prefix), []string{c.records[i].ID}); r != 1 {
				t.Errorf("hybrid: %q finds %s at %d", prefix, w.Name, r)
			}
		}
	}
	if t.Logf("%d beginnings of %d names", asked, len(c.words)); asked < len(c.words) {
		t.Error("hardly any")
	}
}

// Kana, romaji and one wrong letter find what kanji and the right ones find.
func TestSpellingsFindTheirVendors(t *testing.T) {
	c := sample(t)
	data, err := os.ReadFile("testdata/spellings.json")
	if err != nil {
		t.Fatal(err)
	}
	var questions []struct {
		Kind string
		question
	}
	if err := json.Unmarshal(data, &questions); err != nil {
		t.Fatal(err)
	}
	asked, first, third := map[string]int{}, map[string]int{}, map[string]int{}
	for _, q := range questions {
		asked[q.Kind]++
		pos, _, _ := c.index.Search(q.Query, 10, nil)
		r := c.rank(pos, q.Expect)
		if r == 1 {
			first[q.Kind]++
		}
		if r >= 1 && r <= 3 {
			third[q.Kind]++
		} else {
			t.Logf("%s: %q finds %v at %d", q.Kind, q.Query, q.Expect, r)
		}
	}
	for kind, n := range asked {
		t.Logf("%s: hit@1 %d, hit@3 %d of %d", kind, first[kind], third[kind], n)
		if 10*third[kind] < 9*n {
			t.Errorf("%s: hit@3 is %d of %d", kind, third[kind], n)
		}
	}
}
