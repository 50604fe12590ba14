package deploy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// startPrometheus scrapes the targets, given as job → host:port, with the rules of this folder.
func startPrometheus(t *testing.T, targets map[string]string) (api string) {
	t.Helper()
	dir := t.TempDir()
	var conf strings.Builder
	rules, err := filepath.Abs(rulesPath)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&conf, "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\nrule_files: [%q]\nscrape_configs:\n", rules)
	for job, target := range targets {
		fmt.Fprintf(&conf, "- {job_name: %s, static_configs: [{targets: [%q]}]}\n", job, target)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("prometheus (a Debian package): %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return "http://" + addr + "/api/v1/"
}

// ask an endpoint of Prometheus' HTTP API.
func ask[T any](api, path string, query url.Values) (data T, err error) {
	resp, err := http.Get(api + path + "?" + query.Encode())
	if err != nil {
		return data, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          T
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return data, err
	}
	if answer.Status != "success" {
		return data, fmt.Errorf("%s: %s", path, answer.Error)
	}
	return answer.Data, nil
}

// exact selectors of our own metrics; a regular expression or a negation may well match nothing yet.
var selector = regexp.MustCompile(`\b(vectorstore_[a-z0-9_]+\{[a-z_]+="[^"]*"\})`)

func TestPrometheusFindsEveryMetricThatAlertsAndPanelsUse(t *testing.T) {
	store := t.TempDir()
	source := filepath.Join(store, prefix, "vendors.json")
	if err := os.MkdirAll(filepath.Dir(source), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, []byte(readFile(t, "../testdata/vendors.json")), 0o600); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		told <- string(b)
	}))
	defer receiver.Close()
	env := map[string]string{"VECTORSTORE_STORE_DIR": store, "EMBEDDING_PROVIDER": "local", "POLL_INTERVAL": "200ms", "RESYNC_INTERVAL": "500ms", "LEASE_TTL": "5s", "NOTIFY_URL": receiver.URL}
	indexer, server := harness.StartIndexer(t, env), harness.StartServer(t, env)
	server.Await(t, "server ready", 1)
	if _, err := harness.Search(server.URL, `{"query":"冷凍倉庫の温度監視","k":3}`); err != nil {
		t.Fatal(err)
	}
	api := startPrometheus(t, map[string]string{"server": strings.TrimPrefix(server.Admin, "http://"), "indexer": strings.TrimPrefix(indexer.Admin, "http://")})

	var exprs []string
	for _, a := range alerts(t) {
		exprs = append(exprs, a.Expr)
	}
	exprs = append(exprs, expressions(t)...)
	wanted := map[string]bool{}
	for _, m := range usedMetrics(t) {
		wanted[m] = true
	}
	for _, e := range exprs {
		for _, m := range selector.FindAllStringSubmatch(e, -1) {
			wanted[m[1]] = true
		}
	}
	wanted[`vectorstore_search_duration_seconds_bucket{stage="total",le="0.8192"}`] = true // of a recording rule
	if len(wanted) < 30 {
		t.Fatalf("only %d names found in alerts and panels: has their form changed?", len(wanted))
	}
	harness.Eventually(t, "every metric has been scraped", func() error {
		for w := range wanted {
			series, err := ask[[]any](api, "series", url.Values{"match[]": {w}})
			if err != nil {
				return err
			}
			if len(series) == 0 {
				return fmt.Errorf("no series %s", w)
			}
		}
		return nil
	})
	if e := <-told; !strings.Contains(e, `"type":"vectorstore.promoted"`) {
		t.Errorf("told: %s", e)
	}
	// Both binaries say what they are.
	for _, job := range []string{"server", "indexer"} {
		match := fmt.Sprintf(`vectorstore_build_info{job=%q,version=~".+",commit=~".+",faiss=~".+"}`, job)
		if series, err := ask[[]any](api, "series", url.Values{"match[]": {match}}); err != nil || len(series) != 1 {
			t.Errorf("%s: %v %v", match, series, err)
		}
	}
	// A healthy pair fires nothing, and every rule can be evaluated.
	type group struct {
		Rules []struct{ Name, State, LastError, Health string }
	}
	harness.Eventually(t, "every rule has been evaluated", func() error {
		data, err := ask[struct{ Groups []group }](api, "rules", nil)
		if err != nil {
			return err
		}
		n := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.State != "" { // an alert
					n++
				}
				if r.Health != "ok" || r.State == "firing" {
					return fmt.Errorf("%s: %s, %s %s", r.Name, r.State, r.Health, r.LastError)
				}
			}
		}
		if n != len(alerts(t)) {
			return fmt.Errorf("%d rules", n)
		}
		return nil
	})
}

// An alert that no synthetic series stands for: the real indexer is stopped, and Prometheus notices.
func TestAStoppedIndexerIsNoticedByTheRealPrometheus(t *testing.T) {
	env := map[string]string{"VECTORSTORE_STORE_DIR": t.TempDir(), "EMBEDDING_PROVIDER": "local", "LEASE_TTL": "5s"}
	indexer := harness.StartIndexer(t, env)
	api := startPrometheus(t, map[string]string{"indexer": strings.TrimPrefix(indexer.Admin, "http://")})
	state := func(name string) string {
		data, err := ask[struct {
			Groups []struct {
				Rules []struct{ Name, State string }
			}
		}](api, "rules", nil)
		if err != nil {
			return err.Error()
		}
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Name == name {
					return r.State
				}
			}
		}
		return "absent"
	}
	up := func() float64 {
		data, err := ask[struct{ Result []struct{ Value [2]any } }](api, "query", url.Values{"query": {`up{job="indexer"}`}})
		if err != nil || len(data.Result) == 0 {
			return -1
		}
		if data.Result[0].Value[1] == "1" {
			return 1
		}
		return 0
	}
	harness.Eventually(t, "the indexer is scraped and its alert is quiet", func() error {
		if s := state("VectorstoreIndexerDown"); up() != 1 || s != "inactive" {
			return fmt.Errorf("up %v, alert %s", up(), s)
		}
		return nil
	})
	indexer.Signal(syscall.SIGKILL)
	harness.Eventually(t, "the alert is pending", func() error {
		if s := state("VectorstoreIndexerDown"); s != "pending" {
			return fmt.Errorf("alert %s", s)
		}
		return nil
	})
}
