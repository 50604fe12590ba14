package embed

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// simulate runs n calls of cost 100 through a Runner in virtual time; call decides about each.
func simulate(t *testing.T, n int, call func(now time.Time) *CallError) time.Duration {
	t.Helper()
	r := NewRunner(RunnerConfig{Dims: 1, BatchTexts: 1, EstimateTokens: func(string) int { return 100 }})
	texts := make([]string, n)
	var mu sync.Mutex // call's state is shared by all calls in flight
	start := time.Now()
	err := r.Run(context.Background(), texts, func(_ context.Context, texts []string, put Put) (Receipt, error) {
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		ce := call(time.Now())
		mu.Unlock()
		if ce != nil {
			return Receipt{}, ce
		}
		put(0, []float32{1}, 1)
		return Receipt{Tokens: 100}, nil
	}, func(int, []float32, int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func throttle(after time.Duration) *CallError {
	return &CallError{Kind: Throttled, Reason: "http_429", After: after, Err: errors.New("throttled")}
}

func TestRandomThrottlesDoNotSlowTheClientEverMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		took := simulate(t, 8_000, func(time.Time) *CallError {
			if rng.Float64() < 0.1 {
				return throttle(10 * time.Millisecond)
			}
			return nil
		})
		// Four calls of 50 ms at once are 80 a second, 100 s in all; halving the window now and then costs some of it.
		if took > 400*time.Second {
			t.Errorf("8,000 calls took %v", took)
		}
	})
}

func TestALimitThatIsLiftedIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		level, last := 1.0, time.Now()
		rate := func(now time.Time) float64 {
			if now.Sub(time.Unix(946684800, 0)) < 2*time.Minute { // the bubble's clock starts there
				return 2
			}
			return 40
		}
		took := simulate(t, 6000, func(now time.Time) *CallError {
			level = min(max(1, rate(now)/4), level+rate(now)*now.Sub(last).Seconds())
			last = now
			if level < 1 {
				return throttle(time.Second)
			}
			level--
			return nil
		})
		// 2 a second for 2 minutes, then 5,760 at 40 a second: 264 s, if nothing had to be found out.
		if took > 450*time.Second {
			t.Errorf("6,000 calls took %v", took)
		}
	})
}

func TestNobodySendsWithinAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var until time.Time
		calls := 0
		simulate(t, 200, func(now time.Time) *CallError {
			if sent := now.Add(-50 * time.Millisecond); sent.Before(until) && now.Sub(until.Add(-3*time.Second)) > 50*time.Millisecond {
				t.Errorf("sent %v before the pause ended", until.Sub(sent))
			}
			if calls++; calls%20 == 0 {
				until = now.Add(3 * time.Second)
				return throttle(3 * time.Second)
			}
			return nil
		})
	})
}

func TestThrottledForeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRunner(RunnerConfig{Dims: 1, MaxStall: 10 * time.Minute})
		start := time.Now()
		err := r.Run(context.Background(), []string{"a", "b"}, func(context.Context, []string, Put) (Receipt, error) {
			return Receipt{}, throttle(20 * time.Second)
		}, func(int, []float32, int) error { return nil })
		if took := time.Since(start); err == nil || errors.Is(err, ErrTerminal) || took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("gave up after %v: %v", took, err)
		}
		err = r.Run(context.Background(), []string{"a"}, func(context.Context, []string, Put) (Receipt, error) {
			return Receipt{}, throttle(time.Hour)
		}, func(int, []float32, int) error { return nil })
		if err == nil {
			t.Error("waits for an hour")
		}
	})
}
