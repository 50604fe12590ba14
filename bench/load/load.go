package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Latencies are kept from 1 µs to 60 s with three significant digits: below 0.1 % error, 150 kB per histogram.
const (
	lowest  = int64(time.Microsecond)
	highest = int64(60 * time.Second)
	digits  = 3
)

// requestTimeout ends an exchange with a server that hangs.
const requestTimeout = 30 * time.Second

// Target is a server and what is asked of it: the requests are sent in turn, again from the first after the last.
type Target struct {
	Addr     string
	Requests [][]byte
}

// Result of one run. Failed requests (no answer, or a status other than 200) are in no latency and no rate.
type Result struct {
	Requests int64 // answered with 200 inside the measured time
	Failed   int64
	Elapsed  time.Duration
	Error    error // the first failure, for people
	hist     *hdrhistogram.Histogram
}

// Rate is answered requests per second.
func (r Result) Rate() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Quantile returns the latency at q in 0..1.
func (r Result) Quantile(q float64) time.Duration {
	return time.Duration(r.hist.ValueAtQuantile(q * 100))
}

// recorder is one worker's share of a Result.
type recorder struct {
	hist     *hdrhistogram.Histogram
	requests int64
	failed   int64
	err      error
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(lowest, highest, digits) }

func (r *recorder) record(latency time.Duration, status int, err error) {
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		r.failed++
		if r.err == nil {
			r.err = err
		}
		return
	}
	r.requests++
	r.hist.RecordValue(min(max(int64(latency), lowest), highest)) // cannot fail within the bounds
}

func merge(workers []recorder, elapsed time.Duration) Result {
	out := Result{Elapsed: elapsed, hist: newHistogram()}
	for _, w := range workers {
		out.Requests += w.requests
		out.Failed += w.failed
		out.hist.Merge(w.hist)
		if out.Error == nil {
			out.Error = w.err
		}
	}
	return out
}

// Closed keeps clients requests in flight: each sends its next when it has the last answer. It measures throughput,
// and with one client the latency of an idle server; under load its latencies leave out what would have waited, so
// use Open for those. The first warm of the time is not counted.
func Closed(ctx context.Context, t Target, clients int, warm, measure time.Duration) (Result, error) {
	if clients < 1 || len(t.Requests) == 0 {
		return Result{}, errors.New("no clients or no requests")
	}
	begin := time.Now().Add(warm)
	workers := closed(ctx, t, clients, begin, begin.Add(measure))
	return merge(workers, measure), ctx.Err()
}

// While is Closed without warming up, until ctx ends.
func While(ctx context.Context, t Target, clients int) (Result, error) {
	if clients < 1 || len(t.Requests) == 0 {
		return Result{}, errors.New("no clients or no requests")
	}
	begin := time.Now()
	workers := closed(ctx, t, clients, begin, begin.Add(24*time.Hour))
	return merge(workers, time.Since(begin)), nil
}

func closed(ctx context.Context, t Target, clients int, begin, end time.Time) []recorder {
	workers := make([]recorder, clients)
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		workers[i].hist = newHistogram()
		wg.Go(func() {
			c := &conn{addr: t.Addr, timeout: requestTimeout}
			defer c.close()
			for ctx.Err() == nil {
				start := time.Now()
				if !start.Before(end) {
					return
				}
				n := next.Add(1) - 1
				status, _, err := c.do(t.Requests[int(n)%len(t.Requests)])
				done := time.Now()
				// What ends inside the measured time counts, so that slow servers are not flattered by a last round.
				if done.After(begin) && done.Before(end) {
					workers[i].record(done.Sub(start), status, err)
				}
				if err != nil {
					time.Sleep(time.Millisecond) // a server that is gone must not turn this into a spin
				}
			}
		})
	}
	wg.Wait()
	return workers
}

// Open sends rate requests per second on schedule whatever the answers do, over at most conns connections, and takes
// each latency from the moment the request was due: a stall counts for every request that it held up (no coordinated
// omission).
func Open(ctx context.Context, t Target, rate float64, conns int, measure time.Duration) (Result, error) {
	if rate <= 0 || conns < 1 || len(t.Requests) == 0 {
		return Result{}, errors.New("no rate, no connections or no requests")
	}
	total := int64(rate * measure.Seconds())
	due := make(chan dueRequest, total) // every request fits: the clock below never waits for a worker
	workers := make([]recorder, conns)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i].hist = newHistogram()
		wg.Go(func() {
			c := &conn{addr: t.Addr, timeout: requestTimeout}
			defer c.close()
			for d := range due {
				status, _, err := c.do(t.Requests[int(d.n)%len(t.Requests)])
				workers[i].record(time.Since(d.at), status, err)
			}
		})
	}
	start := time.Now()
	err := tick(ctx, start, rate, total, due)
	close(due)
	wg.Wait()
	return merge(workers, time.Since(start)), err
}

type dueRequest struct {
	n  int64
	at time.Time
}

// tick releases request n at start + n/rate. It sleeps in the kernel: the runtime's timers can be a millisecond late
// when nothing else runs, ten times the latencies to be measured.
func tick(ctx context.Context, start time.Time, rate float64, total int64, due chan<- dueRequest) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range total {
		at := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		for wait := time.Until(at); wait > 0; wait = time.Until(at) {
			if err := ctx.Err(); err != nil {
				return err
			}
			ts := unix.NsecToTimespec(int64(min(wait, 10*time.Millisecond)))
			_ = unix.Nanosleep(&ts, nil) // an early return is seen by the loop
		}
		due <- dueRequest{n, at}
	}
	return nil
}

// Each sends every request once over conns connections and hands the answers to answer, serially, in any order; body
// is valid during the call. For checking answers, not for timing.
func Each(ctx context.Context, t Target, conns int, answer func(i, status int, body []byte) error) error {
	var (
		mu   sync.Mutex
		errs []error
		next atomic.Int64
		wg   sync.WaitGroup
	)
	for range conns {
		wg.Go(func() {
			c := &conn{addr: t.Addr, timeout: requestTimeout}
			defer c.close()
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= len(t.Requests) {
					return
				}
				status, body, err := c.do(t.Requests[i])
				mu.Lock()
				if err == nil {
					err = answer(i, status, body)
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("request %d: %w", i, err))
				}
				stop := len(errs) > 0
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
