package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Compaction makes a full build of what is served beside the passes, which go on publishing deltas meanwhile. What it
// makes is a base: it is never served by itself, but the next pass puts what has changed since over it, as a delta, and
// promotes that. gc.json names it before its first byte is written, so that it is not taken for garbage; who leads next
// takes it over when it is whole, and lets go of it otherwise.

// When one is made.
const (
	compactDeltas = store.MaxDeltas - 4
	staleCopies   = 24 * time.Hour // the oldest change that old readers' copies lack
	staleRemoval  = time.Hour      // the oldest removal
	compactFirst  = 10 * time.Minute
	compactLast   = 6 * time.Hour
)

// Results of a compaction, as labels.
const (
	compactionAdopted   = "adopted"
	compactionFailed    = "failed"
	compactionHeld      = "held"
	compactionCancelled = "cancelled"
)

// ReasonCompacted: a new base, with what has changed since over it.
const ReasonCompacted = "compacted"

// compactions is what a leader knows of the bases that it makes.
type compactions struct {
	running  *compaction
	finished *manifestOf // a base that waits for a delta over it
	asked    bool        // by an operator
	looked   bool        // whether an earlier leader left one
	failures int
	after    time.Duration // not before
	why      string        // the last failure
}

// compaction is one base in the making.
type compaction struct {
	id     string
	cancel context.CancelFunc
	done   chan struct{}

	// After done.
	made manifestOf
	err  error
}

// tailRows are the rows of all deltas of a snapshot.
func tailRows(m store.Manifest) int {
	n := 0
	for _, d := range m.Deltas {
		n += d.Rows
	}
	return n
}

// compactionDue says why a base is to be made of what is served, "" for no reason.
func (p *pass) compactionDue() string {
	m := p.pointer.Manifest
	age := func(at time.Time) time.Duration {
		if at.IsZero() || p.cfg.LegacyCopies == CopiesOff {
			return 0
		}
		return p.now.Sub(at)
	}
	switch {
	case p.cfg.Delta == DeltaOff:
		return ""
	case p.compaction.asked:
		return "an operator asked for it"
	case m.Base == nil:
		return ""
	case float64(tailRows(m)) > p.cfg.CompactShare*float64(m.Base.Records):
		return fmt.Sprintf("%d records changed since the base", tailRows(m))
	case len(m.Deltas) > compactDeltas:
		return fmt.Sprintf("%d deltas", len(m.Deltas))
	case age(m.Stats.OldestChange) > staleCopies, age(m.Stats.OldestRemoval) > staleRemoval:
		return "the copies for old readers lack changes"
	}
	return ""
}

// lookAtCompaction takes over what a compaction made, here or under an earlier leader.
func (p *pass) lookAtCompaction(ctx context.Context) error {
	c := &p.compaction
	if c.running != nil {
		select {
		case <-c.running.done:
			p.endCompaction(ctx)
		default:
		}
	}
	if c.looked || p.pointer == nil {
		return nil
	}
	doc, _, err := p.gcDoc().read(ctx)
	if err != nil {
		return fail(Collected, gcUnreadable, transient, err)
	}
	if b := doc.Building; b != nil {
		if err := p.inherit(ctx, *b); err != nil {
			return err
		}
	}
	c.looked = true
	return nil
}

// inherit takes over the base of an earlier leader when it is whole and was passed, and lets go of any other.
func (p *pass) inherit(ctx context.Context, b store.Building) error {
	m, sha, err := store.ReadManifest(ctx, p.Objects, p.Layout, b.ID, "")
	switch {
	case unreadable(err), errors.Is(err, snapshot.ErrNewer):
		return p.letGo(ctx)
	case err != nil:
		return fail(Built, storeUnreadable, transient, err)
	}
	if m.Role != store.RoleBase || m.Gate == nil || m.Gate.Result != VerdictPassed || m.SpecDigest != p.specDigest {
		return p.letGo(ctx)
	}
	switch err := p.trusts(ctx, b.ID, sha); {
	case errors.Is(err, store.ErrUnsigned), unreadable(err):
		return p.letGo(ctx)
	case err != nil:
		return fail(Built, storeUnreadable, transient, err)
	}
	b.Epoch = p.lease.epoch()
	if err := p.changeGC(ctx, func(doc *store.GC) { doc.Building = &b }); err != nil {
		return err
	}
	p.compaction.finished = &manifestOf{m, sha}
	p.log.InfoContext(ctx, "base taken over", "snapshot", b.ID)
	return nil
}

// letGo leaves a base to the garbage collection.
func (p *pass) letGo(ctx context.Context) error {
	p.compaction.finished = nil
	return p.changeGC(ctx, func(doc *store.GC) { doc.Building = nil })
}

// changeGC writes gc.json in our term.
func (p *pass) changeGC(ctx context.Context, change func(*store.GC)) error {
	if err := p.lease.check(); err != nil {
		return err
	}
	err := p.gcDoc().change(ctx, func(doc *store.GC) (bool, error) {
		if doc.Epoch > p.lease.epoch() {
			return false, fmt.Errorf("%w: gc.json is of epoch %d", ErrLeaseLost, doc.Epoch)
		}
		doc.Epoch = p.lease.epoch()
		change(doc)
		return true, nil
	})
	return fail(Built, gcUnreadable, transient, err)
}

// tendCompaction stops what must not go on, and begins what is due, once the pass has nothing else to do.
func (p *pass) tendCompaction(ctx context.Context, err error) {
	c := &p.compaction
	if p.control.Suspended != nil || p.control.Pin != nil || p.erase.mark != "" {
		p.stopCompaction()
	}
	switch {
	case c.running != nil:
		p.answerCompact("base " + c.running.id + " is being made")
		return
	case err != nil || !p.plan.converges || p.pointer == nil || p.opts.once, p.erase.mark != "", c.finished != nil:
		return
	case p.pointer.Base == nil, !p.extends(p.rules()):
		p.answerCompact("nothing to compact: " + p.pointer.ID + " is served as it was built, without changes over it, or may not be built over now")
		return
	}
	due := p.compactionDue()
	if due == "" || p.Clock.Elapsed() < c.after && !c.asked {
		return
	}
	if err := p.beginCompaction(ctx, due); err != nil {
		p.log.WarnContext(ctx, "compaction not begun", "error", err)
		return
	}
	p.answerCompact("base " + c.running.id + " is being made; it is served, with what changes meanwhile over it, when it is done: condition Compacted")
}

// answerCompact tells an operator who asked for a compaction what came of it.
func (p *pass) answerCompact(message string) {
	if p.compaction.asked = false; p.request != nil && p.request.Verb == VerbCompact {
		p.message = message
	}
}

// beginCompaction starts a full build of the catalogue as it is served.
func (p *pass) beginCompaction(ctx context.Context, due string) error {
	if err := errors.Join(p.openLedger(ctx), p.raiseFormat(ctx)); err != nil {
		return err
	}
	id, err := p.newID(ctx)
	if err != nil {
		return err
	}
	b := store.Building{ID: id, Epoch: p.lease.epoch(), DesiredDigest: p.source.digest(), At: p.now.UTC()}
	if err := p.changeGC(ctx, func(doc *store.GC) { doc.Building = &b }); err != nil {
		return err
	}
	// The term's context, which outlives the pass.
	ctx, cancel := context.WithCancel(p.termCtx)
	run := &compaction{id: id, cancel: cancel, done: make(chan struct{})}
	p.compaction.running = run
	p.log.InfoContext(ctx, "compaction begun", "snapshot", id, "why", due)
	q := p.compactor(id)
	go func() {
		defer close(run.done)
		defer cancel()
		run.made, run.err = q.compact(ctx)
	}()
	return nil
}

// compactor is a pass of its own, in a scratch of its own, that builds from what this one saw. It shares the lease and the
// ledger, which are safe for that, and nothing else.
func (p *pass) compactor(id string) *pass {
	r := &Reconciler{
		Deps: p.Deps, cfg: p.cfg, spec: p.spec, specDigest: p.specDigest, owner: p.owner, lease: p.lease,
		status: p.status, statusRead: true, rehashed: map[string]bool{}, manifests: map[string]manifestOf{}, newest: id,
	}
	r.Progress, r.Metrics, r.Tell = silent{}, nil, nil
	r.cfg.Dir = filepath.Join(p.cfg.Dir, "compaction")
	// Asked before every write: a lost lease must not be found out at the end of an hour.
	r.Objects = store.Hooked(p.Objects, func(_ context.Context, op, _ string, call func() error) error {
		if op == store.OpPut || op == store.OpPutFile {
			if err := p.lease.check(); err != nil {
				return err
			}
		}
		return call()
	})
	q := r.newPass(passOptions{})
	q.pointer, q.control, q.now = p.pointer, p.control, p.now
	q.source.Source, q.source.dropIns, q.source.desired = p.source.Source, p.source.dropIns, p.source.desired
	q.ledger = p.ledger
	q.role, q.plan = store.RoleBase, plan{do: build, reason: ReasonCompacted}
	return q
}

// compact builds, judges and uploads the base.
func (q *pass) compact(ctx context.Context) (made manifestOf, err error) {
	defer func() {
		q.ledger = nil // the leader's
		q.close()
		q.closeComposition()
	}()
	if q.dir, err = q.scratch(); err != nil {
		return made, err
	}
	want := q.source.SHA256
	for _, step := range []func(context.Context) error{q.download, q.readGolden, q.parse} {
		if err := step(ctx); err != nil {
			return made, err
		}
	}
	if q.source.SHA256 != want {
		return made, errOvertaken
	}
	if n := len(q.files.missing); n > 0 { // what is served was embedded: only a pass may buy it again, within its budget
		return made, fmt.Errorf("%d texts of served records are not in the ledger; indexer reconcile --force embeds them", n)
	}
	for _, step := range []func(context.Context) error{q.compare, q.setAside, q.build, q.judgeBuilt, q.upload} {
		if err := step(ctx); err != nil {
			return made, err
		}
	}
	return q.chosen.manifestOf, nil
}

// errOvertaken: the catalogue is another one by now, of which the next pass knows nothing yet.
var errOvertaken = errors.New("the catalogue changed meanwhile")

// endCompaction notes what came of the one that is done.
func (p *pass) endCompaction(ctx context.Context) {
	c := &p.compaction
	run := c.running
	c.running = nil
	if run.err == nil {
		c.finished, c.failures, c.why = &run.made, 0, ""
		p.log.InfoContext(ctx, "compaction finished", "snapshot", run.id)
		return
	}
	result := compactionFailed
	switch {
	case errors.Is(run.err, ErrHeld):
		result = compactionHeld
	case errors.Is(run.err, context.Canceled), errors.Is(run.err, ErrLeaseLost), errors.Is(run.err, errOvertaken):
		result = compactionCancelled
	}
	p.Metrics.compacted(result)
	if result == compactionCancelled {
		c.after = p.Clock.Elapsed() + p.cfg.ResyncInterval
	} else {
		c.failures++
		c.after, c.why = p.Clock.Elapsed()+backoff(compactFirst, compactLast, c.failures), run.err.Error()
	}
	p.log.WarnContext(ctx, "compaction ended", "snapshot", run.id, "result", result, "error", run.err)
	if err := p.letGo(ctx); err != nil {
		p.log.WarnContext(ctx, "compaction not taken out of gc.json", "error", err)
	}
}

// stopCompaction cancels the one that is under way and waits for it.
func (r *Reconciler) stopCompaction() {
	if run := r.compaction.running; run != nil {
		run.cancel()
		<-run.done
	}
}

// adoptedBase notes that the pointer names a composition over the finished base.
func (p *pass) adoptedBase(ctx context.Context) {
	if f := p.compaction.finished; f == nil || p.pointer.Base == nil || p.pointer.Base.ID != f.m.ID {
		return
	}
	p.Metrics.compacted(compactionAdopted)
	if err := p.letGo(ctx); err != nil { // it is taken for one that is being made: it stays
		p.log.WarnContext(ctx, "compaction not taken out of gc.json", "error", err)
	}
}

// sayCompacted says how the base that is served stands.
func (p *pass) sayCompacted() {
	c := &p.compaction
	switch {
	case p.pointer == nil:
	case c.running != nil:
		p.say(Compacted, Unknown, compacting, "making "+c.running.id)
	case c.why != "":
		p.say(Compacted, False, compactionHalted, fmt.Sprintf("%d times in a row: %s; tried again within %s", c.failures, c.why, backoff(compactFirst, compactLast, c.failures)))
	case p.pointer.Base == nil:
		p.say(Compacted, True, fullSnapshot, "")
	default:
		message := fmt.Sprintf("%d changes over base %s", tailRows(p.pointer.Manifest), p.pointer.Base.ID)
		if n := p.pointer.Stats.Moved; n > 0 {
			message += fmt.Sprintf("; %d records moved within the catalogue, which the next base follows: indexer compact", n)
		}
		p.say(Compacted, True, fewChanges, message)
	}
}
