package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

// operator reads the store without promising to write it.
func (a *app) operator() (*reconcile.Operator, error) {
	objects, err := a.store.Open(a.ctx, prometheus.NewRegistry(), wire.Command)
	if err != nil {
		return nil, usage(err)
	}
	o := reconcile.NewOperator(objects, a.store.Layout(), whoami())
	if o.Keys, err = a.keys.Open(); err != nil {
		return nil, usage(err)
	}
	if o.EraseKey, err = a.erasing.Open(); err != nil {
		return nil, usage(err)
	}
	return o, nil
}

// acting is an operator that will write: the store must honour conditional writes.
func (a *app) acting() (*reconcile.Operator, error) {
	o, err := a.operator()
	if err != nil {
		return nil, err
	}
	return o, store.SelfTest(a.ctx, o.Objects, o.Layout)
}

// whoami names the person for the records: user@host.
func whoami() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// act runs a verb and says what it did; its error decides the exit code.
func (a *app) act(do func(*reconcile.Operator) (done string, err error)) error {
	o, err := a.acting()
	if err != nil {
		return err
	}
	done, err := do(o)
	if err != nil {
		return coded(err)
	}
	fmt.Fprintln(a.stdout, done)
	return nil
}

func coded(err error) error {
	if err == nil {
		return nil
	}
	return &wire.Coded{Code: reconcile.ExitCode(err), Err: err}
}

type promoteCmd struct {
	ID    string `arg:"" help:"Snapshot, as listed."`
	Force bool   `help:"Even when the gate held it."`
}

// Run makes a snapshot current.
func (c promoteCmd) Run(a *app) error {
	return a.act(func(o *reconcile.Operator) (string, error) {
		if err := o.Promote(a.ctx, c.ID, c.Force); err != nil {
			return "", a.unknown(err, c.ID)
		}
		return "promoted " + c.ID + pinned(a, o), nil
	})
}

// pinned adds what a promotion or rollback left behind that the operator should know.
func pinned(a *app, o *reconcile.Operator) string {
	c, _, err := store.ReadDoc[store.Control](a.ctx, o.Objects, o.Layout.Control(), store.GetOptions{})
	if err != nil || c.Pin == nil {
		return ""
	}
	return "; pinned, `indexer unpin` follows the catalogue again"
}

type rollbackCmd struct {
	ID string `arg:"" optional:"" help:"Snapshot to go back to; default the one served before."`
	To string `help:"Go back to what was current at a time: 2026-03-04T05:06:07Z, or 90m, 2h or 3d ago." placeholder:"TIME"`
}

// moment reads a time, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	since := strings.TrimSpace(strings.TrimSuffix(s, "ago"))
	if days, ok := strings.CutSuffix(since, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 10_000 {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	ago, err := time.ParseDuration(since)
	if err != nil || ago < 0 {
		return now, fmt.Errorf("--to %q is neither a time like %s nor a duration like 90m or 3d", s, now.UTC().Format(time.RFC3339))
	}
	return now.Add(-ago), nil
}

// pick finds what --to means, and says so before anything is done.
func (a *app) pick(o *reconcile.Operator, at time.Time) (id string, err error) {
	past, err := o.CurrentAt(a.ctx, at)
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s was current from %s to %s", past.ID, past.From.UTC().Format(time.RFC3339), past.To.UTC().Format(time.RFC3339))
	if past.Fetch > 0 {
		line += fmt.Sprintf("; servers that do not have it in their cache download up to %s first", size(past.Fetch))
	}
	fmt.Fprintln(a.stdout, line)
	return past.ID, nil
}

// Run goes back.
func (c rollbackCmd) Run(a *app) error {
	at, err := moment(cmp.Or(c.To, "0s"), time.Now())
	if err == nil && c.To != "" && c.ID != "" {
		err = errors.New("give a snapshot or --to, not both")
	}
	if err != nil {
		return usage(err)
	}
	return a.act(func(o *reconcile.Operator) (_ string, err error) {
		if c.To != "" {
			if c.ID, err = a.pick(o, at); err != nil {
				return "", err
			}
		}
		id, err := o.Rollback(a.ctx, c.ID)
		if err != nil && c.ID == "" {
			return "", err
		}
		if err != nil {
			return "", a.unknown(err, c.ID)
		}
		return "rolled back to " + id + pinned(a, o), nil
	})
}

type pinCmd struct {
	ID string `arg:"" help:"Snapshot, as listed."`
}

// Run pins a snapshot.
func (c pinCmd) Run(a *app) error {
	return a.act(func(o *reconcile.Operator) (string, error) {
		if err := o.Pin(a.ctx, c.ID); err != nil {
			return "", a.unknown(err, c.ID)
		}
		return "pinned " + c.ID, nil
	})
}

type unpinCmd struct{}

// Run ends a pin.
func (unpinCmd) Run(a *app) error {
	return a.act(func(o *reconcile.Operator) (string, error) {
		return "unpinned; the next pass follows the catalogue", o.Unpin(a.ctx)
	})
}

type suspendCmd struct {
	Reason string `help:"Why, for whoever reads the status."`
}

// Run suspends the reconciler.
func (c suspendCmd) Run(a *app) error {
	return a.act(func(o *reconcile.Operator) (string, error) {
		return "suspended; `indexer resume` goes on", o.Suspend(a.ctx, c.Reason)
	})
}

type resumeCmd struct{}

// Run ends a suspension.
func (resumeCmd) Run(a *app) error {
	return a.act(func(o *reconcile.Operator) (string, error) {
		return "resumed", o.Resume(a.ctx)
	})
}

type compactCmd struct {
	Wait bool `help:"Until it is served, or failed."`
}

// Run asks the leader for a compaction, and follows it.
func (c compactCmd) Run(a *app) error {
	o, err := a.acting()
	if err != nil {
		return err
	}
	before, err := o.Status(a.ctx)
	if err != nil {
		return err
	}
	if err := (building{}).ask(a, reconcile.VerbCompact, false); err != nil || !c.Wait || before.Pointer == nil || before.Pointer.Base == nil {
		return err
	}
	for {
		s, err := o.Status(a.ctx)
		if err != nil {
			return err
		}
		if p := s.Pointer; p != nil && (p.Base == nil || p.Base.ID != before.Pointer.Base.ID) {
			fmt.Fprintln(a.stdout, "compacted: "+p.ID)
			return nil
		}
		for _, cond := range s.Conditions {
			if cond.Type == reconcile.Compacted && cond.Status == reconcile.False {
				return &wire.Coded{Code: reconcile.ExitFailed, Err: errors.New("not compacted: " + cond.Message)}
			}
		}
		select {
		case <-a.ctx.Done():
			return a.ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

type gcCmd struct {
	Building building `embed:""`
	Once     bool     `help:"Collect in this process, waiting up to two LEASE_TTL for the lease. Without it the running indexer is asked."`
	Yes      bool     `help:"With --once: even when the retention is not the one that status.json says."`
	DryRun   bool     `help:"Print each object, kept or deleted, and why; delete nothing."`
}

// Run asks the leader to collect garbage, collects here, or prints the plan.
func (c gcCmd) Run(a *app) error {
	switch {
	case c.Once && !c.DryRun:
		return c.Building.once(a, reconcile.OnceOptions{GC: true, Yes: c.Yes})
	case !c.DryRun:
		return c.Building.ask(a, reconcile.VerbGC, false)
	}
	o, err := a.operator()
	if err != nil {
		return err
	}
	retain, grace, err := c.retention(a, o)
	if err != nil {
		return err
	}
	lines, err := o.GCPlan(a.ctx, retain, grace)
	if err != nil {
		return err
	}
	for _, l := range lines {
		fmt.Fprintln(a.stdout, l)
	}
	return nil
}

// retention is what a plan goes by: the indexer's, which it would collect by, or with --once this shell's.
func (c gcCmd) retention(a *app, o *reconcile.Operator) (retain int, grace time.Duration, err error) {
	retain, grace = c.Building.Retain, c.Building.Grace
	s, err := o.Status(a.ctx)
	if errors.Is(err, store.ErrNotFound) || err == nil && s.Retention == nil || c.Once && err == nil {
		return retain, grace, nil
	}
	if err != nil {
		return 0, 0, err
	}
	theirs := s.Retention.Grace()
	if s.Retention.Snapshots != retain || theirs != grace {
		fmt.Fprintf(a.stderr, "by the indexer's retention, %d snapshots and %s; --once plans by this shell's, %d and %s\n",
			s.Retention.Snapshots, theirs, retain, grace)
	}
	return s.Retention.Snapshots, theirs, nil
}

// ask has the live leader do something and waits for its answer. Without a leader nothing is done: the settings of this
// shell may not be the deployment's.
func (building) ask(a *app, verb string, force bool) error {
	o, err := a.acting()
	if err != nil {
		return err
	}
	alive, err := o.LeaderAlive(a.ctx)
	if err != nil {
		return err
	}
	if !alive {
		return coded(fmt.Errorf("%w: start `indexer run`, or use --once to %s here, by this shell's settings", reconcile.ErrNoLeader, verb))
	}
	h, err := o.Request(a.ctx, verb, force)
	if err != nil {
		return coded(err)
	}
	return a.report(h.Result, h.Message, h.ExitCode)
}

// once runs one pass in this process. Like every command that writes it asks first whether the store lets it.
func (s building) once(a *app, o reconcile.OnceOptions) error {
	if _, err := a.acting(); err != nil {
		return coded(err)
	}
	log := a.log.Logger(a.stderr)
	return s.withReconciler(a, log, wire.Command, func(r *reconcile.Reconciler, _ *prometheus.Registry) error {
		out, err := r.Once(a.ctx, o)
		if err != nil && out.Result == "" {
			return coded(err)
		}
		return a.report(out.Result, out.Message, out.ExitCode)
	})
}

// report prints the result of a pass and turns its exit code into an error.
func (a *app) report(result, message string, code int) error {
	if code != wire.ExitDone {
		return &wire.Coded{Code: code, Err: errors.New(result + ": " + dash(message))}
	}
	if message != "" {
		result += ": " + message
	}
	fmt.Fprintln(a.stdout, result)
	return nil
}
