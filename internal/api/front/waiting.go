package front

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// watchAfter is how long a request waits for something before its client's disconnect is watched for.
const watchAfter = 5 * time.Millisecond

// waiting is the context of one request. It costs nothing until somebody waits for its end: then, a few milliseconds
// later, the connection is watched, and the context ends when the client closes it or its side of it. Most requests end
// before anybody waits: a watch for each, as net/http has it, would cost more than the rest of this package.
type waiting struct {
	conn *conn
	body *body

	mu      sync.Mutex
	done    chan struct{} // nil until somebody asks
	err     error
	told    map[*func()]struct{}
	timer   *time.Timer
	reading chan struct{} // closed when the watch has let go of the connection
	over    bool          // the handler has returned
}

// Deadline implements context.Context.
func (w *waiting) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (w *waiting) Value(any) any { return nil }

// Err implements context.Context.
func (w *waiting) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Done implements context.Context.
func (w *waiting) Done() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arm()
	return w.done
}

// AfterFunc spares contexts that are derived from this one a goroutine each; see context.AfterFunc.
func (w *waiting) AfterFunc(f func()) (stop func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.arm(); w.err != nil {
		go f()
		return func() bool { return false }
	}
	if w.told == nil {
		w.told = make(map[*func()]struct{})
	}
	key := &f
	w.told[key] = struct{}{}
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, waits := w.told[key]
		delete(w.told, key)
		return waits
	}
}

// arm has the connection watched soon. w.mu is held.
func (w *waiting) arm() {
	if w.done != nil {
		return
	}
	w.done = make(chan struct{})
	if w.err != nil {
		close(w.done)
	} else if !w.over {
		w.timer = time.AfterFunc(watchAfter, w.watch)
	}
}

// watch reads ahead on the connection, once the body has been read: until then the handler sees a disconnect itself.
func (w *waiting) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return
	case !w.body.read.Load():
		w.timer.Reset(watchAfter)
		return
	}
	done := make(chan struct{})
	w.reading = done
	_ = w.conn.net.SetReadDeadline(time.Time{})
	go func() {
		defer close(done)
		if _, err := w.conn.in.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			w.cancel()
		}
	}()
}

func (w *waiting) cancel() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = context.Canceled
	if w.done != nil {
		close(w.done)
	}
	for f := range w.told {
		go (*f)()
	}
	w.told = nil
}

// end is called when the handler has returned; after it the connection is the caller's alone.
func (w *waiting) end() {
	w.mu.Lock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
	reading := w.reading
	if reading != nil {
		_ = w.conn.net.SetReadDeadline(time.Unix(1, 0)) // ends the read
	}
	w.mu.Unlock()
	if reading != nil {
		<-reading
	}
	w.cancel()
}
