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
	fresh    bool // this pass looked
	replicas []replica
	broken   error  // why the served snapshot must be rebuilt, nil = it is whole
	astray   string // the first replica that the pointer does not lead, "" = none
	lookedAt time.Duration
	lookedBy lookKey
	settled  bool // every replica alive serves the pointer's snapshot
	extended bool // a delta was promoted since: nothing but who has followed it can be new
}

// lookKey is what a look around was made by; another is due when it changes.
type lookKey struct{ pointer, control string } // ETags

// lookDue says whether the pass looks around. last is nil when no look was completed.
func (p *pass) lookDue(last *look, key lookKey) bool {
	if last == nil || p.opts.asked || last.lookedBy != key {
		return true
	}
	resync := p.cfg.ResyncInterval
	wait := max(resync, min(unsettledPasses*resync, mostUnsettled))
	if last.extended {
		wait = max(resync, mostUnsettled)
	}
	if last.settled {
		wait = max(resync, min(settledPasses*resync, mostSettled))
	}
	passed := p.Clock.Elapsed() - last.lookedAt
	return passed >= wait || slices.ContainsFunc(last.replicas, func(r replica) bool {
		return r.live() && !r.older(passed).live() // or it has beaten since
	})
}

// lookAround reads the fleet and the served snapshot, or takes over what the last look saw.
func (p *pass) lookAround(ctx context.Context) error {
	last, key := p.lastLook, lookKey{p.pointerETag, p.controlETag}
	if !p.lookDue(last, key) {
		p.look = *last
		p.replicas = slices.Clone(last.replicas)
		for i, r := range p.replicas {
			p.replicas[i] = r.older(p.Clock.Elapsed() - last.lookedAt)
		}
		p.states = states(p.replicas, p.pointer)
		return nil
	}
	p.lastLook = nil // until the pass has looked at everything, the copies included
	p.look = look{fresh: true, lookedAt: p.Clock.Elapsed(), lookedBy: key}
	if err := p.readReplicas(ctx); err != nil {
		return err
	}
	p.states = states(p.replicas, p.pointer)
	return p.readServed(ctx)
}

// lookedPast takes a promoted delta into what the last look around saw, so that edits in a row are not looked after one by
// one.
func (p *pass) lookedPast() {
	if last := p.lastLook; last != nil && p.promoted && p.plan.do == extend {
		last.lookedBy.pointer, last.settled, last.extended = p.pointerETag, false, true
	}
}

// lookedAround notes that the look around is complete.
func (p *pass) lookedAround() {
	last := p.look
	last.fresh, last.settled = false, p.broken == nil && !p.erasingOpen()
	for _, r := range fleet(p.replicas, p.pointer) {
		last.settled = last.settled && r.State == "current" && r.Fetching == "" && r.Rejected == nil
	}
	p.lastLook = &last
	p.lookedPast()
}
