package simtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// chaos is how rough the store is. Probabilities are per call.
type chaos struct {
	before, after float64 // the request, or its answer, is lost
	slow, denied  float64
	busy          float64 // a conditional write meets another: 409, neither yes nor no
	late          float64 // the caller is told of a timeout, and the request takes effect later all the same
	stale         float64 // a listing is of an earlier moment
	maxDelay      time.Duration
	maxLag        time.Duration // of a listing
}

// weather draws how rough it gets.
func (s *schedule) weather() {
	w, rng := s.w, s.w.rng
	w.chaos = chaos{
		before: []float64{0, .01, .05}[rng.IntN(3)], after: []float64{0, .01, .05}[rng.IntN(3)],
		denied: []float64{0, 0, .01}[rng.IntN(3)], slow: []float64{0, .02, .1}[rng.IntN(3)], maxDelay: time.Duration(1+rng.IntN(20)) * time.Second,
		busy: []float64{0, .05, .2}[rng.IntN(3)], late: []float64{0, .01, .03}[rng.IntN(3)],
	}
	if rng.IntN(4) == 0 {
		w.cfg.RetainGrace = time.Duration(2+rng.IntN(8)) * time.Second
	}
	w.cfg.GateMaxRemoved = []float64{1, 1, .2}[rng.IntN(3)]
	w.newerShare = []float64{0, 0, .5}[rng.IntN(3)]
	if rng.IntN(3) == 0 {
		// A replica that nobody has seen yet is protected by the grace alone.
		w.chaos.stale, w.chaos.maxLag = .3, w.cfg.RetainGrace/2
	}
}

// errLate is what a caller is told whose request is still under way.
var errLate = fmt.Errorf("%w: timeout", storetest.ErrInjected)

// luck says what happens to a write or a deletion before it takes effect: it does now, never, or later. w.mu is held.
func (o *watched) luck(op, key string, conditional bool) (now bool, later time.Duration, err error) {
	w := o.p.w
	c := w.chaos
	if w.calm || o.p.quiet || o.p.dead {
		return true, 0, nil
	}
	o.p.perKey["luck "+op+generic(key)]++
	r := o.p.draw("luck "+op, key, o.p.perKey["luck "+op+generic(key)])
	busy, late := conditional && r.Float64() < c.busy, r.Float64() < c.late
	switch {
	case busy:
		w.tally["fault: two conditional writes meet (409)"]++
		err = fmt.Errorf("%s %s: %w: 409 conflicting conditional operation", op, key, storetest.ErrInjected)
	case late:
		w.tally["fault: late request"]++
		later = time.Duration(r.Float64() * float64(c.maxDelay))
		err = fmt.Errorf("%s %s: %w", op, key, errLate)
	default:
		return true, 0, nil
	}
	if op == store.OpPutFile || op == store.OpPut {
		w.state.interrupted()
	}
	return false, later, err
}

// rough applies a change now, later or never.
func (o *watched) rough(ctx context.Context, op, key string, conditional bool, apply func(context.Context) error) error {
	w := o.p.w
	w.mu.Lock()
	now, later, err := o.luck(op, key, conditional)
	w.mu.Unlock()
	switch {
	case now:
		return apply(ctx)
	case later > 0:
		time.AfterFunc(later, func() {
			if err := apply(context.Background()); err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
				w.say("late %s %s: %v", op, key, err)
			}
		})
	}
	return err
}

// lag is how old the listing is that the process is shown. w.mu is held.
func (o *watched) lag(prefix string) time.Duration {
	w := o.p.w
	c := w.chaos
	// A store whose listings lag is refused by the self-test when that happens to notice; here it does not.
	if w.calm || o.p.quiet || c.stale == 0 || strings.HasPrefix(prefix, w.layout.Probe("")) {
		return 0
	}
	o.p.perKey["lag "+generic(prefix)]++
	r := o.p.draw("lag", prefix, o.p.perKey["lag "+generic(prefix)])
	if r.Float64() >= c.stale {
		return 0
	}
	return time.Duration(r.Float64() * float64(c.maxLag))
}

// version of an object that is or was stored.
type version struct {
	at   time.Time
	info store.Info // as a listing shows it; no ETag: nothing was there
}

// changed notes what is stored under key now, so that a listing can be of an earlier moment. w.mu is held.
func (w *world) changed(key string) {
	if w.chaos.stale == 0 {
		return
	}
	now := time.Now()
	v := version{at: now}
	if info, err := w.mem.Head(context.Background(), key); err == nil {
		v.info = info
		v.info.Metadata, v.info.VersionID = nil, ""
	}
	old := w.versions[key]
	for len(old) > 1 && now.Sub(old[1].at) > w.chaos.maxLag {
		old = old[1:]
	}
	w.versions[key] = append(old, v)
}

// listed is what a listing of a moment ago shows. w.mu is held.
func (w *world) listed(prefix string, lag time.Duration) []store.Info {
	then := time.Now().Add(-lag)
	keys := w.mem.Keys(prefix)
	for key := range w.versions {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var out []store.Info
	for _, key := range slices.Compact(keys) {
		info, err := w.mem.Head(context.Background(), key)
		there := err == nil
		if past := w.versions[key]; len(past) > 0 {
			there, info = false, store.Info{}
			for _, v := range past {
				if !v.at.After(then) {
					there, info = v.info.ETag != "", v.info
				}
			}
		}
		if there {
			info.Metadata, info.VersionID, info.Date = nil, "", time.Now()
			out = append(out, info)
		}
	}
	return out
}

// List shows what is stored, or what was a moment ago.
func (o *watched) List(ctx context.Context, prefix string, each func(store.Info) error) error {
	w := o.p.w
	w.mu.Lock()
	lag := o.lag(prefix)
	var shown []store.Info
	if lag > 0 {
		shown = w.listed(prefix, lag)
		w.tally["fault: stale listing"]++
		if strings.HasPrefix(prefix, w.layout.Ledger()) {
			w.state.interrupted() // what somebody else bought a moment ago is not known
		}
	}
	w.mu.Unlock()
	if lag == 0 {
		return o.Objects.List(ctx, prefix, each)
	}
	for _, info := range shown {
		if err := each(info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Put is applied now, later or never.
func (o *watched) Put(ctx context.Context, key string, data []byte, c store.PutOptions) (store.Info, error) {
	return o.write(ctx, store.OpPut, key, slices.Clone(data), c)
}

// PutFile reads the file at once: a late request has it in its buffers.
func (o *watched) PutFile(ctx context.Context, key, path string, c store.PutOptions) (store.Info, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return store.Info{}, err
	}
	return o.write(ctx, store.OpPutFile, key, data, c)
}

// write stores data under the world's lock and checks what it changed.
func (o *watched) write(ctx context.Context, op, key string, data []byte, c store.PutOptions) (store.Info, error) {
	var answer store.Info
	err := o.rough(ctx, op, key, c.IfAbsent || c.IfMatch != "", func(ctx context.Context) error {
		w := o.p.w
		w.mu.Lock()
		defer w.mu.Unlock()
		old := w.mem.Data(key)
		info, err := o.Objects.Put(ctx, key, data, c)
		if err != nil {
			return err
		}
		answer = info
		o.wrote(key, old, data)
		return nil
	})
	return answer, err
}

// Delete is applied now, later or never.
func (o *watched) Delete(ctx context.Context, key string) error {
	w := o.p.w
	w.mu.Lock()
	looked := o.p.takeLook()
	w.mu.Unlock()
	return o.rough(ctx, store.OpDelete, key, false, func(ctx context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		existed := w.mem.Data(key) != nil
		if existed {
			w.state.deleting(o.p, key, looked)
		}
		if err := o.Objects.Delete(ctx, key); err != nil {
			return err
		}
		if existed {
			w.state.writes++
			w.changed(key)
			w.note("%s deletes %s", o.p.name, key)
			w.state.whole(key)
		}
		return nil
	})
}
