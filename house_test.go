// Package vectorstore_test keeps the rules of the house that a compiler does not: who may import whom.
package vectorstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/taksuehiro/vectorstore/"

// rooms lists, for each room, the rooms it may import. A folder below a room belongs to it; its tests are
// free, and what is for tests only: folders whose name ends in test, which nothing else imports.
var rooms = map[string][]string{
	"internal/snapshot":   {},
	"internal/jsonread":   {},
	"internal/vendors":    {"internal/snapshot", "internal/jsonread"},
	"internal/dropins":    {"internal/snapshot", "internal/vendors"},
	"internal/arrays":     {"internal/snapshot"},
	"internal/documents":  {"internal/snapshot", "internal/arrays"},
	"internal/delta":      {"internal/snapshot", "internal/arrays", "internal/documents"},
	"internal/filter":     {"internal/jsonread", "internal/spelling", "internal/arrays"},
	"internal/golden":     {},
	"internal/relevance":  {"internal/snapshot"},
	"internal/spelling":   {},
	"internal/tracing":    {},
	"internal/embed":      {"internal/snapshot", "internal/jsonread", "internal/spelling", "internal/tracing"},
	"internal/vecindex":   {"internal/snapshot"},
	"internal/store":      {"internal/snapshot"},
	"internal/ledger":     {"internal/snapshot", "internal/store"},
	"internal/langchain":  {},
	"internal/lexical":    {"internal/snapshot", "internal/spelling", "internal/arrays"},
	"internal/reconcile":  {"internal/snapshot", "internal/vendors", "internal/dropins", "internal/filter", "internal/arrays", "internal/documents", "internal/delta", "internal/store", "internal/ledger", "internal/lexical", "internal/langchain", "internal/relevance", "internal/golden", "internal/tracing"},
	"internal/view":       {"internal/snapshot", "internal/vendors", "internal/filter", "internal/conditions", "internal/arrays", "internal/documents", "internal/delta", "internal/store", "internal/lexical", "internal/jsonread"},
	"internal/follow":     {"internal/snapshot", "internal/conditions", "internal/store", "internal/view", "internal/tracing"},
	"internal/query":      {"internal/snapshot", "internal/filter", "internal/conditions", "internal/lexical", "internal/relevance", "internal/view", "internal/tracing"},
	"internal/api":        {"internal/snapshot", "internal/conditions", "internal/filter", "internal/store", "internal/jsonread", "internal/spelling", "internal/view", "internal/follow", "internal/query", "internal/tracing"},
	"internal/conditions": {"internal/filter", "internal/jsonread", "internal/spelling"},
	"internal/notify":     {},
	"internal/wire":       {"internal/snapshot", "internal/store", "internal/embed", "internal/notify", "internal/tracing"},
}

// owners lists the modules that exactly one room may import.
var owners = map[string]string{
	"github.com/blevesearch/go-faiss":                     "internal/vecindex",
	"github.com/aws/aws-sdk-go-v2/service/s3":             "internal/store",
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime": "internal/embed",
	"github.com/aws/aws-sdk-go-v2/service/kms":            "internal/wire",
	"github.com/aws/aws-sdk-go-v2/service/sns":            "internal/notify",
	"github.com/sashabaranov/go-openai":                   "internal/embed",
	"github.com/ikawaha/kagome/v2":                        "internal/lexical",
	"github.com/danielgtaylor/huma/v2":                    "internal/api",
	"github.com/modelcontextprotocol/go-sdk":              "internal/api",
	"go.opentelemetry.io/otel/sdk":                        "internal/wire",
	"go.opentelemetry.io/otel/exporters":                  "internal/wire",
	"go.opentelemetry.io/otel/trace":                      "internal/tracing",
}

type pkg struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

// room of a package path: its first two elements below internal, else "".
func room(path string) string {
	for r := range rooms {
		if path == r || strings.HasPrefix(path, r+"/") {
			return r
		}
	}
	return ""
}

// forTests tells whether a package is for tests only.
func forTests(path string) bool {
	return strings.HasSuffix(path, "test") || strings.Contains(path, "test/")
}

// The walk through the sources that CONTRIBUTING.md offers leads through files that are there.
func TestTheWalkLeadsThroughFilesThatExist(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	folder, files := "", 0
	for _, m := range regexp.MustCompile("`((?:internal|cmd)/[a-z]+/)?([a-z0-9]+\\.go)`").FindAllStringSubmatch(string(text), -1) {
		if m[1] != "" {
			folder = m[1]
		}
		if _, err := os.Stat(folder + m[2]); err != nil {
			t.Errorf("CONTRIBUTING.md: %v", err)
		}
		files++
	}
	if files < 10 {
		t.Errorf("only %d files found in CONTRIBUTING.md", files)
	}
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if from == "" && strings.HasPrefix(p.ImportPath, "internal/") {
			t.Errorf("%s is in no room: add it to the table, or move it", p.ImportPath)
		}
		seen[from] = true
		for _, imp := range p.Imports {
			for owned, owner := range owners {
				if (imp == owned || strings.HasPrefix(imp, owned+"/")) && from != owner {
					t.Errorf("%s imports %s, which belongs to %s alone", p.ImportPath, imp, owner)
				}
			}
			to := room(strings.TrimPrefix(imp, module))
			if from == "" || !strings.HasPrefix(imp, module) || forTests(p.ImportPath) {
				continue
			}
			if forTests(imp) {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imp)
			}
			if to == from {
				continue
			}
			if !slices.Contains(rooms[from], to) {
				t.Errorf("%s must not import %s", p.ImportPath, imp)
			}
		}
		if len(p.CgoFiles) > 0 && from != "internal/vecindex" {
			t.Errorf("%s uses cgo; only internal/vecindex may", p.ImportPath)
		}
	}
	for r := range rooms {
		if !seen[r] {
			t.Errorf("no package in %s: has the room moved?", r)
		}
	}
}

var update = flag.Bool("update", false, "draw the picture in docs/ARCHITECTURE.md anew")

// The picture in docs/ARCHITECTURE.md is drawn from the imports. An arrow that others imply is left out.
func TestThePictureShowsTheImports(t *testing.T) {
	arrows := map[string]map[string]bool{"cmd": {}}
	for r := range rooms {
		arrows[r] = map[string]bool{}
	}
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if strings.HasPrefix(p.ImportPath, "cmd/") {
			from = "cmd"
		}
		if forTests(p.ImportPath) {
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module)
			if to = room(to); ours && from != "" && to != "" && to != from {
				arrows[from][to] = true
			}
		}
	}
	var reaches func(from, to string) bool
	reaches = func(from, to string) bool {
		for via := range arrows[from] {
			if via == to || reaches(via, to) {
				return true
			}
		}
		return false
	}
	var lines []string
	for from := range arrows {
		for to := range arrows[from] {
			implied := false
			for via := range arrows[from] {
				implied = implied || via != to && reaches(via, to)
			}
			if !implied {
				lines = append(lines, "    "+path.Base(from)+" --> "+path.Base(to))
			}
		}
	}
	slices.Sort(lines)
	const begin, end = "```mermaid\nflowchart TD\n", "\n```\n"
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	drawn, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("docs/ARCHITECTURE.md has no picture")
	}
	want := strings.Join(lines, "\n")
	if *update {
		if err := os.WriteFile("docs/ARCHITECTURE.md", []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if drawn != want {
		t.Errorf("the picture in docs/ARCHITECTURE.md is not the imports; draw it anew with go test -run Picture -update .\ngot\n%s\nwant\n%s", drawn, want)
	}
}

// Editors that read .vscode/settings.json can build with cgo after `make native`.
func TestEditorsFindTheNativeLibrary(t *testing.T) {
	text, err := os.ReadFile(".vscode/settings.json")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	plain := regexp.MustCompile(`(?m)^\s*//.*$`).ReplaceAll(text, nil)
	var settings struct {
		Env map[string]string `json:"go.toolsEnvVars"`
	}
	if err := json.Unmarshal(bytes.ReplaceAll(plain, []byte("${workspaceFolder}"), []byte(here)), &settings); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "./internal/vecindex")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CGO_") {
			build.Env = append(build.Env, v)
		}
	}
	for name, value := range settings.Env {
		build.Env = append(build.Env, name+"="+value)
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
