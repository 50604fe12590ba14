package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// collect deletes what nothing uses any more: after a promotion, when asked, and now and then. It announces
// the ids in gc.json, with the ETag that was read before anything else, and only then deletes.
func (p *pass) collect(ctx context.Context) error {
	if p.pointer == nil {
		return nil // nothing is deleted while nothing is known to be in use
	}
	if !p.opts.gcOnly && !p.promoted && p.Clock.Elapsed() < p.nextGC {
		return nil
	}
	if p.retentionDiffers != "" {
		p.log.WarnContext(ctx, "garbage not collected by another retention", "differs", p.retentionDiffers)
		return nil
	}
	p.step("collect", 0)
	v, err := readGCView(ctx, p.gcDoc(), p.status.Replicas)
	if err == nil && v.unclear != nil {
		// What replicas use is not known, so no snapshot goes; heartbeats of the dead do, or it would never be.
		err = errors.Join(v.unclear, p.bury(ctx, v))
	}
	if err != nil {
		return fail(Collected, gcInputUnreadable, transient, fmt.Errorf("collect garbage: %w", err))
	}
	v.held = p.held
	if v.cond.IfAbsent && len(v.doc.Deleting) > 0 {
		p.repaired(gcDeleted, "gc.json was gone; the deletions under way were taken from status.json")
	}
	if v.controlGone {
		v.control = p.act
	}
	if err := cmp.Or(p.lease.yield("the pointer", v.pointer.Epoch), p.lease.yield("gc.json", v.doc.Epoch)); err != nil {
		return err
	}
	if v.control.Suspended != nil || v.control.Pin != nil {
		return nil // the operator was faster than this pass
	}
	if v.pointer.Lineage != p.pointer.Lineage || v.pointer.Generation < p.pointer.Generation {
		// Somebody put an older pointer back. It is repaired first: by its word the snapshot that is to be served
		// again would be one that nothing uses.
		p.log.WarnContext(ctx, "garbage not collected by an older pointer", "generation", v.pointer.Generation, "seen", p.pointer.Generation)
		return nil
	}
	n, err := p.sweep(ctx, v)
	if errors.Is(err, errHalted) {
		p.message = err.Error()
		return nil
	}
	if err != nil {
		return fail(Collected, gcFailed, transient, fmt.Errorf("collect garbage: %w", err))
	}
	if err := p.compactLedger(ctx); err != nil && !errors.Is(err, errHalted) {
		return fail(Collected, ledgerFailed, transient, fmt.Errorf("compact ledger: %w", err))
	}
	p.nextGC = p.Clock.Elapsed() + min(10*time.Minute, max(p.cfg.RetainGrace/2, p.cfg.ResyncInterval))
	if p.opts.gcOnly {
		p.result, p.message = ResultCollected, fmt.Sprintf("%d objects deleted", n)
	}
	return nil
}

// errHalted: an operator suspended or pinned in the middle of a collection, which ends there.
var errHalted = errors.New("halted by an operator")

// goAhead is asked before every deletion: the lease is ours, and no operator has said stop since the pass looked.
func (p *pass) goAhead(ctx context.Context) error {
	if err := p.lease.check(); err != nil {
		return err
	}
	c, _, err := store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{IfNoneMatch: p.Reconciler.control})
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

// sweep carries out the decision and returns the number of objects deleted.
func (p *pass) sweep(ctx context.Context, v gcView) (int, error) {
	gone, _ := v.decide(p.cfg.RetainSnapshots, p.cfg.RetainGrace)
	lines := v.lines(p.Layout, p.cfg.RetainSnapshots, p.cfg.RetainGrace)
	if err := p.announce(ctx, v, gone); err != nil {
		return 0, err
	}
	deleted := 0
	for _, line := range lines {
		if !line.Delete {
			continue
		}
		if err := p.goAhead(ctx); err != nil {
			return deleted, err
		}
		if err := p.Objects.Delete(ctx, line.Key); err != nil {
			return deleted, fmt.Errorf("delete %s: %w", line.Key, err)
		}
		deleted++
		p.log.DebugContext(ctx, "deleted", "key", line.Key, "why", line.Why)
	}
	if deleted > 0 {
		p.log.InfoContext(ctx, "garbage collected", "objects", deleted, "snapshots", len(gone))
	}
	p.Metrics.retained(len(v.found) - len(gone))
	return deleted, nil
}

// announce writes the ids that go into gc.json before anything is deleted. It also forgets what is long gone
// and drops stale holds. A stale hold may belong to a promoter that is only asleep: moving the pointer's ETag
// before the hold is dropped makes the PUT that it may still send fail.
func (p *pass) announce(ctx context.Context, v gcView, gone map[string]string) error {
	next, changed := v.doc, false
	next.Deleting, next.Holds = maps.Clone(v.doc.Deleting), maps.Clone(v.doc.Holds)
	for id := range gone {
		if _, ok := next.Deleting[id]; !ok {
			next.Deleting[id] = store.Mark{At: v.now.UTC(), By: p.owner}
			changed = true
		}
	}
	stored := map[string]bool{}
	for _, s := range v.found {
		stored[s.ID] = true
	}
	for id, m := range next.Deleting {
		if !stored[id] && gone[id] == "" && v.now.Sub(m.At) >= max(p.cfg.RetainGrace, holdLeast) {
			delete(next.Deleting, id)
			changed = true
		}
	}
	if stale := v.staleHolds(p.cfg.RetainGrace); len(stale) > 0 {
		info, err := p.fence(ctx, v.pointer, v.etag, p.lease.epoch())
		if err != nil {
			return fmt.Errorf("fence stale holds: %w", err)
		}
		p.pointerETag = info.ETag
		for _, id := range stale {
			delete(next.Holds, id)
		}
		changed = true
	}
	p.doomed = next.Deleting
	if !changed {
		return nil
	}
	if err := p.lease.check(); err != nil {
		return err
	}
	next.Epoch = max(next.Epoch, p.lease.epoch())
	_, err := p.gcDoc().write(ctx, next, v.cond)
	switch {
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("announce deletions: %w", err) // somebody began to use something: look again
	case errors.Is(err, store.ErrDeleteMarker):
		return fmt.Errorf("announce deletions: %w: %s", err, p.undelete(p.Layout.GC()))
	}
	return err
}

// bury removes the heartbeats of replicas that are dead for good.
func (p *pass) bury(ctx context.Context, v gcView) error {
	for _, b := range v.beats {
		if b.age < deadReplica {
			continue
		}
		if err := p.lease.check(); err != nil {
			return err
		}
		if err := p.Objects.Delete(ctx, b.key); err != nil {
			return fmt.Errorf("delete %s: %w", b.key, err)
		}
	}
	return nil
}
