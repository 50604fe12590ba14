// Package harness starts the real binaries for end-to-end tests and reads what they say.
package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that must happen; generous: ten tests may want the two cores that one of them would have.
const Patience = 3 * time.Minute

// Root is the repository's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Binary returns the path of bin/<name>, which `make test` builds first and names in BIN_DIR.
func Binary(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("BIN_DIR")
	if dir == "" {
		dir = filepath.Join(Root(), "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run `make build` first", path)
	}
	return path
}

// Line is one JSON log line.
type Line map[string]any

// Msg of the line.
func (l Line) Msg() string { return l.Str("msg") }

// Str returns a string field, "" when absent.
func (l Line) Str(key string) string { s, _ := l[key].(string); return s }

// Process is one running binary.
type Process struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []Line
	raw   []string
	err   error
	last  string // msg at which the process is killed
}

// Start runs bin/<name> with args; env entries override the test's own environment, which is not inherited but
// for PATH, HOME and TMPDIR. The process is killed when the test ends.
func Start(t testing.TB, name string, env map[string]string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(Binary(t, name), args...)
	cmd.Env = Environ(env)
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The parent-death signal follows the thread that forked, so that thread must live as long as the process.
	started := make(chan error)
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.read(stderr)
		err = cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Signal(syscall.SIGCONT)
		p.Signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("last log lines of %s %s:\n%s", name, strings.Join(args, " "), p.Tail(25))
		}
	})
	return p
}

// Environ builds an environment with only what a child needs, plus env.
func Environ(env map[string]string) []string {
	out := []string{"LOG_FORMAT=json"}
	for _, k := range []string{"PATH", "HOME", "TMPDIR"} {
		if v := os.Getenv(k); v != "" {
			out = append(out, k+"="+v)
		}
	}
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

func (p *Process) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		var l Line
		_ = json.Unmarshal(s.Bytes(), &l) // a panic's lines are not JSON; they stay in raw
		p.mu.Lock()
		p.raw = append(p.raw, s.Text())
		if l != nil {
			p.lines = append(p.lines, l)
			if p.last != "" && l.Msg() == p.last {
				p.Signal(syscall.SIGKILL)
			}
		}
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

// Lines returns the log lines so far with that msg; all of them for "".
func (p *Process) Lines(msg string) []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Line
	for _, l := range p.lines {
		if msg == "" || l.Msg() == msg {
			out = append(out, l)
		}
	}
	return out
}

// Tail returns the last n raw lines of standard error.
func (p *Process) Tail(n int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.raw[max(0, len(p.raw)-n):], "\n")
}

// Await returns the n-th (from 1) line with that msg, failing the test when the process ends or Patience is over.
func (p *Process) Await(t testing.TB, msg string, n int) Line {
	t.Helper()
	var found Line
	Eventually(t, p.Name+" logs "+msg, func() error {
		if l := p.Lines(msg); len(l) >= n {
			found = l[n-1]
			return nil
		}
		if p.Exited() {
			t.Fatalf("%s ended before it logged %q:\n%s", p.Name, msg, p.Tail(10))
		}
		return errors.New("not yet")
	})
	return found
}

// Exited tells whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends sig to the process.
func (p *Process) Signal(sig syscall.Signal) {
	if !p.Exited() {
		_ = syscall.Kill(p.cmd.Process.Pid, sig)
	}
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait returns the exit code, -1 for a death by signal.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		t.Fatalf("%s is still running:\n%s", p.Name, p.Tail(10))
		return -1
	}
}

// Kill ends the process with SIGKILL and waits for it.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// KillAt ends the process with SIGKILL as soon as it logs msg, or at once when it has.
func (p *Process) KillAt(msg string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = msg
	for _, l := range p.lines {
		if l.Msg() == msg {
			p.Signal(syscall.SIGKILL)
			return
		}
	}
}

// Eventually calls check until it returns nil, failing the test with its last error after Patience.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	Within(t, Patience, what, check)
}

// Within is Eventually with its own bound.
func Within(t testing.TB, bound time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still not so after %s: %v", what, bound, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Run runs bin/<name> to its end and returns its standard output, standard error and exit code.
func Run(t testing.TB, name string, env map[string]string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(Binary(t, name), args...)
	cmd.Env = Environ(env)
	cmd.Dir = t.TempDir()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
