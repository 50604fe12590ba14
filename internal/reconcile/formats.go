package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Releases that know no delta snapshots and no drop-ins must not lead, reserve, promote or collect where there are any:
// they would build without drop-ins, and collect bases under deltas. So before the first of either gc.json is written as
// one of store.FormatDelta, then lease.json, and both stay it while there is one. An older release that looks at either
// waits for a newer one, and what it had read before meets an If-Match.
//
// gc.json is raised first and lowered last: whoever is to promote or to collect reads it, and so does whoever takes the lease,
// but nobody who holds something reads lease.json. A crash between the two leaves gc.json alone of the newer format, which
// keeps out everybody that the two of them do. Every writer keeps the format that it read; when one of the documents is gone
// the other one tells, and the pointer.

// raiseFormat is called before the first delta or base is stored, and the first drop-in believed. It costs one read in a
// term once it is done.
func (p *pass) raiseFormat(ctx context.Context) error {
	if p.raised {
		return nil
	}
	if err := p.setFormat(ctx, store.FormatDelta, p.formatGC, p.lease.rewrite); err != nil {
		return fail(Built, gcUnreadable, transient, fmt.Errorf("raise the format of gc.json and lease.json: %w", err))
	}
	p.Reconciler.raised = true
	return nil
}

// lowerFormat lets older releases work here again, once a collection has left no delta and no base in the making, no
// drop-in is there, and DELTA=off says that none is to come.
func (p *pass) lowerFormat(ctx context.Context, v gcView, plan gcPlan) error {
	if p.cfg.Delta != DeltaOff || plan.doc.FormatVersion == store.FormatVersion || plan.gone > 0 || p.pointer.Base != nil || plan.doc.Building != nil {
		return nil
	}
	for _, s := range v.found {
		if _, ok := s.Files[snapshot.FileDelta]; ok {
			return nil
		}
	}
	err := p.Objects.List(ctx, p.Layout.DropIns(), func(store.Info) error { return errDropIn })
	if errors.Is(err, errDropIn) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list drop-ins: %w", err)
	}
	p.Reconciler.raised = false
	if err := p.setFormat(ctx, store.FormatVersion, p.lease.rewrite, p.formatGC); err != nil {
		return fmt.Errorf("lower the format of lease.json and gc.json: %w", err)
	}
	p.log.InfoContext(ctx, "no deltas and no drop-ins: earlier releases may work here again", "delta", p.cfg.Delta)
	return nil
}

// errDropIn: there is one.
var errDropIn = errors.New("a drop-in")

func (p *pass) setFormat(ctx context.Context, format int, steps ...func(context.Context, int) error) error {
	for _, step := range steps {
		if err := p.lease.check(); err != nil {
			return err
		}
		if err := step(ctx, format); err != nil {
			return err
		}
	}
	return nil
}

// formatGC makes gc.json one of format.
func (p *pass) formatGC(ctx context.Context, format int) error {
	return p.gcDoc().change(ctx, func(doc *store.GC) (bool, error) {
		if doc.Epoch > p.lease.epoch() {
			return false, fmt.Errorf("%w: gc.json is of epoch %d", ErrLeaseLost, doc.Epoch)
		}
		was := doc.FormatVersion
		doc.FormatVersion, doc.Epoch = format, p.lease.epoch()
		return was != format, nil
	})
}

// statusFormat is that of status.json, which holds the pointer: the lease's.
func (p *pass) statusFormat() int { return max(store.FormatVersion, p.lease.holder().FormatVersion) }
