package reconcile

import (
	"errors"
	"fmt"
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

// inputKey names everything that a build or its verdict depends on.
func (p *pass) inputKey() string {
	baseline := ""
	if p.pointer != nil {
		baseline = p.pointer.ID
	}
	return fmt.Sprintf("%s|%s|%s|%s|%s|%v", p.source.SHA256, p.specDigest, p.cfg.gateSettings(), p.goldenETag, baseline, p.broken)
}

// remembered returns the outcome of the last attempt with the same inputs while it still stands.
func (p *pass) remembered() error {
	m := p.memo
	if m.err == nil || p.opts.asked || p.opts.force || m.inputs != p.inputKey() {
		return nil
	}
	if m.until != 0 && p.Clock.Elapsed() >= m.until {
		return nil
	}
	return m.err
}

// remember notes the outcome of an attempt.
func (p *pass) remember(err error) {
	key := p.inputKey()
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
