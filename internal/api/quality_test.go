package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/query"
)

// TestSampleQuestions asks the server the sample questions in its default mode, with the local embedder.
func TestSampleQuestions(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(sample(t))
	r := start(t, w)
	r.serving(p.ID)
	data, err := os.ReadFile("../../testdata/queries.json")
	must(t, err)
	type question struct {
		Query  string
		Expect []string
	}
	var q struct{ Queries, Exact []question }
	must(t, json.Unmarshal(data, &q))
	ask := func(query string, k int) []string {
		body, err := json.Marshal(map[string]any{"query": query, "k": k})
		must(t, err)
		return r.search(string(body)).ids()
	}
	found := 0
	for _, c := range q.Queries {
		ids := ask(c.Query, 3)
		if slices.ContainsFunc(c.Expect, func(id string) bool { return slices.Contains(ids, id) }) {
			found++
		} else {
			t.Logf("%s: %v, want %v", c.Query, ids, c.Expect)
		}
	}
	if rate := float64(found) / float64(len(q.Queries)); rate < 0.95 {
		t.Errorf("hit@3 is %.3f", rate)
	}
	for _, c := range q.Exact {
		if ids := ask(c.Query, 1); len(ids) != 1 || !slices.Contains(c.Expect, ids[0]) {
			t.Errorf("exact %q: first is %v, want %v", c.Query, ids, c.Expect)
		}
	}
}

// TestFilteredSearchEqualsBruteForce compares ids over HTTP with a plain loop over the records, from no record
// matching to all of them.
func TestFilteredSearchEqualsBruteForce(t *testing.T) {
	const n = 400
	rng := rand.New(rand.NewPCG(3, 4))
	var records []string
	kinds := []string{"SaaS", "SI", "機器", "BPO"}
	type facts struct {
		kind  string
		score int
		tags  []string
		text  string
	}
	var all []facts
	for i := range n {
		f := facts{kinds[rng.IntN(4)], rng.IntN(100), nil, fmt.Sprintf("倉庫 %d 温度 %d 監視 %d", rng.IntN(50), rng.IntN(50), rng.IntN(50))}
		for range rng.IntN(3) {
			f.tags = append(f.tags, fmt.Sprint("t", rng.IntN(6)))
		}
		all = append(all, f)
		tags, _ := json.Marshal(f.tags)
		records = append(records, fmt.Sprintf(`{"vendor_id":"V-%03d","name":"社 %d","description":%q,"type":%q,"score_num":%d,"tags":%s}`, i, i, f.text, f.kind, f.score, tags))
	}
	w := followtest.New(t)
	p := w.Publish(records)
	r := start(t, w)
	r.serving(p.ID)
	for range 150 {
		low := rng.IntN(101)
		kind, tag := kinds[rng.IntN(4)], fmt.Sprint("t", rng.IntN(6))
		conditions := map[string]string{"score_num": fmt.Sprintf(`"score_num":{"gte":%d}`, low), "type": fmt.Sprintf(`"type":[%q,"none"]`, kind), "tags": fmt.Sprintf(`"tags":%q`, tag)}
		use := map[string]bool{}
		var parts []string
		for name, c := range conditions {
			if rng.IntN(2) == 0 {
				use[name] = true
				parts = append(parts, c)
			}
		}
		var want []string
		for i, f := range all {
			if (!use["score_num"] || f.score >= low) && (!use["type"] || f.kind == kind) && (!use["tags"] || slices.Contains(f.tags, tag)) {
				want = append(want, fmt.Sprintf("V-%03d", i))
			}
		}
		filter := "{" + strings.Join(parts, ",") + "}"
		if got := r.search(`{"filter":` + filter + `,"k":100}`).ids(); !cmp.Equal(got, append([]string{}, want[:min(100, len(want))]...)) {
			t.Fatalf("%s: %v, want %v", filter, got, want)
		}
		for _, mode := range []string{query.Semantic, query.Hybrid, query.Lexical} {
			k := 1 + rng.IntN(100)
			got := r.search(fmt.Sprintf(`{"query":"倉庫 7 温度","filter":%s,"k":%d,"mode":%q}`, filter, k, mode)).ids()
			if len(got) != min(k, len(want)) {
				t.Fatalf("%s %s k=%d: %d results, %d match", mode, filter, k, len(got), len(want))
			}
			seen := map[string]bool{}
			for _, id := range got {
				if seen[id] || !slices.Contains(want, id) {
					t.Fatalf("%s %s: %s twice or not matching", mode, filter, id)
				}
				seen[id] = true
			}
		}
	}
}
