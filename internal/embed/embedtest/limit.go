package embedtest

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Limit is a rate limit: token buckets that refill evenly. A request is admitted when all of its buckets hold what it
// needs; a refused one takes nothing.
type Limit struct {
	Requests, Texts, Tokens float64       // per second; 0 = unlimited
	Burst                   time.Duration // size of the buckets, as time to fill one; default 1 s
	After                   After         // what a 429 says
	Headers                 bool          // x-ratelimit-* with every answer
}

// After says how a 429 tells when to come back.
type After int

const (
	Seconds After = iota // Retry-After in whole seconds, rounded up, as the standard has it
	Precise              // retry-after-ms beside it
	Silent               // nothing
)

func (a After) set(h http.Header, wait time.Duration) {
	if a == Silent {
		return
	}
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	if a == Precise {
		h.Set("Retry-After-Ms", strconv.FormatInt(wait.Milliseconds()+1, 10))
	}
}

type bucket struct {
	name       string // in x-ratelimit-*, "" = not shown
	rate, size float64
	level      float64
	at         time.Time
	cost       func(*request) float64
}

func (l Limit) buckets(now time.Time) []bucket {
	burst := l.Burst
	if burst == 0 {
		burst = time.Second
	}
	var all []bucket
	add := func(name string, rate float64, cost func(*request) float64) {
		if rate > 0 {
			size := max(1, rate*burst.Seconds())
			all = append(all, bucket{name: name, rate: rate, size: size, level: size, at: now, cost: cost})
		}
	}
	add("requests", l.Requests, func(*request) float64 { return 1 })
	add("", l.Texts, func(r *request) float64 { return float64(len(r.texts)) })
	add("tokens", l.Tokens, func(r *request) float64 { return float64(r.total) })
	return all
}

func (b *bucket) fill(now time.Time) {
	b.level = min(b.size, b.level+b.rate*now.Sub(b.at).Seconds())
	b.at = now
}

// admit takes from the buckets, or says how long until they hold enough. A request larger than a bucket is admitted
// when the bucket is full, and leaves it in debt.
func (s *Server) admit(req *request) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, wait := time.Now(), time.Duration(0)
	for i := range s.bucket {
		b := &s.bucket[i]
		b.fill(now)
		if need := min(b.cost(req), b.size); b.level < need {
			wait = max(wait, time.Duration((need-b.level)/b.rate*float64(time.Second)))
		}
	}
	if wait > 0 {
		return wait, false
	}
	for i := range s.bucket {
		s.bucket[i].level -= s.bucket[i].cost(req)
	}
	return 0, true
}

// limitHeaders are OpenAI's. The caller holds mu.
func (s *Server) limitHeaders(h http.Header, now time.Time) {
	if !s.opts.Limit.Headers {
		return
	}
	for i := range s.bucket {
		b := &s.bucket[i]
		if b.name == "" {
			continue
		}
		b.fill(now)
		reset := time.Duration((b.size - b.level) / b.rate * float64(time.Second)).Round(time.Millisecond)
		h.Set("X-Ratelimit-Limit-"+b.name, fmt.Sprintf("%.0f", b.size))
		h.Set("X-Ratelimit-Remaining-"+b.name, fmt.Sprintf("%.0f", max(0, math.Floor(b.level))))
		h.Set("X-Ratelimit-Reset-"+b.name, reset.String())
	}
}
