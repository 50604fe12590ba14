package front

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// watchAfter is how long a request takes before its client's disconnect is watched for, to within as much.
	watchAfter = 5 * time.Millisecond
	// quietRounds without a request end the sweeping: a second.
	quietRounds = 200
)

// errGone is the cause of a request's end when its client has gone.
var errGone = errors.New("the client has closed the connection")

// watch cancels a request that takes long when its client disconnects. Most requests end before anything is done for
// it: a timer for each would cost more than the rest of this package.
type watch struct {
	conn   *conn
	body   *body
	cancel context.CancelCauseFunc
	since  time.Time

	mu      sync.Mutex
	over    bool
	reading chan struct{} // closed when the watch has let go of the connection
}

// watch is told of every request. end must be called when the handler has returned.
func (f *Listener) watch(c *conn, b *body, cancel context.CancelCauseFunc) *watch {
	w := &watch{conn: c, body: b, cancel: cancel, since: time.Now()}
	c.watch.Store(w)
	if !f.sweeping.Load() && f.sweeping.CompareAndSwap(false, true) {
		f.sweeps.Go(f.sweep)
	}
	return w
}

// sweep looks for requests that take long, while there are any requests.
func (f *Listener) sweep() {
	for quiet, requests := 0, 1; ; {
		pause(watchAfter, requests <= 1 && !f.busy())
		select {
		case <-f.quit:
			return
		default:
		}
		quiet++
		if requests = f.look(); requests > 0 {
			quiet = 0
		}
		if quiet < quietRounds {
			continue
		}
		f.sweeping.Store(false)
		// A request that began before that line counts on this sweep.
		if f.look() == 0 || !f.sweeping.CompareAndSwap(false, true) {
			return
		}
	}
}

// pause sleeps; where requests come one at a time, in the kernel and not in Go's scheduler. Then the process is not
// idle between two requests, as far as Go is concerned, and does not put its monitor thread to sleep after each, to
// wake it with the next and have it look around every 20 µs: that costs a lone client a tenth of its latency. With
// more requests the process is not idle anyway; with other work it needs that thread to look around often: threads of
// low priority leave a processor to the requests no sooner than it takes it from them.
func pause(d time.Duration, alone bool) {
	if !alone {
		time.Sleep(d)
		return
	}
	t := unix.NsecToTimespec(int64(d)) // shorter than the 10 ms after which the scheduler would look for more to do
	_ = unix.Nanosleep(&t, nil)
	runtime.Gosched() // begins a new 10 ms
}

func (f *Listener) busy() bool { return f.cfg.Busy != nil && f.cfg.Busy() }

// look begins what is due and reports how many requests are under way.
func (f *Listener) look() (requests int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := time.Now().Add(-watchAfter)
	for c := range f.conns {
		if w := c.watch.Load(); w != nil {
			requests++
			if w.since.Before(due) {
				w.begin()
			}
		}
	}
	return requests
}

// begin watches, once, from when the body has been read: until then the handler sees a disconnect itself.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.reading != nil || !w.body.read.Load() {
		return
	}
	done := make(chan struct{})
	w.reading = done
	_ = w.conn.net.SetReadDeadline(time.Time{})
	go func() {
		defer close(done)
		if _, err := w.conn.in.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			w.cancel(errGone)
		}
	}()
}

// end returns when the connection is the caller's alone again.
func (w *watch) end() {
	w.conn.watch.Store(nil)
	w.mu.Lock()
	w.over = true
	reading := w.reading
	if reading != nil {
		_ = w.conn.net.SetReadDeadline(time.Unix(1, 0)) // ends the read
	}
	w.mu.Unlock()
	if reading != nil {
		<-reading
	}
}
