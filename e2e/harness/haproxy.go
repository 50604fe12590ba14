package harness

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Balancer is a haproxy that behaves like an ALB: no retries, health checks on /ready, deregistration on command,
// and all targets when none is healthy.
type Balancer struct {
	URL    string
	socket string
}

const haproxyConfig = `global
  stats socket %[1]s mode 600 level admin
  maxconn 2000
defaults
  mode http
  retries 0
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend alb
  bind 127.0.0.1:%[2]d
  use_backend failopen if { nbsrv(targets) eq 0 }
  default_backend targets
backend targets
  balance roundrobin
  option httpchk GET /ready
  default-server check inter 200ms fall 2 rise 2
%[3]sbackend failopen
  balance roundrobin
%[4]s`

// FreePort returns a port that was free a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// StartBalancer balances over targets, given as name → host:port.
func StartBalancer(t testing.TB, targets map[string]string) *Balancer {
	t.Helper()
	dir, err := os.MkdirTemp("", "alb") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var checked, plain strings.Builder
	for name, addr := range targets {
		fmt.Fprintf(&checked, "  server %s %s\n", name, addr)
		fmt.Fprintf(&plain, "  server %s %s\n", name, addr)
	}
	port := FreePort(t)
	b := &Balancer{URL: fmt.Sprintf("http://127.0.0.1:%d", port), socket: filepath.Join(dir, "s")}
	cfg := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(cfg, fmt.Appendf(nil, haproxyConfig, b.socket, port, checked.String(), plain.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("haproxy", "-db", "-f", cfg)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("haproxy (a Debian package): %v", err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy said: %.2000s", out.String())
		}
	})
	Eventually(t, "every target is up behind the balancer", func() error {
		if a, err := Do(http.MethodGet, b.URL+"/health", nil); err != nil || a.Code != 200 {
			return fmt.Errorf("%v %d", err, a.Code)
		}
		return b.up(len(targets))
	})
	return b
}

func (b *Balancer) command(line string) (string, error) {
	c, err := net.DialTimeout("unix", b.socket, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	var out strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			return out.String(), nil
		}
	}
}

// up returns nil when want targets are healthy.
func (b *Balancer) up(want int) error {
	csv, err := b.command("show stat")
	if err != nil {
		return err
	}
	n := 0
	for _, line := range strings.Split(csv, "\n") {
		f := strings.Split(line, ",")
		if len(f) > 17 && f[0] == "targets" && f[1] != "BACKEND" && f[17] == "UP" {
			n++
		}
	}
	if n != want {
		return fmt.Errorf("%d of %d targets are up", n, want)
	}
	return nil
}

// Deregister stops sending new requests to a target; those in flight go on.
func (b *Balancer) Deregister(t testing.TB, name string) { b.state(t, name, "drain") }

// Register sends requests to a target again and waits until all want targets are healthy.
func (b *Balancer) Register(t testing.TB, name string, want int) {
	b.state(t, name, "ready")
	Eventually(t, name+" is back", func() error { return b.up(want) })
}

func (b *Balancer) state(t testing.TB, name, state string) {
	t.Helper()
	if out, err := b.command("set server targets/" + name + " state " + state); err != nil || strings.TrimSpace(out) != "" {
		t.Fatalf("set %s %s: %v %s", name, state, err, out)
	}
}
