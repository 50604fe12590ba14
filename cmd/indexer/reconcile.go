package main

import (
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type reconcileCmd struct {
	Building building `embed:""`
	Once     bool     `help:"Run one pass in this process, waiting up to two LEASE_TTL for the lease. Without it the running indexer is asked."`
	Yes      bool     `help:"With --once: even when the spec is not the served snapshot's, or the retention not the one that status.json says."`
	Force    bool     `help:"Rebuild even when nothing changed. The gate still judges."`
	DryRun   bool     `help:"Print what a pass would do and cost; change nothing."`
	Output   output   `embed:""`
}

// Run asks for a pass, runs one, or plans one.
func (c reconcileCmd) Run(a *app) error {
	switch {
	case c.DryRun:
		return c.plan(a)
	case c.Once:
		if err := c.Building.signs(a); err != nil {
			return err
		}
		return c.Building.once(a, reconcile.OnceOptions{Force: c.Force, Yes: c.Yes})
	default:
		return c.Building.ask(a, reconcile.VerbReconcile, c.Force)
	}
}

func (c reconcileCmd) plan(a *app) error {
	return c.Building.withReconciler(a, a.log.Logger(a.stderr), wire.Command, func(r *reconcile.Reconciler, _ *prometheus.Registry) error {
		p, err := r.Plan(a.ctx, reconcile.OnceOptions{Force: c.Force})
		if err != nil {
			return coded(err)
		}
		return c.Output.print(a.stdout, p, func(w io.Writer) { printPlan(w, p) })
	})
}

func printPlan(w io.Writer, p reconcile.PlanReport) {
	row(w, "plan", p.Plan)
	row(w, "catalogue", fmt.Sprintf("%s, %d records", p.Source.Key, p.Records))
	row(w, "against", dash(p.Baseline))
	if p.SpecChange != "" {
		row(w, "spec", p.SpecChange+"; --once needs --yes")
	}
	row(w, "added", p.Added)
	row(w, "changed", p.Changed)
	row(w, "removed", p.Removed)
	row(w, "unchanged", p.Unchanged)
	row(w, "to embed", fmt.Sprintf("%d texts, about %d tokens", p.Texts, p.Tokens))
	if p.Questions > 0 {
		row(w, "to calibrate", fmt.Sprintf("%d short questions, once for this model", p.Questions))
	}
	row(w, "reused", fmt.Sprintf("%d texts", p.Reused))
	row(w, "cost", fmt.Sprintf("about $%.4f", p.Cost))
	if p.Budget > 0 {
		row(w, "budget", fmt.Sprintf("%d tokens", p.Budget))
	}
}
