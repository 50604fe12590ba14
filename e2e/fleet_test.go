package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// probe asks one fixed query again and again: whatever a snapshot once answered, it must always answer.
type probe struct {
	mu      sync.Mutex
	answers map[string]string // snapshot → its answer
	asked   int
	faults  []string
}

func (p *probe) run(ctx context.Context, url string) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f, err := harness.Search(url, `{"query":"倉庫の管理 31","k":5}`)
		if ctx.Err() != nil {
			return
		}
		p.record(url, f, err)
	}
}

func (p *probe) record(url string, f harness.Found, err error) {
	var said strings.Builder
	for _, r := range f.Results {
		fmt.Fprintf(&said, "%s %.6f ", r.ID, r.Score)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	switch before, seen := p.answers[f.Snapshot]; {
	case err != nil:
		p.faults = append(p.faults, fmt.Sprintf("%s: %v", url, err))
	case seen && before != said.String():
		p.faults = append(p.faults, fmt.Sprintf("%s: %s answered %s, before %s", url, f.Snapshot, said.String(), before))
	default:
		p.answers[f.Snapshot] = said.String()
	}
}

// TestFleetBehindABalancerFailsNothing is a day in the life of three replicas behind an ALB, shortened: swaps all the
// time, a rolling restart, a crash of the indexer and an outage of S3, with clients that do not retry.
func TestFleetBehindABalancerFailsNothing(t *testing.T) {
	swaps, outage, rest := 30, 3*time.Second, time.Duration(0)
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		outage, rest = 20*time.Second, 19*time.Second // 30 swaps over ten minutes
	}
	b := s3Backend(t, s3test.Versitygw)
	env := with(b.env, "GATE_MAX_REMOVED", "1", "POLL_INTERVAL", "100ms", "RESYNC_INTERVAL", "150ms", "LEASE_TTL", "5s", "DRAIN_TIME", "1s")
	b.put(t, b.layout.Source, revision(0, 60))
	ix := harness.StartIndexer(t, env)

	names := []string{"a", "b", "c"}
	addr, fleet := map[string]string{}, map[string]*harness.Server{}
	for _, n := range names {
		addr[n] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		fleet[n] = harness.StartServer(t, with(env, "LISTEN_ADDR", addr[n]))
	}
	for _, n := range names {
		fleet[n].Await(t, "server ready", 1)
	}
	alb := harness.StartBalancer(t, addr)

	l := &load{seen: map[string]string{}}
	p := &probe{answers: map[string]string{}}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { l.run(ctx, 40, []string{alb.URL}) })
	}
	wg.Go(func() { p.run(ctx, alb.URL) })
	direct := probes(t, &wg, p)
	for _, n := range names {
		direct.start(n, fleet[n].URL)
	}

	began := time.Now()
	for rev := 1; rev <= swaps; rev++ {
		switch rev {
		case swaps / 4: // a rolling restart, one replica after the other
			for _, n := range names {
				direct.stop(n)
				alb.Deregister(t, n)
				time.Sleep(300 * time.Millisecond) // requests in flight
				fleet[n].Signal(syscall.SIGTERM)
				if code := fleet[n].Wait(t); code != 0 {
					t.Errorf("%s ended with %d", n, code)
				}
				fleet[n] = harness.StartServer(t, with(env, "LISTEN_ADDR", addr[n]))
				fleet[n].Await(t, "server ready", 1)
				alb.Register(t, n, len(names))
				direct.start(n, fleet[n].URL)
			}
		case swaps / 2: // the indexer dies in the middle of a pass
			b.put(t, b.layout.Source, revision(1000, 60))
			ix.Kill()
			ix = harness.StartIndexer(t, env)
		case swaps * 3 / 4: // S3 is away
			b.server.Kill()
			time.Sleep(outage)
			b.server.Start()
		}
		before := b.pointer(t)
		b.put(t, b.layout.Source, revision(rev, 60))
		next := b.awaitPointer(t, "the next promotion", func(p store.Pointer) bool {
			return p.Generation > before.Generation && p.Source.Records == 60
		})
		for _, n := range names {
			harness.Eventually(t, n+" follows", func() error {
				g, _ := harness.Get(t, fleet[n].URL+"/health").JSON(t)["generation"].(float64)
				if int64(g) < next.Generation {
					return fmt.Errorf("generation %v of %d", g, next.Generation)
				}
				return nil
			})
		}
		time.Sleep(rest)
	}
	took := time.Since(began)
	stop()
	direct.stopAll()
	wg.Wait()

	t.Logf("%s: %d requests and %d probes, %d swaps, rolling restart, indexer killed, S3 away %s: %d failed, %d inconsistent",
		took.Round(time.Millisecond), l.asked.Load(), p.asked, swaps, outage, len(l.faults), len(p.faults))
	for _, f := range append(l.faults, p.faults...) {
		t.Error(f)
	}
	if len(p.answers) < swaps/2 {
		t.Errorf("the probe saw only %d snapshots", len(p.answers))
	}
}

// directProbes ask each replica past the balancer, but not while it restarts.
type directProbes struct {
	t      *testing.T
	wg     *sync.WaitGroup
	p      *probe
	cancel map[string]context.CancelFunc
	done   map[string]chan struct{}
}

func probes(t *testing.T, wg *sync.WaitGroup, p *probe) *directProbes {
	return &directProbes{t, wg, p, map[string]context.CancelFunc{}, map[string]chan struct{}{}}
}

func (d *directProbes) start(name, url string) {
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan struct{})
	d.cancel[name], d.done[name] = cancel, done
	d.wg.Go(func() {
		defer close(done)
		d.p.run(ctx, url)
	})
}

func (d *directProbes) stop(name string) {
	d.cancel[name]()
	<-d.done[name]
}

func (d *directProbes) stopAll() {
	for name := range d.cancel {
		d.stop(name)
	}
}
