package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// PlanReport says what a pass would do.
type PlanReport struct {
	Plan     string       `json:"plan"`
	Source   store.Source `json:"source"`
	Baseline string       `json:"baseline,omitempty"` // the served snapshot
	UpToDate bool         `json:"up_to_date"`
	Delta
	Budget int `json:"budget_tokens,omitempty"`
	// How this command's spec differs from the served one: a pass needs --yes then.
	SpecChange string `json:"spec_change,omitempty"`
	Held       string `json:"held,omitempty"` // what waits for an operator, or would, and why
}

// Plan says what a pass would do now: it sees what a pass sees and decides as one would, needs no lease and writes nothing
// to the store. The catalogue is compared with what is served even when the pass would not come to that.
func (r *Reconciler) Plan(ctx context.Context, o OnceOptions) (PlanReport, error) {
	p := r.newPass(passOptions{force: o.Force})
	if err := os.MkdirAll(r.cfg.Dir, 0o755); err != nil {
		return PlanReport{}, fmt.Errorf("make scratch: %w", err)
	}
	dir, err := os.MkdirTemp(r.cfg.Dir, "plan-*")
	if err != nil {
		return PlanReport{}, fmt.Errorf("make scratch: %w", err)
	}
	p.dir = dir
	defer r.closeComposition()
	defer p.close()
	for _, step := range []func(context.Context) error{p.peek, p.settle, p.readServed, p.readDesired} {
		if err := step(ctx); err != nil {
			return PlanReport{}, stopped(ctx, err)
		}
	}
	rules := p.rules()
	for again := true; again; {
		p.plan = p.decide(rules)
		if again, err = p.lookFurther(ctx); err != nil {
			return PlanReport{}, stopped(ctx, err)
		}
	}
	out := PlanReport{
		Plan: p.plan.String(), Baseline: p.baseline(), UpToDate: p.upToDate(rules) && !o.Force, Budget: p.cfg.MaxEmbedTokens,
		SpecChange: p.specDiffers(rules),
	}
	if h, ok := errors.AsType[*heldCandidate](p.plan.err); ok {
		out.Held = h.Error()
	}
	if p.source.err != nil {
		return PlanReport{}, p.source.err
	}
	if p.delta == nil {
		p.plan.do = readCatalogue
		if _, err := p.lookFurther(ctx); err != nil {
			return PlanReport{}, stopped(ctx, err)
		}
	}
	out.Source, out.Delta = p.source.Source, *p.delta
	return out, nil
}

// peek reads pointer, status and control.json as they are.
func (p *pass) peek(ctx context.Context) error {
	ptr, info, err := readPointerIfAny(ctx, p.Objects, p.Layout)
	if err != nil {
		return err
	}
	p.pointer, p.pointerETag = ptr, info.ETag
	if p.control, err = readIfAny[store.Control](ctx, p.Objects, p.Layout.Control(), "control"); err != nil {
		return err
	}
	return nil
}
