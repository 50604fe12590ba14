package follow

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// maxFallbacks bounds how many older snapshots are tried at start.
const maxFallbacks = 5

// maxRetry caps the backoff of a refused snapshot: a repair is noticed within a minute.
const maxRetry = time.Minute

// startLoad loads target in a goroutine; finish gets the outcome.
func (f *Follower) startLoad(ctx context.Context, target store.Pointer) {
	f.loading.Store(true)
	_, serving := f.look()
	since := time.Now()
	work := func() {
		l := loaded{target: target, since: since}
		defer func() {
			if p := recover(); p != nil {
				l.err = &loadError{ReasonOpen, fmt.Errorf("load panicked: %v", p)}
			}
			f.loads <- l
		}()
		l.snapshot, l.err = f.loader.load(ctx, target, serving, false)
		if l.snapshot == nil && f.ServedID() == "" && ctx.Err() == nil {
			l.snapshot = f.older(ctx, target, l.err)
		}
	}
	if serving {
		politely(work)
	} else {
		go work()
	}
}

// older finds something to serve when nothing is being served and target cannot be loaded: the newest loadable entry
// of the pointer's history when the snapshot is at fault, else the cached one.
func (f *Follower) older(ctx context.Context, target store.Pointer, why error) *Snapshot {
	if reasonOf(why) != ReasonStore {
		tries := 0
		for _, h := range target.History {
			if h.ID == target.ID || h.RolledBack || ctx.Err() != nil {
				continue
			}
			if tries++; tries > maxFallbacks {
				break
			}
			p := store.Pointer{Kind: store.KindPointer, Lineage: target.Lineage, Generation: h.Generation, PromotedAt: h.PromotedAt, Reason: h.Reason}
			p.ID = h.ID
			if s, err := f.loader.load(ctx, p, false, false); err == nil {
				s.fallback = true
				return s
			}
		}
	}
	for _, p := range f.cache.pointers() {
		if s, err := f.loader.load(ctx, p, false, true); err == nil {
			s.cached = true
			return s
		}
	}
	return nil
}

// serveCached publishes the last good snapshot of the local cache.
func (f *Follower) serveCached(ctx context.Context) {
	start := time.Now()
	for _, p := range f.cache.pointers() {
		s, err := f.loader.load(ctx, p, false, true)
		if err != nil {
			f.log.Warn("cached snapshot not usable", "snapshot", p.ID, "error", err)
			continue
		}
		s.cached = true
		f.serve(s, start)
		return
	}
	f.log.Warn("no pointer can be followed and no snapshot is cached")
}

// finish publishes or records the outcome of a load.
func (f *Follower) finish(ctx context.Context, l loaded) {
	f.loading.Store(false)
	f.setFetching("")
	if l.err != nil && ctx.Err() == nil {
		f.refuse(l.target, l.err)
	}
	if l.snapshot != nil {
		if f.overtaken(l.snapshot) {
			f.free(l.snapshot)
		} else {
			f.serve(l.snapshot, l.since)
		}
	}
	f.beatAt = time.Time{}
}

// overtaken says whether the pointer has left what was loaded on purpose meanwhile: it is back at what is served, below
// the loaded generation, or rolled back from it. When it has only moved on, what was loaded is still newer than what is
// served: under steady promotions nothing would ever be published otherwise.
func (f *Follower) overtaken(s *Snapshot) bool {
	d := f.current().Desired
	if d == nil || d.ID == s.ID() {
		return false
	}
	if h, serving := f.look(); serving && d.ID == h.Pointer.ID {
		return true
	}
	if d.Lineage != s.pointer.Lineage {
		return false
	}
	for _, h := range d.History {
		if h.ID == s.ID() && h.RolledBack && h.Generation >= s.pointer.Generation {
			return true
		}
	}
	return d.Generation < s.pointer.Generation
}

// serve makes s the served snapshot.
func (f *Follower) serve(s *Snapshot, since time.Time) {
	from := f.ServedID()
	taken := !s.fallback && !s.cached
	if taken {
		f.stateMu.Lock()
		delete(f.quarantine, keyOf(s.pointer))
		f.raise(s.pointer)
		f.stateMu.Unlock()
	}
	f.publish(s)
	f.m.served(s.pointer)
	f.m.swaps.WithLabelValues(swapOK).Inc()
	f.traced(s.pointer, since, "")
	if taken {
		f.keep(s.pointer)
	}
	source := f.source()
	f.stateMu.Lock()
	f.state.Swaps = append([]Swapped{{
		ID: s.ID(), Generation: s.pointer.Generation, At: time.Now().UTC(), Seconds: time.Since(since).Seconds(),
		Vectors: s.Vectors(), Source: source,
	}}, f.state.Swaps[:min(len(f.state.Swaps), keptSwaps-1)]...)
	f.stateMu.Unlock()
	lag, _ := f.Status().ServedAfter()
	f.m.lag.Set(lag.Seconds())
	f.log.Info("snapshot swapped", "snapshot", s.ID(), "from", from, "generation", s.pointer.Generation,
		"vectors", s.Vectors(), "source", source, "fallback", s.fallback, "seconds", time.Since(since).Seconds())
	f.served(s.ID())
}

// keep makes p the newest of the local cache.
func (f *Follower) keep(p store.Pointer) {
	f.dropped = p.Erased
	if err := f.cache.commit(p); err != nil {
		f.dropped = ""
		f.log.Warn("local cache not updated", "error", err)
	}
}

// refuse quarantines p and backs off: poll interval, doubled with every failure, ±20 %.
func (f *Follower) refuse(p store.Pointer, err error) {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	now := time.Now()
	key := keyOf(p)
	q := f.quarantine[key]
	if q == nil {
		clear(f.quarantine) // only the desired one matters
		q = &Refusal{ID: p.ID, Generation: p.Generation, Since: now.UTC(), manifest: p.ManifestSHA256}
		f.quarantine[key] = q
	}
	q.Code = reasonOf(err)
	q.Reason = q.Code + ": " + err.Error()
	wait := min(f.cfg.PollInterval<<min(q.tries, 16), maxRetry)
	q.tries++
	q.RetryAt = now.Add(time.Duration(float64(wait) * (0.8 + 0.4*f.deps.Spread()))).UTC()
	result := swapFailed
	if q.Code == ReasonMemory || q.Code == ReasonEmbedding {
		result = swapRefused
	}
	f.m.swaps.WithLabelValues(result).Inc()
	f.traced(p, time.Time{}, q.Reason)
	f.log.Error("snapshot not taken", "snapshot", p.ID, "generation", p.Generation, "reason", q.Code, "error", err, "retry_at", q.RetryAt)
}

// makeRoom is loader.makeRoom: with SWAP_WHEN_TIGHT=drop the served snapshot gives way when that is enough.
func (f *Follower) makeRoom(tight *tightError) error {
	h, serving := f.look()
	if !serving || f.cfg.SwapWhenTight != TightDrop {
		return tight
	}
	if err := fits(tight.need, tight.used-h.bytes, tight.limit); err != nil {
		return err
	}
	f.log.Warn("served snapshot dropped to make room", "snapshot", h.Pointer.ID)
	f.publish(nil)
	f.wait()
	return nil
}

// free is holder.free, and for a snapshot that was never published.
func (f *Follower) free(s *Snapshot) {
	if f.deps.Forget != nil {
		f.deps.Forget(s.View)
	}
	freed, err := s.View.Release()
	if 2*freed > s.bytes { // else it is still served, with other deltas over it
		if f.deps.ReleaseMemory != nil {
			f.deps.ReleaseMemory()
		}
		debug.FreeOSMemory() // what the load left in Go's heap, too
	}
	f.m.closed(freed) // not before: what is counted as free can be counted on
	if err != nil {
		f.log.Error("snapshot not closed cleanly", "snapshot", s.ID(), "error", err)
		return
	}
	f.log.Info("snapshot freed", "snapshot", s.ID())
}

// refused is the refusal of the desired snapshot, nil for none.
func (f *Follower) refused() *Refusal {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	if f.state.Desired == nil {
		return nil
	}
	q := f.quarantine[keyOf(*f.state.Desired)]
	if q == nil {
		return nil
	}
	c := *q
	return &c
}

func (f *Follower) setFetching(id string) {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	f.state.Fetching = id
}
