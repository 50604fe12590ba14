package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// ErrSuperseded: another operator's request replaced ours before the leader saw it.
var ErrSuperseded = errors.New("another request replaced this one")

// LeaderAlive watches the lease until it is renewed (true), or is found released, missing or unchanged for its
// own TTL (false).
func (o *Operator) LeaderAlive(ctx context.Context) (bool, error) {
	var first string
	began := o.Clock.Elapsed()
	for {
		l, info, err := store.ReadDoc[store.Lease](ctx, o.Objects, o.Layout.Lease(), store.GetOptions{})
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCorrupt):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("read lease: %w", err)
		case l.Released:
			return false, nil
		case first == "":
			first = info.ETag
		case info.ETag != first:
			return true, nil
		}
		ttl := ttlOf(l)
		if o.Clock.Elapsed()-began >= ttl {
			return false, nil
		}
		sleep(ctx, min(ttl/10, o.poll()))
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// Request asks the live leader for work and follows it: the answer is what status.json says under our token.
func (o *Operator) Request(ctx context.Context, verb string, force bool) (store.Handled, error) {
	token := store.NewNonce()
	_, err := o.control(ctx, func(c *store.Control) {
		c.Request = &store.Request{Token: token, Verb: verb, Force: force, At: o.Clock.Now().UTC()}
	})
	if err != nil {
		return store.Handled{}, err
	}
	for {
		s, _, err := store.ReadDoc[store.Status](ctx, o.Objects, o.Layout.Status(), store.GetOptions{})
		if err == nil && s.Handled != nil && s.Handled.Token == token {
			return *s.Handled, nil
		}
		c, _, cerr := store.ReadDoc[store.Control](ctx, o.Objects, o.Layout.Control(), store.GetOptions{})
		if cerr == nil && (c.Request == nil || c.Request.Token != token) {
			return store.Handled{}, fmt.Errorf("%w: %w", ErrSuperseded, store.ErrConflict)
		}
		sleep(ctx, o.poll())
		if ctx.Err() != nil {
			return store.Handled{}, fmt.Errorf("no answer from the leader: %w", ctx.Err())
		}
	}
}

func (o *Operator) poll() time.Duration {
	if o.Poll <= 0 {
		return time.Second
	}
	return o.Poll
}
