package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

const (
	traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	amazon      = "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678"
)

// lines with a message, of a log that is complete.
func linesOf(t *testing.T, log *bytes.Buffer, msg string) (out []map[string]any) {
	t.Helper()
	for l := range strings.Lines(log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatal(err)
		}
		if m["msg"] == msg {
			out = append(out, m)
		}
	}
	return out
}

func (r *replica) send(method, path, body string, headers ...string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	must(r.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(r.t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	must(r.t, err)
	must(r.t, resp.Body.Close())
	return resp
}

func TestEachRequestIsOneLineWithoutItsQuestion(t *testing.T) {
	for _, how := range []string{AccessOff, AccessOn, AccessQueries} {
		t.Run(how, func(t *testing.T) {
			r := served(t, func(_ *follow.Deps, c *Config) { c.AccessLog, c.TrustedProxies = how, 1 })
			resp := r.send("POST", "/search", `{"query":"冷凍倉庫の温度監視","k":3}`, "X-Amzn-Trace-Id", amazon, "X-Forwarded-For", "203.0.113.7", "X-Request-Id", "mine", "Accept-Encoding", "identity")
			r.send("GET", "/search?q=%E5%86%B7%E5%87%8D%E5%80%89%E5%BA%AB", "")
			r.send("POST", "/search", `{`)
			r.send("GET", "/nowhere", "")
			r.close()
			lines := linesOf(t, r.log, "request")
			if how == AccessOff {
				if len(lines) > 0 {
					t.Errorf("%v", lines)
				}
				return
			}
			if len(lines) != 4 {
				t.Fatalf("%d lines: %v", len(lines), lines)
			}
			first := lines[0]
			for k, want := range map[string]any{
				"method": "POST", "path": "/search", "status": 200.0, "bytes": float64(resp.ContentLength), "client": "203.0.113.7", "snapshot": resp.Header.Get("X-Snapshot-Id"),
				"request_id": "mine", "trace_id": "1-67891233-abcdef012345678912345678", "level": "INFO",
			} {
				if first[k] != want {
					t.Errorf("%s is %v, want %v", k, first[k], want)
				}
			}
			if ms, _ := first["ms"].(float64); ms <= 0 {
				t.Errorf("ms %v", first["ms"])
			}
			for i, want := range []float64{200, 200, 422, 404} {
				if lines[i]["status"] != want {
					t.Errorf("line %d has status %v, want %v", i, lines[i]["status"], want)
				}
			}
			if told := strings.Contains(r.log.String(), "冷凍倉庫"); told != (how == AccessQueries) {
				t.Errorf("the question stands in the log: %v", told)
			}
			if how == AccessQueries && (first["query"] != "冷凍倉庫の温度監視" || lines[1]["query"] != "冷凍倉庫") {
				t.Errorf("questions %v, %v", first["query"], lines[1]["query"])
			}
		})
	}
}

// A person with the id of the load balancer's log, or of the caller's trace, finds the line of the failure.
func TestTheLineOfAFailureHasTheIdOfTheTrace(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		want    any
	}{
		"of the load balancer": {[]string{"X-Amzn-Trace-Id", amazon}, "1-67891233-abcdef012345678912345678"},
		"of the caller":        {[]string{"X-Amzn-Trace-Id", amazon, "Traceparent", traceparent}, "4bf92f3577b34da6a3ce929d0e0e4736"},
		"none":                 {nil, nil},
		"not one":              {[]string{"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e473\"-00f067aa0ba902b7-01"}, nil},
		"of zeros":             {[]string{"Traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, nil},
		"too long":             {[]string{"X-Amzn-Trace-Id", "Root=" + strings.Repeat("a", 65)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := served(t, func(d *follow.Deps, _ *Config) {
				d.Embedder = func(snapshot.Embedding) (view.Embedder, error) { return failing{}, nil }
			})
			if resp := r.send("POST", "/search", `{"query":"何か","mode":"semantic"}`, c.headers...); resp.StatusCode != http.StatusBadGateway {
				t.Fatal(resp.StatusCode)
			}
			r.close()
			lines := linesOf(t, r.log, "search failed")
			if len(lines) != 1 || lines[0]["trace_id"] != c.want || lines[0]["request_id"] == nil {
				t.Errorf("%v", lines)
			}
		})
	}
}

// failing is a provider that is away.
type failing struct{}

func (failing) EmbedQuery(context.Context, string) ([]float32, error) {
	return nil, errors.New("the provider is away")
}

func TestRefusalsAreOneLineAMinuteWithTheirNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(bytes.Buffer)
		f := refusals{log: slog.New(slog.NewJSONHandler(log, nil))}
		for range 1000 {
			f.note(http.StatusServiceUnavailable, "error", query.ErrBusy)
		}
		f.note(http.StatusGatewayTimeout, "error", query.ErrDeadline)
		counts := func() (out []any) {
			for _, l := range linesOf(t, log, "searches refused") {
				out = append(out, l["status"], l["count"])
			}
			log.Reset()
			return out
		}
		same := func(what string, want ...any) {
			t.Helper()
			synctest.Wait()
			got := counts()
			if len(got) != len(want) {
				t.Fatalf("%s: %v, want %v", what, got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: %v, want %v", what, got, want)
				}
			}
		}
		same("the first ones at once", 503.0, 1.0, 504.0, 1.0)
		time.Sleep(time.Minute)
		same("the others after a minute", 503.0, 999.0)
		f.note(http.StatusServiceUnavailable)
		time.Sleep(time.Minute)
		same("what came since", 503.0, 1.0)
		time.Sleep(time.Hour)
		same("nothing")
		f.note(http.StatusServiceUnavailable)
		same("again at once", 503.0, 1.0)
		time.Sleep(time.Minute)
	})
}
