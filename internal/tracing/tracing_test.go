package tracing

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func recorded(t *testing.T) (*Tracer, func() []sdktrace.ReadOnlySpan) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return New(p), r.Ended
}

func TestARequestGoesOnTheTraceOfWhoeverSentIt(t *testing.T) {
	for name, c := range map[string]struct {
		header, value, id string // id "": a trace of its own
		parent            bool
	}{
		"traceparent":             {"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c", true},
		"a load balancer's":       {"X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793", "5759e988bd862e3fe1be46a994272793", false},
		"with a parent":           {"X-Amzn-Trace-Id", "Self=1-67891233-abcdef012345678912345678;Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", "5759e988bd862e3fe1be46a994272793", true},
		"none":                    {"X-Other", "", "", false},
		"of another version":      {"X-Amzn-Trace-Id", "Root=2-5759e988-bd862e3fe1be46a994272793", "", false},
		"too short":               {"X-Amzn-Trace-Id", "Root=1-5759e988-bd86", "", false},
		"no hex":                  {"X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a99427279z", "", false},
		"of zeros":                {"Traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "", false},
		"traceparent that is odd": {"Traceparent", "00-xyz-01", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			tracer, ended := recorded(t)
			r := httptest.NewRequest("POST", "/search", nil)
			r.Header.Set(c.header, c.value)
			r, trace := tracer.Request(r, "POST /search", time.Now())
			if Of(r.Context()) != trace || !trace.On() {
				t.Fatal("the request does not carry its trace")
			}
			now := time.Now()
			trace.Part("embed", now, now.Add(time.Second))
			trace.End("", now)
			spans := ended()
			if len(spans) != 2 || spans[0].Name() != "embed" || spans[0].EndTime().Sub(spans[0].StartTime()) != time.Second || spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() {
				t.Fatalf("%v", spans)
			}
			if got := trace.ID(); c.id != "" && got != c.id || len(got) != 32 || spans[1].Parent().HasSpanID() != c.parent {
				t.Errorf("trace %s, want %s; parent %v", got, c.id, spans[1].Parent().SpanID())
			}
			out := http.Header{}
			Header(r.Context(), out)
			if got := out.Get("Traceparent"); len(got) != 55 || got[3:35] != trace.ID() {
				t.Errorf("passed on as %s", got)
			}
		})
	}
}

func TestWhatTheCallerDoesNotSampleIsNotTraced(t *testing.T) {
	tracer, ended := recorded(t)
	for header, value := range map[string]string{
		"Traceparent":     "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
		"X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
	} {
		r := httptest.NewRequest("POST", "/search", nil)
		r.Header.Set(header, value)
		_, trace := tracer.Request(r, "POST /search", time.Now())
		trace.Since("embed", time.Now())
		trace.End("", time.Now())
		if trace.On() || trace.ID() != "" || len(ended()) != 0 {
			t.Errorf("%s: %v", header, ended())
		}
	}
}

func TestNothingTracedCostsNothing(t *testing.T) {
	var none *Tracer
	ctx := context.Background()
	r := httptest.NewRequest("POST", "/search", nil)
	if n := testing.AllocsPerRun(100, func() {
		ctx, _ := none.Begin(ctx, "x", time.Time{})
		_, other := none.Request(r, "x", time.Time{})
		trace := Of(ctx)
		asked := trace.Now()
		trace.Since("embed", asked)
		trace.Part("wait", asked, asked)
		trace.Name("x")
		trace.End("", asked)
		if trace.On() || other.ID() != "" || !asked.IsZero() {
			t.Fatal("something is traced")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
