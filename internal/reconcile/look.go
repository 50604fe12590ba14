package reconcile

import (
	"context"
	"slices"
	"time"
)

// What nobody touches costs little. A pass reads the pointer, control.json and the catalogue's ETag: three requests,
// none of them a listing. The rest of what is there — the heartbeats, the files of the served snapshot, the copies for
// old readers — is looked at when the pointer or control.json is not what the last look saw, when somebody asks, and
// now and then: soon while something is unsettled, else every few minutes, within which damage and a replica that came
// or went are noticed, and before a replica is taken for dead.
const (
	unsettledPasses = 2  // 10 s at the default resync
	settledPasses   = 36 // 3 min
	mostUnsettled   = 30 * time.Second
	mostSettled     = 5 * time.Minute
)

// look is what the last look around saw; the passes between two looks go by it.
type look struct {
	done     bool
	at       time.Duration
	pointer  string // ETags as the pass that looked read them
	control  string
	replicas []replica
	broken   error
	astray   string // the first replica that the pointer does not lead
	settled  bool   // every replica alive serves the pointer's snapshot
}

// due says whether the pass looks around.
func (p *pass) lookDue() bool {
	last, elapsed := p.Reconciler.look, p.Clock.Elapsed()
	if !last.done || p.opts.asked || last.pointer != p.pointerETag || last.control != p.Reconciler.control {
		return true
	}
	resync := p.cfg.ResyncInterval
	wait := max(resync, min(unsettledPasses*resync, mostUnsettled))
	if last.settled {
		wait = max(resync, min(settledPasses*resync, mostSettled))
	}
	passed := elapsed - last.at
	return passed >= wait || slices.ContainsFunc(last.replicas, func(r replica) bool {
		return r.live() && !r.older(passed).live() // or it has beaten since
	})
}

// lookAround reads the fleet and the served snapshot, or takes over what the last look saw.
func (p *pass) lookAround(ctx context.Context) error {
	last := p.Reconciler.look
	if !p.lookDue() {
		passed := p.Clock.Elapsed() - last.at
		for _, r := range last.replicas {
			p.replicas = append(p.replicas, r.older(passed))
		}
		p.broken, p.astray = last.broken, last.astray
		return nil
	}
	p.looks = true
	p.Reconciler.look = look{} // until the pass has looked at everything, the copies included
	p.seen = look{at: p.Clock.Elapsed(), pointer: p.pointerETag, control: p.Reconciler.control}
	if err := p.readReplicas(ctx); err != nil {
		return err
	}
	return p.readServed(ctx)
}

// looked notes that the look around is complete.
func (p *pass) looked() {
	p.seen.done, p.seen.replicas, p.seen.broken, p.seen.astray = true, p.replicas, p.broken, p.astray
	p.seen.settled = p.broken == nil
	for _, r := range fleet(p.replicas, p.pointer) {
		p.seen.settled = p.seen.settled && r.State == "current" && r.Fetching == "" && r.Rejected == nil
	}
	p.Reconciler.look = p.seen
}
