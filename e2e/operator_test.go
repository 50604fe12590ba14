package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func statusOf(t *testing.T, b *backend) store.Status {
	t.Helper()
	out, _, code := harness.Run(t, "indexer", b.env, "status", "-o", "json")
	if code != 0 {
		return store.Status{} // no indexer has written one yet
	}
	return decode[store.Status](t, out)
}

func condition(s store.Status, kind string) store.Condition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return store.Condition{}
}

func TestLostVendorsAreHeldUntilForced(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, revision(0, 100))
	ix := harness.StartIndexer(t, b.env)
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)
	good := b.pointer(t)

	b.put(t, b.layout.Source, revision(0, 40))
	harness.Eventually(t, "status explains what is held", func() error {
		if c := condition(statusOf(t, b), "Held"); c.Status != "True" || !strings.Contains(c.Message, "60") {
			return fmt.Errorf("Held is %+v", c)
		}
		return nil
	})
	held := statusOf(t, b).Held
	table, _, _ := harness.Run(t, "indexer", b.env, "status")
	if !strings.Contains(table, "promote "+held+" --force") {
		t.Errorf("indexer status does not say how to go on:\n%s", table)
	}
	if v := metric(t, ix.Admin, "vectorstore_gate_held"); v != 1 {
		t.Errorf("gate_held is %v", v)
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "reconcile"); code != 3 {
		t.Errorf("reconcile beside the leader: exit %d, want 3 (held): %s", code, stderr)
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "promote", held); code != 3 {
		t.Errorf("promote of a held snapshot without --force: exit %d, want 3: %s", code, stderr)
	}
	keepsAnswering(t, s, good.ID)
	if _, stderr, code := harness.Run(t, "indexer", b.env, "promote", held, "--force"); code != 0 {
		t.Fatalf("promote --force: exit %d: %s", code, stderr)
	}
	harness.AwaitHealth(t, s, "snapshot", held)
	time.Sleep(1500 * time.Millisecond) // three resyncs
	if p := b.pointer(t); p.ID != held {
		t.Errorf("a resync replaced the forced snapshot by %s", p.ID)
	}
}

func TestFailingGoldenQueryHolds(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, revision(0, 30))
	b.put(t, b.layout.Golden(), []byte(`[{"query":"会社007 第0版","expect":["R0-007"],"k":5}]`))
	harness.StartIndexer(t, with(b.env, "GATE_MAX_REMOVED", "1"))
	good := b.awaitPointer(t, "the golden catalogue is promoted", func(store.Pointer) bool { return true })
	b.put(t, b.layout.Source, revision(1, 30))
	harness.Eventually(t, "held by the golden query", func() error {
		if c := condition(statusOf(t, b), "Held"); c.Status != "True" || !strings.Contains(c.Message, "R0-007") {
			return fmt.Errorf("Held is %+v", c)
		}
		return nil
	})
	if p := b.pointer(t); p.ID != good.ID {
		t.Errorf("promoted %s", p.ID)
	}
	b.put(t, b.layout.Golden(), []byte(`[{"query":"会社007 第1版","expect":["R1-007"],"k":5}]`))
	b.awaitPointer(t, "promoted once the golden query is right", func(p store.Pointer) bool { return p.Generation > good.Generation })
}

func TestRollbackStaysUntilUnpinned(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	env := with(b.env, "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, revision(0, 30))
	harness.StartIndexer(t, env)
	var fleet []*harness.Server
	for range 3 {
		s := harness.StartServer(t, b.env)
		s.Await(t, "server ready", 1)
		fleet = append(fleet, s)
	}
	first := b.pointer(t)
	b.put(t, b.layout.Source, revision(1, 30))
	second := b.awaitPointer(t, "second", func(p store.Pointer) bool { return p.Generation == first.Generation+1 })
	for _, s := range fleet {
		harness.AwaitHealth(t, s, "snapshot", second.ID)
	}

	if _, stderr, code := harness.Run(t, "indexer", b.env, "rollback"); code != 0 {
		t.Fatalf("rollback: exit %d: %s", code, stderr)
	}
	back := time.Now()
	for _, s := range fleet {
		harness.AwaitHealth(t, s, "snapshot", first.ID)
	}
	t.Logf("rollback to served on all replicas: %s (poll 0.2 s)", time.Since(back).Round(time.Millisecond))
	p := b.pointer(t)
	if p.Generation != second.Generation+1 || p.ID != first.ID {
		t.Errorf("after rollback: %s generation %d", p.ID, p.Generation)
	}
	time.Sleep(1500 * time.Millisecond) // three resyncs
	if q := b.pointer(t); q.ID != first.ID {
		t.Errorf("a resync undid the rollback: %s", q.ID)
	}
	if out, _, _ := harness.Run(t, "indexer", b.env, "list", "-o", "json"); !strings.Contains(out, `"current"`) {
		t.Errorf("list: %s", out)
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "unpin"); code != 0 {
		t.Fatalf("unpin: %s", stderr)
	}
	b.awaitPointer(t, "the catalogue is followed again", func(q store.Pointer) bool { return q.ID == second.ID || q.Source.SHA256 == second.Source.SHA256 })
}

func TestSuspendStopsAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	env := with(b.env, "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, revision(0, 20))
	harness.StartIndexer(t, env)
	first := b.awaitPointer(t, "first", func(store.Pointer) bool { return true })
	if _, stderr, code := harness.Run(t, "indexer", b.env, "suspend"); code != 0 {
		t.Fatalf("suspend: %s", stderr)
	}
	b.put(t, b.layout.Source, revision(1, 20))
	harness.Eventually(t, "Suspended is True", func() error {
		if c := condition(statusOf(t, b), "Suspended"); c.Status != "True" {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond)
	if p := b.pointer(t); p.ID != first.ID {
		t.Errorf("promoted while suspended")
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "resume"); code != 0 {
		t.Fatalf("resume: %s", stderr)
	}
	b.awaitPointer(t, "after resume", func(p store.Pointer) bool { return p.Generation > first.Generation && p.ID != first.ID })
}

func TestReadingCommandsPrintTablesAndJSON(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	env := with(b.env, "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, env)
	first := b.awaitPointer(t, "first", func(store.Pointer) bool { return true })
	b.put(t, b.layout.Source, edited(t, first0(t, b), "まったく新しい説明"))
	second := b.awaitPointer(t, "second", func(p store.Pointer) bool { return p.Generation > first.Generation })

	out, _, code := harness.Run(t, "indexer", b.env, "list", "-o", "json")
	rows := decode[[]struct {
		ID      string `json:"id"`
		Vectors int    `json:"vectors"`
		State   string `json:"state"`
	}](t, out)
	if code != 0 || len(rows) != 2 {
		t.Fatalf("list: %d %s", code, out)
	}
	states := map[string]string{}
	for _, r := range rows {
		states[r.ID] = r.State
	}
	if states[second.ID] != "current" || states[first.ID] != "previous" {
		t.Errorf("states %v", states)
	}
	out, _, code = harness.Run(t, "indexer", b.env, "diff", first.ID, second.ID, "-o", "json")
	var diff struct {
		Added, Removed []any
		Changed        []struct {
			ID     string   `json:"id"`
			Fields []string `json:"fields"`
		}
	}
	if err := json.Unmarshal([]byte(out), &diff); err != nil || code != 0 || len(diff.Changed) != 1 ||
		diff.Changed[0].ID != first0(t, b) || fmt.Sprint(diff.Changed[0].Fields) != "[description]" || len(diff.Added)+len(diff.Removed) != 0 {
		t.Errorf("diff: %v %d %s", err, code, out)
	}
	for _, args := range [][]string{{"show", second.ID}, {"verify", second.ID}, {"status"}, {"list"}, {"diff", first.ID, second.ID}, {"gc", "--dry-run"}, {"reconcile", "--dry-run"}} {
		out, stderr, code := harness.Run(t, "indexer", env, args...)
		if code != 0 || strings.TrimSpace(out) == "" {
			t.Errorf("%v: exit %d, stdout %q, stderr %s", args, code, out, stderr)
		}
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "show", "20010101T000000Z-00000000"); code != 1 || !strings.Contains(stderr, "20010101T000000Z-00000000") {
		t.Errorf("show of nothing: exit %d %s", code, stderr)
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "show", "../../etc/passwd"); code == 0 {
		t.Errorf("show of a path: exit %d %s", code, stderr)
	}
}

// TestWithoutALeaderACommandDoesNothingByItsShellsDefaults: the deployment keeps 20 snapshots of 64 dimensions for 30
// days; the operator's shell has none of that set.
func TestWithoutALeaderACommandDoesNothingByItsShellsDefaults(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	deployment := with(b.env, "EMBEDDING_DIMENSIONS", "64", "RETAIN_SNAPSHOTS", "20", "RETAIN_GRACE", "720h", "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, revision(0, 20))
	ix := harness.StartIndexer(t, deployment)
	first := b.awaitPointer(t, "first", func(store.Pointer) bool { return true })
	harness.Eventually(t, "status.json says the deployment's retention", func() error {
		if r := statusOf(t, b).Retention; r == nil || r.Snapshots != 20 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	ix.Signal(syscall.SIGTERM)
	ix.Wait(t)
	b.put(t, b.layout.Source, revision(1, 20))
	for _, c := range []struct {
		env   map[string]string
		args  []string
		code  int
		named string
	}{
		{b.env, []string{"reconcile"}, 4, "--once"},
		{b.env, []string{"gc"}, 4, "--once"},
		{b.env, []string{"reconcile", "--yes"}, 4, "--once"},
		{b.env, []string{"reconcile", "--once"}, 4, "embedding.dims 64 → "},
		{b.env, []string{"gc", "--once"}, 4, "RETAIN_SNAPSHOTS 20 → 5, RETAIN_GRACE 720h0m0s → "},
		{deployment, []string{"gc", "--once"}, 0, ""},
	} {
		if _, stderr, code := harness.Run(t, "indexer", c.env, c.args...); code != c.code || !strings.Contains(stderr, c.named) {
			t.Errorf("%v: exit %d, want %d, naming %q: %s", c.args, code, c.code, c.named, stderr)
		}
	}
	if p := b.pointer(t); p.ID != first.ID {
		t.Fatalf("promoted %s", p.ID)
	}
	if out, _, code := harness.Run(t, "indexer", b.env, "reconcile", "--dry-run"); code != 0 || !strings.Contains(out, "embedding.dims 64 → ") {
		t.Errorf("the plan does not name the change of spec: exit %d %s", code, out)
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "gc", "--dry-run"); code != 0 || !strings.Contains(stderr, "20 snapshots and 720h0m0s") {
		t.Errorf("the plan does not go by the indexer's retention: exit %d %s", code, stderr)
	}
	if _, stderr, code := harness.Run(t, "indexer", deployment, "pin", first.ID); code != 0 {
		t.Fatalf("pin: exit %d: %s", code, stderr)
	}
	if out, stderr, code := harness.Run(t, "indexer", b.env, "reconcile", "--once"); code != 0 || !strings.Contains(out, "pinned to "+first.ID) {
		t.Errorf("reconcile --once while pinned: exit %d %q %s", code, out, stderr)
	}
	if _, stderr, code := harness.Run(t, "indexer", b.env, "unpin"); code != 0 {
		t.Fatalf("unpin: exit %d: %s", code, stderr)
	}
	if out, stderr, code := harness.Run(t, "indexer", with(b.env, "GATE_MAX_REMOVED", "1"), "reconcile", "--once", "--yes"); code != 0 {
		t.Errorf("reconcile --once --yes: exit %d %q %s", code, out, stderr)
	}
	p := b.pointer(t)
	if p.ID == first.ID || p.Gate == nil {
		t.Fatalf("--yes promoted nothing: %s", p.ID)
	}
	reported := false
	for _, c := range p.Gate.Checks {
		reported = reported || c.Name == "spec" && strings.Contains(c.Message, "embedding.dims 64 → ")
	}
	if !reported {
		t.Errorf("the gate does not report the change of spec: %+v", p.Gate.Checks)
	}
}
