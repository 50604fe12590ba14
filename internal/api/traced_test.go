package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/tracing"
	"github.com/taksuehiro/vectorstore/internal/view"
)

func tracedReplica(t *testing.T, change func(*follow.Deps, *Config)) (*replica, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return served(t, func(d *follow.Deps, c *Config) {
		c.Tracer, c.AccessLog = tracing.New(p), AccessOn
		if change != nil {
			change(d, c)
		}
	}), spans
}

// of are the names of the parts of a trace, and its root.
func of(spans []sdktrace.ReadOnlySpan, id string) (root sdktrace.ReadOnlySpan, parts []string) {
	for _, s := range spans {
		switch {
		case s.SpanContext().TraceID().String() != id:
		case s.SpanKind().String() == "server":
			root = s
		default:
			parts = append(parts, s.Name())
		}
	}
	slices.Sort(parts)
	return root, slices.Compact(parts)
}

func TestATraceShowsWhatASearchDid(t *testing.T) {
	r, spans := tracedReplica(t, nil)
	for call, c := range map[string]struct {
		body, name string
		parts      []string
	}{
		"POST /search":                   {`{"query":"会計の質問","mode":"hybrid","facets":["type"]}`, "POST /search", []string{"embed", "facets", "index", "rank", "render", "wait", "words"}},
		"POST /search?semantic":          {`{"query":"会計","mode":"semantic"}`, "POST /search", []string{"embed", "index", "render", "wait"}},
		"POST /search?sorted":            {`{"filter":{"type":"SaaS"},"sort":{"field":"name"}}`, "POST /search", []string{"render", "sort", "wait"}},
		"POST /search/batch":             {`{"queries":[{"query":"会計"},{"query":"翻訳"}]}`, "POST /search/batch", []string{"embed", "index", "rank", "render", "wait", "words"}},
		"GET /search?q=x":                {"", "GET /search", []string{"embed", "index", "rank", "render", "wait", "words"}},
		"GET /vendors/V-001/similar?k=2": {"", "GET /vendors/{id}/similar", []string{"index", "render", "wait"}},
		"GET /vendors/V-001":             {"", "GET /vendors/{id}", nil},
		"POST /mcp":                      {toolCall, "POST /mcp", []string{"embed", "index", "rank", "render", "wait", "words"}},
	} {
		method, path, _ := strings.Cut(call, " ")
		id := strings.ReplaceAll("0af7651916cd43dd8448eb211c80319c", "0af7", hex4(call))
		code, _, data := r.do(method, path, c.body, "Traceparent", "00-"+id+"-b7ad6b7169203331-01", "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
		if code != 200 {
			t.Errorf("%s: %d %s", call, code, data)
		}
		var root sdktrace.ReadOnlySpan
		var parts []string
		followtest.Eventually(t, call, func() bool {
			root, parts = of(spans.Ended(), id)
			return root != nil
		})
		if root.Name() != c.name || !slices.Equal(parts, c.parts) {
			t.Errorf("%s: %s with %v, want %v", call, root.Name(), parts, c.parts)
		}
		said := map[string]string{}
		for _, a := range root.Attributes() {
			said[string(a.Key)] = a.Value.String()
		}
		if said["http.response.status_code"] != "200" || said["http.request.method"] != method || said["vectorstore.snapshot"] != r.follower.ServedID() || said["vectorstore.request_id"] == "" {
			t.Errorf("%s: %v", call, said)
		}
		for _, s := range spans.Ended() {
			if strings.Contains(s.Name(), "会計") || strings.Contains(s.Name(), "V-001") {
				t.Errorf("%s: %s tells what was asked", call, s.Name())
			}
			if s.StartTime().After(s.EndTime()) || s.EndTime().After(time.Now()) {
				t.Errorf("%s: %s from %v to %v", call, s.Name(), s.StartTime(), s.EndTime())
			}
		}
	}
	n := len(spans.Ended())
	r.do("GET", "/health", "")
	r.do("GET", "/", "")
	if len(spans.Ended()) != n {
		t.Error("probes and the page are traced")
	}
}

func hex4(s string) string {
	sum := 0
	for _, c := range s {
		sum = (sum*31 + int(c)) % 0xffff
	}
	const digits = "0123456789abcdef"
	return string([]byte{digits[sum>>12&15], digits[sum>>8&15], digits[sum>>4&15], digits[sum&15]})
}

func TestLinesAndTheLatencyNameTheTrace(t *testing.T) {
	var asked http.Header
	r, spans := tracedReplica(t, func(d *follow.Deps, c *Config) {
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) {
			return followtest.EmbedFunc(func(ctx context.Context, text string) ([]float32, error) {
				if strings.Contains(text, "落ちる") {
					asked = http.Header{}
					tracing.Header(ctx, asked)
					return nil, errors.New("down")
				}
				return followtest.Embedder.EmbedQuery(ctx, text)
			}), nil
		}
	})
	// Without a trace of the caller's a line has the span's own.
	if code, _, _ := r.do("POST", "/search", `{"query":"落ちる","mode":"semantic"}`); code != 502 {
		t.Fatalf("%d", code)
	}
	// The exemplar of a latency is a trace that took it.
	r.do("POST", "/search", `{"query":"会計"}`, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	req, err := http.NewRequest("GET", r.admin+"/metrics", nil)
	must(t, err)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	page, err := io.ReadAll(res.Body)
	res.Body.Close()
	must(t, err)
	if !strings.Contains(string(page), `# {trace_id="0af7651916cd43dd8448eb211c80319c"}`) {
		t.Error("no exemplar")
	}
	r.close()
	lines := linesOf(t, r.log, "search failed")
	if len(lines) != 1 {
		t.Fatalf("%v", lines)
	}
	id, _ := lines[0]["trace_id"].(string)
	root, _ := of(spans.Ended(), id)
	if root == nil || root.Status().Description != "Bad Gateway" {
		t.Errorf("the line of a 502 names %q, %v", id, root)
	}
	if got := asked.Get("Traceparent"); !strings.Contains(got, id) {
		t.Errorf("the provider was asked with %q, trace %s", got, id)
	}
	for _, l := range linesOf(t, r.log, "request") {
		if l["trace_id"] == nil {
			t.Errorf("%v", l)
		}
	}
}

func TestSearchesThatComeToNothingAreCounted(t *testing.T) {
	r := served(t)
	count := func(name string) (n float64) {
		families, err := r.reg.Gather()
		must(t, err)
		for _, f := range families {
			if f.GetName() == "vectorstore_search_empty_total" {
				for _, m := range f.Metric {
					if m.Label[0].GetValue() == name {
						return m.Counter.GetValue()
					}
				}
			}
		}
		t.Fatalf("no %s", name)
		return 0
	}
	for _, c := range []struct {
		body        string
		none, unfit float64
	}{
		{`{"query":"冷凍倉庫の温度監視"}`, 0, 0},
		{`{"query":"zzzzqqqq"}`, 0, 1},
		{`{"query":"zzzzqqqq","offset":5}`, 0, 1},
		{`{"query":"zzzzqqqq","min_score":0.5}`, 1, 1},
		{`{"filter":{"type":"nothing of the kind"}}`, 2, 1},
		{`{"query":"冷凍倉庫の温度監視","mode":"semantic"}`, 2, 1},
		{`{"filter":{"type":"SaaS"}}`, 2, 1},
	} {
		r.search(c.body)
		if none, unfit := count("none"), count("unfit"); none != c.none || unfit != c.unfit {
			t.Errorf("after %s: %v without a result, %v unfit; want %v and %v", c.body, none, unfit, c.none, c.unfit)
		}
	}
	r.do("POST", "/search/batch", `{"queries":[{"query":"zzzzqqqq"},{"filter":{"type":"none"}}]}`)
	if none, unfit := count("none"), count("unfit"); none != 3 || unfit != 2 {
		t.Errorf("after a batch: %v, %v", none, unfit)
	}
	m := r.searcher.Metrics()
	m.Took(1001*time.Millisecond, "")
	m.Took(999*time.Millisecond, "")
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader("# HELP vectorstore_search_slow_total Requests for searches that took more than a second.\n# TYPE vectorstore_search_slow_total counter\nvectorstore_search_slow_total 1\n"), "vectorstore_search_slow_total"); err != nil {
		t.Error(err)
	}
}
