package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// selfTestWriters race for one key in the self-test.
const selfTestWriters = 8

// SelfTest finds out on a fresh probe key whether the store honours conditional writes: of 8 concurrent IfAbsent
// writes exactly one must win, a stale IfMatch must fail and the right one succeed. ErrUnusable says what it did
// instead, Refusal that it will not let us write or find out; any other error says nothing about the store.
func SelfTest(ctx context.Context, objects Objects, l Layout) (err error) {
	key := l.Probe(NewNonce())
	defer func() {
		// Also when ctx has ended: a probe that stays is only litter, so there is not much time for it.
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if derr := objects.Delete(cctx, key); derr != nil && err == nil {
			err = fmt.Errorf("self-test: remove the probe: %w", derr)
		}
	}()
	infos, errs := race(ctx, objects, key)
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			return fmt.Errorf("self-test: %w: two of %d concurrent If-None-Match writes succeeded", ErrUnusable, selfTestWriters)
		case err == nil:
			winner = i
		case errors.Is(err, ErrNotFound): // nothing is looked for
			return fmt.Errorf("self-test: %w: a write is answered with %w", ErrRefused, err)
		case !errors.Is(err, ErrConflict):
			return fmt.Errorf("self-test: %w", err)
		}
	}
	if winner < 0 {
		return fmt.Errorf("self-test: %w: none of %d concurrent If-None-Match writes succeeded", ErrUnusable, selfTestWriters)
	}
	first := infos[winner].ETag
	second, err := WriteBytes(ctx, objects, key, []byte("second "+NewNonce()), PutOptions{IfMatch: first})
	if errors.Is(err, ErrConflict) {
		return fmt.Errorf("self-test: %w: a write with the current ETag was refused", ErrUnusable)
	}
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	if second.ETag == first {
		return fmt.Errorf("self-test: %w: the ETag of other bytes is the same", ErrUnusable)
	}
	_, err = WriteBytes(ctx, objects, key, []byte("third "+NewNonce()), PutOptions{IfMatch: first})
	if err == nil {
		return fmt.Errorf("self-test: %w: a write with a stale ETag succeeded", ErrUnusable)
	}
	if !errors.Is(err, ErrConflict) {
		return fmt.Errorf("self-test: %w", err)
	}
	return listed(ctx, objects, key)
}

// listed wants a key that was just written in a listing.
func listed(ctx context.Context, objects Objects, key string) error {
	found := false
	err := objects.List(ctx, key, func(i Info) error {
		found = found || i.Key == key
		return nil
	})
	if err != nil {
		return fmt.Errorf("self-test: list: %w", err)
	}
	if !found {
		return fmt.Errorf("self-test: %w: a key that was written is not listed", ErrUnusable)
	}
	return nil
}

// race writes different bytes to one absent key from all writers at once.
func race(ctx context.Context, objects Objects, key string) ([]Info, []error) {
	infos, errs := make([]Info, selfTestWriters), make([]error, selfTestWriters)
	var wg sync.WaitGroup
	for i := range selfTestWriters {
		wg.Go(func() {
			body := fmt.Appendf(nil, "writer %d %s", i, NewNonce())
			infos[i], errs[i] = WriteBytes(ctx, objects, key, body, PutOptions{IfAbsent: true})
		})
	}
	wg.Wait()
	return infos, errs
}
