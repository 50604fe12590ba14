package e2e

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// oldDocument is what an old reader sees of one vendor.
type oldDocument struct {
	PageContent string         `json:"page_content"`
	Metadata    map[string]any `json:"metadata"`
	Near        []int          `json:"near"`
	Vector      []float64      `json:"vector"`
}

// langchain runs the stand-in of LangChain with Debian's python3 and its faiss.
func langchain(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", append([]string{filepath.Join(harness.Root(), "e2e/testdata/langchain.py")}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	return out
}

func readOld(t *testing.T, dir string) []oldDocument {
	t.Helper()
	var docs []oldDocument
	if err := json.Unmarshal(langchain(t, "read", dir), &docs); err != nil {
		t.Fatal(err)
	}
	return docs
}

// TestMovingFromLangChainBuysNothingAndOldReadersKeepReading takes over a folder that LangChain saved, serves it, and
// reads current/ back as LangChain would.
func TestMovingFromLangChainBuysNothingAndOldReadersKeepReading(t *testing.T) {
	t.Parallel()
	const n, dims = 60, 64
	folder := t.TempDir()
	langchain(t, "make", folder, "60", "64")
	b := dirBackend(t)
	srv, env := buying(t, b, embedtest.Options{})
	out := filepath.Join(t.TempDir(), "vendors.json")
	if _, stderr, code := harness.Run(t, "indexer", env, "import-langchain", folder, "--dims", "64", "--out", out); code != 0 {
		t.Fatalf("import: exit %d %s", code, stderr)
	}
	draft, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, b.layout.Source, draft)
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("reconcile: exit %d %s", code, stderr)
	}
	if p := b.pointer(t); srv.Stats().Texts != 0 || p.Stats.Reused != n || p.Stats.Embedded != 0 {
		t.Errorf("%d texts were bought, the manifest says %+v", srv.Stats().Texts, p.Stats)
	}

	current := t.TempDir()
	for _, f := range []string{store.FileIndex, store.FilePickle} {
		if err := os.WriteFile(filepath.Join(current, f), b.get(t, b.layout.Current(f)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, after := readOld(t, folder), readOld(t, current)
	if len(after) != n {
		t.Fatalf("%d documents came back of %d", len(after), n)
	}
	for i, want := range before {
		got := after[i]
		if got.PageContent != want.PageContent || !cmp.Equal(got.Near, want.Near) {
			t.Errorf("document %d: %q near %v, was %q near %v", i, got.PageContent, got.Near, want.PageContent, want.Near)
		}
		for key, v := range want.Metadata {
			if !cmp.Equal(got.Metadata[key], v) {
				t.Errorf("document %d: %s is %v, was %v", i, key, got.Metadata[key], v)
			}
		}
		for j := range want.Vector {
			if math.Abs(got.Vector[j]-want.Vector[j]) > 1e-6 {
				t.Fatalf("vector %d differs at %d: %v, was %v", i, j, got.Vector[j], want.Vector[j])
			}
		}
	}

	// A record without _text moves to the standard text, and that one is bought.
	b.put(t, b.layout.Source, []byte(strings.Replace(string(draft), `,"_text":"会社7\n古い本文 7"`, "", 1)))
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("reconcile: exit %d %s", code, stderr)
	}
	if got := srv.Stats().Texts; got != 1 {
		t.Errorf("%d texts were bought for one record without _text", got)
	}

	s := harness.StartServer(t, env)
	s.Await(t, "server ready", 1)
	f, err := harness.Search(s.URL, `{"query": "会社9 古い本文 9", "k": 5}`)
	if err != nil || len(f.Results) != 5 || f.Results[0].Text == "" || f.Results[0].Metadata["vendor_id"] == nil {
		t.Errorf("the old client's search: %+v, %v", f, err)
	}
}
