package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Reconciler drives the store towards the catalogue. Everything it remembers between passes is a cache of
// what the store says, or a backoff: losing it costs time, never correctness.
type Reconciler struct {
	Deps
	cfg        Config
	spec       snapshot.Spec
	specDigest string
	settled    string // why this embeds, when no setting says so
	owner      string
	lease      *lease

	// Used by the goroutine that runs passes only.
	status         store.Status // as last read or written by us
	statusETag     string
	statusRead     bool
	controlETag    string  // ETag of control.json as the last pass read it, "" = there was none
	retried        retried // the last attempt at texts that the provider refused
	lastUnembedded unembeddedOf
	lastLook       *look           // around, the last complete one
	memo           memo            // the failed or held build of unchanged inputs
	rehashed       map[string]bool // rejections that were looked into
	erased         erasedMemory
	manifests      map[string]manifestOf
	parts          map[string][]string // what stored delta snapshots are made of besides themselves
	open           *composition        // of the served snapshot
	answers        answers             // of its segments to golden queries
	kept           *ledger.Ledger      // of the last pass, for the next
	dropIns        dropInsRead
	bought         bool // since the ledger's segments were merged last
	compaction     compactions
	termCtx        context.Context // ends with the term
	newest         string          // id that this term knows, "" = it has not looked
	decided        bool            // every stored snapshot was decided about in this term
	raised         bool            // gc.json and lease.json were seen to be of FormatDelta in this term
	nextGC, lastGC time.Duration
	nextRehash     time.Duration // a served snapshot is not read again before
	failures       int           // consecutive transient failures
	saidCopies     bool          // that old copies lie about, with LegacyCopies off

	mu    sync.Mutex
	shown store.Status // by Status
}

// New checks the configuration; nothing is read or written yet.
func New(d Deps, cfg Config) (*Reconciler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if d.Objects == nil || d.Embedder == nil || d.Indexes == nil || d.Log == nil || d.Layout.Source == "" {
		return nil, errors.New("reconcile: a required dependency is missing")
	}
	if d.Clock.Elapsed == nil || d.Clock.Now == nil {
		d.Clock = SystemClock()
	}
	if d.Clock.Spread == nil {
		d.Clock.Spread = rand.Float64
	}
	if d.Progress == nil {
		d.Progress = silent{}
	}
	if d.Signer != nil {
		d.Keys = append(slices.Clone(d.Keys), d.Signer.Public())
	}
	owner := uuid.NewString()
	r := &Reconciler{
		Deps: d, cfg: cfg, spec: cfg.spec(), owner: owner,
		lease: &lease{
			objects: d.Objects, layout: d.Layout, clock: d.Clock, owner: owner, host: cfg.Host, ttl: cfg.LeaseTTL,
		},
		rehashed:  map[string]bool{},
		manifests: map[string]manifestOf{},
		parts:     map[string][]string{},
	}
	r.specDigest = r.spec.Digest()
	return r, nil
}

// Status is what this process last saw and did: the leader's own status, or a follower's view.
func (r *Reconciler) Status() store.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown
}

// OnceOptions of a single pass.
type OnceOptions struct {
	Force bool // rebuild even when up to date; the gate still judges
	GC    bool // only collect garbage
	Yes   bool // though the spec or the retention is not the deployment's
}

// Outcome of a pass.
type Outcome struct {
	store.Pass
	ExitCode int
	Err      error // why it failed or is held; nil otherwise
}

// Run leads or follows until ctx ends: it takes the lease when it is free, runs a pass at once and then at
// every resync, request or retry, and releases the lease on the way out. It returns nil when ctx ended, and
// an error only when the store cannot be used at all.
func (r *Reconciler) Run(ctx context.Context) error {
	if err := r.selfTest(ctx, false); err != nil {
		return stoppedNil(ctx, err)
	}
	for ctx.Err() == nil {
		ours, err := r.lease.acquire(ctx)
		switch {
		case err != nil:
			r.complain(ctx, "lease unavailable", err)
			sleep(ctx, r.Clock.jitter(r.cfg.LeaseTTL/3))
		case !ours:
			r.follow(nil)
			sleep(ctx, r.Clock.jitter(r.cfg.LeaseTTL/3))
		default:
			err := r.reign(ctx)
			switch {
			case errors.Is(err, ErrLeaseLost):
				r.Log.WarnContext(ctx, "stepped down", "error", err)
				r.follow(nil)
			case errors.Is(err, snapshot.ErrNewer): // a newer release is to lead
				r.Log.WarnContext(ctx, "stepped down", "error", err)
				r.follow(err)
				sleep(ctx, r.Clock.jitter(r.cfg.LeaseTTL/3))
			}
		}
	}
	return nil
}

// Once waits up to 2 × LEASE_TTL for the lease, runs one pass and releases it. Without the lease the
// outcome's result is "follower" and its exit code ExitConflict. ErrDiffers: refused, and nothing was written. A store
// that refuses, or that does not answer for noAnswer, ends it with ExitFailed.
func (r *Reconciler) Once(ctx context.Context, o OnceOptions) (Outcome, error) {
	if err := r.selfTest(ctx, true); err != nil {
		return Outcome{ExitCode: ExitFailed, Err: err}, err
	}
	answered := r.Clock.Elapsed()
	deadline := answered + 2*r.cfg.LeaseTTL
	for {
		ours, err := r.lease.acquire(ctx)
		if ours {
			break
		}
		if err != nil && (hopeless(err) || r.Clock.Elapsed()-answered >= noAnswer) {
			return Outcome{ExitCode: ExitFailed, Err: err}, err
		}
		if err == nil {
			answered = r.Clock.Elapsed()
			h := r.lease.holder()
			err = fmt.Errorf("the lease is with %s (%s), epoch %d: %w", h.Host, h.Owner, h.Epoch, store.ErrConflict)
		}
		if ctx.Err() != nil || r.Clock.Elapsed() >= deadline {
			out := Outcome{Pass: store.Pass{Result: ResultFollower, Message: err.Error()}, ExitCode: ExitConflict, Err: err}
			return out, err
		}
		sleep(ctx, min(r.Clock.jitter(r.cfg.LeaseTTL/10), 2*time.Second))
	}
	var out Outcome
	err := r.term(ctx, func(ctx context.Context) error {
		out = r.pass(ctx, passOptions{force: o.Force, gcOnly: o.GC, asked: true, once: true, override: o.Yes})
		return nil
	})
	return out, errors.Join(out.Err, err)
}

// reign runs passes while we lead.
func (r *Reconciler) reign(ctx context.Context) error {
	r.Log.InfoContext(ctx, "leading", "epoch", r.lease.epoch(), "owner", r.owner)
	return r.term(ctx, func(ctx context.Context) error {
		for {
			out := r.pass(ctx, passOptions{})
			if errors.Is(out.Err, ErrLeaseLost) || errors.Is(out.Err, snapshot.ErrNewer) || ctx.Err() != nil {
				return stopped(ctx, out.Err)
			}
			if err := r.idle(ctx, time.Duration(out.RequeueIn*float64(time.Second))); err != nil {
				return err
			}
		}
	})
}

// term runs work under a lease that was just acquired, with the renewals beside it, and releases it after.
// The context of work ends when the lease is lost.
func (r *Reconciler) term(ctx context.Context, work func(context.Context) error) error {
	r.status, r.statusETag, r.statusRead = store.Status{}, "", false // another leader may have written it since
	r.nextGC, r.lastLook, r.newest, r.decided, r.raised, r.compaction = 0, nil, "", false, false, compactions{}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewals := make(chan struct{})
	stop, stopRenewals := context.WithCancel(inner)
	go func() {
		defer close(renewals)
		r.lease.keep(stop, cancel)
	}()
	r.Metrics.lead(true)
	r.termCtx = inner
	err := work(inner)
	r.stopCompaction()
	stopRenewals()
	<-renewals
	r.Metrics.lead(false)
	r.closeComposition()
	r.closeLedger()
	// The last write of a leader that was asked to stop: without it the next one waits a whole TTL.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), max(r.cfg.LeaseTTL/3, time.Second))
	defer done()
	if err := r.lease.release(last); err != nil {
		r.Log.WarnContext(ctx, "lease not released", "error", err)
	}
	return err
}

// idle waits for the next pass: the requeue time, or a control.json that is not the one the last pass read,
// whichever is first. It asks only when the pass itself would not soon.
func (r *Reconciler) idle(ctx context.Context, requeue time.Duration) error {
	deadline := r.Clock.Elapsed() + requeue
	for {
		if err := r.lease.check(); err != nil {
			return err
		}
		left := deadline - r.Clock.Elapsed()
		if left <= 0 {
			return stopped(ctx, ctx.Err())
		}
		wait := left
		if left > r.cfg.ControlPoll*3/2 {
			wait = r.cfg.ControlPoll
		}
		sleep(ctx, wait)
		if ctx.Err() != nil {
			return stopped(ctx, ctx.Err())
		}
		if wait == left {
			return nil
		}
		_, info, err := store.ReadDoc[store.Control](ctx, r.Objects, r.Layout.Control(), store.GetOptions{IfNoneMatch: r.controlETag})
		if err == nil && info.ETag != r.controlETag {
			return nil // the pass reads it itself, after the pointer
		}
	}
}

const (
	// noAnswer is how long a single pass waits for a store that does not answer.
	noAnswer = 30 * time.Second
	// refusedRetry is how often a daemon asks a store that refuses: somebody must put something right first.
	refusedRetry = time.Minute
)

// hopeless tells whether a single pass gains nothing by asking again.
func hopeless(err error) bool { return store.Refusal(err) || errors.Is(err, store.ErrNoAnswer) }

// selfTest returns nil when the store honours conditional writes, and ErrUnusable when it does not. A daemon asks a
// store that it cannot reach again until ctx ends, and one that refuses too, ever more slowly. A single pass (once) ends
// with a refusal, and after noAnswer.
func (r *Reconciler) selfTest(ctx context.Context, once bool) error {
	began := r.Clock.Elapsed()
	for wait := time.Second; ; wait *= 2 {
		err := store.SelfTest(ctx, r.Objects, r.Layout)
		if err == nil || errors.Is(err, store.ErrUnusable) || once && (hopeless(err) || r.Clock.Elapsed()-began >= noAnswer) {
			return err
		}
		if r.complain(ctx, "store self-test not possible", err); store.Refusal(err) {
			wait = min(wait, refusedRetry)
		} else {
			wait = min(wait, r.cfg.ResyncInterval)
		}
		sleep(ctx, r.Clock.jitter(wait))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// complain says in the log and in the status why this process cannot lead: an ERROR when the store refuses, which only
// people can change, a WARN when it cannot be reached, which passes.
func (r *Reconciler) complain(ctx context.Context, msg string, err error) {
	level := slog.LevelWarn
	if store.Refusal(err) {
		level = slog.LevelError
	}
	r.Log.Log(ctx, level, msg, "error", err, "refused", store.Refusal(err))
	r.follow(err)
}

// scratch returns an empty directory for one pass.
func (r *Reconciler) scratch() (string, error) {
	dir := filepath.Join(r.cfg.Dir, "scratch")
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clear scratch: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make scratch: %w", err)
	}
	return dir, nil
}

func (r *Reconciler) logger(id string) *slog.Logger { return r.Log.With("reconcile", id) }

// sleep waits d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// stoppedNil returns nil when ctx is what ended the work.
func stoppedNil(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
