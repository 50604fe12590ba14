package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

type statusCmd struct {
	Output output `embed:""`
}

// Run prints what the leader last saw and did.
func (c statusCmd) Run(a *app) error {
	o, err := a.operator()
	if err != nil {
		return err
	}
	s, err := o.Status(a.ctx)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("no indexer has run yet in %s: start `indexer run`", o.Objects.URL(o.Layout.Root()))
	}
	if err != nil {
		return err
	}
	leader, err := o.Leadership(a.ctx)
	if err != nil {
		return err
	}
	r := statusReport{Status: s, Leader: leader}
	if p, _, err := store.ReadPointer(a.ctx, o.Objects, o.Layout, ""); err == nil && s.Pointer != nil && p.Generation > s.Pointer.Generation {
		r.moved = &p // by an operator; what cannot be read is the leader's to say
	}
	return c.Output.print(a.stdout, r, func(w io.Writer) { printStatus(w, r, time.Now()) })
}

// statusReport is what the leader last had to say, and whether somebody leads.
type statusReport struct {
	store.Status
	Leader reconcile.Leadership `json:"leader"`

	moved *store.Pointer // the pointer, when it is newer than the one of the last pass
}

func printStatus(w io.Writer, s statusReport, now time.Time) {
	if p := s.Pointer; p != nil {
		row(w, "serving", p.ID, fmt.Sprintf("generation %d, %d vectors, promoted %s ago: %s", p.Generation, p.Stats.Vectors, age(now, p.PromotedAt), dash(p.Reason)))
	} else {
		row(w, "serving", "nothing yet")
	}
	if p := s.moved; p != nil {
		row(w, "moved to", p.ID, fmt.Sprintf("generation %d, %s ago: %s; the next pass says the rest", p.Generation, age(now, p.PromotedAt), dash(p.Reason)))
	}
	if l := s.Leader; l.Alive {
		row(w, "leader", dash(l.Host), fmt.Sprintf("epoch %d, renewed %.0fs ago", l.Epoch, l.AgeSeconds))
	} else {
		row(w, "leader", "none", fmt.Sprintf("last %s, epoch %d", dash(s.Host), s.Epoch))
	}
	if e := s.Erasing; e != nil {
		row(w, "erasure", e.State, erasureLine(*e))
	}
	row(w, "last pass", s.LastPass.Result, fmt.Sprintf("%s ago; nothing new for %s", age(now, latest(s.Leader.PassedAt, s.At)), age(now, s.At)))
	fmt.Fprintln(w)

	row(w, "CONDITION", "STATUS", "AGE", "REASON", "MESSAGE")
	for _, c := range s.Conditions {
		row(w, c.Type, c.Status, age(now, c.LastTransitionTime), c.Reason, c.Message)
	}
	fmt.Fprintln(w)

	if len(s.Replicas) == 0 {
		row(w, "no replica is alive")
	} else {
		row(w, "REPLICA", "STATE", "SERVES", "SINCE", "HEARTBEAT", "WHY NOT NEWER")
		for _, r := range s.Replicas {
			row(w, r.ID, r.State, dash(r.Using), age(now, r.LoadedAt), fmt.Sprintf("%.0fs", r.AgeSeconds), whyNotNewer(r))
		}
	}
	for i, step := range nextSteps(s) {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "next: %s\n", step)
	}
}

func whyNotNewer(r store.Replica) string {
	switch {
	case r.State == "current" || r.State == "ahead":
		return "-"
	case r.Rejected != nil:
		return fmt.Sprintf("refused %s: %s: %s", r.Rejected.ID, r.Rejected.Reason, r.Rejected.Message)
	case r.Fetching != "":
		return "fetching " + r.Fetching
	default:
		return "has not polled yet"
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// nextSteps tells an operator what to do about a status, most urgent first; nothing when all is well.
func nextSteps(s statusReport) []string {
	is := map[string]store.Condition{}
	for _, c := range s.Conditions {
		is[c.Type] = c
	}
	var steps []string
	add := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	if !s.Leader.Alive {
		add("nobody leads: check that `indexer run` is alive")
	}
	switch c := is[reconcile.Promoted]; c.Reason {
	case "PointerDeleted":
		add("somebody deleted the pointer: %s", c.Message)
	case "PointerInvalid":
		add("somebody overwrote the pointer: %s", c.Message)
	case "NewerFormat":
		add("a newer release has written here: run its indexer: %s", c.Message)
	case "PinNotCurrent":
		add("the pin cannot be served: `indexer pin` another snapshot, or `indexer unpin`: %s", c.Message)
	}
	if c := is[reconcile.Intact]; c.Status == reconcile.False {
		add("somebody changed what is not theirs, see docs/RUNBOOK.md: %s", c.Message)
	}
	if c := is[reconcile.Ready]; c.Reason == "ReplicaAstray" {
		add("a server does not follow the pointer, see docs/RUNBOOK.md: %s", c.Message)
	}
	if c := is[reconcile.Built]; c.Reason == "NewerSpec" {
		add("%s", c.Message)
	}
	if c := is[reconcile.SourceReady]; c.Status == reconcile.False {
		add("repair the catalogue: %s", c.Message)
	}
	if c := is[reconcile.Held]; c.Status == reconcile.True {
		switch {
		case c.Reason == reconcile.ReasonGoldenInvalid:
			add("repair golden.json beside the catalogue, or delete it: the candidate is judged again; %s", c.Message)
		case s.Held != "":
			add("`indexer diff %s %s` shows what changed; `indexer promote %s --force` serves it anyway; or repair the catalogue", servedID(s.Status), s.Held, s.Held)
		default:
			add("raise MAX_EMBED_TOKENS or repair the catalogue: %s", c.Message)
		}
	}
	if c := is[reconcile.Suspended]; c.Status == reconcile.True {
		if c.Reason == "Pinned" {
			add("pinned: `indexer unpin` follows the catalogue again")
		} else {
			add("suspended: `indexer resume` goes on")
		}
	}
	switch c := is[reconcile.Erased]; c.Reason {
	case reconcile.ReasonEraseKeyMissing:
		add("give the indexer ERASE_KEY, the one that records were purged with: %s", c.Message)
	case reconcile.ReasonWaiting:
		add("purged records stand in what people wrote, see docs/RUNBOOK.md: %s", c.Message)
	}
	for _, r := range s.Replicas {
		if r.Rejected != nil && r.State != "current" {
			add("replica %s refuses %s (%s): see docs/RUNBOOK.md", r.ID, r.Rejected.ID, r.Rejected.Reason)
		}
	}
	return steps
}

func servedID(s store.Status) string {
	if s.Pointer == nil {
		return "<id>"
	}
	return s.Pointer.ID
}

// erasureLine says how far an erasure is: what is left, or what the proof looked at.
func erasureLine(e store.Erasing) string {
	line := count(e.Records, "record")
	switch {
	case e.Proof != nil:
		line += fmt.Sprintf(", nothing found at %s: %s, %s, %s, %s looked at, %s deleted", e.Proof.At.Format(time.RFC3339),
			count(e.Proof.Snapshots, "snapshot"), count(e.Proof.Segments, "ledger segment"), count(e.Proof.Versions, "version"),
			count(e.Proof.Replicas, "replica"), count(e.Deleted, "object"))
	case e.State == store.ErasureWaiting:
		line += ", " + count(len(e.People)+e.MorePeople, "file") + " of people"
	default:
		line += ", " + count(len(e.Left), "thing") + " left"
	}
	if n := len(e.Unproven); n > 0 {
		line += fmt.Sprintf("; unproven: %s", strings.Join(e.Unproven, ", "))
	}
	return line
}
