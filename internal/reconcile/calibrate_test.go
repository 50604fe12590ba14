package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/relevance"
)

// What is built says how near its records come to questions that have nothing to do with them; these are bought once.
func TestSnapshotsCarryACurve(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 30, "a")
	report, err := r.indexer().Plan(context.Background(), reconcile.OnceOptions{})
	if err != nil || report.Questions != len(relevance.OffTopic) {
		t.Errorf("planned %+v, %v", report, err)
	}
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	c := r.pointer().Curve
	if c == nil || !c.Usable() {
		t.Fatalf("the curve is %+v", c)
	}
	asked := r.embed.Queries()
	if asked != len(relevance.OffTopic) {
		t.Errorf("%d questions were bought, want %d", asked, len(relevance.OffTopic))
	}
	r.catalogue(0, 30, "b")
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	if n := r.embed.Queries(); n != asked {
		t.Errorf("%d questions were bought twice", n-asked)
	}
	if c := r.pointer().Curve; c == nil {
		t.Error("the next build has no curve")
	}
}

// A provider that refuses such questions holds nothing up.
func TestWithoutQuestionsThereIsNoCurve(t *testing.T) {
	r := newRig(t)
	r.embed.RefuseQuery = func(string) error { return errors.New("the provider has gone") }
	r.catalogue(0, 30, "a")
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	if c := r.pointer().Curve; c != nil {
		t.Errorf("the curve is %+v", c)
	}
	if !strings.Contains(r.logs.String(), "scores are not calibrated") || !strings.Contains(r.logs.String(), "the provider has gone") {
		t.Error("nothing was said")
	}
	if n := r.embed.Queries(); n > 3 {
		t.Errorf("the provider was asked %d times", n)
	}
	r.embed.RefuseQuery, r.embed.Query = nil, func(string) []float32 { return make([]float32, dims+1) }
	r.catalogue(0, 30, "c")
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	if c := r.pointer().Curve; c != nil || !strings.Contains(r.logs.String(), "the answer has 9 dims, want 8") {
		t.Errorf("the curve of vectors of other dims is %+v", c)
	}
	r.embed.Query = nil
	r.embed.RefuseQuery = func(text string) error {
		if text == relevance.OffTopic[0] {
			return errors.New("no emoji")
		}
		return nil
	}
	r.catalogue(0, 30, "b")
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	if c := r.pointer().Curve; c == nil || !c.Usable() {
		t.Errorf("one refused question: %+v", c)
	}
}
