package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
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

// stall is how a request hangs until its deadline: before it took effect, after it, or with the effect coming late,
// after the sender gave up.
type stall int

const (
	passes stall = iota
	before
	after
	late
)

func hookOf(which func(op string, n int) stall) store.Hook {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(ctx context.Context, op, key string, call func() error) error {
		mu.Lock()
		seen[op]++
		s := which(op, seen[op])
		mu.Unlock()
		switch s {
		case passes:
			return call()
		case after:
			_ = call()
		}
		<-ctx.Done()
		if s == late {
			time.AfterFunc(testTTL/50, func() { _ = call() }) // its sender has given up: see uncancelled
		}
		return ctx.Err()
	}
}

// uncancelled lets requests reach the store though their sender gave up.
type uncancelled struct{ *storetest.Mem }

func (u uncancelled) Put(_ context.Context, key string, data []byte, o store.PutOptions) (store.Info, error) {
	return u.Mem.Put(context.Background(), key, data, o)
}

// One or two renewals in a row may stall, reads or writes, with or without effect: work goes on, and nobody takes over.
func TestStalledRenewalsDoNotEndATermThatNobodyElseWants(t *testing.T) {
	for name, which := range map[string]func(op string, n int) stall{
		"a write, before its effect":  func(op string, n int) stall { return pick(op == store.OpPut && n == 3, before) },
		"a write, after its effect":   func(op string, n int) stall { return pick(op == store.OpPut && n == 3, after) },
		"a write that arrives late":   func(op string, n int) stall { return pick(op == store.OpPut && n == 3, late) },
		"two writes, before":          func(op string, n int) stall { return pick(op == store.OpPut && (n == 3 || n == 4), before) },
		"two writes, after":           func(op string, n int) stall { return pick(op == store.OpPut && (n == 3 || n == 4), after) },
		"two writes that arrive late": func(op string, n int) stall { return pick(op == store.OpPut && (n == 3 || n == 4), late) },
		"a write and the read after it": func(op string, n int) stall {
			return pick(op == store.OpPut && n == 3 || op == store.OpGet && n == 5, after)
		},
		"again and again": func(op string, n int) stall { return pick(op == store.OpPut && n%3 != 1, stall(1+n%3)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem(nil)
				a, b := newLease(mem, "a"), newLease(mem, "b")
				mustAcquire(t, a, true)
				a.objects = store.Hooked(uncancelled{mem}, hookOf(which))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					a.keep(ctx, func(err error) { t.Errorf("lost: %v", err) })
				}()
				for range 40 {
					time.Sleep(testTTL / 4)
					mustAcquire(t, b, false)
					if err := a.check(); err != nil {
						t.Fatal(err)
					}
				}
				cancel()
				<-done
				a.objects = mem
				if err := a.release(t.Context()); err != nil {
					t.Error(err)
				}
				mustAcquire(t, b, true) // at once: it was released
				time.Sleep(testTTL)     // whatever is late
			})
		})
	}
}

func pick(yes bool, s stall) stall {
	if yes {
		return s
	}
	return passes
}

// A renewal that landed late may not make a term of somebody else's look like ours.
func TestStalledRenewalNoticesATakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		a := newLease(mem, "a")
		mustAcquire(t, a, true)
		stalled := true
		a.objects = store.Hooked(mem, func(ctx context.Context, op, key string, call func() error) error {
			if stalled && op == store.OpPut {
				stalled = false
				taken := store.Lease{FormatVersion: 1, Epoch: a.epoch() + 1, Owner: "b", TTLSeconds: testTTL.Seconds(), Nonce: store.NewNonce()}
				if _, err := store.WriteDoc(t.Context(), mem, a.layout.Lease(), taken, store.PutOptions{}); err != nil {
					t.Error(err)
				}
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		var lost error
		began := time.Now()
		a.keep(t.Context(), func(err error) { lost = err })
		if !errors.Is(lost, ErrLeaseLost) {
			t.Errorf("lost: %v", lost)
		}
		if took := time.Since(began); took >= testTTL*2/3 {
			t.Errorf("noticed only after %s", took)
		}
	})
}

func TestReleaseFindsARenewalThatLandedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		a := newLease(mem, "a")
		mustAcquire(t, a, true)
		ctx, cancel := context.WithCancel(t.Context())
		a.objects = store.Hooked(mem, func(ctx context.Context, op, key string, call func() error) error {
			err := call()
			if op == store.OpPut {
				cancel() // the process is asked to stop while the answer is under way
				return ctx.Err()
			}
			return err
		})
		a.keep(ctx, func(err error) { t.Errorf("lost: %v", err) })
		a.objects = mem
		if err := a.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustAcquire(t, newLease(mem, "b"), true)
	})
}

// A record that claims an absurd TTL keeps the lease from nobody for longer than the longest TTL that may be set.
func TestTTLOfARecordIsBounded(t *testing.T) {
	for ttl, want := range map[float64]time.Duration{
		1e9: 5 * time.Minute, 1e300: 5 * time.Minute, math.MaxFloat64: 5 * time.Minute, 301: 5 * time.Minute,
		300: 5 * time.Minute, 60: time.Minute, 5: 5 * time.Second, 0.001: 5 * time.Second, 0: 5 * time.Second, -7: 5 * time.Second,
	} {
		t.Run(fmt.Sprint(ttl), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem(nil)
				b := newLease(mem, "b")
				l := store.Lease{FormatVersion: 1, Epoch: 7, Owner: "a", TTLSeconds: ttl, Nonce: store.NewNonce()}
				if _, err := store.WriteDoc(t.Context(), mem, b.layout.Lease(), l, store.PutOptions{}); err != nil {
					t.Fatal(err)
				}
				mustAcquire(t, b, false)
				time.Sleep(want - time.Millisecond)
				mustAcquire(t, b, false)
				time.Sleep(time.Millisecond)
				mustAcquire(t, b, true)
			})
		})
	}
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
