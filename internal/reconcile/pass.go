package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

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
	force  bool // rebuild though up to date
	gcOnly bool
	asked  bool // an operator waits: no backoff
	once   bool // a command's pass, by the settings of its shell
	// override: the command means them.
	override bool
	retry    bool // up to date, but for records without vectors that are tried again
}

// pass is one level-based pass: what it saw, what it made, what came of it.
type pass struct {
	*Reconciler
	opts passOptions
	id   string
	log  *slog.Logger
	dir  string // scratch
	now  time.Time
	act  store.Control

	actRead bool                  // act is what control.json says
	doomed  map[string]store.Mark // gc.json's `deleting` as this pass left it; nil: not read

	// Seen, in this order.
	pointer     *store.Pointer // nil: none, or an invalid one that could not be repaired
	pointerETag string         // "" = no object: a promotion creates it
	looks       bool           // around, and what it saw; see look.go
	seen        look
	replicas    []replica
	noPointer   reason // why the pointer is nil
	broken      error  // why the served snapshot must be rebuilt, nil = it is whole
	astray      string // which replica the pointer does not lead, "" = none
	source      source
	goldenETag  string

	// Made.
	files     *candidate
	manifest  store.Manifest
	sha       string // of the manifest's bytes
	localDir  string // where the candidate's files are, "" = not here
	plan      PlanReport
	result    string
	message   string
	origin    reason // of the snapshot that is wanted: builtNew, adopted or upToDate
	held      string // the candidate that waits for an operator
	promoted  bool   // in this pass
	overtaken bool   // somebody else wrote the pointer: look again at once
	said      []condition
	repairs   []repair
	// How a command's retention differs from the deployment's: nothing is collected by it.
	retentionDiffers string
	ledger           *store.Ledger
	request          *store.Request

	goldenKeys []store.LedgerKey // of the golden queries that were asked

	took    []any // name, seconds of each step that ended
	doing   string
	started time.Duration
}

// pass reads desired and actual state, acts on the difference and records the outcome, whatever happened.
func (r *Reconciler) pass(ctx context.Context, o passOptions) (out Outcome) {
	p := &pass{Reconciler: r, opts: o, id: uuid.NewString()[:8], now: r.Clock.Now(), result: ResultUnchanged}
	p.log = r.logger(p.id)
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

// run is the order of the protocol. A failure to build leaves the served snapshot's own upkeep running.
func (p *pass) run(ctx context.Context) error {
	err := p.observe(ctx)
	p.held = p.stillHeld(err)
	if err != nil {
		return err
	}
	suspended, pinned := p.act.Suspended != nil, p.act.Pin != nil
	p.readRetention()
	switch {
	case suspended:
		p.result, p.message = ResultSuspended, "suspended by "+p.act.Suspended.By
	case pinned:
		err = p.keepPin(ctx)
		p.result, p.message = ResultPinned, "pinned to "+p.act.Pin.ID+" by "+p.act.Pin.By
	default:
		if err = p.differs(); err != nil {
			return err
		}
		if !p.opts.gcOnly {
			err = p.converge(ctx)
		}
	}
	p.held = p.stillHeld(err)
	if errors.Is(err, ErrLeaseLost) || ctx.Err() != nil {
		return err
	}
	// The copies follow the pointer whatever operators want: a rollback must reach old readers, and a leader that died
	// between the two copies leaves a pair that does not belong together.
	if p.looks || p.promoted {
		lag := p.copyLegacy(ctx)
		if err = errors.Join(err, lag); p.looks && lag == nil {
			p.looked()
		}
	}
	if suspended || pinned || errors.Is(err, ErrLeaseLost) || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, p.collect(ctx))
}

// stillHeld is the candidate that waits for an operator after err: the one that the pass ended with, or the one of the
// last pass, unless it was promoted since or this pass made the catalogue's own snapshot current.
func (p *pass) stillHeld(err error) string {
	if h, ok := errors.AsType[*heldCandidate](err); ok && h.id != "" {
		return h.id
	}
	if p.origin != "" && err == nil || p.pointer != nil && p.pointer.ID == p.status.Held {
		return ""
	}
	return p.status.Held
}

// observe reads the pointer first, then the operator's intent, then what it is compared with. The ETag read
// here is the one a promotion will use: whatever an operator or another leader writes from now on makes that
// promotion fail.
func (p *pass) observe(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		p.readPointer, p.readControl, p.lookAround, p.readSource,
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

// converge makes the served snapshot the one of the current source, spec and settings.
func (p *pass) converge(ctx context.Context) error {
	if p.source.err != nil {
		return p.source.err
	}
	if p.upToDate() && !p.opts.force {
		due, err := p.retryDue(ctx)
		if err != nil {
			return err
		}
		if !due {
			return p.unchanged(ctx)
		}
		p.opts.retry = true
	}
	if p.pointer != nil && p.pointer.Spec.Unknown != "" && !p.opts.force {
		// By our spec it would be another one, and the release that knows it would change it back.
		return failf(Built, newerSpec, terminal, "%s was built by a newer release, with a spec that this one does not know: "+
			"waits for an indexer of that release; indexer reconcile --force builds by this one's", p.pointer.ID)
	}
	if err := p.readGolden(ctx); err != nil {
		return err
	}
	if err := p.remembered(); err != nil {
		return err
	}
	err := p.candidate(ctx)
	if errors.Is(err, errUnchanged) || p.retryFailed(ctx, err) {
		return p.unchanged(ctx)
	}
	if err == nil {
		err = p.promote(ctx)
	}
	err = stopped(ctx, err)
	p.remember(err)
	if err == nil {
		p.sayServed()
	}
	return err
}

// unchanged ends a pass with the served snapshot as the one that is wanted.
func (p *pass) unchanged(ctx context.Context) error {
	p.memo = memo{}
	p.sayBuilt(upToDate)
	p.sayServed()
	return p.sayEmbedded(ctx)
}

// sayBuilt: there is a snapshot of the current source and spec, and the gate has nothing against it.
func (p *pass) sayBuilt(origin reason) {
	p.origin = origin
	p.say(Built, True, origin, "")
	p.say(Verified, True, gatePassed, "")
}

// sayServed: the pointer names it.
func (p *pass) sayServed() {
	p.say(Promoted, True, current, p.pointer.ID)
	p.say(Held, False, notHeld, "")
}

// candidate adopts a complete snapshot of the same source and spec, or builds one.
func (p *pass) candidate(ctx context.Context) error {
	if !p.opts.force && !p.opts.retry {
		if adopted, err := p.adopt(ctx); adopted || err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{
		p.parse, p.compare, p.budget, p.embed, p.stillRefused, p.setAside, p.build, p.judgeBuilt, p.upload,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := p.lease.check(); err != nil {
			return err
		}
	}
	return nil
}

// step ends the current step and starts the next, "" for none: people see it as progress, and how long each took
// in the summary.
func (p *pass) step(name string, total int64) {
	now := p.Clock.Elapsed()
	if p.doing != "" {
		p.took = append(p.took, slog.Float64(p.doing, (now-p.started).Seconds()))
	}
	p.doing, p.started = name, now
	if name == "" {
		p.Progress.Done()
	} else {
		p.Progress.Step(name, total)
	}
}

func (p *pass) close() {
	if p.files != nil {
		p.files.close()
	}
	if p.ledger != nil {
		if err := p.ledger.Close(); err != nil {
			p.log.Warn("ledger not closed", "error", err)
		}
	}
	p.step("", 0)
	if p.dir != "" {
		if err := os.RemoveAll(p.dir); err != nil {
			p.log.Warn("scratch not removed", "error", err)
		}
	}
}
