package vecindex

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// cores hands out the right to compute. There is one for the process, because
// the cores are: however many goroutines search, at most GOMAXPROCS of them
// are inside C, so no more OS threads than that are blocked there, and a
// request that could use several cores gets only those nobody else wants.
type cores struct {
	slots   chan struct{}
	waiting atomic.Int32
	// build is held by the one build that computes; it uses all cores, and a
	// second one would only block a thread in C.
	build chan struct{}
}

// Cores is how many searches compute at a time, GOMAXPROCS when it is first
// asked for: a program that raises GOMAXPROCS for other work asks before.
func Cores() int { return cap(sharedCores().slots) }

// sharedCores is the process's; its size is fixed at the first search.
var sharedCores = sync.OnceValue(func() *cores { return newCores(runtime.GOMAXPROCS(0)) })

func newCores(n int) *cores {
	return &cores{slots: make(chan struct{}, n), build: make(chan struct{}, 1)}
}

// building runs f while no other build runs, unless ctx ends first.
func (c *cores) building(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.build <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.build }()
	return f()
}

func (c *cores) acquire() {
	select {
	case c.slots <- struct{}{}:
	default:
		c.waiting.Add(1)
		c.slots <- struct{}{}
		c.waiting.Add(-1)
	}
}

func (c *cores) tryAcquire() bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *cores) release() { <-c.slots }

// each runs f(0) … f(n-1), on this goroutine and on as many helpers as there
// are idle cores. Between pieces everyone yields to waiting requests: helpers
// by stopping, the caller by queueing again. The first error ends the run.
func (c *cores) each(n int, f func(piece int) error) error {
	var (
		next   atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
	)
	piece := func() bool {
		i := int(next.Add(1)) - 1
		if i >= n || failed.Load() != nil {
			return false
		}
		if err := f(i); err != nil {
			failed.CompareAndSwap(nil, &err)
		}
		return true
	}
	c.acquire()
	for helpers := 1; helpers < min(n, cap(c.slots)) && c.tryAcquire(); helpers++ {
		wg.Go(func() {
			defer c.release()
			for piece() && c.waiting.Load() == 0 {
			}
		})
	}
	for piece() {
		if c.waiting.Load() > 0 {
			c.release()
			c.acquire()
		}
	}
	c.release()
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
