package simtest

import (
	"context"
	"log/slog"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// decided takes note of a plan that a pass says in the log. w.mu is held.
func (p *proc) decided(r slog.Record) bool {
	if r.Message != "decided" {
		return false
	}
	r.Attrs(func(a slog.Attr) bool {
		p.plans[a.Value.String()] = true
		return true
	})
	return true
}

// planned: a pass moves the pointer only as it decided to. A request may arrive late, so it is any of the plans that the
// process ever made.
func (s *invariants) planned(p *proc, next store.Pointer) {
	s.w.tally["check plan"]++
	why := " (" + next.Reason + ")"
	switch {
	case next.Reason == reconcile.ReasonRestored: // before anything is decided
	case p.plans["build"+why], p.plans["publish what changed"+why], p.plans["promote "+next.ID+why], p.plans["promote what is pinned"+why]:
	default:
		s.w.violate("%s promoted %s (%s), which no pass of it decided", p.name, next.ID, next.Reason)
	}
}

// dryRun asks for the plan of the next pass: nothing, when all is as it should be, or what is held. Asking writes nothing.
func (s *schedule) dryRun(ctx context.Context) {
	w := s.w
	p := w.newProc("dry-run", false)
	p.quiet, p.idle = true, true
	plan, err := w.reconciler(p, "dry-run").Plan(ctx, reconcile.OnceOptions{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally["check dry run"]++
	st, _ := decode[store.Status](w.mem.Data(w.layout.Status()))
	waits := st.Held != "" && strings.Contains(plan.Held, st.Held)
	if err != nil || plan.Plan != "nothing (up to date)" && !waits {
		w.violate("a dry run of what is settled says %q: %v", plan.Plan, err)
	}
}
