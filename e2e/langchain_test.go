package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// oldSpec is what testdata/langchain.py is told.
type oldSpec struct {
	URL       string           `json:"url"`
	Model     string           `json:"model"`
	Dims      int              `json:"dims"`
	Texts     []string         `json:"texts,omitempty"`
	Metadatas []map[string]any `json:"metadatas,omitempty"`
	IDs       []any            `json:"ids,omitempty"`
	UUIDs     bool             `json:"uuids,omitempty"`
	Strategy  string           `json:"strategy,omitempty"`
	Normalize bool             `json:"normalize,omitempty"`
	IndexName string           `json:"index_name,omitempty"`
	Scale     float64          `json:"scale,omitempty"`
	Python    string           `json:"python,omitempty"`
	Queries   []string         `json:"queries,omitempty"`
	K         int              `json:"k,omitempty"`
}

// oldIndex is what LangChain finds in a folder.
type oldIndex struct {
	Metric    int `json:"metric"`
	Documents []struct {
		ID          string         `json:"id"`
		PageContent string         `json:"page_content"`
		Metadata    map[string]any `json:"metadata"`
		Near        []int          `json:"near"`
		Vector      []float64      `json:"vector"`
	} `json:"documents"`
}

// langchain runs the script and reads what it prints into out.
func langchain(t *testing.T, out any, args ...string) {
	t.Helper()
	answer := harness.RunPython(t, "e2e/testdata/langchain.py", args...)
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("%v: %.300s", err, answer)
		}
	}
}

func (s *oldSpec) file(t *testing.T) string {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "spec.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// names are made of parts, so that queries for parts of a name have several answers at several distances.
func oldName(i int) string {
	trade := []string{"冷凍物流", "会計クラウド", "需要予測", "翻訳サービス", "画像認識", "保育支援", "在庫管理", "電子契約", "配送計画", "音声合成", "決済代行", "勤怠管理", "店舗集客"}
	place := []string{"東京", "大阪", "札幌", "福岡", "名古屋", "仙台", "広島"}
	return fmt.Sprintf("株式会社%s%sラボ%d", place[i%7], trade[i%13], i)
}

// oldCatalogue is the shape of a real one: 107 documents with 91 ids, 13 of them repeated, 4 of those alike in everything.
// page_content is the name only.
func oldCatalogue() (texts []string, metadatas []map[string]any) {
	add := func(id, i int, note string) {
		texts = append(texts, oldName(i))
		metadatas = append(metadatas, map[string]any{
			"vendor_id": fmt.Sprintf("V-%03d", id), "name": oldName(i), "type": []any{"SaaS"}, "website": "https://example.com",
			"engagement": map[string]any{"status": "面談済", "note": note}, "score_num": float64(i%10) / 2, "employees": i,
		})
	}
	for i := range 91 {
		add(i, i, "")
	}
	for i := range 4 {
		add(i, i, "")
	}
	for i := range 12 {
		add(4+i%9, 200+i, "別の担当")
	}
	return texts, metadatas
}

// TestMovingFromLangChainBuysNothingAndOldReadersKeepReading takes over a folder that the real LangChain saved, serves it,
// and has the real LangChain load what lies under current/ and rank as we do.
func TestMovingFromLangChainBuysNothingAndOldReadersKeepReading(t *testing.T) {
	t.Parallel()
	const dims, n, distinct = 1536, 107, 103
	b := dirBackend(t)
	srv, env := buying(t, b, embedtest.Options{})
	env = with(env, "EMBEDDING_DIMENSIONS", "1536", "DEFAULT_MODE", "semantic")
	texts, metadatas := oldCatalogue()
	spec := &oldSpec{URL: srv.URL(), Model: "text-embedding-3-small", Dims: dims, Texts: texts, Metadatas: metadatas}
	folder := t.TempDir()
	langchain(t, nil, "make", folder, spec.file(t))
	sent := srv.Stats().Texts

	out := filepath.Join(t.TempDir(), "vendors.json")
	stdout, stderr, code := harness.Run(t, "indexer", env, "import-langchain", folder, "--out", out)
	if code != 0 {
		t.Fatalf("import: exit %d %s", code, stderr)
	}
	for _, want := range []string{"13 ids of several documents: V-000, V-001, ", " and 3 more", "12 documents kept under an id like V-004~2 by the indexer;", "4 documents left out",
		"verified: openai text-embedding-3-small embeds 3 of the texts as they are in the index (cosine 1.0000 or more)", "imported 107 documents"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the import does not say %q:\n%s", want, stdout)
		}
	}
	if got := srv.Stats().Texts - sent; got != 3 {
		t.Errorf("%d texts were embedded to verify three", got)
	}
	draft, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, b.layout.Source, draft)
	stdout, stderr, code = harness.Run(t, "indexer", env, "reconcile", "--once", "--dry-run")
	if code != 0 || !strings.Contains(stdout, "0 texts, about 0 tokens") {
		t.Errorf("dry run: exit %d %s\n%s", code, stderr, stdout)
	}
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("reconcile: exit %d %s", code, stderr)
	}
	// And the questions that a score is measured by.
	bought := srv.Stats().Texts - sent - 3
	if p := b.pointer(t); bought != len(relevance.OffTopic) || p.Stats.Reused != distinct || p.Stats.Embedded != 0 || p.Stats.Vectors != distinct {
		t.Errorf("%d texts were bought, the manifest says %+v", bought, p.Stats)
	}

	current := fetchCopies(t, b)
	wantSameDocuments(t, folder, current, n, distinct)
	s := harness.StartServer(t, env)
	s.Await(t, "server ready", 1)
	wantSameRanks(t, s, current, spec)

	// A record without _text moves to the standard text, and that one is bought.
	b.put(t, b.layout.Source, []byte(strings.Replace(string(draft), fmt.Sprintf(`,"_text":%q`, oldName(20)), "", 1)))
	bought = srv.Stats().Texts
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("reconcile: exit %d %s", code, stderr)
	}
	if got := srv.Stats().Texts - bought; got != 1 {
		t.Errorf("%d texts were bought for one record without _text", got)
	}
}

// fetchCopies is a folder with what lies under current/ for old readers.
func fetchCopies(t *testing.T, b *backend) string {
	t.Helper()
	current := t.TempDir()
	for _, f := range []string{snapshot.FileIndex, snapshot.FilePickle} {
		if err := os.WriteFile(filepath.Join(current, f), b.get(t, b.layout.Current(f)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return current
}

// wantSameDocuments compares what LangChain reads of the folder that it saved and of our copies. Documents that repeat
// another one in everything are gone from the latter; the others are there, in order, with the same vectors.
func wantSameDocuments(t *testing.T, folder, current string, n, distinct int) {
	t.Helper()
	var before, after oldIndex
	langchain(t, &before, "read", folder)
	langchain(t, &after, "read", current)
	if before.Metric != 1 || after.Metric != 1 || len(before.Documents) != n || len(after.Documents) != distinct {
		t.Fatalf("metric %d with %d documents became metric %d with %d", before.Metric, len(before.Documents), after.Metric, len(after.Documents))
	}
	ids := map[string]bool{}
	at := 0
	for _, want := range before.Documents {
		if at == len(after.Documents) || after.Documents[at].PageContent != want.PageContent {
			continue // a repetition
		}
		got := after.Documents[at]
		at++
		ids[got.ID] = true
		for key, v := range want.Metadata {
			if !cmp.Equal(got.Metadata[key], v) {
				t.Errorf("document %s: %s is %v, was %v", got.ID, key, got.Metadata[key], v)
			}
		}
		for j := range want.Vector {
			if math.Abs(got.Vector[j]-want.Vector[j]) > 1e-6 {
				t.Fatalf("the vector of %s differs at %d: %v, was %v", got.ID, j, got.Vector[j], want.Vector[j])
			}
		}
	}
	if at != distinct || len(ids) != distinct || !ids["V-004~2"] || !ids["V-004~3"] || ids["V-000~2"] {
		t.Errorf("%d documents with ids %v", at, ids)
	}
}

// wantSameRanks asks both 50 questions. Of scores that differ by less than rounding may, either may come first.
func wantSameRanks(t *testing.T, s *harness.Server, current string, spec *oldSpec) {
	t.Helper()
	const k = 10
	ask := *spec
	ask.Texts, ask.Metadatas, ask.K = nil, nil, k
	for i := range 50 {
		r := []rune(oldName(3 * i))
		ask.Queries = append(ask.Queries, string(r[4+i%3:])+"に詳しい会社")
	}
	var theirs [][][2]any
	langchain(t, &theirs, "rank", current, ask.file(t))
	same := 0
	for q, query := range ask.Queries {
		body, _ := json.Marshal(map[string]any{"query": query, "k": k})
		ours, err := harness.Search(s.URL, string(body))
		if err != nil || len(ours.Results) != k || len(theirs[q]) != k {
			t.Fatalf("%q: %d of ours, %d of theirs, %v", query, len(ours.Results), len(theirs[q]), err)
		}
		for i, r := range ours.Results {
			distance := theirs[q][i][1].(float64)
			if i > 0 && distance < theirs[q][i-1][1].(float64) {
				t.Errorf("%q: distance %v comes after a larger one", query, distance)
			}
			// |q-v|² = 2 - 2qv: the same rank has the same cosine, whichever of two equals stands there.
			if math.Abs(1-distance/2-r.Score) > 1e-4 {
				t.Errorf("%q, rank %d: %s with cosine %v, theirs is %v at distance %v", query, i, r.ID, r.Score, theirs[q][i][0], distance)
			}
			if r.ID == theirs[q][i][0] {
				same++
			} else if !tied(theirs[q], i) {
				t.Errorf("%q, rank %d: ours %s, theirs %v", query, i, r.ID, theirs[q][i][0])
			}
		}
	}
	t.Logf("%d of %d ranks hold the same record", same, 50*k)
}

func tied(row [][2]any, i int) bool {
	near := func(j int) bool { return math.Abs(row[i][1].(float64)-row[j][1].(float64)) < 4e-6 }
	return i > 0 && near(i-1) || i+1 < len(row) && near(i+1) || i+1 == len(row)
}
