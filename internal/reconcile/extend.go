package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Values of Config.Delta.
const (
	DeltaAuto = "auto" // a small change of a catalogue that is not small is published as a delta
	DeltaOff  = "off"  // every change is a full build
)

// scanned is how many rows of a delta are searched one by one; more get an index of the base's kind.
const scanned = 1000

// serveDelta builds a delta of the change that was read, and promotes the composition with it. again: it turned out to be
// none, and there is more to decide.
func (p *pass) serveDelta(ctx context.Context) (again bool, err error) {
	if err := p.embed(ctx); err != nil {
		return false, err
	}
	if len(p.files.refused) > 0 {
		// Records without a vector come last in a base, with what is known of them.
		p.change.large = "a text has no vector"
		return true, nil
	}
	for _, step := range []func(context.Context) error{p.raiseFormat, p.buildDelta, p.judgeDelta, p.upload} {
		err := p.lease.check()
		if err == nil {
			err = step(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	if err := p.promote(ctx); err != nil {
		return false, err
	}
	p.keepServed()
	p.adoptedBase(ctx)
	return false, nil
}

// buildDelta writes the delta into scratch and composes the manifest.
func (p *pass) buildDelta(ctx context.Context) error {
	began := p.Clock.Elapsed()
	c, ch := p.files, p.change
	c.rows = len(c.keys)
	p.step("build", int64(c.rows))
	if err := p.inOrder(ctx); err != nil {
		return err
	}
	parts := delta.Parts{Dir: p.dir, Keys: ch.keys, Tombstones: ch.gone, Dims: p.cfg.Embedding.Dims, Vectors: c.rows}
	words, err := p.indexWords(ctx)
	if err != nil {
		return err
	}
	filters, err := p.indexFilters(ctx)
	if err != nil {
		return err
	}
	parts.Words, parts.Filters = words.Arrays(), filters.Arrays()
	if c.rows > 0 {
		kind := snapshot.Flat
		if c.rows > scanned {
			kind = ch.served.m.Index.Kind
		}
		if err := p.buildIndex(ctx, kind); err != nil {
			return err
		}
		parts.Index, parts.Params = filepath.Join(p.dir, snapshot.FileIndex), c.params
	}
	f, err := delta.Write(filepath.Join(p.dir, snapshot.FileDelta), parts)
	if err != nil {
		return fail(Built, noScratch, transient, fmt.Errorf("write delta: %w", err))
	}
	if p.chosen.m, err = p.deltaManifest(ctx, f); err != nil {
		return err
	}
	p.chosen.dir = p.dir
	p.chosen.m.Stats.BuildSeconds = (p.Clock.Elapsed() - began).Seconds()
	p.log.InfoContext(ctx, "delta built", "snapshot", p.chosen.m.ID, "base", p.chosen.m.Base.ID, "deltas", len(p.chosen.m.Deltas),
		"rows", c.rows, "tombstones", len(ch.gone), "merged", len(ch.served.deltas)-ch.keep, "added", p.delta.Added,
		"changed", p.delta.Changed, "removed", p.delta.Removed, "embedded", c.bought, "tokens", c.spent)
	return nil
}

// inOrder puts the records of the delta in catalogue order: equal ones are found in the order of their rows.
func (p *pass) inOrder(ctx context.Context) error {
	keys := p.change.keys
	if slices.IsSorted(keys) {
		return nil
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
	if err := p.reorder(ctx, order); err != nil {
		return fail(Built, noScratch, transient, fmt.Errorf("put records in order: %w", err))
	}
	p.change.keys = make([]uint64, len(keys))
	for i, from := range order {
		p.change.keys[i] = keys[from]
	}
	return nil
}

// deltaManifest names everything that the snapshot is made of: the base's files, the deltas that stay, and f.
func (p *pass) deltaManifest(ctx context.Context, f snapshot.File) (store.Manifest, error) {
	c, ch, was := p.files, p.change, p.change.served.m
	id, err := p.newID(ctx)
	if err != nil {
		return store.Manifest{}, err
	}
	base := baseOf(was, ch.served.sha)
	d, err := delta.Open(filepath.Join(p.dir, snapshot.FileDelta))
	if err != nil {
		return store.Manifest{}, fail(Built, noScratch, transient, err)
	}
	bare := ch.served.replaced(ch.keep, d).bare(base)
	if err := d.Close(); err != nil {
		return store.Manifest{}, fail(Built, noScratch, transient, err)
	}
	m := store.Manifest{
		FormatVersion: store.FormatDelta, ID: id, CreatedAt: p.Clock.Now().UTC().Truncate(time.Second),
		Source: p.source.Source, Spec: p.spec, SpecDigest: p.specDigest, Index: was.Index, Curve: was.Curve,
		Base: &base, Deltas: slices.Clone(was.Deltas[:ch.keep]), ContentDigest: ch.content.String(), DesiredDigest: p.source.desired, Repairs: c.repairs,
		Stats: store.Stats{
			Vectors: ch.records - bare, Moved: ch.moved, Added: p.delta.Added, Changed: p.delta.Changed,
			Removed: p.delta.Removed, Unchanged: p.delta.Unchanged, Embedded: c.bought, Reused: c.rows - c.bought, Tokens: c.spent,
			ChangedSinceFull: was.Stats.ChangedSinceFull + p.delta.Added + p.delta.Changed + p.delta.Removed,
			RemovedSinceFull: p.removedSinceFull(), Carried: was.Stats.Carried, // the base's
		},
		BuiltEpoch: p.lease.epoch(), Builder: p.cfg.Builder,
	}
	if len(ch.keys)+len(ch.gone) > 0 {
		m.Stats.OldestChange = was.Stats.OldestChange
		if m.Stats.OldestChange.IsZero() {
			m.Stats.OldestChange = m.CreatedAt
		}
	}
	if m.Stats.OldestRemoval = was.Stats.OldestRemoval; len(ch.gone) > 0 && m.Stats.OldestRemoval.IsZero() {
		m.Stats.OldestRemoval = m.CreatedAt
	}
	kept := map[string]bool{}
	for _, d := range m.Deltas {
		kept[d.ID] = true
	}
	for _, g := range was.Files {
		switch {
		case g.Name == snapshot.FileDelta:
			if g.From == "" {
				g.From = was.ID
			}
			if !kept[g.From] {
				continue
			}
		case g.From == "":
			g.From = was.ID
		}
		m.Files = append(m.Files, g)
	}
	m.Files = append(m.Files, f)
	m.Deltas = append(m.Deltas, store.DeltaRef{ID: m.ID, SHA256: f.SHA256, Size: f.Size, Rows: len(ch.keys) + len(ch.gone)})
	return m, nil
}

// removedSinceFull counts the ids that went since the last full build, or since an operator overruled the gate.
func (p *pass) removedSinceFull() int {
	if p.rebased() || p.pointer.Base == nil || p.pointer.Reason == ReasonOperator {
		return p.delta.Removed
	}
	return p.pointer.Stats.RemovedSinceFull + p.delta.Removed
}

// keepServed goes on from the composition that was just promoted: the next pass opens nothing.
func (p *pass) keepServed() {
	r, ch, m := p.Reconciler, p.change, p.chosen.m
	path := r.localSegment(m, m.Own()[0])
	d, err := delta.Open(filepath.Join(p.dir, snapshot.FileDelta))
	if err == nil {
		err = os.Rename(filepath.Join(p.dir, snapshot.FileDelta), path)
	}
	if err != nil { // it is fetched again
		p.log.Warn("delta not kept", "error", err)
		r.closeComposition()
		return
	}
	if r.open != ch.served {
		r.closeComposition()
	}
	next := ch.served.replaced(ch.keep, d)
	next.m, next.sha = m, p.chosen.sha
	for i, old := range ch.served.deltas[ch.keep:] {
		err = errors.Join(err, old.Close(), os.Remove(filepath.Join(r.servedDir(), ch.served.m.Deltas[ch.keep+i].ID+"."+snapshot.FileDelta)))
	}
	if err != nil {
		p.log.Warn("merged deltas not removed", "error", err)
	}
	r.open, ch.served = next, nil
}
