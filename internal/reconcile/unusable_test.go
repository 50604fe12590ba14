package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

var errDown = errors.New("connection refused")

// failing makes every call whose key holds part fail with err, until it is put right.
func (r *rig) failing(part string, err error) (putRight func()) {
	var right atomic.Bool
	r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
		if strings.Contains(key, part) && !right.Load() {
			return fmt.Errorf("%s %s: %w", op, key, err)
		}
		return call()
	})
	return func() { right.Store(true) }
}

func TestASinglePassEndsWhateverTheStoreDoes(t *testing.T) {
	for _, c := range []struct {
		name, part string
		err        error
		within     time.Duration
	}{
		{"denied", "probe/", store.ErrDenied, time.Second},
		{"refused", "probe/", store.ErrRefused, time.Second},
		{"silent for as long as the store's client waits", "probe/", store.ErrNoAnswer, time.Second},
		{"down", "probe/", errDown, 45 * time.Second},
		{"the lease is denied", "lease.json", store.ErrDenied, time.Second},
		{"the lease cannot be reached", "lease.json", errDown, 45 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.catalogue(0, 3, "a")
				r.failing(c.part, c.err)
				began := time.Now()
				out, err := r.indexer().Once(t.Context(), reconcile.OnceOptions{})
				if !errors.Is(err, c.err) || out.ExitCode != reconcile.ExitFailed || reconcile.ExitCode(err) != reconcile.ExitFailed {
					t.Errorf("%v, exit %d", err, out.ExitCode)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestASinglePassWaitsForAStoreThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		time.AfterFunc(20*time.Second, r.failing("", errDown))
		r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	})
}

func TestADaemonSaysWhatAStoreRefusesAndGoesOnWhenItIsPutRight(t *testing.T) {
	for _, c := range []struct {
		err           error
		level, reason string
		most          int // lines in an hour
	}{
		{store.ErrDenied, "ERROR", "StoreRefuses", 75},
		{errDown, "WARN", "StoreUnavailable", 1000},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.catalogue(0, 3, "a")
			putRight := r.failing("", c.err)
			x := r.indexer()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- x.Run(ctx) }()
			time.Sleep(time.Hour)
			n := strings.Count(r.logs.String(), `"level":"`+c.level+`","msg":"store self-test not possible"`)
			if n < 10 || n > c.most {
				t.Errorf("%v: %d lines in an hour, want 10 to %d of %s", c.err, n, c.most, c.level)
			}
			s := x.Status()
			if len(s.Conditions) != 1 || s.Conditions[0].Reason != c.reason || !strings.Contains(s.Conditions[0].Message, c.err.Error()) {
				t.Errorf("%v: status %+v", c.err, s.Conditions)
			}
			putRight()
			time.Sleep(2 * time.Minute)
			if r.pointer().Generation != 1 {
				t.Errorf("%v: nothing is served after it was put right", c.err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
