package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// ErrNoLeader: no indexer leads, so there is nobody to ask.
var ErrNoLeader = errors.New("no indexer is running")

// ErrSuperseded: another operator's request replaced ours before the leader saw it.
var ErrSuperseded = errors.New("another request replaced this one")

// LeaderAlive says whether somebody leads: the lease is not released, and was renewed within its TTL by the store's
// clock. A leader that died a moment ago is found out by Request.
func (o *Operator) LeaderAlive(ctx context.Context) (bool, error) {
	l, err := o.Leadership(ctx)
	return l.Alive, err
}

// watch is a lease that is being watched: nobody leads when its record stands still for its own TTL.
type watch struct {
	etag  string
	since time.Duration
}

// still looks at the lease once more and says whether it has stood still for its TTL, or is not there. A released one
// may be taken by the next indexer until then.
func (o *Operator) still(ctx context.Context, w *watch) (bool, error) {
	l, info, err := store.ReadDoc[store.Lease](ctx, o.Objects, o.Layout.Lease(), store.GetOptions{})
	switch {
	case unreadable(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read lease: %w", err)
	}
	if info.ETag != w.etag {
		w.etag, w.since = info.ETag, o.Clock.Elapsed()
	}
	return o.Clock.Elapsed()-w.since >= l.TTL(), nil
}

// Request asks the live leader for work and follows it: the answer is what status.json says under our token.
// ErrNoLeader: it died before it answered, and the request is taken back.
func (o *Operator) Request(ctx context.Context, verb string, force bool) (store.Handled, error) {
	token := store.NewNonce()
	against, err := o.mark(ctx)
	if err != nil {
		return store.Handled{}, err
	}
	_, err = o.control(ctx, func(c *store.Control) error {
		c.Request = &store.Request{Token: token, Verb: verb, Force: force, Against: against, At: o.Clock.Now().UTC()}
		return nil
	})
	if err != nil {
		return store.Handled{}, err
	}
	var leader watch
	for {
		s, _, err := store.ReadDoc[store.Status](ctx, o.Objects, o.Layout.Status(), store.GetOptions{})
		if err == nil && s.Handled != nil && s.Handled.Token == token {
			return *s.Handled, nil
		}
		c, _, cerr := store.ReadDoc[store.Control](ctx, o.Objects, o.Layout.Control(), store.GetOptions{})
		if cerr == nil && (c.Request == nil || c.Request.Token != token) {
			return store.Handled{}, fmt.Errorf("%w: %w", ErrSuperseded, store.ErrConflict)
		}
		dead, lerr := o.still(ctx, &leader)
		if dead {
			return store.Handled{}, errors.Join(fmt.Errorf("%w any more", ErrNoLeader), o.withdraw(ctx, token))
		}
		if err := errors.Join(err, cerr, lerr); hopeless(err) {
			return store.Handled{}, fmt.Errorf("follow the request: %w", err)
		}
		sleep(ctx, o.poll())
		if ctx.Err() != nil {
			return store.Handled{}, fmt.Errorf("no answer from the leader: %w", ctx.Err())
		}
	}
}

// withdraw takes a request back that nobody answered, unless another replaced it.
func (o *Operator) withdraw(ctx context.Context, token string) error {
	_, err := o.control(ctx, func(c *store.Control) error {
		if c.Request != nil && c.Request.Token == token {
			c.Request = nil
		}
		return nil
	})
	return err
}

// mark names the promotion that a request is asked against.
func (o *Operator) mark(ctx context.Context) (string, error) {
	ptr, _, err := readPointerIfAny(ctx, o.Objects, o.Layout)
	return ptr.Mark(), err
}

func (o *Operator) poll() time.Duration {
	if o.Poll <= 0 {
		return time.Second
	}
	return o.Poll
}
