package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

type listCmd struct {
	Output output `embed:""`
}

// Run prints every snapshot, newest first.
func (c listCmd) Run(a *app) error {
	o, err := a.operator()
	if err != nil {
		return err
	}
	rows, err := o.List(a.ctx)
	if err != nil {
		return err
	}
	return c.Output.print(a.stdout, rows, func(w io.Writer) { printList(w, rows, time.Now()) })
}

func printList(w io.Writer, rows []reconcile.SnapshotRow, now time.Time) {
	row(w, "SNAPSHOT", "STATE", "AGE", "VECTORS", "INDEX", "SIZE", "KIND", "REASON")
	for _, r := range rows {
		row(w, r.ID, r.State, age(now, r.CreatedAt), r.Vectors, dash(r.Index), size(r.Bytes), kind(r), dash(r.Reason))
	}
}

// kind says what a snapshot is made of.
func kind(r reconcile.SnapshotRow) string {
	if r.Kind != reconcile.KindDelta {
		return dash(r.Kind)
	}
	return fmt.Sprintf("delta, %s over %s", count(r.Rows, "row"), r.Base)
}

type showCmd struct {
	ID     string `arg:"" help:"Snapshot, as listed."`
	Output output `embed:""`
}

// Run prints one snapshot.
func (c showCmd) Run(a *app) error {
	o, err := a.operator()
	if err != nil {
		return err
	}
	d, err := o.Show(a.ctx, c.ID)
	if err != nil {
		return a.unknown(err, c.ID)
	}
	return c.Output.print(a.stdout, d, func(w io.Writer) { printSnapshot(w, d, time.Now()) })
}

func printSnapshot(w io.Writer, d reconcile.SnapshotDetail, now time.Time) {
	e := d.Spec.Embedding
	row(w, "snapshot", d.ID)
	row(w, "state", d.State)
	row(w, "url", d.URL)
	row(w, "created", fmt.Sprintf("%s (%s ago) by %s, epoch %d", d.CreatedAt.Format(time.RFC3339), age(now, d.CreatedAt), d.Builder, d.BuiltEpoch))
	row(w, "source", fmt.Sprintf("%s, %d records, sha256 %s", d.Source.Key, d.Source.Records, d.Source.SHA256))
	row(w, "embedding", fmt.Sprintf("%s %s, %d dimensions, version %s", e.Provider, e.Model, e.Dims, e.Version))
	row(w, "index", fmt.Sprintf("%s (asked for: %s)", d.Index.Kind, d.Spec.IndexKind))
	s := d.Stats
	row(w, "changes", fmt.Sprintf("%d added, %d changed, %d removed, %d unchanged", s.Added, s.Changed, s.Removed, s.Unchanged))
	if s.Carried > 0 {
		row(w, "carried", fmt.Sprintf("%d rows from the last index, %d changed since the last full build", s.Carried, s.ChangedSinceFull))
	}
	row(w, "embedded", fmt.Sprintf("%d texts bought (%d tokens), %d reused", s.Embedded, s.Tokens, s.Reused))
	row(w, "manifest", "sha256 "+d.ManifestSHA256)
	if d.Role == store.RoleBase {
		row(w, "role", "base: served with a delta over it alone")
	}
	if d.Base != nil {
		row(w, "base", fmt.Sprintf("%s, %d records", d.Base.ID, d.Base.Records))
		for _, part := range d.Deltas {
			row(w, "delta", fmt.Sprintf("%s, %s", part.ID, count(part.Rows, "row")))
		}
	}
	fmt.Fprintln(w)
	row(w, "FILE", "SIZE", "SHA256")
	for _, f := range d.Files {
		name := f.Name
		if f.From != "" {
			name = f.From + "/" + name
		}
		row(w, name, size(f.Size), f.SHA256)
	}
	gate := d.Gate
	if d.Verdict != nil && d.Verdict.Gate != nil {
		gate = d.Verdict.Gate
	}
	if gate != nil {
		fmt.Fprintln(w)
		row(w, "GATE", "RESULT", "VALUE", "LIMIT", "MESSAGE")
		for _, c := range gate.Checks {
			row(w, c.Name, c.Result, fmt.Sprintf("%.4g", c.Value), fmt.Sprintf("%.4g", c.Limit), dash(c.Message))
		}
	}
	if d.Verdict != nil && d.Verdict.Message != "" {
		fmt.Fprintln(w)
		row(w, "verdict", d.Verdict.Result, d.Verdict.Message)
	}
}

type diffCmd struct {
	From   string `arg:"" help:"Older snapshot."`
	To     string `arg:"" help:"Newer snapshot."`
	Output output `embed:""`
}

// Run prints what changed between two snapshots.
func (c diffCmd) Run(a *app) error {
	o, err := a.operator()
	if err != nil {
		return err
	}
	dir, release, err := a.scratch("diff")
	if err != nil {
		return err
	}
	defer release()
	d, err := o.Diff(a.ctx, c.From, c.To, dir)
	if err != nil {
		return a.unknown(err, c.From, c.To)
	}
	return c.Output.print(a.stdout, d, func(w io.Writer) { printDiff(w, d) })
}

// diffRows bounds the table; -o json has everything.
const diffRows = 200

func printDiff(w io.Writer, d reconcile.Diff) {
	fmt.Fprintf(w, "%d added, %d removed, %d changed\n", len(d.Added), len(d.Removed), len(d.Changed))
	left := diffRows
	line := func(mark, id, fields string) {
		if left--; left >= 0 {
			row(w, mark+" "+id, fields)
		}
	}
	for _, id := range d.Added {
		line("+", id, "")
	}
	for _, id := range d.Removed {
		line("-", id, "")
	}
	for _, c := range d.Changed {
		line("~", c.ID, strings.Join(c.Fields, ", "))
	}
	if left < 0 {
		fmt.Fprintf(w, "… and %d more (-o json has all)\n", -left)
	}
}

type verifyCmd struct {
	ID     string `arg:"" help:"Snapshot, as listed."`
	Output output `embed:""`
}

// Run hashes a snapshot again.
func (c verifyCmd) Run(a *app) error {
	o, err := a.operator()
	if err != nil {
		return err
	}
	progress := newProgress(a.stderr, a.log.Logger(a.stderr))
	var last int64
	progress.Step("verify", 0)
	signature, err := o.Verify(a.ctx, c.ID, func(done, _ int64) { progress.Add(done - last); last = done })
	progress.Done()
	if err != nil {
		return a.unknown(err, c.ID)
	}
	result := struct {
		ID     string `json:"id"`
		Result string `json:"result"`
		Bytes  int64  `json:"bytes"`
		Signed string `json:"signed_by,omitempty"`
	}{c.ID, "verified", last, ""}
	signed := "not signed"
	if signature != nil {
		result.Signed = signature.Key
		signed = "signed by key " + signature.Key
		if len(o.Keys) == 0 {
			signed += ", not checked: MANIFEST_KEYS is not set"
		}
	}
	return c.Output.print(a.stdout, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s verified: every byte is as its manifest says (%s); %s\n", c.ID, size(last), signed)
	})
}

// unknown tells where to look when a snapshot is not there.
func (a *app) unknown(err error, ids ...string) error {
	for _, id := range ids {
		if _, wrong := snapshot.ParseID(id); wrong != nil {
			return fmt.Errorf("%w: `indexer list` shows the ids", wrong)
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w (no snapshot %s? `indexer list` shows what there is)", err, strings.Join(ids, " or "))
	}
	return err
}
