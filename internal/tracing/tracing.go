// Package tracing tells, of one request, pass or swap, what it did and how long that took, as OpenTelemetry has it: a [Trace] has
// a root span and parts below it. Without a [Tracer] nothing is traced, and a part costs a comparison.
//
// Parts are told when they are over, with the times they took: whoever does the work needs no context for them.
package tracing

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope is the instrumentation scope of every span.
const scope = "github.com/taksuehiro/vectorstore"

// Tracer begins traces; nil begins none.
type Tracer struct{ tracer trace.Tracer }

// New returns a Tracer whose spans go to p.
func New(p trace.TracerProvider) *Tracer { return &Tracer{p.Tracer(scope)} }

// Trace is the root span of what is traced; its zero value is of what is not.
type Trace struct{ span trace.Span }

// Begin begins a trace at a time; the context carries it to Of. It goes on a trace that ctx has from elsewhere.
func (t *Tracer) Begin(ctx context.Context, name string, at time.Time) (context.Context, Trace) {
	if t == nil {
		return ctx, Trace{}
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithTimestamp(at))
	return ctx, traceOf(span)
}

// Request begins the trace of a request, which may go on that of the caller, or of the load balancer.
func (t *Tracer) Request(r *http.Request, name string, at time.Time) (*http.Request, Trace) {
	if t == nil {
		return r, Trace{}
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, amazon(r.Header.Get("X-Amzn-Trace-Id")))
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx), traceOf(span)
}

// amazon reads X-Amzn-Trace-Id, of which a load balancer's has a Root alone: 1-5759e988-bd862e3fe1be46a994272793 is the trace
// 5759e988bd862e3fe1be46a994272793. https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html
func amazon(header string) trace.SpanContext {
	var c trace.SpanContextConfig
	c.TraceFlags = trace.FlagsSampled
	for field := range strings.SplitSeq(header, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch key {
		case "Root":
			if version, id, _ := strings.Cut(value, "-"); version == "1" {
				if b, err := hex.DecodeString(strings.ReplaceAll(id, "-", "")); err == nil && len(b) == len(c.TraceID) {
					c.TraceID = trace.TraceID(b)
				}
			}
		case "Parent":
			if b, err := hex.DecodeString(value); err == nil && len(b) == len(c.SpanID) {
				c.SpanID = trace.SpanID(b)
			}
		case "Sampled":
			if value == "0" {
				c.TraceFlags = 0
			}
		}
	}
	return trace.NewSpanContext(c)
}

func traceOf(span trace.Span) Trace {
	if !span.IsRecording() {
		return Trace{}
	}
	return Trace{span}
}

// Of is the trace that a context carries.
func Of(ctx context.Context) Trace { return traceOf(trace.SpanFromContext(ctx)) }

// On tells whether anything is traced.
func (t Trace) On() bool { return t.span != nil }

// ID is the trace's, in hex; "" when nothing is traced.
func (t Trace) ID() string {
	if t.span == nil {
		return ""
	}
	return t.span.SpanContext().TraceID().String()
}

// Now is the time where something is traced, and no time elsewhere.
func (t Trace) Now() time.Time {
	if t.span == nil {
		return time.Time{}
	}
	return time.Now()
}

// Part tells of a part that is over.
func (t Trace) Part(name string, from, to time.Time) {
	if t.span == nil {
		return
	}
	ctx := trace.ContextWithSpan(context.Background(), t.span)
	_, span := t.span.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithTimestamp(from))
	span.End(trace.WithTimestamp(to))
}

// Since is Part until now.
func (t Trace) Since(name string, from time.Time) {
	if t.span != nil {
		t.Part(name, from, time.Now())
	}
}

// Set says more of it: texts, whole and other numbers, booleans.
func (t Trace) Set(key string, value any) {
	if t.span == nil {
		return
	}
	switch v := value.(type) {
	case string:
		t.span.SetAttributes(attribute.String(key, v))
	case int:
		t.span.SetAttributes(attribute.Int(key, v))
	case int64:
		t.span.SetAttributes(attribute.Int64(key, v))
	case float64:
		t.span.SetAttributes(attribute.Float64(key, v))
	case bool:
		t.span.SetAttributes(attribute.Bool(key, v))
	}
}

// Name changes its name, for what is known late.
func (t Trace) Name(name string) {
	if t.span != nil {
		t.span.SetName(name)
	}
}

// End ends it; failed, "" for none, says why what was traced did not succeed.
func (t Trace) End(failed string, at time.Time) {
	if t.span == nil {
		return
	}
	if failed != "" {
		t.span.SetStatus(codes.Error, failed)
	}
	t.span.End(trace.WithTimestamp(at))
}

// Header passes a trace on with a request to elsewhere.
func Header(ctx context.Context, h http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
}
