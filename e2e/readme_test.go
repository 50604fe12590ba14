package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// fences are the shell blocks of a Markdown file, comments and continuation lines resolved into commands.
func fences(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(), file))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, line := range strings.Split(strings.ReplaceAll(block[1], "\\\n", " "), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				out = append(out, line)
			}
		}
	}
	return out
}

// TestEveryCommandOfTheReadmeWorks runs `make run`'s script as a stranger would, then each command that README.md shows
// against it. The make targets themselves are what runs this test, or what this test stands in for.
func TestEveryCommandOfTheReadmeWorks(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	dirs := map[string]string{"VECTORSTORE_STORE_DIR": home + "/store", "VECTORSTORE_LOCAL_DIR": home + "/local", "RUN_LOG_DIR": home + "/logs"}
	cmd := exec.Command("bash", filepath.Join(harness.Root(), "scripts", "run.sh"))
	cmd.Env = harness.Environ(with(dirs, "LISTEN_ADDR", "127.0.0.1:0", "ADMIN_ADDR", "127.0.0.1:0", "INDEXER_ADMIN_ADDR", "127.0.0.1:0"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	})
	port := ""
	for s := bufio.NewScanner(out); port == "" && s.Scan(); {
		if line := strings.TrimSpace(s.Text()); strings.HasPrefix(line, "curl ") {
			port = regexp.MustCompile(`localhost:(\d+)`).FindStringSubmatch(line)[1]
			readmeCurl(t, line, "8080", "8080") // as printed
		}
	}
	if port == "" {
		t.Fatal("make run printed no curl line")
	}

	ran := 0
	for _, line := range fences(t, "README.md") {
		switch {
		case strings.HasPrefix(line, "make "):
			continue
		case strings.HasPrefix(line, "curl "):
			readmeCurl(t, line, "8080", port)
		case strings.HasPrefix(line, "bin/indexer "):
			args, _, _ := strings.Cut(line, "#")
			stdout, stderr, code := harness.Run(t, "indexer", dirs, strings.Fields(args)[1:]...)
			if code != 0 || stdout == "" {
				t.Errorf("%s: exit %d\n%s", line, code, stderr)
			}
		default:
			t.Errorf("README.md shows a command that is not tested: %s", line)
		}
		ran++
	}
	if ran < 8 {
		t.Errorf("only %d commands found in README.md", ran)
	}

	// Ctrl-C reaches the script; it stops both and nothing is left.
	stopped = true
	_ = syscall.Kill(cmd.Process.Pid, syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("make run after Ctrl-C: %v", err)
		}
	case <-time.After(harness.Patience):
		t.Fatal("make run does not end after Ctrl-C")
	}
	if _, err := harness.Do("GET", "http://127.0.0.1:"+port+"/health", nil); err == nil {
		t.Error("the server is still there after Ctrl-C")
	}
	logs, err := os.ReadFile(home + "/logs/indexer.log")
	if err != nil || !strings.Contains(string(logs), "indexer stopped") {
		t.Errorf("the indexer did not stop cleanly: %v", err)
	}
}

func readmeCurl(t *testing.T, line, from, to string) {
	t.Helper()
	line, _, _ = strings.Cut(line, " # ")
	line = strings.ReplaceAll(line, "localhost:"+from, "localhost:"+to)
	out, err := exec.Command("bash", "-c", line+" -w '\\n%{http_code}'").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	body, code, _ := strings.Cut(string(out), "\n")
	if i := strings.LastIndex(string(out), "\n"); i >= 0 {
		body, code = string(out[:i]), string(out[i+1:])
	}
	if err != nil || code != "200" || !json.Valid([]byte(body)) {
		t.Errorf("%s: %v, status %s, body %.300s", line, err, code, body)
	}
	if strings.Contains(line, "/search ") && !strings.Contains(body, `"results":[{"id":"V-`) {
		t.Errorf("%s finds nothing: %.300s", line, body)
	}
}
