package deploy

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

var (
	comparison = regexp.MustCompile(`^\$\.(\w+) (!?=) "([^"]*)"`)
	exceeds    = regexp.MustCompile(`^\$\.(\w+) (>=?) (\d+)`)
)

// matches evaluates the subset of CloudWatch's filter patterns that core.yaml uses: comparisons of strings and numbers joined by
// && and ||, in parentheses. As there, && binds tighter than ||, and a field that is not there matches nothing.
func matches(t *testing.T, pattern string, line harness.Line) bool {
	t.Helper()
	rest := strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(pattern), "{"), "}"))
	var or func() bool
	term := func() bool {
		if r, ok := strings.CutPrefix(rest, "("); ok {
			rest = strings.TrimSpace(r)
			v := or()
			rest = strings.TrimSpace(strings.TrimPrefix(rest, ")"))
			return v
		}
		if m := exceeds.FindStringSubmatch(rest); m != nil {
			rest = strings.TrimSpace(rest[len(m[0]):])
			value, there := line[m[1]].(float64)
			least := number(t, m[3])
			return there && (value > least || m[2] == ">=" && value == least)
		}
		m := comparison.FindStringSubmatch(rest)
		if m == nil {
			t.Fatalf("pattern %q: cannot read %q", pattern, rest)
		}
		rest = strings.TrimSpace(rest[len(m[0]):])
		value, there := line[m[1]].(string)
		return there && (value == m[3]) == (m[2] == "=")
	}
	and := func() bool {
		v := term()
		for strings.HasPrefix(rest, "&&") {
			rest = strings.TrimSpace(rest[2:])
			w := term()
			v = v && w
		}
		return v
	}
	or = func() bool {
		v := and()
		for strings.HasPrefix(rest, "||") {
			rest = strings.TrimSpace(rest[2:])
			w := and()
			v = v || w
		}
		return v
	}
	v := or()
	if rest != "" {
		t.Fatalf("pattern %q: %q is left over", pattern, rest)
	}
	return v
}

func TestPatternsAreReadAsCloudWatchReadsThem(t *testing.T) {
	line := harness.Line{"msg": "reconciled", "result": "promoted", "behind": 2.0}
	for pattern, want := range map[string]bool{
		`{ $.msg = "reconciled" }`: true, `{ $.msg != "reconciled" }`: false, `{ $.absent != "x" }`: false,
		`{ $.behind > 1 }`: true, `{ $.behind > 2 }`: false, `{ $.absent > 0 }`: false,
		`{ $.behind >= 2 }`: true, `{ $.behind >= 3 }`: false, `{ $.absent >= 0 }`: false,
		`{ $.msg = "x" && $.msg = "reconciled" || $.result = "promoted" }`:                              true,
		`{ $.msg = "x" && ($.msg = "reconciled" || $.result = "promoted") }`:                            false,
		`{ $.msg = "reconciled" && $.result != "failed" && ($.result = "a" || $.result = "promoted") }`: true,
	} {
		if got := matches(t, pattern, line); got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}

// logLevel that a task's container is given; "" is the program's default.
func logLevel(t *testing.T, task string) string {
	tp := load(t, corePath, scenarios["from nothing"])
	for _, e := range list(dig(t, tp.ofType("AWS::ECS::TaskDefinition")[task], "ContainerDefinitions", 0, "Environment")) {
		if e := e.(map[string]any); e["Name"] == "LOG_LEVEL" {
			return e["Value"].(string)
		}
	}
	return ""
}

// The numbers behind the CloudWatch alarms, made from what the programs really log at the level that the tasks set: once
// when something happens, and again and again while nothing does.
func TestAlarmsSeeTheProgramsAtWork(t *testing.T) {
	store := t.TempDir()
	source := filepath.Join(store, prefix, "vendors.json")
	if err := os.MkdirAll(filepath.Dir(source), 0o700); err != nil {
		t.Fatal(err)
	}
	// Everything but what is held is welcome.
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); bytes.Contains(b, []byte(`"type":"vectorstore.held"`)) {
			w.WriteHeader(http.StatusGone)
		}
	}))
	defer refusing.Close()
	env := map[string]string{"VECTORSTORE_STORE_DIR": store, "EMBEDDING_PROVIDER": "local", "POLL_INTERVAL": "200ms", "RESYNC_INTERVAL": "500ms", "LEASE_TTL": "5s"}
	level := func(task string) map[string]string {
		e := maps.Clone(env)
		e["NOTIFY_URL"] = refusing.URL
		e["LOG_LEVEL"] = logLevel(t, task)
		return e
	}
	indexer, server := harness.StartIndexer(t, level("IndexerTask")), harness.StartServer(t, level("ServerTask"))
	filters := load(t, monitoringPath, nil).ofType("AWS::Logs::MetricFilter")
	count := func(filter string) (n int) {
		f := filters[filter]
		p := map[string]*harness.Process{"/ecs/vectorstore/indexer": indexer.Process, "/ecs/vectorstore/server": server.Process}[f["LogGroupName"].(string)]
		for _, l := range p.Lines("") {
			if matches(t, f["FilterPattern"].(string), l) {
				n++
			}
		}
		return n
	}
	// values are those of a filter that takes them from the lines.
	values := func(filter string) (out []float64) {
		field, ok := strings.CutPrefix(fmt.Sprint(dig(t, filters[filter], "MetricTransformations", 0, "MetricValue")), "$.")
		if !ok {
			t.Fatalf("%s takes no value", filter)
		}
		for _, l := range indexer.Lines("") {
			if matches(t, filters[filter]["FilterPattern"].(string), l) {
				out = append(out, number(t, l[field]))
			}
		}
		return out
	}
	reaches := func(filter string, want int) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%s counts %d", filter, want), func() error {
			if n := count(filter); n < want {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
	// No catalogue: passes fail, and no alarm may take them for success.
	harness.Eventually(t, "failed passes", func() error {
		for _, l := range indexer.Lines("reconciled") {
			if l.Str("result") == "failed" {
				return nil
			}
		}
		return fmt.Errorf("none yet")
	})
	if n := count("ReconcileSucceeded") + count("IndexCurrent") + count("Promoted"); n != 0 {
		t.Errorf("without a catalogue %d passes count as a success", n)
	}
	if err := os.WriteFile(source, []byte(readFile(t, "../testdata/vendors.json")), 0o600); err != nil {
		t.Fatal(err)
	}
	reaches("Promoted", 1)
	reaches("SnapshotSwapped", 1)
	steady := count("ReconcileSucceeded")
	reaches("ReconcileSucceeded", steady+3)
	reaches("IndexCurrent", 3)
	// A pass may look before the server has taken what was just promoted; one that looks later finds it there.
	behind := func(want float64) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("three passes find %v behind", want), func() error {
			v := values("ReplicaBehind")
			if last := v[max(0, len(v)-3):]; !slices.Equal(last, []float64{want, want, want}) {
				return fmt.Errorf("%v", last)
			}
			return nil
		})
	}
	behind(0)
	for _, filter := range []string{"ErrorsLogged", "HeldPasses", "NotificationsLost"} {
		if n := count(filter); n != 0 {
			t.Errorf("%s counts %d in a healthy life", filter, n)
		}
	}
	// A server that does not follow.
	stuck := filepath.Join(store, prefix, "replicas", "stuck.json")
	if err := os.WriteFile(stuck, []byte(`{"format_version":1,"id":"stuck","using":"20260101T000000Z-0123abcd","generation":0,"ttl_seconds":600}`), 0o600); err != nil {
		t.Fatal(err)
	}
	behind(1)
	// A catalogue that lost nearly everything is held, and nobody hears of it at NOTIFY_URL.
	if err := os.WriteFile(source, []byte(`[{"vendor_id":"V-1","name":"甲"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	reaches("HeldPasses", 2)
	reaches("NotificationsLost", 1)
}
