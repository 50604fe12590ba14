package query

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrDeadline: SearchTimeout has passed.
var ErrDeadline = errors.New("the deadline passed")

// limited is a request's context with a deadline. It costs nothing until somebody waits for its end, which a search that
// finds a free core and knows the vector of its query does not.
type limited struct {
	context.Context // the request's

	until  time.Time
	once   sync.Once
	inner  context.Context
	cancel context.CancelFunc
}

func (l *limited) start() context.Context {
	l.once.Do(func() { l.inner, l.cancel = context.WithDeadlineCause(l.Context, l.until, ErrDeadline) })
	return l.inner
}

// Deadline implements context.Context.
func (l *limited) Deadline() (time.Time, bool) { return l.start().Deadline() }

// Done implements context.Context.
func (l *limited) Done() <-chan struct{} { return l.start().Done() }

// Err implements context.Context.
func (l *limited) Err() error { return l.start().Err() }

// Value implements context.Context.
func (l *limited) Value(key any) any { return l.start().Value(key) }

// end frees what waiting has cost. Calls that outlive the request go on reading values.
func (l *limited) end() {
	l.once.Do(func() { l.inner, l.cancel = l.Context, func() {} })
	l.cancel()
}

// blame makes an error that came of the deadline, and not of the request's own end, ErrDeadline.
func (l *limited) blame(err error) error {
	if err != nil && l.Err() != nil && l.Context.Err() == nil {
		return ErrDeadline
	}
	return err
}
