package proc

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) *Proc {
	t.Helper()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func TestStopEndsTheChildrenToo(t *testing.T) {
	p := start(t, "sleep 60 & sleep 60 & wait")
	for { // until the shell has forked
		pids, err := group(p.PID())
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == 3 {
			break
		}
	}
	p.Stop()
	for range 100 { // a killed child is a zombie until init collects it
		if syscall.Kill(-p.PID(), 0) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the group is still there")
}

func TestCostSeesCPUAndMemory(t *testing.T) {
	p := start(t, "i=0; while :; do i=$((i+1)); done")
	for {
		c, err := p.Cost()
		if err != nil {
			t.Fatal(err)
		}
		if c.PSS > 0 && c.CPU >= 5*clockTick {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestPeakIsKnownAfterTheExit(t *testing.T) {
	p := start(t, "true")
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Peak() < 100<<10 {
		t.Errorf("peak of %d bytes: a shell takes more", p.Peak())
	}
}

func TestReadyWaitsFor200(t *testing.T) {
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	if _, err := start(t, "sleep 60").Ready(t.Context(), srv.URL); err != nil {
		t.Fatal(err)
	}
	if n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestReadyShowsTheLogOfAProgramThatDied(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := start(t, "echo no such index >&2; exit 3").Ready(ctx, "http://127.0.0.1:1/")
	if err == nil || !strings.Contains(err.Error(), "no such index") {
		t.Errorf("error %v", err)
	}
}
