package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Plan says what a pass would do now: it reads the catalogue, the ledger and what is served, needs no
// lease and writes nothing to the store. A build that the token budget would hold is reported in Held.
func (r *Reconciler) Plan(ctx context.Context) (PlanReport, error) {
	p := &pass{Reconciler: r, id: uuid.NewString()[:8], now: r.Clock.Now()}
	p.log = r.logger(p.id)
	if err := os.MkdirAll(r.cfg.Dir, 0o755); err != nil {
		return PlanReport{}, fmt.Errorf("make scratch: %w", err)
	}
	dir, err := os.MkdirTemp(r.cfg.Dir, "plan-*")
	if err != nil {
		return PlanReport{}, fmt.Errorf("make scratch: %w", err)
	}
	p.dir = dir
	defer p.close()
	var info store.Info
	if p.pointer, info, err = readPointerIfAny(ctx, p.Objects, p.Layout); err != nil {
		return PlanReport{}, err
	}
	p.pointerETag = info.ETag
	for _, step := range []func(context.Context) error{p.readServed, p.parse, p.compare, p.budget} {
		if err := step(ctx); err != nil && !errors.Is(err, ErrHeld) {
			return PlanReport{}, stopped(ctx, err)
		}
	}
	p.plan.Source = p.source.Source
	p.plan.UpToDate = p.upToDate()
	p.plan.SpecChange = p.specDiffers()
	return p.plan, nil
}
