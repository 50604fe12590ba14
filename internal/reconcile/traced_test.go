package reconcile_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// A pass that did something is one trace: its steps, in order, within it; its line names it.
func TestAPassIsATraceOfItsSteps(t *testing.T) {
	r := newRig(t)
	recorder := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	defer func() { _ = p.Shutdown(context.Background()) }()
	r.tracer = tracing.New(p)
	begun := time.Now()
	r.promoted("a")
	spans := recorder.Ended()
	root := spans[len(spans)-1]
	var steps []string
	for _, s := range spans[:len(spans)-1] {
		if s.SpanContext().TraceID() != root.SpanContext().TraceID() || s.Parent().SpanID() != root.SpanContext().SpanID() {
			t.Errorf("%s is not of the pass", s.Name())
		}
		if s.StartTime().Before(root.StartTime()) || s.EndTime().After(root.EndTime()) || s.EndTime().Before(s.StartTime()) {
			t.Errorf("%s: %v to %v, the pass %v to %v", s.Name(), s.StartTime(), s.EndTime(), root.StartTime(), root.EndTime())
		}
		steps = append(steps, s.Name())
	}
	for _, want := range []string{"read", "parse", "compare", "embed", "build", "gate", "upload", "promote"} {
		if !slices.Contains(steps, want) {
			t.Errorf("no %s in %v", want, steps)
		}
	}
	if root.Name() != "pass" || root.StartTime().Before(begun.Add(-time.Second)) || root.EndTime().After(time.Now()) {
		t.Errorf("%s from %v to %v", root.Name(), root.StartTime(), root.EndTime())
	}
	said := map[string]string{}
	for _, a := range root.Attributes() {
		said[string(a.Key)] = a.Value.String()
	}
	if said["vectorstore.result"] != reconcile.ResultPromoted || said["vectorstore.snapshot"] != r.pointer().ID {
		t.Errorf("%v", said)
	}
	var line map[string]any
	for l := range strings.Lines(r.logs.String()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(l), &one); err == nil && one["msg"] == "reconciled" {
			line = one
		}
	}
	if line["trace_id"] != root.SpanContext().TraceID().String() || line["reconcile"] != said["vectorstore.pass"] {
		t.Errorf("%v", line)
	}
	// One that fails says why; one that finds nothing to do is not told of.
	r.put(r.layout.Source, []byte(`{"vendors":[{]}`))
	r.once()
	spans = recorder.Ended()
	if last := spans[len(spans)-1]; last.Name() != "pass" || last.Status().Description == "" {
		t.Errorf("%v %v", last.Name(), last.Status())
	}
}
