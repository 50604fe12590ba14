package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// cacheBytes bounds the cached query embeddings: 5,461 of 1,536 dimensions.
const cacheBytes = 32 << 20

// queryVectors turns query texts into vectors: cached by what embeds them and the text, one call for concurrent equal
// texts, none while the provider is known to fail.
type queryVectors struct {
	timeout time.Duration
	m       *Metrics
	flight  singleflight.Group
	calls   sync.WaitGroup // callers of flights that are under way
	closed  chan struct{}

	mu      sync.Mutex
	dims    int
	cache   *lru.Cache[vectorKey, []float32]
	by      snapshot.Embedding
	breaker *breaker // of by: another provider has done nothing wrong yet
}

type vectorKey struct {
	by   snapshot.Embedding
	text string
}

func newQueryVectors(timeout time.Duration, m *Metrics) *queryVectors {
	return &queryVectors{timeout: timeout, m: m, breaker: &breaker{}, closed: make(chan struct{})}
}

// lookup returns the cache and the breaker for what by names. Another length of vectors starts a new cache.
func (v *queryVectors) lookup(by snapshot.Embedding) (*lru.Cache[vectorKey, []float32], *breaker) {
	v.mu.Lock()
	defer v.mu.Unlock()
	dims := max(by.Dims, 1)
	if v.cache == nil || v.dims != dims {
		// The text is part of an entry: count the longest, 8,192 characters of 3 bytes, as if it were 1 KiB on average.
		v.cache, _ = lru.New[vectorKey, []float32](max(cacheBytes/(4*dims+1024), 16))
		v.dims = dims
	}
	if v.by != by {
		v.by, v.breaker = by, &breaker{}
	}
	return v.cache, v.breaker
}

// provider is the state of the provider that was called last.
func (v *queryVectors) provider() BreakerState {
	v.mu.Lock()
	b := v.breaker
	v.mu.Unlock()
	return b.state()
}

// get returns the unit vector of text; errors match ErrProvider unless ctx ended. The slice is shared: read only.
func (v *queryVectors) get(ctx context.Context, by snapshot.Embedding, e view.Embedder, text string) ([]float32, error) {
	cache, breaker := v.lookup(by)
	key := vectorKey{by, text}
	if vec, ok := cache.Get(key); ok {
		v.m.cacheHit.Inc()
		return vec, nil
	}
	v.m.cacheMiss.Inc()
	if err := breaker.allow(time.Now()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProvider, err)
	}
	// The call outlives the first caller's request: others wait for its result.
	flight := fmt.Sprintf("%#v", key)
	v.calls.Add(1)
	done := v.flight.DoChan(flight, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.timeout)
		defer cancel()
		go func() {
			select {
			case <-v.closed:
				cancel()
			case <-ctx.Done():
			}
		}()
		vec, err := e.EmbedQuery(ctx, text)
		if err == nil && len(vec) != by.Dims {
			err = fmt.Errorf("%d dimensions came back, expected %d", len(vec), by.Dims)
		}
		breaker.record(time.Now(), err)
		if err != nil {
			return nil, err
		}
		cache.Add(key, vec)
		return vec, nil
	})
	select {
	case r := <-done:
		v.calls.Done()
		if r.Err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProvider, r.Err)
		}
		return r.Val.([]float32), nil
	case <-ctx.Done():
		go func() {
			<-done
			v.calls.Done()
		}()
		return nil, context.Cause(ctx)
	}
}

// close ends the calls under way; none may begin any more.
func (v *queryVectors) close() {
	close(v.closed)
	v.calls.Wait()
}

// The breaker opens after this many failures in a row and lets one call through every so often, doubling.
const (
	breakerFailures = 5
	breakerFirst    = 2 * time.Second
	breakerMost     = 30 * time.Second
)

var errOpen = errors.New("not called: it failed repeatedly just now")

// breaker spares a failing provider, and the requests that would wait for its timeout.
type breaker struct {
	mu       sync.Mutex
	failures int
	retryAt  time.Time
	wait     time.Duration
	last     string // the last failure, kept after recovery
	lastAt   time.Time
}

// allow returns errOpen while calls are not to be made. While open, one call passes at each retryAt.
func (b *breaker) allow(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerFailures {
		return nil
	}
	if now.Before(b.retryAt) {
		return fmt.Errorf("%w (%s)", errOpen, b.last)
	}
	b.retryAt = now.Add(b.wait) // this caller probes; the others wait for its outcome
	return nil
}

func (b *breaker) record(now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.failures, b.wait = 0, 0
		return
	}
	b.failures++
	b.last, b.lastAt = err.Error(), now
	if b.failures >= breakerFailures {
		b.wait = min(max(2*b.wait, breakerFirst), breakerMost)
		b.retryAt = now.Add(b.wait)
	}
}

// BreakerState is the state of the embedding provider.
type BreakerState struct {
	State     string     `json:"state" enum:"closed,open" doc:"open: the provider is not called for now"`
	LastError string     `json:"last_error,omitempty" doc:"Last failure of the embedding provider"`
	At        *time.Time `json:"at,omitempty" doc:"When that was"`
}

func (b *breaker) state() BreakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerState{State: "closed", LastError: b.last}
	if b.failures >= breakerFailures {
		s.State = "open"
	}
	if !b.lastAt.IsZero() {
		at := b.lastAt.UTC()
		s.At = &at
	}
	return s
}
