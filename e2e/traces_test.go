package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// told is what a collector was told: by service and trace, the names of the root and of its parts.
type told struct {
	mu     sync.Mutex
	traces map[string]map[string][]string // service/root → trace id → parts
	parts  map[string][]string            // parent span → parts that came before it
	faults []string
}

// ServeHTTP takes what an exporter sends by OTLP over HTTP.
func (c *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.faults = append(c.faults, fmt.Sprint(r.URL.Path, r.Header, err))
		return
	}
	for _, of := range req.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				trace, id, above := hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId)
				if s.EndTimeUnixNano < s.StartTimeUnixNano {
					c.faults = append(c.faults, s.Name+" ends before it begins")
				}
				root := s.Name == "pass" || s.Name == "swap" || s.Kind == 2
				if !root {
					c.parts[above] = append(c.parts[above], s.Name)
					continue
				}
				name := service + " " + s.Name
				if c.traces[name] == nil {
					c.traces[name] = map[string][]string{}
				}
				c.traces[name][trace] = append(c.traces[name][trace], id)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// has reports whether a trace of a name has arrived with all of the parts; id "" is any.
func (c *told) has(name, id string, parts ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seen [][]string
	for trace, roots := range c.traces[name] {
		if id != "" && trace != id {
			continue
		}
		for _, root := range roots {
			got := c.parts[root]
			if !slices.ContainsFunc(parts, func(p string) bool { return !slices.Contains(got, p) }) {
				return nil
			}
			seen = append(seen, got)
		}
	}
	return fmt.Errorf("%s %s with %v: only %v of %d", name, id, parts, seen, len(c.traces))
}

// TestACollectorIsToldOfRequestsPassesAndSwaps: every span that docs/DEPLOY.md names arrives, under the ids that a load balancer
// gave, and a collector that is away stops nothing.
func TestACollectorIsToldOfRequestsPassesAndSwaps(t *testing.T) {
	t.Parallel()
	c := &told{traces: map[string]map[string][]string{}, parts: map[string][]string{}}
	there := httptest.NewServer(c)
	defer there.Close()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	env := with(b.env, "OTEL_EXPORTER_OTLP_ENDPOINT", there.URL, "OTEL_BSP_SCHEDULE_DELAY", "100")
	harness.StartIndexer(t, env)
	s := harness.StartServer(t, with(env, "OTEL_SERVICE_NAME", "search"))
	s.Await(t, "server ready", 1)
	away := harness.StartServer(t, with(b.env, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY", "100"))
	away.Await(t, "server ready", 1)

	req, err := http.NewRequest("POST", s.URL+"/search", strings.NewReader(`{"query":"冷凍倉庫の温度監視","facets":["type"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	sorted := harness.Post(t, s.URL+"/search", `{"filter":{"type":"SaaS"},"sort":{"field":"name"}}`)
	if res.StatusCode != 200 || sorted.Code != 200 {
		t.Fatalf("%d, %d", res.StatusCode, sorted.Code)
	}
	for _, w := range []struct {
		name, id string
		parts    []string
	}{
		{"search POST /search", "5759e988bd862e3fe1be46a994272793", []string{"embed", "facets", "wait", "index", "words", "rank", "render"}},
		{"search POST /search", "", []string{"wait", "sort", "render"}},
		{"search swap", "", []string{"download", "open", "warm"}},
		{"vectorstore-indexer pass", "", []string{"read", "parse", "compare", "embed", "build", "hash", "gate", "upload", "promote", "copy index.faiss", "copy index.pkl"}},
	} {
		harness.Eventually(t, w.name, func() error { return c.has(w.name, w.id, w.parts...) })
	}
	c.mu.Lock()
	for _, f := range c.faults {
		t.Error(f)
	}
	c.mu.Unlock()
	// Whose collector is away: it answers, and says once what is lost.
	for range 5 {
		if _, err := harness.Search(away.URL, `{"query":"物流"}`); err != nil {
			t.Error(err)
		}
	}
	away.Await(t, "traces not exported", 1)
	if off := harness.StartServer(t, b.env); len(off.Lines("traces not exported")) != 0 {
		t.Error("without a collector's address something is exported")
	}
	for variable, value := range map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"} {
		p := harness.Start(t, "server", with(b.env, "OTEL_EXPORTER_OTLP_ENDPOINT", there.URL, variable, value))
		if code := p.Wait(t); code != 2 {
			t.Errorf("%s=%s: exit %d, want 2", variable, value, code)
		}
	}
}
