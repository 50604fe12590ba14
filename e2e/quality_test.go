package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/golden"
)

// labelled is a question of testdata/questions; without grades no record answers it.
type labelled struct {
	Query  string         `json:"query"`
	Grades map[string]int `json:"grades"`
	Note   string         `json:"note"`
}

func questions(t testing.TB, name string) (out []labelled) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(), "testdata", "questions", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var q labelled
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		out = append(out, q)
	}
	return out
}

// evaluated is what `indexer eval -o json` prints.
type evaluated struct {
	Modes  map[string]golden.Quality `json:"modes"`
	Groups map[string]golden.Quality `json:"groups"`
}

// answersOf is how well a model answers the held-out questions.
type answersOf struct {
	evaluated
	nonsense float64 // share of the questions without an answer whose best score is below 0.3
	invented float64 // and share of those that reach 0.5
	fits     float64 // of the right records among the first five, the share that scores 0.5 or more
}

// askModel builds a snapshot of the sample catalogue with env and asks it the held-out questions.
func askModel(t *testing.T, env map[string]string) answersOf {
	t.Helper()
	env = maps.Clone(env)
	env["VECTORSTORE_STORE_DIR"], env["VECTORSTORE_LOCAL_DIR"] = t.TempDir(), t.TempDir()
	source := filepath.Join(env["VECTORSTORE_STORE_DIR"], "vectorstore", "prod", "vendors.json")
	data, err := os.ReadFile(filepath.Join(harness.Root(), "testdata", "vendors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	stdout, stderr, code := harness.Run(t, "indexer", env, "eval", "--queries", filepath.Join(harness.Root(), "testdata", "questions", "heldout.jsonl"), "-o", "json")
	if code != 0 {
		t.Fatalf("eval: exit %d: %s", code, stderr)
	}
	out := answersOf{evaluated: decode[evaluated](t, stdout)}
	delete(env, "EMBEDDING_MODEL") // the snapshot's
	s := harness.StartServer(t, env)
	harness.AwaitHealth(t, s, "status", "ok")
	harness.Eventually(t, "a snapshot", func() error {
		if a := harness.Get(t, s.URL+"/ready"); a.Code != 200 {
			return fmt.Errorf("/ready is %d", a.Code)
		}
		return nil
	})
	ask := func(q labelled) harness.Found {
		body, err := json.Marshal(map[string]any{"query": q.Query, "k": 5})
		if err != nil {
			t.Fatal(err)
		}
		f, err := harness.Search(s.URL, string(body))
		if err != nil {
			t.Fatalf("%s: %v", q.Query, err)
		}
		return f
	}
	nonsense := questions(t, "offtopic-heldout.jsonl")
	for _, q := range nonsense {
		best := 0.0
		if f := ask(q); len(f.Results) > 0 {
			best = f.Results[0].Score
		}
		switch {
		case best < 0.3:
			out.nonsense += 1 / float64(len(nonsense))
		case best >= 0.5:
			out.invented += 1 / float64(len(nonsense))
			t.Logf("%s scores %.2f", q.Query, best)
		}
	}
	fit, found := 0, 0
	for _, q := range questions(t, "heldout.jsonl") {
		for _, r := range ask(q).Results {
			if q.Grades[r.ID] > 0 {
				if found++; r.Score >= 0.5 {
					fit++
				}
			}
		}
	}
	out.fits = float64(fit) / float64(found)
	return out
}

// The held-out half of the labelled questions, and questions that nothing answers, by the programs as people run them.
func TestLabelledQuestionsFindTheirVendors(t *testing.T) {
	t.Parallel()
	ngrams := askModel(t, map[string]string{"EMBEDDING_PROVIDER": "local", "EMBEDDING_MODEL": "local-ngram-v1"})
	local := askModel(t, map[string]string{"EMBEDDING_PROVIDER": "local", "EMBEDDING_MODEL": "use-multilingual-v3", "VECTORSTORE_WEIGHTS_DIR": harness.Weights(t)})
	real := askModel(t, map[string]string{"EMBEDDING_PROVIDER": "openai", "OPENAI_BASE_URL": realServer(t, true), "EMBEDDING_MODEL": e5Model, "EMBEDDING_DIMENSIONS": fmt.Sprint(e5Dims)})
	for name, m := range map[string]answersOf{"local-ngram-v1": ngrams, "use-multilingual-v3": local, e5Model: real} {
		t.Logf("%s: hybrid %+v; below 0.3 %.3f, from 0.5 %.3f, right ones from 0.5 %.3f", name, m.Modes["hybrid"], m.nonsense, m.invented, m.fits)
		for _, leg := range []string{"semantic", "lexical"} {
			if h, l := m.Modes["hybrid"], m.Modes[leg]; h.Hit1 < l.Hit1-0.02 || h.Hit5 < l.Hit5-0.02 || h.NDCG < l.NDCG-0.02 {
				t.Errorf("%s: hybrid %+v is worse than %s alone %+v", name, h, leg, l)
			}
		}
		if m.nonsense < 0.94 || m.invented > 0.05 {
			t.Errorf("%s: %.3f of the questions without an answer score below 0.3, %.3f from 0.5", name, m.nonsense, m.invented)
		}
	}
	raw := max(local.Modes["semantic"].Hit1, local.Modes["lexical"].Hit1)
	if h := local.Modes["hybrid"]; h.Hit1 < max(0.7, raw+0.05) || h.Hit3 < 0.85 || h.Hit5 < 0.9 {
		t.Errorf("the local model: %+v, want hit@1/3/5 of .70/.85/.90, and hit@1 above the better ranking alone, %.2f, by .05", h, raw)
	}
	for group, g := range local.Groups {
		if g.Queries >= 10 && g.Hit5 < 0.75 {
			t.Errorf("%s: hit@5 is %.2f", group, g.Hit5)
		}
	}
	if local.nonsense < 0.97 || local.fits < 0.85 {
		t.Errorf("the local model: %.3f of the questions without an answer score below 0.3, %.3f of what is right scores 0.5", local.nonsense, local.fits)
	}
	if *update {
		writeRelevance(t, ngrams, local, real)
	}
}

// writeRelevance puts what was measured into docs/RELEVANCE.md.
func writeRelevance(t *testing.T, ngrams, local, real answersOf) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| | words | USE: meaning | USE: both | e5: meaning | e5: both | n-grams: both |\n|---|---|---|---|---|---|---|\n")
	line := func(name, bold string, cells ...golden.Quality) {
		b.WriteString("| " + bold + name + bold)
		for _, q := range cells {
			fmt.Fprintf(&b, " | %s%.2f / %.2f / %.2f%s", bold, q.Hit1, q.Hit3, q.Hit5, bold)
		}
		b.WriteString(" |\n")
	}
	line("all", "**", local.Modes["lexical"], local.Modes["semantic"], local.Modes["hybrid"], real.Modes["semantic"], real.Modes["hybrid"], ngrams.Modes["hybrid"])
	b.WriteString("\nBy group, both:\n\n| group | USE | e5 | n-grams |\n|---|---|---|---|\n")
	for _, group := range slices.Sorted(maps.Keys(local.Groups)) {
		line(group, "", local.Groups[group], real.Groups[group], ngrams.Groups[group])
	}
	b.WriteString("\n| | USE | e5 | n-grams |\n|---|---|---|---|\n")
	for _, row := range []struct {
		what string
		of   func(answersOf) float64
	}{
		{"questions without an answer that score below 0.3", func(a answersOf) float64 { return a.nonsense }},
		{"those that reach 0.5", func(a answersOf) float64 { return a.invented }},
		{"right records among the first five that score 0.5 or more", func(a answersOf) float64 { return a.fits }},
	} {
		fmt.Fprintf(&b, "| %s | %.1f %% | %.1f %% | %.1f %% |\n", row.what, 100*row.of(local), 100*row.of(real), 100*row.of(ngrams))
	}
	path := filepath.Join(harness.Root(), "docs", "RELEVANCE.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(data), "<!-- measured -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- /measured -->\n")
	if !ok1 || !ok2 {
		t.Fatal("docs/RELEVANCE.md has no place for what is measured")
	}
	if err := os.WriteFile(path, []byte(before+"<!-- measured -->\n"+b.String()+"<!-- /measured -->\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
