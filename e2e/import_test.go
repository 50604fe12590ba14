package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// importer is an old folder and where it is to go.
type importer struct {
	folder, out string
	env         map[string]string
	srv         *embedtest.Server
	backend     *backend
}

// oldFolders has LangChain save a small folder for each change of what it is told.
func oldFolders(t *testing.T, changes map[string]func(*oldSpec)) map[string]importer {
	t.Helper()
	all, args := map[string]importer{}, []string{"make"}
	for name, change := range changes {
		b := dirBackend(t)
		srv, env := buying(t, b, embedtest.Options{})
		spec := &oldSpec{URL: srv.URL(), Model: "text-embedding-3-small", Dims: 64}
		for i := range 12 {
			spec.Texts = append(spec.Texts, oldName(i))
			spec.Metadatas = append(spec.Metadatas, map[string]any{"vendor_id": fmt.Sprintf("V-%d", i), "name": oldName(i)})
		}
		change(spec)
		all[name] = importer{folder: t.TempDir(), out: filepath.Join(t.TempDir(), "vendors.json"), env: env, srv: srv, backend: b}
		args = append(args, all[name].folder, spec.file(t))
	}
	langchain(t, nil, args...)
	return all
}

func oldFolder(t *testing.T, change func(*oldSpec)) importer {
	t.Helper()
	return oldFolders(t, map[string]func(*oldSpec){"": change})[""]
}

func (m importer) run(t *testing.T, flags ...string) (stdout, stderr string, code int) {
	t.Helper()
	return harness.Run(t, "indexer", m.env, append([]string{"import-langchain", m.folder, "--out", m.out}, flags...)...)
}

// records are those of the draft, nil when there is none.
func (m importer) records(t *testing.T) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(m.out)
	if os.IsNotExist(err) {
		return nil
	}
	var file struct{ Vendors []map[string]any }
	if err != nil || json.Unmarshal(data, &file) != nil {
		t.Fatalf("%v: the draft is no catalogue: %s", err, data)
	}
	return file.Vendors
}

// ledger counts the objects of the embedding ledger.
func (m importer) ledger(t *testing.T) int {
	t.Helper()
	n := 0
	if err := m.backend.objects.List(t.Context(), m.backend.layout.Ledger(), func(store.Info) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// wantNothingToBuy puts the draft in place and asks what a pass would buy.
func (m importer) wantNothingToBuy(t *testing.T) {
	t.Helper()
	draft, err := os.ReadFile(m.out)
	if err != nil {
		t.Fatal(err)
	}
	m.backend.put(t, m.backend.layout.Source, draft)
	stdout, stderr, code := harness.Run(t, "indexer", m.env, "reconcile", "--once", "--dry-run")
	if code != 0 || !strings.Contains(stdout, "0 texts, about 0 tokens") {
		t.Errorf("dry run: exit %d %s\n%s", code, stderr, stdout)
	}
}

func TestImportReadsWhatLangChainSaved(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*oldSpec)
		flags  []string
		says   string
		check  func(t *testing.T, records []map[string]any)
	}{
		"L2":              {func(*oldSpec) {}, nil, "imported 12 documents", nil},
		"inner product":   {func(s *oldSpec) { s.Strategy = "MAX_INNER_PRODUCT" }, nil, "imported 12 documents", nil},
		"cosine":          {func(s *oldSpec) { s.Strategy = "COSINE" }, nil, "imported 12 documents", nil},
		"normalized":      {func(s *oldSpec) { s.Normalize, s.Scale = true, 3 }, nil, "imported 12 documents", nil},
		"not unit length": {func(s *oldSpec) { s.Scale = 3 }, nil, "12 of 12 vectors are not of unit length", nil},
		"another name":    {func(s *oldSpec) { s.IndexName = "vendors" }, []string{"--index-name", "vendors"}, "imported 12 documents", nil},
		"UUIDs as ids": {func(s *oldSpec) { s.UUIDs = true; s.Metadatas = nil }, nil, "vendor_id: no id in the metadata became the docstore's id, 12 times", func(t *testing.T, records []map[string]any) {
			if records[1]["vendor_id"] != "00000000-0000-0000-0000-000000000002" || records[1]["name"] != oldName(1) {
				t.Errorf("%v", records[1])
			}
		}},
		"integers as ids": {func(s *oldSpec) {
			s.Metadatas = nil
			for i := range s.Texts {
				s.IDs = append(s.IDs, i+100)
			}
		}, nil, "imported 12 documents", func(t *testing.T, records []map[string]any) {
			if records[1]["vendor_id"] != "101" {
				t.Errorf("%v", records[1])
			}
		}},
		"chunks of one vendor": {func(s *oldSpec) {
			for _, m := range s.Metadatas {
				m["vendor_id"], m["name"] = "V-1", "株式会社一"
			}
		}, nil, "11 documents kept under an id like V-1~2 by the indexer;", nil},
		"the last of each id": {func(s *oldSpec) { s.Metadatas[3]["vendor_id"], s.Metadatas[7]["vendor_id"] = "V-1", "V-1" }, []string{"--duplicates", "last"}, "2 documents left out", func(t *testing.T, records []map[string]any) {
			if len(records) != 10 || records[5]["_text"] != oldName(7) {
				t.Errorf("%d records: %v", len(records), records)
			}
		}},
		"ids that pandas made floats": {func(s *oldSpec) {
			s.Python = "import pandas as pd\nmetadatas[:] = pd.DataFrame({'vendor_id': list(range(11)) + [None], 'name': [m['name'] for m in metadatas]}).to_dict('records')"
		}, nil, "vendor_id: float such as 12.0 became integer, 12, 11 times, first in document 0", func(t *testing.T, records []map[string]any) {
			if records[4]["vendor_id"] != 4.0 || len(records[11]["vendor_id"].(string)) != 36 {
				t.Errorf("%v %v", records[4], records[11])
			}
		}},
		"what rows hold": {func(s *oldSpec) {
			s.Python = "import datetime, decimal, numpy as np\nfor m in metadatas: m.update(since=datetime.date(2024, 1, 2), price=decimal.Decimal('12.50'), n=np.int64(7), gap=float('nan'))"
		}, nil, "price: decimal.Decimal became string, 12 times", func(t *testing.T, records []map[string]any) {
			r := records[3]
			if r["since"] != "2024-01-02" || r["price"] != "12.50" || r["n"] != 7.0 || r["gap"] != nil {
				t.Errorf("%v", r)
			}
		}},
		"documents without text": {func(s *oldSpec) { s.Texts[2], s.Texts[5] = " ", "\n" }, []string{"--skip-bad"}, "imported 10 documents", func(t *testing.T, records []map[string]any) {
			if len(records) != 10 {
				t.Errorf("%d records", len(records))
			}
		}},
	}
	changes := map[string]func(*oldSpec){}
	for name, c := range cases {
		changes[name] = c.change
	}
	folders := oldFolders(t, changes)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := folders[name]
			stdout, stderr, code := m.run(t, c.flags...)
			if code != 0 || !strings.Contains(stdout, c.says) {
				t.Fatalf("exit %d %s\n%s", code, stderr, stdout)
			}
			if c.check != nil {
				c.check(t, m.records(t))
			}
			m.wantNothingToBuy(t)
		})
	}
}

// TestImportRefusesWithoutLosingAnything: the draft stays, nothing is stored, and the message says how to go on.
func TestImportRefusesWithoutLosingAnything(t *testing.T) {
	t.Parallel()
	otherModel := embedtest.Start(t, embedtest.Options{Vector: func(text string, dst []float32) {
		v, err := embed.NewLocal(len(dst)).EmbedQuery(t.Context(), "not "+text+" at all: another model")
		if err != nil {
			panic(err)
		}
		copy(dst, v)
	}})
	cases := map[string]struct {
		change func(*oldSpec)
		env    map[string]string
		flags  []string
		says   []string
		drafts int // records of the draft
		way    []string
	}{
		"another model": {func(*oldSpec) {}, map[string]string{"OPENAI_BASE_URL": otherModel.URL()}, nil,
			[]string{"the vectors are not those of openai text-embedding-3-small", "text-embedding-ada-002", "use --verify 0"}, 12, []string{"--verify", "0"}},
		"provider unreachable": {func(*oldSpec) {}, map[string]string{"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, nil,
			[]string{"could not be compared with openai", "use --verify 0"}, 12, []string{"--verify", "0"}},
		"other dimensions": {func(*oldSpec) {}, nil, []string{"--dims", "32"}, []string{"12 vectors of 64 dimensions", "32 dimensions", "--model and --dims"}, 12, []string{"--dims", "64"}},
		"no key, so the local provider": {func(*oldSpec) {}, map[string]string{"EMBEDDING_PROVIDER": "local", "EMBEDDING_MODEL": "", "EMBEDDING_DIMENSIONS": ""}, nil,
			[]string{"12 vectors of 64 dimensions", "and local ", "EMBEDDING_PROVIDER"}, 12, []string{"--embedding-provider", "openai", "--model", "text-embedding-3-small", "--dims", "64"}},
		"repeated ids refused": {func(s *oldSpec) { s.Metadatas[3]["vendor_id"] = "V-1" }, nil, []string{"--duplicates", "refuse"},
			[]string{`duplicate id "V-1"`}, 12, []string{"--duplicates", "suffix"}},
		"a document without text": {func(s *oldSpec) { s.Texts[2] = " " }, nil, nil, []string{"1 of 12 documents cannot be read: document 2", "it has no text", "--skip-bad"}, 11, []string{"--skip-bad"}},
		"a vector of nothing":     {func(s *oldSpec) { s.Scale = 1e-60 }, nil, nil, []string{"--skip-bad leaves such vectors out"}, 12, []string{"--skip-bad"}},
	}
	changes := map[string]func(*oldSpec){}
	for name, c := range cases {
		changes[name] = c.change
	}
	folders := oldFolders(t, changes)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := folders[name]
			for k, v := range c.env {
				m.env[k] = v
			}
			began := time.Now()
			_, stderr, code := m.run(t, c.flags...)
			if code != 1 || strings.Count(strings.TrimSpace(stderr), "\n") > 3 || time.Since(began) > harness.Patience {
				t.Fatalf("exit %d after %v: %s", code, time.Since(began), stderr)
			}
			for _, want := range append(c.says, m.out, "no vector was stored") {
				if !strings.Contains(stderr, want) {
					t.Errorf("the refusal does not say %q: %s", want, stderr)
				}
			}
			if got := m.records(t); len(got) != c.drafts || m.ledger(t) != 0 {
				t.Errorf("the draft has %d records, want %d; the ledger has %d objects", len(got), c.drafts, m.ledger(t))
			}
			if stdout, stderr, code := m.run(t, c.way...); code != 0 || !strings.Contains(stdout, "imported") {
				t.Errorf("the way on, %v: exit %d %s", c.way, code, stderr)
			}
		})
	}
}

func TestImportNamesWhatAPickleRefersTo(t *testing.T) {
	t.Parallel()
	m := oldFolder(t, func(s *oldSpec) { s.Python = "import fractions\nmetadatas[3]['share'] = fractions.Fraction(1, 3)" })
	mine := []byte(`{"vendors":[{"id":"a","name":"mine"}]}`)
	if err := os.WriteFile(m.out, mine, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := m.run(t)
	if code != 1 || !strings.Contains(stderr, "fractions.Fraction") || !strings.Contains(stderr, "turn that into a string") {
		t.Errorf("exit %d %s", code, stderr)
	}
	if got, err := os.ReadFile(m.out); err != nil || string(got) != string(mine) {
		t.Errorf("a refused pickle touched the file at --out: %v %s", err, got)
	}
}

func TestImportNamesTheIndexThatIsThere(t *testing.T) {
	t.Parallel()
	m := oldFolder(t, func(s *oldSpec) { s.IndexName = "vendors" })
	if _, stderr, code := m.run(t); code != 1 || !strings.Contains(stderr, "--index-name vendors?") {
		t.Errorf("exit %d %s", code, stderr)
	}
}

func TestImportKeepsTheFileThatWasThere(t *testing.T) {
	t.Parallel()
	m := oldFolder(t, func(*oldSpec) {})
	mine := []byte(`{"vendors":[{"id":"a","name":"mine"}]}`)
	for range 2 { // a draft that is made again is no file worth keeping
		if _, stderr, code := m.run(t); code != 0 {
			t.Fatalf("exit %d %s", code, stderr)
		}
	}
	if _, err := os.Stat(m.out + ".old"); !os.IsNotExist(err) {
		t.Errorf("a draft was kept: %v", err)
	}
	if err := os.WriteFile(m.out, mine, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, stderr, code := m.run(t); code != 0 {
			t.Fatalf("exit %d %s", code, stderr)
		}
		if got, err := os.ReadFile(m.out + ".old"); err != nil || string(got) != string(mine) {
			t.Errorf("%v: %s", err, got)
		}
	}
	m.wantNothingToBuy(t)
}

// TestForgetUndoesAnImportUnderAWrongName: what --verify 0 let in can be taken out again.
func TestForgetUndoesAnImportUnderAWrongName(t *testing.T) {
	t.Parallel()
	m := oldFolder(t, func(*oldSpec) {})
	if _, stderr, code := m.run(t, "--model", "text-embedding-3-large", "--verify", "0"); code != 0 || !strings.Contains(stderr, "vectors not verified") {
		t.Fatalf("exit %d %s", code, stderr)
	}
	forget := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, code := harness.Run(t, "indexer", m.env, append([]string{"forget"}, args...)...)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("forget %v: exit %d %s %s", args, code, stdout, stderr)
		}
	}
	forget("forgot 0 vectors of openai text-embedding-3-small", "--model", "text-embedding-3-small")
	m.env["EMBEDDING_MODEL"] = "text-embedding-3-large"
	m.wantNothingToBuy(t)
	if _, stderr, code := harness.Run(t, "indexer", m.env, "reconcile", "--once"); code != 0 {
		t.Fatalf("exit %d %s", code, stderr)
	}
	bought := m.srv.Stats().Texts
	vectors := 12 + len(relevance.OffTopic) // and those that a score is measured by
	forget(fmt.Sprintf("forgot %d vectors of openai text-embedding-3-large", vectors), "--model", "text-embedding-3-large")
	forget("`indexer reconcile --force` buys them again", "--model", "text-embedding-3-large")
	if _, stderr, code := harness.Run(t, "indexer", m.env, "reconcile", "--once", "--force"); code != 0 {
		t.Fatalf("exit %d %s", code, stderr)
	}
	if got := m.srv.Stats().Texts - bought; got != vectors {
		t.Errorf("%d texts were bought again, want %d", got, vectors)
	}
	if _, stderr, code := harness.Run(t, "indexer", m.env, "forget"); code != 2 || !strings.Contains(stderr, "forget needs --model") {
		t.Errorf("without a model: exit %d %s", code, stderr)
	}
}
