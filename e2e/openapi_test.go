package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// TestTheAPIKeepsToItsDocumentWhateverIsAsked lets schemathesis ask what the document allows and what it forbids: no answer
// is a server error, and each has a status, a type, headers and a shape that the document names.
func TestTheAPIKeepsToItsDocumentWhateverIsAsked(t *testing.T) {
	t.Parallel()
	examples := "25"
	if soak() {
		examples = "1000"
	}
	python := harness.Python(t)
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, b.env)
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)

	cmd := exec.Command(filepath.Join(filepath.Dir(python), "schemathesis"), "--no-color", "run", s.URL+"/openapi.json", "--phases", "examples,coverage,fuzzing",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance",
		"--seed", "1", "--max-examples", examples, "--request-timeout", "30", "--suppress-health-check", "all")
	cmd.Dir = t.TempDir() // it keeps what it found
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var doc struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(harness.Get(t, s.URL+"/openapi.json").Body, &doc); err != nil {
		t.Fatal(err)
	}
	operations := 0
	for _, methods := range doc.Paths {
		operations += len(methods)
	}
	if n := number(t, out, `Tested: +(\d+)`); n != operations {
		t.Errorf("%d of %d operations were tested\n%s", n, operations, out)
	}
	if n := number(t, out, `(\d+) generated`); n < 300 {
		t.Errorf("only %d requests were made\n%s", n, out)
	}
}

// number is what a pattern finds in a program's words.
func number(t *testing.T, out []byte, pattern string) int {
	t.Helper()
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no %s in\n%s", pattern, out)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
