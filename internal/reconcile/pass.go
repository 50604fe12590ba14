package reconcile

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Results of a pass.
const (
	ResultUnchanged = "unchanged"
	ResultPromoted  = "promoted"
	ResultHeld      = "held"
	ResultFailed    = "failed"
	ResultFollower  = "follower"
	ResultSuspended = "suspended"
	ResultPinned    = "pinned"
	ResultCollected = "collected"
	ResultRefused   = "refused"
)

type passOptions struct {
	force    bool // rebuild though up to date
	gcOnly   bool
	asked    bool // an operator waits: no backoff
	once     bool // a command's pass, by the settings of its shell
	override bool // the command means them
}

// pass is one level-based pass: what it saw, what it decided, what it made, and what is told of it.
type pass struct {
	*Reconciler
	view
	account
	stopwatch
	opts      passOptions
	id        string
	log       *slog.Logger
	dir       string // scratch
	plan      plan
	files     *candidate // the catalogue in scratch, and what is made of it
	chosen    chosen
	role      string // of the snapshot that is made
	damaged   bool   // the ledger has lost something
	ledger    *ledger.Ledger
	questions []ledger.Key // of the gate, that were embedded
}

// chosen is the snapshot that is to be promoted.
type chosen struct {
	manifestOf
	dir string // where its files are, "" = not here
}

// account is what is told of a pass when it ends.
type account struct {
	result    string
	message   string
	promoted  bool   // in this pass
	overtaken bool   // somebody else wrote the pointer: look again at once
	held      string // the candidate that waits for an operator
	said      []condition
	repairs   []repair
	states    map[string]int        // of the replicas, by the pointer that this pass found: what it promoted then, none can have followed yet; nil: they were not looked at
	erasing   *store.Erasing        // what is left of purged records; nil: it was not looked at
	doomed    map[string]store.Mark // gc.json's `deleting` as this pass left it; nil: not read
}

// pass reads desired and actual state, acts on the difference and records the outcome, whatever happened.
func (r *Reconciler) pass(ctx context.Context, o passOptions) (out Outcome) {
	p := r.newPass(o)
	began, beganAt := r.Clock.Elapsed(), r.Clock.Now()
	var err error
	defer func() {
		p.close()
		out = p.record(ctx, beganAt, r.Clock.Elapsed()-began, err)
	}()
	if p.dir, err = r.scratch(); err != nil {
		err = fail(Built, noScratch, transient, err)
		return
	}
	err = stopped(ctx, p.run(ctx))
	return
}

func (r *Reconciler) newPass(o passOptions) *pass {
	id := uuid.NewString()[:8]
	return &pass{
		Reconciler: r, opts: o, id: id, log: r.logger(id), account: account{result: ResultUnchanged},
		view: view{now: r.Clock.Now(), looked: map[verb]bool{}},
	}
}

// run is the order of the protocol. A failure to build leaves the served snapshot's own upkeep running.
func (p *pass) run(ctx context.Context) error {
	err := p.observe(ctx)
	if err == nil {
		err = p.lookAtCompaction(ctx)
	}
	for again := true; again && err == nil; {
		p.plan = p.decide(p.rules())
		p.log.DebugContext(ctx, "decided", "plan", p.plan.String())
		again, err = p.act(ctx)
	}
	p.decided = err == nil && p.plan.converges
	if err = stopped(ctx, err); p.plan.converges {
		if p.remember(err); err == nil {
			p.sayServed()
		}
	}
	p.held = p.stillHeld(err)
	p.tendCompaction(ctx, err)
	lost := func() bool { return errors.Is(err, ErrLeaseLost) || ctx.Err() != nil }
	// The copies follow the pointer whatever operators want: a rollback must reach old readers, and a leader that died
	// between the two copies leaves a pair that does not belong together.
	if p.plan.copies && (p.fresh || p.promoted && p.plan.do != extend) && !lost() {
		lag := p.copyLegacy(ctx)
		if err = errors.Join(err, lag); p.fresh && lag == nil {
			p.lookedAround()
		}
	}
	if p.plan.collect && !lost() {
		err = errors.Join(err, p.collect(ctx))
	}
	if p.plan.collect && !lost() {
		if rest := p.eraseRest(ctx); !errors.Is(rest, errHalted) {
			err = errors.Join(err, rest)
		}
	}
	return err
}

// observe reads the pointer first, then the operator's intent, then what it is compared with. The ETag read
// here is the one a promotion will use: whatever an operator or another leader writes from now on makes that
// promotion fail.
func (p *pass) observe(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		p.readPointer, p.readControl, p.readErasure, p.settle, p.lookAround, p.readDesired,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if p.astray != "" {
		p.say(Ready, False, replicaAstray, p.astray)
	}
	return nil
}

func (p *pass) rules() rules {
	return rules{
		passOptions: p.opts, cfg: p.cfg, spec: p.spec, specDigest: p.specDigest, status: p.status,
		memo: p.memo, retried: p.retried, elapsed: p.Clock.Elapsed(), decided: p.decided,
		rebase: p.rebased(),
	}
}

// lookFurther carries a plan out that asks for more to be seen; ok is false for any other.
func (p *pass) lookFurther(ctx context.Context) (ok bool, err error) {
	switch p.plan.do {
	case lookAtUnembedded:
		p.unembedded, err = p.servedUnembedded(ctx)
	case lookAtGolden:
		err = p.readGolden(ctx)
	case lookAtStored:
		err = p.readStored(ctx)
	case lookAtChanges:
		if err = p.readChanges(ctx); err == nil && p.change.large != "" && p.rebased() {
			return true, p.letGo(ctx) // it came too late: go on over what is served
		}
	case readCatalogue:
		if err = p.parse(ctx); err == nil {
			err = p.compare(ctx)
		}
	default:
		return false, nil
	}
	p.looked[p.plan.do] = true
	return true, err
}

// act carries the plan out; again means that there is more to decide.
func (p *pass) act(ctx context.Context) (again bool, err error) {
	if again, err = p.lookFurther(ctx); again {
		return again, err
	}
	switch p.plan.do {
	case judge:
		return true, p.rejudge(ctx, p.plan.stored)
	case wait, stop:
		return false, p.plan.err
	case keepPin:
		err = p.servePin(ctx)
	case promote:
		err = p.serveStored(ctx, p.plan.stored)
	case build:
		err = p.serveBuilt(ctx)
	case extend:
		again, err = p.serveDelta(ctx)
	case rest:
		if p.plan.converges {
			err = p.unchanged(ctx)
		}
	}
	if p.plan.result != "" {
		p.result, p.message = p.plan.result, cmp.Or(p.plan.message, p.message)
	}
	return again, err
}

// stillHeld is the candidate that waits for an operator after err: the one that the pass ended with, or the one of the
// last pass, unless it was promoted since or this pass made the catalogue's own snapshot current.
func (p *pass) stillHeld(err error) string {
	if h, ok := errors.AsType[*heldCandidate](err); ok && h.id != "" {
		return h.id
	}
	if p.plan.converges && err == nil || p.pointer != nil && p.pointer.ID == p.status.Held {
		return ""
	}
	if holds, _ := p.knownErased(p.status.Held); holds { // it goes, and could not be promoted
		return ""
	}
	return p.status.Held
}

// unchanged ends a pass with the served snapshot as the one that is wanted.
func (p *pass) unchanged(ctx context.Context) error {
	p.sayBuilt(upToDate)
	return p.sayEmbedded(ctx)
}

// sayBuilt: there is a snapshot of the current source and spec, and the gate has nothing against it.
func (p *pass) sayBuilt(origin reason) {
	p.say(Built, True, origin, "")
	p.say(Verified, True, gatePassed, "")
}

// sayServed: the pointer names it.
func (p *pass) sayServed() {
	p.say(Promoted, True, current, p.pointer.ID)
	p.say(Held, False, notHeld, "")
}

// serveBuilt builds a candidate from the catalogue in scratch and promotes it.
func (p *pass) serveBuilt(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		p.raiseForDropIns, p.embed, p.stillRefused, p.setAside, p.build, p.judgeBuilt, p.upload,
	} {
		err := step(ctx)
		if errors.Is(err, errUnchanged) || p.retryFailed(ctx, err) {
			return p.unchanged(ctx)
		}
		if err = cmp.Or(err, p.lease.check()); err != nil {
			return err
		}
	}
	return p.promote(ctx)
}

// stopwatch takes the time of a pass's steps.
type stopwatch struct {
	took    []any // name, seconds of each step that ended
	steps   []part
	doing   string
	started time.Duration
}

// part is when a step was, by the Clock.
type part struct {
	name     string
	from, to time.Duration
}

// step ends the current step and starts the next, "" for none: people see it as progress, and how long each took
// in the summary.
func (p *pass) step(name string, total int64) {
	now := p.Clock.Elapsed()
	if p.doing != "" {
		p.took = append(p.took, slog.Float64(p.doing, (now-p.started).Seconds()))
		p.steps = append(p.steps, part{p.doing, p.started, now})
	}
	p.doing, p.started = name, now
	if name == "" {
		p.Progress.Done()
	} else {
		p.Progress.Step(name, total)
	}
}

// traced tells of a pass that did something, whose steps are its parts, and returns the id of that; "" where nothing is traced.
func (p *pass) traced(ctx context.Context, out Outcome, took time.Duration) string {
	if len(p.steps) == 0 && out.Err == nil {
		return ""
	}
	now := time.Now()
	ended := p.Clock.Elapsed()
	at := func(t time.Duration) time.Time { return now.Add(t - ended) }
	_, t := p.Tracer.Begin(context.WithoutCancel(ctx), "pass", now.Add(-took))
	for _, part := range p.steps {
		t.Part(part.name, at(part.from), at(part.to))
	}
	t.Set("vectorstore.pass", p.id)
	t.Set("vectorstore.result", out.Result)
	t.Set("vectorstore.snapshot", out.SnapshotID)
	failed := ""
	if out.Err != nil {
		failed = out.Message
	}
	t.End(failed, now)
	return t.ID()
}

func (p *pass) close() {
	if p.files != nil {
		p.files.close()
	}
	if p.change != nil && p.change.served != nil && p.change.served != p.open {
		if err := p.change.served.close(); err != nil {
			p.log.Warn("records not closed", "error", err)
		}
	}
	if p.ledger != nil {
		p.closeLedger()
		p.kept = p.ledger
	}
	// What was purged must not be read from a copy, nor what was damaged.
	if p.damaged || p.erase.mark != "" || p.opts.once {
		p.closeLedger()
	}
	p.step("", 0)
	if p.dir != "" {
		if err := os.RemoveAll(p.dir); err != nil {
			p.log.Warn("scratch not removed", "error", err)
		}
	}
}
