package reconcile

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

const testTTL = 12 * time.Second

func newLease(o store.Objects, owner string) *lease {
	return &lease{objects: o, layout: store.NewLayout("p", ""), clock: SystemClock(), owner: owner, host: owner, ttl: testTTL}
}

func mustAcquire(t *testing.T, l *lease, want bool) {
	t.Helper()
	got, err := l.acquire(t.Context())
	if err != nil || got != want {
		t.Fatalf("%s acquires: %v, %v; want %v", l.owner, got, err, want)
	}
}

func TestLeaseIsTakenOverOnlyAfterItWasSeenUnchangedForItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		a, b := newLease(mem, "a"), newLease(mem, "b")
		mustAcquire(t, a, true)
		time.Sleep(10 * testTTL) // a long age counts for nothing: b has not been watching
		mustAcquire(t, b, false)
		time.Sleep(testTTL - time.Millisecond)
		mustAcquire(t, b, false)
		time.Sleep(time.Millisecond)
		mustAcquire(t, b, true)
		if a.epoch() != 1 || b.epoch() != 2 {
			t.Errorf("epochs %d and %d", a.epoch(), b.epoch())
		}
		if err := a.renew(t.Context()); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("the old holder renews: %v", err)
		}
		if err := a.check(); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("the old holder may go on: %v", err)
		}
	})
}

func TestRenewalsKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		a, b := newLease(mem, "a"), newLease(mem, "b")
		mustAcquire(t, a, true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.keep(ctx, func(err error) { t.Errorf("lost: %v", err) })
		}()
		for range 20 {
			time.Sleep(testTTL / 2)
			mustAcquire(t, b, false)
			if err := a.check(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		<-done
		if err := a.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustAcquire(t, b, true) // at once
		if b.epoch() != 2 {
			t.Errorf("epoch %d after a release, want 2", b.epoch())
		}
	})
}

func TestWorkStopsAtTwoThirdsOfTheTTLWhenTheStoreDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		mem := storetest.NewMem(nil)
		o := store.Hooked(mem, func(ctx context.Context, op, key string, call func() error) error {
			if down {
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		a := newLease(o, "a")
		mustAcquire(t, a, true)
		began := time.Now()
		down = true
		var lost error
		a.keep(t.Context(), func(err error) { lost = err })
		if !errors.Is(lost, ErrLeaseLost) {
			t.Fatalf("lost: %v", lost)
		}
		if took := time.Since(began); took < testTTL*2/3 || took >= testTTL {
			t.Errorf("stopped after %s, want from %s to less than %s", took, testTTL*2/3, testTTL)
		}
	})
}

func TestValidityCountsFromTheSendingOfTheRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := time.Duration(0)
		mem := storetest.NewMem(nil)
		o := store.Hooked(mem, func(ctx context.Context, op, key string, call func() error) error {
			err := call()
			time.Sleep(slow)
			return err
		})
		a := newLease(o, "a")
		mustAcquire(t, a, true)
		slow = testTTL / 2 // the answer comes late
		if err := a.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(testTTL*2/3 - testTTL/2)
		if err := a.check(); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("after 2/3 of the TTL since the sending: %v", err)
		}
	})
}

func TestOwnGhostIsTakenOverAtOnceWithANewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := true
		mem := storetest.NewMem(nil)
		o := store.Hooked(mem, func(ctx context.Context, op, key string, call func() error) error {
			err := call()
			if op == store.OpPut && lose {
				return errors.New("connection reset")
			}
			return err
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		a := newLease(o, "a")
		if held, err := a.acquire(ctx); held || err == nil {
			t.Fatalf("acquire whose answers are lost: %v, %v", held, err)
		}
		lose = false
		mustAcquire(t, a, true)
		if a.epoch() != 2 {
			t.Errorf("epoch %d, want 2: nobody may share the ghost's", a.epoch())
		}
	})
}

func TestEpochsStayMonotonicWhenTheLeaseWasRemovedOrOverwritten(t *testing.T) {
	for name, damage := range map[string]func(*testing.T, *storetest.Mem, store.Layout){
		"removed": func(t *testing.T, m *storetest.Mem, l store.Layout) {
			if err := m.Delete(t.Context(), l.Lease()); err != nil {
				t.Fatal(err)
			}
		},
		"overwritten": func(t *testing.T, m *storetest.Mem, l store.Layout) {
			if _, err := m.Put(t.Context(), l.Lease(), []byte("hello"), store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem, l := storetest.NewMem(nil), store.NewLayout("p", "")
				doc := store.GC{FormatVersion: 1, Epoch: 41, Nonce: store.NewNonce()}
				if _, err := store.WriteDoc(t.Context(), mem, l.GC(), doc, store.PutOptions{}); err != nil {
					t.Fatal(err)
				}
				mustAcquire(t, newLease(mem, "a"), true)
				damage(t, mem, l)
				b := newLease(mem, "b")
				for range 2 {
					if held, err := b.acquire(t.Context()); err != nil {
						t.Fatal(err)
					} else if held {
						break
					}
					time.Sleep(testTTL)
				}
				if b.epoch() < 42 {
					t.Errorf("epoch %d, gc.json says 41", b.epoch())
				}
			})
		})
	}
}

func TestOneOfManyAcquires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		won := make(chan bool, 10)
		for range cap(won) {
			go func() {
				held, err := newLease(mem, store.NewNonce()).acquire(t.Context())
				won <- held && err == nil
			}()
		}
		n := 0
		for range cap(won) {
			if <-won {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d winners", n)
		}
	})
}
