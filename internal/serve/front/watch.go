package front

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
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
	tick := time.NewTicker(watchAfter)
	defer tick.Stop()
	for quiet := 0; ; {
		select {
		case <-tick.C:
		case <-f.quit:
			return
		}
		if quiet++; f.look() {
			quiet = 0
		}
		if quiet < quietRounds {
			continue
		}
		f.sweeping.Store(false)
		// A request that began before that line counts on this sweep.
		if !f.look() || !f.sweeping.CompareAndSwap(false, true) {
			return
		}
	}
}

// look begins what is due and reports whether any request is under way.
func (f *Listener) look() (any bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := time.Now().Add(-watchAfter)
	for c := range f.conns {
		if w := c.watch.Load(); w != nil {
			any = true
			if w.since.Before(due) {
				w.begin()
			}
		}
	}
	return any
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
