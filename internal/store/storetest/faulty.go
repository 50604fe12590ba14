package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// ErrInjected is under every fault that Faults makes: to its receiver an ambiguous, transient failure.
var ErrInjected = errors.New("injected fault")

// Faults makes calls of a store fail at random, reproducibly: the same seed and the same order of calls give the same
// faults. Probabilities are per call, 0..1.
type Faults struct {
	Before   float64       // the request never arrives
	After    float64       // it takes effect, the answer is lost
	Slow     float64       // it arrives late, and so does its answer
	MaxDelay time.Duration // of a slow call, half before and half after it

	mu  sync.Mutex
	rng *rand.Rand
	off bool
}

// NewFaults returns Faults that draw from seed; the probabilities are set before use.
func NewFaults(seed uint64) *Faults { return &Faults{rng: rand.New(rand.NewPCG(seed, seed))} }

// Stop ends all faults.
func (f *Faults) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
}

func (f *Faults) draw() (before, after bool, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Always four draws, so that one probability does not shift the faults of another.
	b, a, s, d := f.rng.Float64(), f.rng.Float64(), f.rng.Float64(), f.rng.Float64()
	if f.off {
		return false, false, 0
	}
	if s < f.Slow {
		delay = time.Duration(d * float64(f.MaxDelay))
	}
	return b < f.Before, a < f.After, delay
}

// Hook is the store.Hook of these faults.
func (f *Faults) Hook(ctx context.Context, op, key string, call func() error) error {
	before, after, delay := f.draw()
	if err := sleep(ctx, delay/2); err != nil {
		return err
	}
	if before {
		return fmt.Errorf("%s %s: %w: request lost", op, key, ErrInjected)
	}
	err := call()
	if serr := sleep(ctx, delay/2); serr != nil {
		return serr
	}
	if err == nil && after {
		return fmt.Errorf("%s %s: %w: answer lost", op, key, ErrInjected)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Faulty returns o with f in front of every call.
func Faulty(o store.Objects, f *Faults) store.Objects { return store.Hooked(o, f.Hook) }
