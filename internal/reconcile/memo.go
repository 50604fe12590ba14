package reconcile

import (
	"errors"
	"time"
)

// memo remembers that a build of certain inputs failed or was held, so that it is not repeated before the
// inputs change or the backoff is over. It lives in memory: a restart repeats the build once.
type memo struct {
	inputs   string
	attempts int
	until    time.Duration // on the monotonic clock; 0 = until the inputs change
	err      error
}

// stands says whether an attempt with the same inputs would end as the last one did.
func (m memo) stands(inputs string, elapsed time.Duration) bool {
	return m.err != nil && m.inputs == inputs && (m.until == 0 || elapsed < m.until)
}

// remember notes the outcome of an attempt.
func (p *pass) remember(err error) {
	key := p.inputs(p.rules())
	if err == nil {
		p.memo = memo{}
		return
	}
	var f *failure
	if !errors.As(err, &f) || f.class == transient {
		return // the loop's own retry is soon enough
	}
	m := memo{inputs: key, err: err, attempts: 1}
	if p.memo.inputs == key {
		m.attempts = p.memo.attempts + 1
	}
	if f.class == inputs {
		m.until = p.Clock.Elapsed() + backoff(p.cfg.BackoffMin, p.cfg.BackoffMax, m.attempts)
	}
	p.memo = m
}

// backoff doubles from least to most.
func backoff(least, most time.Duration, attempts int) time.Duration {
	d := least
	for range attempts - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}
