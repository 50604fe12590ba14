package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// steadyGC is how often garbage is collected at most while deltas are published.
const steadyGC = time.Minute

// collect deletes what nothing uses any more: after a promotion, when asked, and now and then.
func (p *pass) collect(ctx context.Context) error {
	if p.pointer == nil {
		return nil // nothing is deleted while nothing is known to be in use
	}
	due := p.promoted && p.plan.do != extend || p.Clock.Elapsed() >= p.nextGC || p.fresh && p.erasingOpen()
	if p.plan.do == extend && p.Clock.Elapsed() >= p.lastGC+steadyGC {
		due = true
	}
	if !p.opts.gcOnly && !due {
		return nil
	}
	if d := p.plan.retentionDiffers; d != "" {
		p.log.WarnContext(ctx, "garbage not collected by another retention", "differs", d)
		return nil
	}
	p.step("collect", 0)
	v, err := readGCView(ctx, p.gcDoc(), p.status.Replicas)
	if err != nil {
		return fail(Collected, gcInputUnreadable, transient, fmt.Errorf("collect garbage: %w", err))
	}
	if err := cmp.Or(p.lease.yield("the pointer", v.pointer.Epoch, v.pointer.Owner), p.lease.yield("gc.json", v.doc.Epoch, "")); err != nil {
		return err
	}
	within, err := p.erasedAmong(ctx, v.found)
	rules := gcRules{
		layout: p.Layout, retain: p.cfg.RetainSnapshots, grace: p.cfg.RetainGrace, points: p.cfg.Delta != DeltaOff, held: p.held, erased: within, served: p.pointer, by: p.owner,
	}
	if err == nil {
		if err = v.readParts(ctx, p.gcDoc(), rules, p.parts); err == nil {
			p.Reconciler.parts = v.parts
		}
	}
	if err != nil {
		return fail(Collected, gcInputUnreadable, transient, fmt.Errorf("collect garbage: %w", err))
	}
	if v.cond.IfAbsent && len(v.doc.Deleting) > 0 {
		p.repaired(gcDeleted, "gc.json was gone; the deletions under way were taken from status.json")
	}
	if v.controlGone {
		v.control = p.control
	}
	plan := v.plan(rules)
	switch plan.stop {
	case gcUnclear:
		_, err := p.sweep(ctx, plan)
		return fail(Collected, gcInputUnreadable, transient, fmt.Errorf("collect garbage: %w", errors.Join(plan.unclear, err)))
	case gcForbidden, gcOlderPointer:
		p.log.WarnContext(ctx, "garbage not collected", "why", plan.stop, "generation", v.pointer.Generation, "seen", p.pointer.Generation)
		return nil
	}
	n, err := p.carryOut(ctx, v, plan)
	if errors.Is(err, errHalted) {
		p.message = err.Error()
		return nil
	}
	if err != nil {
		return fail(Collected, gcFailed, transient, fmt.Errorf("collect garbage: %w", err))
	}
	if err := p.lowerFormat(ctx, v, plan); err != nil {
		return fail(Collected, gcFailed, transient, fmt.Errorf("collect garbage: %w", err))
	}
	if err := p.recheckLedger(ctx); err != nil && !errors.Is(err, errHalted) {
		return fail(Erased, eraseFailed, transient, fmt.Errorf("erase: %w", err))
	}
	if err := p.compactLedger(ctx); err != nil && !errors.Is(err, errHalted) {
		return fail(Collected, ledgerFailed, transient, fmt.Errorf("compact ledger: %w", err))
	}
	p.lastGC = p.Clock.Elapsed()
	p.nextGC = p.lastGC + min(10*time.Minute, max(p.cfg.RetainGrace/2, p.cfg.ResyncInterval))
	if p.opts.gcOnly {
		p.result, p.message = ResultCollected, fmt.Sprintf("%d objects deleted", n)
	}
	return nil
}

// carryOut does what was planned, and returns the number of objects deleted.
func (p *pass) carryOut(ctx context.Context, v gcView, plan gcPlan) (int, error) {
	if err := p.announce(ctx, v, plan); err != nil {
		return 0, err
	}
	n, err := p.sweep(ctx, plan)
	if err != nil {
		return n, err
	}
	if n > 0 {
		p.log.InfoContext(ctx, "garbage collected", "objects", n, "snapshots", plan.gone)
	}
	p.Metrics.retained(plan.kept)
	return n, nil
}

// announce writes what goes into gc.json, with the ETag that was read before anything else, and into status.json. A stale
// reservation may belong to a promoter that is only asleep: moving the pointer's ETag before it falls makes the PUT fail
// that may still come.
func (p *pass) announce(ctx context.Context, v gcView, plan gcPlan) error {
	if plan.fence {
		info, err := p.fence(ctx, v.pointer, v.etag, p.lease.epoch())
		if err != nil {
			return fmt.Errorf("fence stale reservations: %w", err)
		}
		p.pointerETag = info.ETag
	}
	p.doomed = plan.doc.Deleting
	if plan.announce {
		if err := p.lease.check(); err != nil {
			return err
		}
		next := plan.doc
		next.Epoch = max(next.Epoch, p.lease.epoch())
		_, err := p.gcDoc().write(ctx, next, v.cond)
		switch {
		case errors.Is(err, store.ErrConflict):
			return fmt.Errorf("announce deletions: %w", err) // somebody began to use something: look again
		case errors.Is(err, store.ErrDeleteMarker):
			return fmt.Errorf("announce deletions: %w: %s", err, p.undelete(p.Layout.GC()))
		case err != nil:
			return err
		}
	}
	return p.witness(ctx, plan.doc.Deleting)
}

// witness writes what is to be deleted into status.json as well, and sees that gc.json still says it, before anything
// goes. Who finds no gc.json reads status.json after it, so that one of the two tells them, even when we stop here and
// delete later, or never come back.
func (p *pass) witness(ctx context.Context, deleting map[string]store.Mark) error {
	if err := p.readStatus(ctx); err != nil {
		return err
	}
	if covers(p.status.Deleting, deleting) && (p.statusETag != "" || len(deleting) == 0) {
		return nil
	}
	s := p.signedStatus(p.status)
	s.Pointer, s.Highest, s.Deleting = p.pointer, p.lease.highest(), deleting
	if err := p.storeStatus(ctx, s); err != nil {
		return fmt.Errorf("write the deletions into status.json: %w", err)
	}
	doc, err := readIfAny[store.GC](ctx, p.Objects, p.Layout.GC(), "gc")
	if err == nil && !covers(doc.Deleting, deleting) {
		err = fmt.Errorf("announce deletions: gc.json was taken away meanwhile: %w", store.ErrConflict)
	}
	return err
}

// covers says whether every id of few is in many.
func covers(many, few map[string]store.Mark) bool {
	for id := range few {
		if _, ok := many[id]; !ok {
			return false
		}
	}
	return true
}

// sweptTogether delta snapshots go at a time: under steady edits one a second does, and the edit that comes next waits.
const sweptTogether = 8

// sweep deletes line by line, delta snapshots a few at a time, and returns the number of objects deleted.
func (p *pass) sweep(ctx context.Context, plan gcPlan) (int, error) {
	deleted := 0
	lines := slices.DeleteFunc(slices.Clone(plan.lines), func(l GCLine) bool { return !l.Delete })
	for len(lines) > 0 {
		if err := p.goAhead(ctx); err != nil {
			return deleted, err
		}
		g, gctx := errgroup.WithContext(ctx)
		n := 0
		for _, one := range p.next(lines) {
			g.Go(func() error { return p.delete(gctx, one) })
			n += len(one)
		}
		if err := g.Wait(); err != nil {
			return deleted, err
		}
		for _, l := range lines[:n] {
			deleted++
			p.erase.collected(l.Key, p.Layout)
			p.log.DebugContext(ctx, "deleted", "key", l.Key, "why", l.Why)
		}
		lines = lines[n:]
	}
	return deleted, nil
}

// next are the lines that go next: one, or the first few delta snapshots', each of which goes in its order.
func (p *pass) next(lines []GCLine) (out [][]GCLine) {
	id := func(l GCLine) string {
		id, _, _ := strings.Cut(strings.TrimPrefix(l.Key, p.Layout.Root()), "/")
		return id
	}
	for len(lines) > 0 && len(out) < sweptTogether && len(p.parts[id(lines[0])]) > 0 {
		n := slices.IndexFunc(lines, func(l GCLine) bool { return id(l) != id(lines[0]) })
		if n < 0 {
			n = len(lines)
		}
		out, lines = append(out, lines[:n]), lines[n:]
	}
	if len(out) == 0 {
		out = [][]GCLine{lines[:1]}
	}
	return out
}

// delete removes objects one after the other.
func (p *pass) delete(ctx context.Context, lines []GCLine) error {
	for _, l := range lines {
		if err := p.Objects.Delete(ctx, l.Key); err != nil {
			return fmt.Errorf("delete %s: %w", l.Key, err)
		}
	}
	return nil
}

// errHalted: an operator suspended or pinned in the middle of a collection, which ends there.
var errHalted = errors.New("halted by an operator")

// goAhead is asked before every deletion, or few of delta snapshots together: the lease is ours, and no operator has said stop since the pass looked.
func (p *pass) goAhead(ctx context.Context) error {
	if err := p.lease.check(); err != nil {
		return err
	}
	c, _, err := store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{IfNoneMatch: p.controlETag})
	switch {
	case errors.Is(err, store.ErrNotModified), errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read control: %w", err)
	case c.Suspended != nil || c.Pin != nil:
		return errHalted
	}
	return nil
}
