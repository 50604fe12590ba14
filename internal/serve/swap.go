package serve

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// maxFallbacks bounds how many older snapshots are tried at start.
const maxFallbacks = 5

// maxRetry caps the backoff of a refused snapshot: a repair is noticed within a minute.
const maxRetry = time.Minute

// startLoad loads target in a goroutine; finish gets the outcome.
func (f *follower) startLoad(ctx context.Context, target store.Pointer) {
	f.loading.Store(true)
	_, serving := f.holder.look()
	since := time.Now()
	work := func() {
		l := loaded{target: target, since: since}
		defer func() {
			if p := recover(); p != nil {
				l.err = &loadError{reasonOpen, fmt.Errorf("load panicked: %v", p)}
			}
			f.loads <- l
		}()
		l.snapshot, l.err = f.loader.load(ctx, target, serving, false)
		if l.snapshot == nil && f.holder.id() == "" && ctx.Err() == nil {
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
func (f *follower) older(ctx context.Context, target store.Pointer, why error) *view {
	if reasonOf(why) != reasonStore {
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
func (f *follower) serveCached(ctx context.Context) {
	start := time.Now()
	for _, p := range f.cache.pointers() {
		s, err := f.loader.load(ctx, p, false, true)
		if err != nil {
			f.log.Warn("cached snapshot not usable", "snapshot", p.ID, "error", err)
			continue
		}
		s.cached = true
		f.publish(s, start)
		return
	}
	f.log.Warn("no pointer can be followed and no snapshot is cached")
}

// finish publishes or records the outcome of a load.
func (f *follower) finish(ctx context.Context, l loaded) {
	f.loading.Store(false)
	f.setFetching("")
	if l.err != nil && ctx.Err() == nil {
		f.refuse(l.target, l.err)
	}
	if l.snapshot != nil {
		if f.overtaken(l.snapshot) {
			f.discard(l.snapshot)
		} else {
			f.publish(l.snapshot, l.since)
		}
	}
	f.beatAt = time.Time{}
}

// overtaken says whether the pointer has left what was loaded on purpose meanwhile: it is back at what is served, below
// the loaded generation, or rolled back from it. When it has only moved on, what was loaded is still newer than what is
// served: under steady promotions nothing would ever be published otherwise.
func (f *follower) overtaken(s *view) bool {
	d := f.view().desired
	if d == nil || d.ID == s.id() {
		return false
	}
	if h, serving := f.holder.look(); serving && d.ID == h.pointer.ID {
		return true
	}
	if d.Lineage != s.pointer.Lineage {
		return false
	}
	for _, h := range d.History {
		if h.ID == s.id() && h.RolledBack && h.Generation >= s.pointer.Generation {
			return true
		}
	}
	return d.Generation < s.pointer.Generation
}

// publish makes s the served snapshot.
func (f *follower) publish(s *view, since time.Time) {
	from := f.holder.id()
	taken := !s.fallback && !s.cached
	if taken {
		f.mu.Lock()
		delete(f.state.quarantine, keyOf(s.pointer))
		f.raise(s.pointer)
		f.mu.Unlock()
	}
	f.holder.publish(s)
	f.m.served(s.pointer)
	f.m.swaps.WithLabelValues(swapOK).Inc()
	if taken {
		if err := f.cache.commit(s.pointer); err != nil {
			f.log.Warn("local cache not updated", "error", err)
		}
	}
	source := f.source()
	f.mu.Lock()
	f.state.swaps = append([]swapped{{
		ID: s.id(), Generation: s.pointer.Generation, At: time.Now().UTC(), Seconds: time.Since(since).Seconds(),
		Vectors: s.index.Len(), Source: source,
	}}, f.state.swaps[:min(len(f.state.swaps), keptSwaps-1)]...)
	f.mu.Unlock()
	f.log.Info("snapshot swapped", "snapshot", s.id(), "from", from, "generation", s.pointer.Generation,
		"vectors", s.index.Len(), "source", source, "fallback", s.fallback, "seconds", time.Since(since).Seconds())
	f.served(s.id())
}

// discard frees a snapshot that was never published.
func (f *follower) discard(s *view) { f.holder.free(s) }

// refuse quarantines p and backs off: poll interval, doubled with every failure, ±20 %.
func (f *follower) refuse(p store.Pointer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	key := keyOf(p)
	q := f.state.quarantine[key]
	if q == nil {
		clear(f.state.quarantine) // only the desired one matters
		q = &refusal{ID: p.ID, Generation: p.Generation, Since: now.UTC(), manifest: p.ManifestSHA256}
		f.state.quarantine[key] = q
	}
	q.code = reasonOf(err)
	q.Reason = q.code + ": " + err.Error()
	wait := min(f.cfg.PollInterval<<min(q.tries, 16), maxRetry)
	q.tries++
	q.RetryAt = now.Add(time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))).UTC()
	result := swapFailed
	if q.code == reasonMemory || q.code == reasonEmbedding {
		result = swapRefused
	}
	f.m.swaps.WithLabelValues(result).Inc()
	f.log.Error("snapshot not taken", "snapshot", p.ID, "generation", p.Generation, "reason", q.code, "error", err, "retry_at", q.RetryAt)
}

// makeRoom is loader.makeRoom: with SWAP_WHEN_TIGHT=drop the served snapshot gives way when that is enough.
func (f *follower) makeRoom(tight *tightError) error {
	h, serving := f.holder.look()
	if !serving || f.cfg.SwapWhenTight != TightDrop {
		return tight
	}
	if err := fits(tight.need, tight.used-h.indexBytes, tight.limit); err != nil {
		return err
	}
	f.log.Warn("served snapshot dropped to make room", "snapshot", h.pointer.ID)
	f.holder.publish(nil)
	f.holder.wait()
	return nil
}

// free is holder.free.
func (f *follower) free(s *view) {
	err := s.close()
	if f.deps.ReleaseMemory != nil {
		f.deps.ReleaseMemory()
	}
	debug.FreeOSMemory()     // what the load left in Go's heap, too
	f.m.closed(s.indexBytes) // not before: what is counted as free can be counted on
	if err != nil {
		f.log.Error("snapshot not closed cleanly", "snapshot", s.id(), "error", err)
		return
	}
	f.log.Info("snapshot freed", "snapshot", s.id())
}

// view is a copy of the state to read.
func (f *follower) view() followState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.quarantine = nil
	s.swaps = append([]swapped(nil), f.state.swaps...)
	return s
}

// refused is the refusal of the desired snapshot, nil for none.
func (f *follower) refused() *refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.desired == nil {
		return nil
	}
	q := f.state.quarantine[keyOf(*f.state.desired)]
	if q == nil {
		return nil
	}
	c := *q
	return &c
}

func (f *follower) setFetching(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.fetching = id
}
