package query

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func testVectors(timeout time.Duration) *queryVectors {
	return newQueryVectors(timeout, newMetrics(prometheus.NewRegistry()))
}

func TestEqualQueriesShareOneCallAndThenTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testVectors(time.Minute)
		var calls atomic.Int64
		e := followtest.EmbedFunc(func(context.Context, string) ([]float32, error) {
			calls.Add(1)
			time.Sleep(time.Second)
			return []float32{1, 0}, nil
		})
		by := snapshot.Embedding{Provider: "p", Model: "m", Dims: 2}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if vec, err := v.get(t.Context(), by, e, "q"); err != nil || len(vec) != 2 {
					t.Error(vec, err)
				}
			})
		}
		wg.Wait()
		_, _ = v.get(t.Context(), by, e, "q")
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
		by.Version = "2"
		_, _ = v.get(t.Context(), by, e, "q")
		if calls.Load() != 2 {
			t.Error("another version of the embedder shares the cache")
		}
	})
}

func TestCallOutlivesTheRequestThatMadeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testVectors(time.Minute)
		e := followtest.EmbedFunc(func(ctx context.Context, _ string) ([]float32, error) {
			select {
			case <-time.After(time.Second):
				return []float32{1}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		by := snapshot.Embedding{Dims: 1}
		gone, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(100 * time.Millisecond); cancel(ErrDeadline) }()
		if _, err := v.get(gone, by, e, "q"); !errors.Is(err, ErrDeadline) {
			t.Errorf("the one that left got %v", err)
		}
		if _, err := v.get(t.Context(), by, e, "q"); err != nil {
			t.Errorf("the one that stayed got %v", err)
		}
	})
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testVectors(time.Minute)
		var calls int
		fail := true
		e := followtest.EmbedFunc(func(context.Context, string) ([]float32, error) {
			calls++
			if fail {
				return nil, errors.New("status 500")
			}
			return []float32{1}, nil
		})
		ask := func() error {
			_, err := v.get(t.Context(), snapshot.Embedding{Dims: 1}, e, "q")
			return err
		}
		for range breakerFailures {
			if err := ask(); !errors.Is(err, ErrProvider) || errors.Is(err, errOpen) {
				t.Fatal(err)
			}
		}
		if err := ask(); !errors.Is(err, errOpen) || !errors.Is(err, ErrProvider) || calls != breakerFailures {
			t.Errorf("%v after %d calls", err, calls)
		}
		time.Sleep(breakerFirst)
		if err := ask(); errors.Is(err, errOpen) || calls != breakerFailures+1 {
			t.Errorf("no probe: %v after %d calls", err, calls)
		}
		fail = false
		time.Sleep(breakerFirst)
		if err := ask(); !errors.Is(err, errOpen) {
			t.Errorf("the wait did not grow: %v", err)
		}
		time.Sleep(breakerFirst)
		if err := ask(); err != nil {
			t.Error(err)
		}
		if s := v.provider(); s.State != "closed" || s.LastError != "status 500" || s.At == nil {
			t.Errorf("%+v", s)
		}
	})
}

func TestSlowProviderTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testVectors(time.Second)
		e := followtest.EmbedFunc(func(ctx context.Context, _ string) ([]float32, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if _, err := v.get(t.Context(), snapshot.Embedding{Dims: 1}, e, "q"); !errors.Is(err, ErrProvider) {
			t.Error(err)
		}
	})
}

func TestCacheOfEmbeddingsIsBounded(t *testing.T) {
	v := testVectors(time.Second)
	const dims = 1536
	e := followtest.EmbedFunc(func(context.Context, string) ([]float32, error) { return make([]float32, dims), nil })
	for i := range 6000 {
		_, _ = v.get(t.Context(), snapshot.Embedding{Dims: dims}, e, strings.Repeat("x", 1+i%64)+string(rune(i)))
	}
	if n := v.cache.Len(); n > cacheBytes/(4*dims) {
		t.Errorf("%d cached", n)
	}
}
