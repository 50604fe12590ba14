package embed

import (
	"context"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// pacer decides when the next call may go out. It knows three brakes, from sharpest to softest:
//
//   - pause: nobody sends before Retry-After has passed. Without one, firstPause, doubled by every throttle in a row.
//   - pace: the allowed rate, either computed from x-ratelimit headers or, when a server refuses more than it accepts,
//     learned from what it did accept. Sends are then spaced evenly, so that a server with a small bucket and a long
//     Retry-After is used fully instead of being run into a wall once a second.
//   - window: calls in flight, halved by a throttle and raised by one a window of successes (AIMD, like TCP).
//
// All amounts are estimated tokens, the unit providers bill and limit by.
type pacer struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever waiting may have become shorter

	max        int           // upper bound of window
	firstPause time.Duration // after a throttle that does not say how long
	window     float64       // 1..max
	inFlight   int

	resumeAt time.Time // the pause
	nextSend time.Time // the pace's next slot
	rate     float64   // learned pace, tokens a second; 0 = none
	hinted   float64   // pace from headers; 0 = none
	told     bool      // the server states its limits: nothing to learn
	probing  bool      // the learned pace is a first guess, not yet refused

	throttles    int       // in a row
	lastThrottle time.Time // calls that started before it tell nothing new
	lastPause    time.Duration
	failing      time.Time // the first failure since the last success
	history      uint32    // outcomes of the last historyLen calls that count, 1 = throttled
	accepted     float64   // tokens since the last throttle, in calls:
	calls        int
	lows         [4]float64
	best         float64   // the highest rate seen between two throttles
	believeAt    time.Time // no pace is learned before
	since        time.Time
	paused       time.Duration // of the time since
	grownAt      time.Time
}

const (
	historyLen  = 24
	engageAt    = 11 // throttled out of historyLen before a pace is learned: random 429s must not slow everything down
	maxPause    = 30 * time.Second
	probeAfter  = 20 * time.Second // a pace unchallenged for so long is raised ever faster
	callGrowth  = 0.002            // a call, less where the pause after a throttle is longer than that between calls
	calmGrowth  = 0.0025           // a second, for every second beyond probeAfter
	probeGrowth = 0.2              // a second, while the first guess of a pace has not been refused
	firstCut    = 0.5              // of a first guess, at most
	strongCut   = 0.8              // after fewCalls
	weakCut     = 0.95             // after more
	fewCalls    = 3
	settled     = 8   // calls at a first guess
	floorOfBest = 0.5 // a pace refused below it is not what the refusals are about,
	disbelief   = 10 * time.Minute
	bestCalls   = 4    // calls between two throttles, to be a measurement
	hintMargin  = 0.97 // of a rate computed from headers: estimates of tokens differ from text to text
	minLimit    = 10   // calls a stated limit must allow for, or its rounding hides the rate
)

func newPacer(maxInFlight int, firstPause time.Duration, now time.Time) *pacer {
	return &pacer{
		changed: make(chan struct{}), max: maxInFlight, firstPause: firstPause, window: float64(maxInFlight),
		since: now, grownAt: now,
	}
}

// acquire waits until a call of cost tokens may go out. Every success must be followed by one finish.
func (p *pacer) acquire(ctx context.Context, halt <-chan struct{}, cost float64) error {
	for {
		p.mu.Lock()
		wait, ok := p.admit(time.Now(), cost)
		changed := p.changed
		p.mu.Unlock()
		if ok {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-halt:
			timer.Stop()
			return errHalted
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// admit takes a place if there is one, else says how long to wait at most.
func (p *pacer) admit(now time.Time, cost float64) (time.Duration, bool) {
	if p.inFlight >= int(p.window) {
		return time.Minute, false // finish wakes us
	}
	if d := p.resumeAt.Sub(now); d > 0 {
		return d, false
	}
	if d := p.nextSend.Sub(now); d > 0 {
		return d, false
	}
	if r := p.pace(); r > 0 {
		p.nextSend = now.Add(seconds(cost / r))
	}
	p.inFlight++
	return 0, true
}

func (p *pacer) pace() float64 {
	switch {
	case p.rate == 0:
		return p.hinted
	case p.hinted == 0:
		return p.rate
	}
	return min(p.rate, p.hinted)
}

// outcome is what one call taught about the limits.
type outcome struct {
	started   time.Time
	cost      float64 // estimated tokens
	ok        bool
	throttled bool // refused for its rate
	overload  bool // the server is in trouble: fewer calls in flight, no pace
	after     time.Duration
	quotas    []Quota
}

func (p *pacer) finish(now time.Time, o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	if !o.ok && p.failing.IsZero() {
		p.failing = now
	}
	switch {
	case o.throttled:
		p.throttled(now, o)
	case o.overload:
		p.window = max(1, p.window/2)
		p.pause(now, o.after)
	case o.ok:
		p.accept(now, o)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pacer) accept(now time.Time, o outcome) {
	p.failing, p.throttles = time.Time{}, 0
	p.accepted += o.cost
	p.calls++
	p.record(0)
	p.window = min(float64(p.max), p.window+1/p.window)
	p.hint(o)
	p.grow(now, o.cost)
}

func (p *pacer) throttled(now time.Time, o outcome) {
	if o.started.Before(p.lastThrottle) { // sent in the same volley as the one that taught us
		p.pause(now, o.after)
		return
	}
	p.throttles++
	p.record(1)
	if p.calls <= 1 && o.started.Sub(p.since) < p.paused*5/4 { // hardly back from a pause, and refused: no coincidence
		for range 3 {
			p.record(1)
		}
	}
	if !p.told {
		p.learn(now)
	}
	p.window = max(1, p.window/2)
	pause := o.after
	if pause <= 0 {
		pause = p.ownPause(o.cost)
	}
	p.accepted, p.calls, p.since, p.paused, p.lastThrottle = 0, 0, now, 0, now
	p.lastPause = pause
	p.pause(now, pause)
}

// ownPause is for servers that refuse without saying for how long.
func (p *pacer) ownPause(cost float64) time.Duration {
	if p.rate > 0 && p.throttles == 1 {
		return min(seconds(cost/p.rate), maxPause)
	}
	d := min(p.firstPause<<min(p.throttles-1, 10), maxPause)
	return time.Duration(float64(d) * (0.5 + rand.Float64()))
}

func (p *pacer) pause(now time.Time, d time.Duration) {
	if until := now.Add(d); until.After(p.resumeAt) {
		p.paused += min(d, until.Sub(p.resumeAt))
		p.resumeAt = until
	}
}

// learn takes a throttle as news about the allowed rate. Without a pace yet, accepted/elapsed cannot be above it (the
// server's bucket was empty at both ends) and accepted/active, pauses left out, is hardly below: the geometric mean is
// the first guess. A pace that is still refused at half of what the server once sustained is not the cause of the
// refusals: it is dropped, and none is learned for a while.
func (p *pacer) learn(now time.Time) {
	elapsed := now.Sub(p.since).Seconds()
	low := p.accepted / max(elapsed, 0.001)
	if p.calls >= bestCalls && !p.lastThrottle.IsZero() && low > p.best {
		p.best = low
	}
	switch {
	case p.rate > 0:
		if p.rate *= p.cut(low); p.rate < floorOfBest*p.best {
			p.rate, p.best, p.history, p.believeAt = 0, 0, 0, now.Add(disbelief)
		}
	case p.calls > 0 && now.After(p.believeAt) && (bits.OnesCount32(p.history) >= engageAt || p.even(low) && p.paused.Seconds() > elapsed/2):
		active := max(elapsed-p.paused.Seconds(), 0.001)
		p.rate = math.Sqrt(low * p.accepted / active)
		p.probing = true
	}
	p.grownAt = now
}

// cut is the share of the refused pace to go on with. The first guess is corrected as far as the measurement low says;
// later on small steps do, and keep throttles that come at random from adding up.
func (p *pacer) cut(low float64) float64 {
	switch {
	case p.calls == 0:
		return strongCut
	case p.probing && p.calls < settled:
		return min(max(math.Sqrt(low/p.rate), firstCut), strongCut)
	case p.calls < fewCalls:
		p.probing = false
		return strongCut
	}
	p.probing = false
	return weakCut
}

// even reports whether the same amount got through between each of the last throttles: a limit at work, not chance.
func (p *pacer) even(low float64) bool {
	copy(p.lows[1:], p.lows[:])
	p.lows[0] = low
	return slices.Min(p.lows[:]) > 0.7*slices.Max(p.lows[:])
}

// grow raises the learned pace with a success: by so much that one throttle for every twenty or so costs little, be it
// because the pace was too high or by chance, and ever faster when there has been none for long.
func (p *pacer) grow(now time.Time, cost float64) {
	dt := now.Sub(p.grownAt).Seconds()
	p.grownAt = now
	if p.rate == 0 || dt <= 0 {
		return
	}
	interval := cost / p.rate
	growth := callGrowth * min(1, interval/max(p.lastPause.Seconds(), 0.001))
	growth += calmGrowth * max(0, now.Sub(p.lastThrottle)-probeAfter).Seconds() * dt
	if p.probing {
		growth = probeGrowth * dt
	}
	if p.rate *= 1 + min(0.5, growth); p.rate > 1e9 {
		p.rate = 0
	}
}

// hint derives a pace from x-ratelimit headers when less than one more volley is left: (limit-remaining)/reset is the
// rate at which a provider refills, as reset is the time until remaining equals limit again.
func (p *pacer) hint(o outcome) {
	p.hinted, p.told = 0, false
	for _, q := range o.quotas {
		if q.Limit < minLimit*q.Cost { // rounding of Remaining would be as large as what it says
			continue
		}
		p.told = true
		used := q.Limit - q.Remaining
		if q.Cost <= 0 || used <= 0 || q.Reset <= 0 || q.Remaining > q.Cost*(p.window+1) {
			continue
		}
		rate := hintMargin * used / q.Reset.Seconds() / q.Cost * o.cost
		if p.hinted == 0 || rate < p.hinted {
			p.hinted = rate
		}
	}
}

func (p *pacer) record(bit uint32) {
	p.history = (p.history<<1 | bit) & (1<<historyLen - 1)
}

// stalled is how long calls have failed without a success between them.
func (p *pacer) stalled(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing.IsZero() {
		return 0
	}
	return now.Sub(p.failing)
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 3600) * float64(time.Second))
}
