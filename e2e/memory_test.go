package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// resident is a process's resident memory in bytes, field as in /proc/<pid>/status.
func resident(t *testing.T, pid int, field string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field+":" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in /proc/%d/status", field, pid)
	return 0
}

// memoryCgroup makes a cgroup with that limit, v2 or v1, and returns the file that takes its processes.
func memoryCgroup(t *testing.T, limit int64) (procs string) {
	t.Helper()
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, fmt.Sprintf("vectorstore-test-%d", os.Getpid()))
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o600) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("no memory cgroup can be made here (needs root and a writable /sys/fs/cgroup)")
	return ""
}

// TestSwapThatDoesNotFitIsRefusedAndTheServerLives gives a server a real cgroup of one and a half times its index.
func TestSwapThatDoesNotFitIsRefusedAndTheServerLives(t *testing.T) {
	t.Parallel()
	const n, dims = 8_000, 8192
	const index = int64(n) * dims * 4 // 250 MiB
	procs := memoryCgroup(t, index*3/2)
	b := dirBackend(t)
	env := with(b.env, "EMBEDDING_DIMENSIONS", strconv.Itoa(dims), "INDEX_KIND", "flat")
	s := harness.StartServer(t, env)
	if err := os.WriteFile(procs, []byte(strconv.Itoa(s.PID())), 0o600); err != nil {
		t.Fatal(err)
	}
	b.put(t, b.layout.Source, catalogue(t, vendorstest.Options{N: n, Seed: 1}))
	harness.StartIndexer(t, with(env, "DELTA", "off")) // a delta would fit
	first := b.awaitPointer(t, "a first snapshot", func(store.Pointer) bool { return true })
	harness.AwaitHealth(t, s, "snapshot", first.ID)

	b.put(t, b.layout.Source, catalogue(t, vendorstest.Options{N: n, Seed: 1, Rev: 2, Changed: 0.01}))
	second := b.awaitPointer(t, "a second snapshot", func(p store.Pointer) bool { return p.Generation > first.Generation })
	r := refused(t, s, "memory", "MiB")
	if r["id"] != second.ID {
		t.Errorf("refused %v, want %s", r, second.ID)
	}
	for range 20 {
		keepsAnswering(t, s, first.ID)
	}
	if s.Exited() {
		t.Fatal("the server is dead")
	}
	t.Logf("index %d MiB, limit %d MiB, resident %d MiB; refused: %v", index>>20, index*3/2>>20, resident(t, s.PID(), "VmRSS")>>20, r["reason"])

	// The operator and the fleet see it too.
	harness.Eventually(t, "status says which replica refuses, and why", func() error {
		out, _, _ := harness.Run(t, "indexer", b.env, "status")
		if !strings.Contains(out, "refused "+second.ID) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// TestMemoryIsGivenBackAfterEverySwap compares the resident memory after many swaps with that after three.
func TestMemoryIsGivenBackAfterEverySwap(t *testing.T) {
	n, swaps, most := 2_000, 15, 1.3 // small processes vary more
	if soak() {
		n, swaps, most = 20_000, 50, 1.1
	}
	b := dirBackend(t)
	env := with(b.env, "INDEX_KIND", "flat", "EMBEDDING_DIMENSIONS", "1024", "POLL_INTERVAL", "50ms")
	var ids []string
	ix := harness.StartIndexer(t, env)
	for rev := 1; rev <= 2; rev++ {
		data := catalogue(t, vendorstest.Options{N: n, Seed: 1, Rev: rev, Changed: 0.2})
		b.put(t, b.layout.Source, data)
		sha := store.ManifestDigest(data)
		ids = append(ids, b.awaitPointer(t, "snapshot", func(p store.Pointer) bool { return p.Source.SHA256 == sha }).ID)
	}
	ix.Signal(15)
	ix.Wait(t)
	s := harness.StartServer(t, env)
	s.Await(t, "server ready", 1)
	var after3, last int64
	for i := 1; i <= swaps; i++ {
		id := ids[(i+1)%2] // the second one is served at first
		if _, stderr, code := harness.Run(t, "indexer", env, "pin", id); code != 0 {
			t.Fatalf("pin: %s", stderr)
		}
		harness.AwaitHealth(t, s, "snapshot", id)
		keepsAnswering(t, s, id)
		s.Await(t, "snapshot freed", i)
		if last = resident(t, s.PID(), "VmRSS"); i == 3 {
			after3 = last
		}
	}
	ratio := float64(last) / float64(after3)
	t.Logf("%d vendors: %d MiB after 3 swaps, %d MiB after %d: %.2f", n, after3>>20, last>>20, swaps, ratio)
	if ratio > most {
		t.Errorf("resident memory grew to %.2f of what it was after three swaps, want at most %v", ratio, most)
	}
	if !bytes.Contains(harness.Get(t, s.Admin+"/metrics").Body, []byte(`vectorstore_swaps_total{result="ok"}`)) {
		t.Error("no swaps are counted")
	}
}
