package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// load asks at a fixed rate until it is stopped and remembers every answer that was wrong.
type load struct {
	asked  atomic.Int64
	mu     sync.Mutex
	faults []string
	seen   map[string]string // snapshot → the revision its answers named
}

func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) < 20 {
		l.faults = append(l.faults, fmt.Sprintf(format, args...))
	}
}

// check holds an answer against the rule that all its ids belong to the snapshot that it names.
func (l *load) check(f harness.Found) {
	revs := map[string]bool{}
	for _, r := range f.Results {
		rev, _, _ := strings.Cut(r.ID, "-")
		revs[rev] = true
	}
	l.mu.Lock()
	for rev := range revs {
		if l.seen[f.Snapshot] == "" {
			l.seen[f.Snapshot] = rev
		}
	}
	want := l.seen[f.Snapshot]
	l.mu.Unlock()
	if len(f.Results) == 0 || len(revs) != 1 || !revs[want] {
		l.fault("snapshot %s (revision %s) answered with %v", f.Snapshot, want, revs)
	}
}

// run asks urls in turn at perSecond until ctx ends.
func (l *load) run(ctx context.Context, perSecond int, urls []string) {
	limit := rate.NewLimiter(rate.Limit(perSecond), 8)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := 0; limit.Wait(ctx) == nil; i++ {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			l.asked.Add(1)
			f, err := harness.Search(urls[i%len(urls)], fmt.Sprintf(`{"query":"物流 %d","k":5}`, i%50))
			if err != nil {
				l.fault("%v", err)
				return
			}
			l.check(f)
		})
	}
	wg.Wait()
}

func TestTwentySwapsUnderLoadFailNothingAndMixNothing(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{"versitygw": s3test.Versitygw, "minio": s3test.Minio} {
		t.Run(name, func(t *testing.T) {
			b := s3Backend(t, start)
			b.put(t, b.layout.Source, revision(0, 60))
			harness.StartIndexer(t, with(b.env, "GATE_MAX_REMOVED", "1"))
			var urls []string
			var servers []*harness.Server
			for range 2 {
				s := harness.StartServer(t, b.env)
				s.Await(t, "server ready", 1)
				servers, urls = append(servers, s), append(urls, s.URL)
			}

			l := &load{seen: map[string]string{}}
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			began := time.Now()
			wg.Go(func() { l.run(ctx, 200, urls) })
			const swaps = 20
			for rev := 1; rev <= swaps; rev++ {
				before := b.pointer(t)
				b.put(t, b.layout.Source, revision(rev, 60))
				p := b.awaitPointer(t, "the next promotion", func(p store.Pointer) bool { return p.Generation > before.Generation })
				for _, s := range servers {
					harness.AwaitHealth(t, s, "snapshot", p.ID)
				}
			}
			took := time.Since(began)
			stop()
			wg.Wait()
			t.Logf("%d requests in %s, %d swaps, %d failed or mixed, %d snapshots seen", l.asked.Load(), took.Round(time.Millisecond), swaps, len(l.faults), len(l.seen))
			for _, f := range l.faults {
				t.Error(f)
			}
			if len(l.seen) < swaps {
				t.Errorf("the load saw %d snapshots of %d", len(l.seen), swaps+1)
			}
			if got := float64(l.asked.Load()) / took.Seconds(); got < 100 {
				t.Errorf("the load was %.0f requests a second; the test means nothing below 100", got)
			}
		})
	}
}
