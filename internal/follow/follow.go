package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/tracing"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// What to do when the old and the new index do not fit into memory together.
const (
	TightRefuse = "refuse"
	TightDrop   = "drop"
)

// Config of a Follower.
type Config struct {
	LocalDir      string        // VECTORSTORE_LOCAL_DIR: server/ below it is the last-good cache
	PollInterval  time.Duration // POLL_INTERVAL, jittered by ±10 %
	SwapWhenTight string        // SWAP_WHEN_TIGHT: refuse or drop
	ReplicaID     string        // of the heartbeat; default host name and process
	StoreTimeout  time.Duration // the first poll may take this long before the local cache is used
}

// Deps are what a Follower stands on. Those that are not optional are required.
type Deps struct {
	Objects store.Objects
	Layout  store.Layout
	// Keys: only snapshots whose manifest one of them signed are served; none: any is.
	Keys    store.Keys
	Indexes snapshot.Indexes // opens them, and predicts what they will take
	// Embedder returns what embeds queries for a snapshot, or why this process cannot.
	Embedder func(snapshot.Embedding) (view.Embedder, error)
	// Recent are query vectors of late, made by an embedding: a snapshot is warmed with them. Optional.
	Recent func(snapshot.Embedding) [][]float32
	// Forget is told of a view that nobody uses any more, before it is closed. Optional.
	Forget func(*view.View)
	// Synonyms is told what stands in synonyms.json, which people write, when that has changed; nil for none. Optional.
	Synonyms func(conditions.Synonyms)
	// ReleaseMemory gives freed memory outside Go's heap back to the system. Optional.
	ReleaseMemory func()
	// Pause is called now and then while a snapshot is loaded beside another, on a thread of the lowest priority: it
	// sleeps, so that loading leaves caches and memory to the searches too. Optional.
	Pause func()
	// MemoryLimit and MemoryUsed are in bytes; nil means the cgroup's limit (else the machine's memory) and this
	// process's anonymous resident memory.
	MemoryLimit func() int64
	MemoryUsed  func() int64
	Tracer      *tracing.Tracer // nil: nothing is traced
	// Spread draws from [0, 1), for times that are not to be the same in all replicas; nil means math/rand.
	Spread func() float64
}

// Follower keeps the published snapshot equal to what the pointer desires.
type Follower struct {
	holder
	cfg     Config
	deps    Deps
	version string // of the heartbeat
	log     *slog.Logger
	m       *metrics
	loader  *loader
	cache   *cache
	id      string          // of the heartbeat
	served  func(id string) // told of every publication

	// Of the goroutine in Run alone.
	etag    string         // of the pointer that was accepted last
	pending *store.Pointer // of another lineage, seen once
	loads   chan loaded
	beatAt  time.Time    // next heartbeat
	floor   store.Height // highest generation that this process served from the store, of that lineage
	floorAt time.Time    // when it was promoted
	dropped string       // Erased of the served pointer, once the local cache keeps no copy that may hold what it says
	waiting reminder
	failing reminder

	synonyms synonyms

	loading atomic.Bool // set by the same goroutine

	state      State // guarded by stateMu, as the next
	quarantine map[quarantineKey]*Refusal
	stateMu    sync.Mutex
}

// State is what is seen of the following.
type State struct {
	Answered bool           // the store answered this process
	Baseline *store.Pointer // found by the first successful poll; nil: there was none
	Desired  *store.Pointer // accepted last
	LastPoll time.Time      // last success
	PollErr  string         // of the last poll, "" after a success
	Fetching string         // id of a snapshot
	Swaps    []Swapped      // newest first
}

// Status is everything that is to be said of the following.
type Status struct {
	State
	Served  *Served  // nil: nothing is
	Source  string   // where it came from
	Refused *Refusal // the desired snapshot, when it could not be taken
}

// New returns a Follower whose heartbeats tell version, with its metrics in reg; nothing runs or is opened yet.
func New(deps Deps, cfg Config, version string, log *slog.Logger, reg prometheus.Registerer) *Follower {
	if deps.MemoryLimit == nil {
		deps.MemoryLimit = systemLimit
	}
	if deps.MemoryUsed == nil {
		deps.MemoryUsed = residentAnonymous
	}
	if deps.Pause == nil {
		deps.Pause = func() {}
	}
	if deps.Spread == nil {
		deps.Spread = rand.Float64
	}
	f := &Follower{
		cfg: cfg, deps: deps, version: version, log: log, m: newMetrics(reg),
		id:         replicaID(cfg.ReplicaID, store.NewNonce()[:8]),
		served:     func(string) {},
		loads:      make(chan loaded, 1),
		quarantine: make(map[quarantineKey]*Refusal),
	}
	f.holder.free = f.free
	f.loader = &loader{deps: deps, m: f.m, served: f.ServedID, near: f.Acquire, release: f.Release, makeRoom: f.makeRoom}
	return f
}

// Open takes the local cache.
func (f *Follower) Open() (err error) {
	f.cache, err = openCache(f.cfg.LocalDir, f.deps.Objects.URL(f.deps.Layout.Root()))
	f.loader.cache = f.cache
	return err
}

// Run follows the pointer until ctx ends. served is told of every publication.
func (f *Follower) Run(ctx context.Context, served func(id string)) {
	f.served = served
	f.start(ctx)
	f.run(ctx)
}

// Close serves nothing any more and returns when what was served is freed.
func (f *Follower) Close() error {
	f.publish(nil)
	f.wait()
	return f.cache.close()
}

// ID names this process among the heartbeats.
func (f *Follower) ID() string { return f.id }

// ResidentBytes are those of the opened indexes, the one being retired included.
func (f *Follower) ResidentBytes() int64 { return f.m.residentBytes() }

// Memory returns the limit of this process and what it uses, in bytes.
func (f *Follower) Memory() (limit, used int64) { return f.deps.MemoryLimit(), f.deps.MemoryUsed() }

// Status of now.
func (f *Follower) Status() Status {
	s := Status{State: f.current(), Source: f.source(), Refused: f.refused()}
	if v, ok := f.look(); ok {
		s.Served = &v
	}
	return s
}

// ServedAfter is how long after its promotion what is served was published; not ok where that tells nothing: this process
// found it when it started, or another promotion made it current again. The clocks are two, so it is never less than nothing.
func (s Status) ServedAfter() (d time.Duration, ok bool) {
	if s.Served == nil || len(s.Swaps) < 2 || s.Swaps[0].ID != s.Served.Manifest.ID || s.Swaps[0].Generation != s.Served.Pointer.Generation {
		return 0, false
	}
	return max(0, s.Swaps[0].At.Sub(s.Served.Pointer.PromotedAt)), true
}

// current is a copy of the state.
func (f *Follower) current() State {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	s := f.state
	s.Swaps = slices.Clone(s.Swaps)
	return s
}

// keptSwaps bounds the history of swaps that is shown.
const keptSwaps = 20

// quarantineKey: a pointer written anew is a new reason to try.
type quarantineKey struct{ id, manifest, nonce string }

func keyOf(p store.Pointer) quarantineKey { return quarantineKey{p.ID, p.ManifestSHA256, p.Nonce} }

// Refusal is a desired snapshot that could not be taken.
type Refusal struct {
	ID         string    `json:"id"`
	Generation int64     `json:"generation"`
	Reason     string    `json:"reason" doc:"hash_mismatch, missing, memory, open, embedding, disk, unsigned or store, then what happened"`
	Since      time.Time `json:"since"`
	RetryAt    time.Time `json:"retry_at"`

	Code     string `json:"-"` // of Reason
	manifest string
	tries    int
}

// Swapped is one swap in the history.
type Swapped struct {
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
	snapshot *Snapshot     // nil: nothing could be loaded
	err      error         // why it is not the target
	since    time.Time
}

// start makes the first poll and, when the store does not answer in time, loads the cached snapshot. It returns with
// the first load under way or done; run goes on from there.
func (f *Follower) start(ctx context.Context) {
	first, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
	defer cancel()
	for {
		f.poll(first)
		if f.current().Answered {
			break
		}
		if sleep(first, min(f.cfg.StoreTimeout/10, 500*time.Millisecond)) != nil {
			f.serveCached(ctx)
			break
		}
	}
	if v := f.current(); v.Desired == nil && v.PollErr != "" && f.ServedID() == "" {
		f.serveCached(ctx) // the store answers, with a pointer that cannot be followed
	}
	f.lookAtSynonyms(first)
	f.settle(ctx)
}

// run polls and loads until ctx ends, then waits for the load under way.
func (f *Follower) run(ctx context.Context) {
	timer := time.NewTimer(f.interval())
	defer timer.Stop()
	var gc collector
	for {
		gc.adjust()
		select {
		case <-ctx.Done():
			if f.loading.Load() {
				if l := <-f.loads; l.snapshot != nil {
					f.free(l.snapshot)
				}
			}
			return
		case l := <-f.loads:
			f.finish(ctx, l)
		case <-timer.C:
			pollCtx, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
			f.poll(pollCtx)
			f.lookAtSynonyms(pollCtx)
			cancel()
			timer.Reset(f.interval())
		}
		f.settle(ctx)
	}
}

// interval until the next poll, ±10 %, so that replicas started together drift apart.
func (f *Follower) interval() time.Duration {
	return time.Duration(float64(f.cfg.PollInterval) * (0.9 + 0.2*f.deps.Spread()))
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
func (f *Follower) poll(ctx context.Context) (seen bool) {
	p, info, err := store.ReadPointer(ctx, f.deps.Objects, f.deps.Layout, f.etag)
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
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
		if s.Desired != nil {
			result, s.PollErr = pollError, "the pointer is gone from the store"
		}
	case err != nil:
		if errors.Is(err, store.ErrPointerInvalid) || errors.Is(err, snapshot.ErrNewer) {
			s.Answered = true
		}
		result, s.PollErr = pollError, err.Error()
	case !f.acceptable(p, info.Date):
		f.reached()
		result = pollChanged
	default:
		if f.reached() {
			s.Baseline = &p
		}
		if s.Desired != nil && s.Desired.Lineage != p.Lineage {
			f.log.Warn("following a new lineage of snapshots", "snapshot", p.ID, "lineage", p.Lineage, "from", s.Desired.Lineage)
		}
		f.etag, f.pending = info.ETag, nil
		s.Desired = &p
		result, seen = pollChanged, true
	}
	f.m.polls.WithLabelValues(result).Inc()
	f.remind(ctx, err, result == pollError)
	return seen
}

// remind says what this server waits for: the first pointer, or a store that fails, at ERROR when the store refuses.
// f.stateMu is held.
func (f *Follower) remind(ctx context.Context, err error, failed bool) {
	s := &f.state
	if url := f.deps.Objects.URL(f.deps.Layout.Pointer()); f.waiting.due(url, s.Desired == nil && errors.Is(err, store.ErrNotFound)) {
		f.log.Info("waiting for the first pointer", "url", url)
	}
	level := slog.LevelWarn
	if store.Refusal(err) {
		level = slog.LevelError
	}
	if f.failing.due(level.String(), failed) { // not the words: they hold ids of requests
		f.log.Log(ctx, level, "pointer not read", "error", s.PollErr)
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

// reached records a successful poll; true when it is the first. f.stateMu is held.
func (f *Follower) reached() (first bool) {
	s := &f.state
	first = s.LastPoll.IsZero()
	s.Answered = true
	s.LastPoll, s.PollErr = time.Now(), ""
	f.m.lastPoll.SetToCurrentTime()
	return first
}

// acceptable applies the rules of succession: within a lineage never below a generation that was served; another lineage
// must be seen twice, so that a pointer restored from somewhere by accident and put right at once is not followed. What
// was only desired binds nobody: it may have been a mistake that was repaired. A generation that cannot have been reached
// is one: taken, it would keep this server from following the repair. now is the store's clock; f.stateMu is held.
func (f *Follower) acceptable(p store.Pointer, now time.Time) bool {
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

// raise lifts the floor to what is served now. f.stateMu is held.
func (f *Follower) raise(p store.Pointer) {
	if f.floor.Lineage != p.Lineage || f.floor.Generation < p.Generation {
		f.floor, f.floorAt = store.Height{Lineage: p.Lineage, Generation: p.Generation}, p.PromotedAt
	}
}

// announceRounds of saying what is fetched and looking again, while the pointer moves on.
const announceRounds = 4

// settle acts on desired ≠ served: confirms, starts a load or waits out a quarantine.
func (f *Follower) settle(ctx context.Context) {
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
		case err != nil && f.ServedID() != "":
			f.setFetching("")
			f.refuse(target, &loadError{ReasonStore, err})
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
func (f *Follower) announce(ctx context.Context, target store.Pointer) error {
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
func (f *Follower) todo() (target store.Pointer, ok bool) {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	d := f.state.Desired
	if d == nil {
		return store.Pointer{}, false
	}
	if h, ok := f.look(); ok && h.Pointer.ID == d.ID && h.Pointer.ManifestSHA256 == d.ManifestSHA256 {
		if h.Cached || h.Fallback || h.Pointer.Nonce != d.Nonce || h.Pointer.Generation != d.Generation || h.Pointer.Lineage != d.Lineage {
			next := *d
			if h.Pointer.Signature != nil {
				next.Signature = h.Pointer.Signature // the one that was checked
			}
			f.confirm(next)
			f.raise(next)
			f.m.served(next)
			f.beatAt = time.Time{}
			f.keep(next)
		}
		clear(f.quarantine)
		return store.Pointer{}, false
	}
	if q := f.quarantine[keyOf(*d)]; q != nil && time.Now().Before(q.RetryAt) {
		return store.Pointer{}, false
	}
	return *d, true
}
