package simtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/api"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// bill counts what a store would charge for.
type bill struct {
	mu       sync.Mutex
	requests map[string]int // by class and what it was for
	put      int            // PUT and LIST
	get      int            // GET and HEAD
	list     int
	versions int // writes over something that was there: noncurrent versions on a versioned bucket
}

func (b *bill) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests, b.put, b.get, b.list, b.versions = map[string]int{}, 0, 0, 0, 0
}

func (b *bill) count(p *proc, op, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	what := strings.TrimPrefix(generic(key), p.w.layout.Root())
	if strings.HasPrefix(what, "replicas/server") {
		what = "replicas/*.json"
	}
	class := "GET, HEAD"
	switch op {
	case store.OpList:
		b.list++
		fallthrough
	case store.OpPut, store.OpPutFile:
		b.put++
		class = "PUT, LIST"
		if op != store.OpList && p.w.mem.Data(key) != nil {
			b.versions++
		}
	case store.OpGet, store.OpHead:
		b.get++
	}
	who := "a server"
	if p.indexer {
		who = "the indexer"
	}
	b.requests[fmt.Sprintf("%-9s %-11s %s %s", class, who, op, what)]++
}

// Prices of S3 Standard in ap-northeast-1, US dollars per 1,000 requests.
const (
	pricePut = 0.0047
	priceGet = 0.00037
)

// The promise: what an indexer and four servers that nobody touches may ask of the store in a day.
const (
	mostPuts     = 10_000
	mostGets     = 250_000
	mostVersions = 10_000
	mostDollars  = 5.0 // a month
)

// TestIdleFleetIsCheap counts the requests of an idle hour at the default settings, in virtual time; and then sees that
// what a fleet is idle for is still noticed in time.
func TestIdleFleetIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorld(t, 1)
		defer w.close()
		defaults := reconcile.DefaultConfig()
		w.cfg.ResyncInterval, w.cfg.ControlPoll = defaults.ResyncInterval, defaults.ControlPoll
		w.cfg.LeaseTTL = time.Minute
		w.cfg.RetainSnapshots, w.cfg.RetainGrace = defaults.RetainSnapshots, defaults.RetainGrace
		b := &bill{}
		b.reset()
		w.mutate = func(p *proc, o store.Objects) store.Objects {
			return store.Hooked(o, func(_ context.Context, op, key string, call func() error) error {
				b.count(p, op, key)
				return call()
			})
		}
		people := w.people()
		people.store(ctx)
		procs := []*proc{w.startIndexer("indexer", "disk", 0)}
		for i := range 4 {
			name := fmt.Sprintf("server-%d", i)
			procs = append(procs, w.quietServer(name, name, api.Defaults().PollInterval).proc)
		}
		nap(ctx, 20*time.Minute) // everything is loaded, collected, and said
		before := w.status(t)
		b.reset()
		nap(ctx, time.Hour)
		b.mu.Lock()
		put, get, list, versions := b.put, b.get, b.list, b.versions
		for _, what := range slices.Sorted(maps.Keys(b.requests)) {
			t.Logf("%7d a day: %s", 24*b.requests[what], what)
		}
		b.mu.Unlock()
		dollars := 30 * 24 * (float64(put)*pricePut + float64(get)*priceGet) / 1000
		t.Logf("a day: %d PUT and LIST (%d LIST), %d GET and HEAD, %d noncurrent versions; $%.2f a month", 24*put, 24*list, 24*get, 24*versions, dollars)
		if 24*put > mostPuts || 24*get > mostGets || 24*versions > mostVersions || dollars > mostDollars {
			t.Errorf("more than %d, %d, %d and $%.2f", mostPuts, mostGets, mostVersions, mostDollars)
		}
		if passes := int(time.Hour / w.cfg.ResyncInterval); list > passes/10 {
			t.Errorf("%d listings in %d idle passes", list, passes)
		}
		if after := w.status(t); after.Nonce != before.Nonce || len(after.Replicas) != 4 {
			t.Errorf("status.json was written while nothing changed: %+v", after.LastPass)
		}
		w.stillAwake(t, people)
		for _, p := range procs {
			p.kill()
			<-p.done
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, f := range w.fails {
			t.Error(f)
		}
	})
}

func (w *world) status(t *testing.T) store.Status {
	t.Helper()
	s, ok := decode[store.Status](w.mem.Data(w.layout.Status()))
	if !ok {
		t.Fatal("no status.json")
	}
	return s
}

func (w *world) pointer() store.Pointer {
	p, _ := decode[store.Pointer](w.mem.Data(w.layout.Pointer()))
	return p
}

// stillAwake: an edit, an operator, a damaged file and a replica that leaves are noticed as before.
func (w *world) stillAwake(t *testing.T, people *people) {
	ctx := t.Context()
	within := func(what string, d time.Duration, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); nap(ctx, 100*time.Millisecond) {
			if ok() {
				return
			}
		}
		t.Errorf("not within %s: %s", d, what)
	}
	resync := w.cfg.ResyncInterval * 11 / 10
	first := w.pointer()
	sum := people.complete(ctx)
	within("an edit is promoted", resync+time.Second, func() bool { return w.pointer().Source.SHA256 == sum })
	within("all replicas are current", 30*time.Second, func() bool {
		n := 0
		for _, r := range w.status(t).Replicas {
			if r.State == "current" && r.Using == w.pointer().ID {
				n++
			}
		}
		return n == 4
	})
	p := w.newProc("operator", false)
	if err := reconcile.NewOperator(p.objects(), w.layout, "operator").Pin(ctx, first.ID); err != nil {
		t.Error(err)
	}
	within("a pin shows in the status", resync+time.Second, func() bool {
		return slices.ContainsFunc(w.status(t).Conditions, func(c store.Condition) bool { return c.Reason == "Pinned" })
	})
	if err := reconcile.NewOperator(p.objects(), w.layout, "operator").Unpin(ctx); err != nil {
		t.Error(err)
	}
	within("an unpin is followed", resync+time.Second, func() bool { return w.pointer().Source.SHA256 == sum })
	nap(ctx, 10*time.Minute)
	broken := w.pointer()
	w.mu.Lock()
	f, _ := broken.File(snapshot.FileOffsets)
	w.state.damaged[broken.ID], w.state.damaged[cmp.Or(f.From, broken.ID)] = true, true
	w.mu.Unlock()
	if err := w.mem.Delete(ctx, w.layout.FileKey(broken.Manifest, f)); err != nil {
		t.Error(err)
	}
	within("a lost file is replaced", 5*time.Minute, func() bool { return w.pointer().ID != broken.ID })
}
