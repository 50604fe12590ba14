package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// follower keeps the published snapshot equal to what the pointer desires.
type follower struct {
	cfg    Config
	deps   Deps
	log    *slog.Logger
	m      *metrics
	holder *holder
	loader *loader
	cache  *cache
	id     string          // of the heartbeat
	served func(id string) // told of every publication

	// Of the goroutine in run alone.
	etag    string         // of the pointer that was accepted last
	pending *store.Pointer // of another lineage, seen once
	loads   chan loaded
	beatAt  time.Time    // next heartbeat
	floor   store.Height // highest generation that this process served from the store, of that lineage
	floorAt time.Time    // when it was promoted
	waiting reminder
	failing reminder

	loading atomic.Bool // set by the same goroutine

	mu    sync.Mutex
	state followState
}

// followState is what answers show of the following.
type followState struct {
	answered   bool           // the store answered this process
	baseline   *store.Pointer // found by the first successful poll; nil: there was none
	desired    *store.Pointer // accepted last
	lastPoll   time.Time      // last success
	pollErr    string         // of the last poll, "" after a success
	fetching   string
	quarantine map[quarantineKey]*refusal
	swaps      []swapped // newest first
}

// keptSwaps bounds the history of swaps that is shown.
const keptSwaps = 20

// quarantineKey: a pointer written anew is a new reason to try.
type quarantineKey struct{ id, manifest, nonce string }

func keyOf(p store.Pointer) quarantineKey { return quarantineKey{p.ID, p.ManifestSHA256, p.Nonce} }

// refusal is a desired snapshot that could not be taken.
type refusal struct {
	ID         string    `json:"id"`
	Generation int64     `json:"generation"`
	Reason     string    `json:"reason" doc:"hash_mismatch, missing, memory, open, embedding, disk, unsigned or store, then what happened"`
	Since      time.Time `json:"since"`
	RetryAt    time.Time `json:"retry_at"`

	code     string // of Reason
	manifest string
	tries    int
}

// swapped is one swap in the history.
type swapped struct {
	ID         string    `json:"id"`
	Generation int64     `json:"generation"`
	At         time.Time `json:"at"`
	Seconds    float64   `json:"seconds" doc:"From the decision to publication"`
	Vectors    int       `json:"vectors"`
	Source     string    `json:"vectorstore_source"`
}

// loaded is what a load came to.
type loaded struct {
	target   store.Pointer // what was desired
	snapshot *view         // nil: nothing could be loaded
	err      error         // why it is not the target
	since    time.Time
}

// start makes the first poll and, when the store does not answer in time, loads the cached snapshot. It returns with
// the first load under way or done; run goes on from there.
func (f *follower) start(ctx context.Context) {
	first, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
	defer cancel()
	for {
		f.poll(first)
		if f.view().answered {
			break
		}
		if sleep(first, min(f.cfg.StoreTimeout/10, 500*time.Millisecond)) != nil {
			f.serveCached(ctx)
			break
		}
	}
	if v := f.view(); v.desired == nil && v.pollErr != "" && f.holder.id() == "" {
		f.serveCached(ctx) // the store answers, with a pointer that cannot be followed
	}
	f.settle(ctx)
}

// run polls and loads until ctx ends, then waits for the load under way.
func (f *follower) run(ctx context.Context) {
	timer := time.NewTimer(f.pause())
	defer timer.Stop()
	var gc collector
	for {
		gc.adjust()
		select {
		case <-ctx.Done():
			if f.loading.Load() {
				if l := <-f.loads; l.snapshot != nil {
					f.discard(l.snapshot)
				}
			}
			return
		case l := <-f.loads:
			f.finish(ctx, l)
		case <-timer.C:
			pollCtx, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
			f.poll(pollCtx)
			cancel()
			timer.Reset(f.pause())
		}
		f.settle(ctx)
	}
}

// pause until the next poll: the interval ±10 %, so that replicas started together drift apart.
func (f *follower) pause() time.Duration {
	return time.Duration(float64(f.cfg.PollInterval) * (0.9 + 0.2*rand.Float64()))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// poll reads the pointer once and decides whether it is to be followed. seen says that what is desired now is what the
// store's pointer says.
func (f *follower) poll(ctx context.Context) (seen bool) {
	p, info, err := store.ReadPointer(ctx, f.deps.Objects, f.deps.Layout, f.etag)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.state
	var result string
	switch {
	case errors.Is(err, store.ErrNotModified):
		f.reached()
		result, seen = pollUnchanged, true
	case errors.Is(err, store.ErrNotFound):
		f.reached()
		f.etag, f.pending = "", nil
		result = pollUnchanged
		if s.desired != nil {
			result, s.pollErr = pollError, "the pointer is gone from the store"
		}
	case err != nil:
		if errors.Is(err, store.ErrPointerInvalid) || errors.Is(err, snapshot.ErrNewer) {
			s.answered = true
		}
		result, s.pollErr = pollError, err.Error()
	case !f.acceptable(p, info.Date):
		f.reached()
		result = pollChanged
	default:
		if f.reached() {
			s.baseline = &p
		}
		if s.desired != nil && s.desired.Lineage != p.Lineage {
			f.log.Warn("following a new lineage of snapshots", "snapshot", p.ID, "lineage", p.Lineage, "from", s.desired.Lineage)
		}
		f.etag, f.pending = info.ETag, nil
		s.desired = &p
		result, seen = pollChanged, true
	}
	f.m.polls.WithLabelValues(result).Inc()
	f.remind(ctx, err, result == pollError)
	return seen
}

// remind says what this server waits for: the first pointer, or a store that fails, at ERROR when the store refuses.
// f.mu is held.
func (f *follower) remind(ctx context.Context, err error, failed bool) {
	s := &f.state
	if url := f.deps.Objects.URL(f.deps.Layout.Pointer()); f.waiting.due(url, s.desired == nil && errors.Is(err, store.ErrNotFound)) {
		f.log.Info("waiting for the first pointer", "url", url)
	}
	level := slog.LevelWarn
	if store.Refusal(err) {
		level = slog.LevelError
	}
	if f.failing.due(level.String(), failed) { // not the words: they hold ids of requests
		f.log.Log(ctx, level, "pointer not read", "error", s.pollErr)
	}
}

// reminder says the same again after remindEvery only.
type reminder struct {
	said string
	at   time.Time
}

const remindEvery = time.Minute

// due tells whether to say what now, while it holds.
func (r *reminder) due(what string, holds bool) bool {
	if !holds {
		*r = reminder{}
		return false
	}
	if what == r.said && time.Since(r.at) < remindEvery {
		return false
	}
	*r = reminder{what, time.Now()}
	return true
}

// reached records a successful poll; true when it is the first. f.mu is held.
func (f *follower) reached() (first bool) {
	s := &f.state
	first = s.lastPoll.IsZero()
	s.answered = true
	s.lastPoll, s.pollErr = time.Now(), ""
	f.m.lastPoll.SetToCurrentTime()
	return first
}

// acceptable applies the rules of succession: within a lineage never below a generation that was served; another lineage
// must be seen twice, so that a pointer restored from somewhere by accident and put right at once is not followed. What
// was only desired binds nobody: it may have been a mistake that was repaired. A generation that cannot have been reached
// is one: taken, it would keep this server from following the repair. now is the store's clock; f.mu is held.
func (f *follower) acceptable(p store.Pointer, now time.Time) bool {
	switch {
	case f.floor.Lineage == "":
		return true
	case f.floor.Lineage != p.Lineage:
		if f.pending != nil && f.pending.Lineage == p.Lineage && f.pending.Nonce == p.Nonce && f.pending.Generation == p.Generation {
			return true
		}
		f.pending = &p // the etag is left: the next poll reads it again
		f.log.Warn("pointer of another lineage seen", "lineage", p.Lineage, "snapshot", p.ID)
		return false
	case p.Generation < f.floor.Generation:
		f.pending = nil
		f.log.Warn("pointer of an older generation ignored", "generation", p.Generation, "have", f.floor.Generation)
		return false
	case p.Generation > store.Plausible(f.floor.Generation, f.floorAt, now):
		f.pending = nil
		f.log.Warn("pointer of an impossible generation ignored", "generation", p.Generation, "have", f.floor.Generation)
		return false
	}
	return true
}

// raise lifts the floor to what is served now. f.mu is held.
func (f *follower) raise(p store.Pointer) {
	if f.floor.Lineage != p.Lineage || f.floor.Generation < p.Generation {
		f.floor, f.floorAt = store.Height{Lineage: p.Lineage, Generation: p.Generation}, p.PromotedAt
	}
}

// announceRounds of saying what is fetched and looking again, while the pointer moves on.
const announceRounds = 4

// settle acts on desired ≠ served: confirms, starts a load or waits out a quarantine.
func (f *follower) settle(ctx context.Context) {
	var target store.Pointer
	todo := false
	if !f.loading.Load() && ctx.Err() == nil {
		target, todo = f.todo()
	}
	if !todo {
		_ = f.beat(ctx, false)
		return
	}
	for range announceRounds {
		err := f.announce(ctx, target)
		again, todo := f.todo()
		switch {
		case ctx.Err() != nil:
			return
		case !todo:
			f.setFetching("")
			_ = f.beat(ctx, true)
			return
		case err != nil && f.holder.id() != "":
			f.setFetching("")
			f.refuse(target, &loadError{reasonStore, err})
			return
		case err != nil || again.ID == target.ID: // with nothing to serve, better unannounced than not at all
			f.startLoad(ctx, again)
			return
		}
		target = again
	}
	f.setFetching("") // the next poll goes on
}

// announce says what is being fetched, then looks again: a collector that read the heartbeats before this one was
// written chose by a pointer that this second read sees.
func (f *follower) announce(ctx context.Context, target store.Pointer) error {
	f.setFetching(target.ID)
	if err := f.beat(ctx, true); err != nil {
		return fmt.Errorf("not announced: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
	defer cancel()
	if !f.poll(ctx) {
		return errors.New("the pointer could not be looked at again")
	}
	return nil
}

// todo returns what is to be loaded now. A new pointer to the snapshot that is served is just recorded.
func (f *follower) todo() (target store.Pointer, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.state.desired
	if d == nil {
		return store.Pointer{}, false
	}
	if h, ok := f.holder.look(); ok && h.pointer.ID == d.ID && h.pointer.ManifestSHA256 == d.ManifestSHA256 {
		if h.cached || h.fallback || h.pointer.Nonce != d.Nonce || h.pointer.Generation != d.Generation || h.pointer.Lineage != d.Lineage {
			next := *d
			if h.pointer.Signature != nil {
				next.Signature = h.pointer.Signature // the one that was checked
			}
			f.holder.confirm(next)
			f.raise(next)
			f.m.served(next)
			f.beatAt = time.Time{}
			if err := f.cache.commit(next); err != nil {
				f.log.Warn("local cache not updated", "error", err)
			}
		}
		clear(f.state.quarantine)
		return store.Pointer{}, false
	}
	if q := f.state.quarantine[keyOf(*d)]; q != nil && time.Now().Before(q.RetryAt) {
		return store.Pointer{}, false
	}
	return *d, true
}
