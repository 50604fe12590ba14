package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// What is published as a delta. More than that is a full build, which costs little more then and searches faster.
const (
	changedShare = 0.05 // of the records, at once
	tailShare    = 0.10 // of the records, in all deltas together
	movedShare   = 0.02 // of the records; of more, none moves before the next base

	// A delta takes over the one before it while that is at most so many times as large, and both together are small: a
	// record is written again some 20 times while 2,048 are edited one by one, about 80 KB an edit of records of 4 KB, and
	// there are 7 small deltas at most. Merging 2,048 records takes a fifth of a second.
	mergeFactor = 2
	mergeRows   = 2048
)

// change is what the catalogue has that the served snapshot has not, ready to become a delta: its records are in the
// pass's candidate.
type change struct {
	large   string // why it cannot be a delta, "" = it can
	none    bool   // the catalogue is read differently, and has the same records
	served  *composition
	keep    int              // deltas of the served composition that stay; the others are merged into this one
	keys    []uint64         // of the candidate's records
	gone    [][16]byte       // ids that are taken away
	content snapshot.Content // of all records
	records int
	moved   int // records that stand elsewhere in the catalogue and were left where they are
}

// extends says whether a change may be published as a delta over the served snapshot.
func (v view) extends(r rules) bool {
	return r.cfg.Delta != DeltaOff && !r.force && v.pointer != nil && v.broken == nil && v.erase.dirty == "" &&
		v.pointer.SpecDigest == r.specDigest && v.pointer.Spec.Unknown == "" && v.pointer.ContentDigest != "" &&
		v.pointer.Source.Records >= r.cfg.DeltaFrom
}

// rebased says whether the changes are those since a finished base, and not since what is served.
func (p *pass) rebased() bool { return p.compaction.finished != nil }

// errLarge ends the reading of changes that are too many for a delta.
var errLarge = errors.New("too many changes for a delta")

// readChanges compares the catalogue with the served composition, record by record as it is read, and keeps what differs.
func (p *pass) readChanges(ctx context.Context) error {
	p.change = &change{}
	c, err := p.composed(ctx)
	limit := changedShare
	if f := p.compaction.finished; f != nil && err == nil {
		limit = tailShare // since the compaction began
		c, err = p.composedOver(ctx, *f)
	}
	if err != nil {
		return err
	}
	if c == nil {
		p.change.large = "the served records cannot be read"
		return nil
	}
	p.change.served = c
	if err := p.download(ctx); err != nil {
		return err
	}
	if err := p.openLedger(ctx); err != nil {
		return err
	}
	p.step("compare", 0)
	r := &changeReader{pass: p, served: c, limit: limit}
	err = r.read(ctx)
	if err == nil && len(r.moved) > 0 { // their records went by before it was known
		if _, err = r.in.close(); err == nil {
			err = r.read(ctx)
		}
	}
	if errors.Is(err, errLarge) {
		p.change.large = fmt.Sprintf("more than %g %% of the records changed", 100*limit)
		p.files.close()
		p.files = nil
		return nil
	}
	if err != nil {
		return err
	}
	return r.finish(ctx)
}

// changeReader reads the catalogue against a composition.
type changeReader struct {
	*pass
	served *composition
	limit  float64 // share of the records that may differ
	in     intake

	keys    []uint64           // of every record in catalogue order, or free
	rows    []int              // which records of the catalogue are in the candidate
	ids     [][16]byte         // of these
	base    bits               // rows of the base that are in the catalogue
	seen    map[rowAt]struct{} // the same of deltas
	content snapshot.Content
	added   int
	changed int
	moved   map[int]bool // positions that are to be kept though they did not change
	left    int          // records that moved and stay where they were
}

// read reads the catalogue once.
func (r *changeReader) read(ctx context.Context) error {
	moved := r.moved
	*r = changeReader{pass: r.pass, served: r.served, limit: r.limit, moved: moved}
	recalled, err := r.recallRefused(ctx)
	if err != nil {
		return err
	}
	r.in = intake{p: r.pass, recalled: recalled}
	begin := func() error {
		in := r.in
		*r = changeReader{pass: r.pass, served: r.served, limit: r.limit, moved: moved, in: in}
		r.seen = map[rowAt]struct{}{}
		r.base = newBits(r.served.base.Len())
		if err := r.in.begin(); err != nil {
			return err
		}
		r.files.partial = true
		return nil
	}
	report, err := r.records(ctx, begin, func(rec vendors.Record) error { return r.add(ctx, rec) })
	if err != nil {
		_, _ = r.in.close()
		if errors.Is(err, errLarge) {
			return err
		}
		return r.catalogueError(ctx, err)
	}
	r.noteRepairs(ctx, report)
	if r.moved == nil {
		r.findMoved()
	}
	return nil
}

// add compares a record, and keeps it when it is new, changed or to be moved.
func (r *changeReader) add(ctx context.Context, rec vendors.Record) error {
	if r.leftOut(rec.ID) {
		return nil
	}
	id, digest := snapshot.IDHash(rec.ID), [16]byte(rec.Digest[:16])
	r.content.Toggle(id, digest)
	i := len(r.keys)
	at, ok := r.served.find(id)
	key := uint64(free)
	if ok {
		if key = r.served.key(at); key&delta.Bare != 0 {
			key = free // it has a place of its own, behind the others, for as long as it has no vector
		}
		if at.segment == 0 {
			r.base.add(at.row)
		} else {
			r.seen[at] = struct{}{}
		}
	}
	r.keys = append(r.keys, key)
	same := ok && r.served.digest(at) == digest
	switch {
	case same && !r.moved[i]:
		r.Progress.Add(1)
		return ctx.Err()
	case !ok:
		r.added++
	case !same:
		r.changed++
	}
	r.rows, r.ids = append(r.rows, i), append(r.ids, id)
	if float64(len(r.rows)) > max(1, r.limit*float64(r.pointer.Source.Records)) {
		return errLarge
	}
	return r.in.add(ctx, rec)
}

// findMoved notes which unchanged records stand elsewhere than they did.
func (r *changeReader) findMoved() {
	moved, _ := settleOrder(slices.Clone(r.keys))
	r.moved = map[int]bool{}
	if float64(len(moved)) > movedShare*float64(len(r.keys)) { // a matter of taste, which the next base puts right
		r.left = len(moved)
		return
	}
	for _, i := range moved {
		r.moved[i] = true
	}
}

// finish makes a change of what was read.
func (r *changeReader) finish(ctx context.Context) error {
	p, c := r.pass, r.served
	ch := &change{served: c, keep: len(c.deltas), content: r.content, records: len(r.keys)}
	p.change = ch
	p.source.Records = ch.records
	gone := r.gone()
	if n := len(r.rows) + len(gone); float64(n) > r.limit*float64(p.pointer.Source.Records) && n > 1 {
		ch.large = fmt.Sprintf("%d of %d records changed, more than %g %%", n, p.pointer.Source.Records, 100*r.limit)
	}
	_, crowded := settleOrder(r.keys)
	ch.moved = r.left + crowded
	for _, i := range r.rows {
		ch.keys = append(ch.keys, r.keys[i])
	}
	ch.none = len(r.rows) == 0 && len(gone) == 0
	p.delta = &Delta{
		Records: ch.records, Added: r.added, Changed: r.changed, Removed: len(gone), Unchanged: ch.records - r.added - r.changed,
		Texts: len(p.files.missing), Reused: len(p.files.keys) - len(p.files.missing) - len(p.files.refused), Tokens: p.files.tokens,
		Cost: float64(p.files.tokens) * p.cfg.TokenPrice / 1e6,
	}
	if ch.large == "" && len(p.files.refused) > 0 {
		ch.large = "a text has no vector"
	}
	if ch.large == "" && !ch.none {
		if err := r.merge(ctx, gone); err != nil {
			return err
		}
	}
	entries, err := r.in.close()
	if err == nil {
		p.files.entries = entries
		p.files.docs, err = documents.Open(p.dir)
	}
	return fail(Built, noScratch, transient, err)
}

// gone are the ids that are served and not in the catalogue any more.
func (r *changeReader) gone() [][16]byte {
	var out [][16]byte
	r.served.each(r.base, func(id [16]byte, at rowAt) {
		if _, there := r.seen[at]; !there {
			out = append(out, id)
		}
	})
	return out
}

// merge decides which deltas this one takes over, and adds what still counts of them: records to the candidate, and ids
// that a segment which stays would bring back to what is taken away.
func (r *changeReader) merge(ctx context.Context, gone [][16]byte) error {
	c, ch := r.served, r.change
	rows := len(ch.keys) + len(gone)
	for ch.keep > 0 {
		if last := c.deltas[ch.keep-1].Rows(); last > mergeFactor*rows || last+rows > mergeRows {
			break
		}
		ch.keep--
		rows += c.deltas[ch.keep].Rows()
	}
	if full := store.MaxDeltas - 1; ch.keep > full {
		ch.keep = full
	}
	mine := make(map[[16]byte]bool, rows) // ids that are decided
	for _, id := range r.ids {
		mine[id] = true
	}
	stays := &composition{base: c.base, deltas: c.deltas[:ch.keep], dead: c.dead}
	takeAway := func(id [16]byte) {
		if mine[id] {
			return
		}
		mine[id] = true
		if _, ok := stays.find(id); ok {
			ch.gone = append(ch.gone, id)
		}
	}
	for _, id := range gone {
		takeAway(id)
	}
	for i := len(c.deltas); i > ch.keep; i-- {
		d := c.deltas[i-1]
		for row := range d.Len() {
			id := d.Documents().Index().IDHash(row)
			if mine[id] {
				continue
			}
			mine[id] = true
			rec, err := recordOf(d, row)
			if err == nil {
				err = r.in.add(ctx, rec)
			}
			if err != nil {
				return fail(Built, baselineUnreadable, inputs, fmt.Errorf("merge delta of %s: %w", c.m.Deltas[i-1].ID, err))
			}
			ch.keys = append(ch.keys, d.Key(row))
		}
		for _, id := range d.Tombstones() {
			takeAway(id)
		}
	}
	tail := len(ch.keys) + len(ch.gone)
	for _, d := range c.deltas[:ch.keep] {
		tail += d.Rows()
	}
	// A compaction is under way by half of that, and may take its time.
	if float64(tail) > max(1, 2*tailShare*float64(c.base.Len())) {
		ch.large = fmt.Sprintf("%d records changed since the last full build, more than %g %%", tail, 200*tailShare)
	}
	return nil
}

// recordOf reads a record of a delta back.
func recordOf(d *delta.Delta, row int) (vendors.Record, error) {
	doc, err := d.Documents().Doc(row)
	if err != nil {
		return vendors.Record{}, err
	}
	rec := vendors.Record{ID: doc.ID, Name: doc.Name, Answer: doc.Text, Raw: doc.Metadata}
	first := d.Documents().Index().Digest(row)
	copy(rec.Digest[:], first[:]) // the half of it that documents keep
	rec.Text, err = vendors.TextOf(doc.Metadata)
	return rec, err
}
