package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// TestEveryExampleRuns runs each file of examples/ against a server that wants a key, as its README says, and checks that
// it prints a vendor for the question, only what the filter lets through and, where it shows one, the error.
func TestEveryExampleRuns(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, b.env)
	const key, hash = "example", "50d858e0985ecc7f60418aaf0cc5ab587f42c2570a884095a9e8ccacd0f6545c"
	s := harness.StartServer(t, with(b.env, "API_KEYS", hash))
	s.Await(t, "server ready", 1)
	dir := filepath.Join(harness.Root(), "examples")
	modules := harness.Node(t)
	commands := map[string]*exec.Cmd{
		"search.sh":    exec.Command("bash", "search.sh"),
		"search.py":    exec.Command("python3", "search.py"),
		"retriever.py": exec.Command(harness.Python(t), "retriever.py"),
		"search.ts":    exec.Command("node", compiled(t, modules, filepath.Join(dir, "search.ts"))),
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "README.md" || e.Name() == "mcp.json" || e.IsDir() { // for mcp.json see mcp_test.go
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			cmd := commands[e.Name()]
			if cmd == nil {
				t.Fatal("this example is not run: add its command here and its line to examples/README.md")
			}
			cmd.Dir = dir
			cmd.Env = append(harness.Environ(map[string]string{"VECTORSTORE_URL": s.URL, "VECTORSTORE_KEY": key}), "PYTHONDONTWRITEBYTECODE=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, stderr.Bytes())
			}
			if !strings.Contains(string(out), "\tV-001\t株式会社ホクト低温ロジテック") {
				t.Errorf("the vendor of cold storage is not among the three best:\n%s", out)
			}
			if regexp.MustCompile(`\.(ts|py)$`).MatchString(e.Name()) && e.Name() != "retriever.py" && !strings.Contains(string(out), "refused: 422 ") {
				t.Errorf("no problem was shown:\n%s", out)
			}
		})
	}
}

// compiled checks a TypeScript file strictly and returns it as JavaScript.
func compiled(t *testing.T, modules, file string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("node", filepath.Join(modules, "typescript", "bin", "tsc"), "--strict", "--target", "es2022", "--module", "es2022",
		"--moduleResolution", "bundler", "--typeRoots", filepath.Join(modules, "@types"), "--types", "node", "--outDir", dir, file).CombinedOutput()
	if err != nil {
		t.Fatalf("tsc: %v\n%s", err, out)
	}
	js, module := filepath.Join(dir, "search.js"), filepath.Join(dir, "search.mjs")
	if err := os.Rename(js, module); err != nil {
		t.Fatal(err)
	}
	return module
}

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// docs/openapi.json is what the server says of its API: whoever generates a client from the repository gets the same.
func TestTheCommittedOpenAPIIsTheServers(t *testing.T) {
	t.Parallel()
	_, s := served(t)
	var doc map[string]any
	if err := json.Unmarshal(harness.Get(t, s.URL+"/openapi.json").Body, &doc); err != nil {
		t.Fatal(err)
	}
	doc["info"].(map[string]any)["version"] = "committed" // each build says its own
	got, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join(harness.Root(), "docs", "openapi.json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/openapi.json is not what the server says; write it anew with go test ./e2e -run OpenAPI -update, and look at the difference:\n%s", diff)
	}
}
