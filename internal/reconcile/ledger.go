package reconcile

import (
	"context"

	"github.com/taksuehiro/vectorstore/internal/ledger"
)

// compactLedger merges small segments and lets go of entries that nothing used for long. Only a pass that built from
// the whole catalogue knows what is in use: 1 M keys take ~80 MB here until it returns.
func (p *pass) compactLedger(ctx context.Context) error {
	var used func(ledger.Key) bool
	switch whole := p.files != nil && p.files.docs != nil && !p.files.partial; {
	case whole && p.ledger != nil:
		used = p.keysInUse()
	case !p.bought || p.ledger == nil && p.kept == nil:
		return nil
	}
	if err := p.openLedger(ctx); err != nil { // the one that is kept
		return err
	}
	if err := p.lease.check(); err != nil {
		return err
	}
	p.step("compact ledger", 0)
	report, err := p.ledger.Compact(ctx, used, ledger.CompactOptions{Grace: p.cfg.RetainGrace, Before: p.goAhead})
	if err != nil {
		return err
	}
	p.bought = false
	if report != (ledger.CompactReport{}) {
		p.log.InfoContext(ctx, "ledger compacted", "merged", report.Merged, "written", report.Written,
			"deleted", report.Deleted, "expired", report.Expired)
	}
	return nil
}

// closeLedger lets go of the one that is kept from pass to pass: it has every vector that this term bought, and what others
// buy meanwhile is only bought twice.
func (r *Reconciler) closeLedger() {
	if r.kept == nil {
		return
	}
	r.stopCompaction() // it reads it
	if err := r.kept.Close(); err != nil {
		r.Log.Warn("ledger not closed", "error", err)
	}
	r.kept = nil
}

// keysInUse tells whether the catalogue that was read, or a golden query that was asked, needs an entry.
func (p *pass) keysInUse() func(ledger.Key) bool {
	used := make(map[ledger.Key]struct{}, len(p.files.keys)+len(p.questions))
	for _, keys := range [][]ledger.Key{p.files.keys, p.questions, p.offTopicKeys()} {
		for _, k := range keys {
			used[k] = struct{}{}
		}
	}
	return func(k ledger.Key) bool {
		_, ok := used[k]
		return ok
	}
}
