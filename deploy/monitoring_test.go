package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const (
	rulesPath     = "prometheus/rules.yml"
	dashboardPath = "grafana/dashboard.json"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
		t.Fatalf("promtool %s: %v (Debian package prometheus)\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusAcceptsConfigAndRules(t *testing.T) {
	for _, f := range []string{"prometheus/prometheus.yml", "prometheus/compose.yml"} {
		readFile(t, f)
		promtool(t, "check", "config", f)
	}
}

func TestAlertsFireAndAreQuietInOrdinaryLife(t *testing.T) {
	readFile(t, rulesPath)
	readFile(t, "prometheus/rules_test.yml")
	promtool(t, "test", "rules", "prometheus/rules_test.yml")
}

type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var f struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(readFile(t, rulesPath)), &f); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" { // the others record
				all = append(all, r)
			}
		}
	}
	return all
}

func TestEveryAlertHasAFiringAndAQuietTest(t *testing.T) {
	var f struct {
		Tests []struct {
			Name          string
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "prometheus/rules_test.yml")), &f); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]int{}, map[string]int{}
	for i, test := range f.Tests {
		for _, c := range test.AlertRuleTest {
			switch {
			case len(c.ExpAlerts) > 0:
				fires[c.Alertname]++
			case i == 0:
				quiet[c.Alertname]++
			}
		}
	}
	for _, a := range alerts(t) {
		if fires[a.Alert] == 0 || quiet[a.Alert] == 0 {
			t.Errorf("%s: fires in %d tests, quiet in %d moments of ordinary life", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#+ (.+)$`)

// anchors of a Markdown file, as GitHub makes them.
func anchors(t *testing.T, path string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(readFile(t, path), -1) {
		a := strings.ToLower(strings.TrimSpace(m[1]))
		a = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(a, "")
		out[strings.ReplaceAll(a, " ", "-")] = true
	}
	return out
}

func TestEveryAlertLeadsToItsPageInTheRunbook(t *testing.T) {
	known := anchors(t, "../docs/RUNBOOK.md")
	link := regexp.MustCompile(`docs/RUNBOOK\.md#([a-z0-9-]+)`)
	check := func(what, text string) {
		m := link.FindStringSubmatch(text)
		if m == nil || !known[m[1]] {
			t.Errorf("%s: no page for %q", what, text)
		}
	}
	for _, a := range alerts(t) {
		check(a.Alert, a.Annotations["runbook"])
	}
	tp := load(t, monitoringPath, nil)
	for name, a := range tp.ofType("AWS::CloudWatch::Alarm") {
		check(name, fmt.Sprint(a["AlarmDescription"]))
	}
	for _, m := range link.FindAllString(readFile(t, "deploy.sh"), -1) {
		check("deploy.sh", m)
	}
}

func TestEveryAlarmNotifies(t *testing.T) {
	tp := load(t, monitoringPath, nil)
	all := tp.ofType("AWS::CloudWatch::Alarm")
	for name, a := range all {
		if fmt.Sprint(a["AlarmActions"]) != "[<import vectorstore-alarm-topic>]" || a["TreatMissingData"] == nil {
			t.Errorf("%s: actions %v, missing data %v", name, a["AlarmActions"], a["TreatMissingData"])
		}
	}
}

// The filters look for constant messages; a message that is renamed in the code would silence an alarm for ever.
func TestMetricFiltersMatchWhatTheProgramsSay(t *testing.T) {
	said := map[string]bool{}
	for _, dir := range []string{"../internal/notify", "../internal/reconcile", "../internal/follow", "../internal/query", "../internal/api", "../cmd/indexer", "../cmd/server"} {
		files, _ := filepath.Glob(dir + "/*.go")
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			for _, m := range regexp.MustCompile(`"([^"\n]+)"`).FindAllStringSubmatch(readFile(t, f), -1) {
				said[m[1]] = true
			}
		}
	}
	tp := load(t, monitoringPath, nil)
	metrics := map[string]bool{}
	for name, f := range tp.ofType("AWS::Logs::MetricFilter") {
		pattern := f["FilterPattern"].(string)
		for _, m := range regexp.MustCompile(`\$\.(msg|result) !?= "([^"]+)"`).FindAllStringSubmatch(pattern, -1) {
			if !said[m[2]] {
				t.Errorf("%s waits for %s %q, which no program says", name, m[1], m[2])
			}
		}
		metrics[dig(t, f, "MetricTransformations", 0, "MetricName").(string)] = true
	}
	for name, a := range tp.ofType("AWS::CloudWatch::Alarm") {
		if a["Namespace"] == tp.params["Project"] && !metrics[a["MetricName"].(string)] {
			t.Errorf("%s watches %v, which no filter makes", name, a["MetricName"])
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	Targets     []struct{ Expr string }
}

func dashboard(t *testing.T) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal([]byte(readFile(t, dashboardPath)), &d); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

// expressions of the dashboard with Grafana's variables filled in.
func expressions(t *testing.T) []string {
	var out []string
	for _, p := range dashboard(t) {
		for _, target := range p.Targets {
			out = append(out, strings.NewReplacer("$__rate_interval", "5m", "${usd_per_million}", "0.02").Replace(target.Expr))
		}
	}
	return out
}

func TestDashboardPanelsAreWellFormed(t *testing.T) {
	seen := map[int]bool{}
	var taken []panel
	for _, p := range dashboard(t) {
		if seen[p.ID] || p.ID == 0 {
			t.Errorf("%q: id %d is taken", p.Title, p.ID)
		}
		seen[p.ID] = true
		for _, q := range taken {
			if p.GridPos.X < q.GridPos.X+q.GridPos.W && q.GridPos.X < p.GridPos.X+p.GridPos.W &&
				p.GridPos.Y < q.GridPos.Y+q.GridPos.H && q.GridPos.Y < p.GridPos.Y+p.GridPos.H {
				t.Errorf("%q lies on %q", p.Title, q.Title)
			}
		}
		taken = append(taken, p)
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || p.Datasource.Type != "prometheus" || len(p.Targets) == 0 {
			t.Errorf("%q: data source %+v, %d queries", p.Title, p.Datasource, len(p.Targets))
		}
	}
}

func TestEveryDashboardExpressionParses(t *testing.T) {
	var rules bytes.Buffer
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, e := range expressions(t) {
		quoted, _ := json.Marshal(e)
		fmt.Fprintf(&rules, "  - {record: 'panel:%d', expr: %s}\n", i, quoted)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

var metricName = regexp.MustCompile(`\b(?:vectorstore|process)_[a-z0-9_]+`)

// usedMetrics are the names in alerts and panels, without the suffixes of a histogram.
func usedMetrics(t *testing.T) []string {
	var all []string
	for _, a := range alerts(t) {
		all = append(all, metricName.FindAllString(a.Expr, -1)...)
	}
	for _, e := range expressions(t) {
		all = append(all, metricName.FindAllString(e, -1)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
