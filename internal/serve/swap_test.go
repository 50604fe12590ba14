package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// versioned is a catalogue whose records say which version they are of.
func versioned(v, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`{"vendor_id":"V-%d-%03d","name":"vendor %d","description":"冷凍倉庫 %d","version":%d}`, v, i, i, i*7, v))
	}
	return out
}

// TestSwapStorm holds queries of every kind against a server through swaps: none fails, none mixes two snapshots,
// none touches an index after it was closed (replica.close checks).
func TestSwapStorm(t *testing.T) {
	const versions = 25
	w := newWorld(t)
	version := map[string]int{} // by snapshot id
	var mu sync.Mutex
	publish := func(v int) store.Pointer {
		m, digest := w.build(versioned(v, 40))
		mu.Lock()
		version[m.ID] = v
		mu.Unlock()
		return w.promote(m, digest)
	}
	p := publish(0)
	r := w.start(t)
	r.serving(p.ID)

	var stop atomic.Bool
	var sent atomic.Int64
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	bodies := []string{
		`{"query":"冷凍倉庫 7","k":3}`, `{"query":"冷凍倉庫 7","k":3,"mode":"semantic"}`, `{"query":"vendor 12","k":2,"mode":"lexical"}`,
		`{"query":"冷凍","filter":{"version":{"gte":0}},"k":4}`, `{"filter":{"version":{"exists":true}},"k":2}`,
		`{"vector":"` + base64Vector(gram("冷凍倉庫 7")) + `","k":5}`,
	}
	for c := range 6 {
		wg.Go(func() {
			for i := c; !stop.Load(); i++ {
				a, err := ask(client, r.url, bodies[i%len(bodies)])
				if err != nil {
					t.Errorf("query failed: %v", err)
					return
				}
				mu.Lock()
				v, known := version[a.Snapshot]
				mu.Unlock()
				if !known || len(a.Results) == 0 {
					t.Errorf("snapshot %q, %d results", a.Snapshot, len(a.Results))
				}
				for _, h := range a.Results {
					if !strings.HasPrefix(h.ID, fmt.Sprintf("V-%d-", v)) {
						t.Errorf("%s in an answer from version %d", h.ID, v)
					}
				}
				sent.Add(1)
			}
		})
	}
	for v := 1; v < versions; v++ {
		r.serving(publish(v).ID)
	}
	stop.Store(true)
	wg.Wait()
	eventually(t, "old snapshots are freed", func() bool { return r.m.residentBytes() == 4*40*testDims })
	t.Logf("%d queries through %d swaps", sent.Load(), versions-1)
}

func ask(client *http.Client, url, body string) (answer, error) {
	var a answer
	res, err := client.Post(url+"/search", "application/json", strings.NewReader(body))
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("%d %s", res.StatusCode, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err == nil && a.Snapshot != res.Header.Get(headerSnapshot) {
		err = fmt.Errorf("header %s, body %s", res.Header.Get(headerSnapshot), a.Snapshot)
	}
	return a, err
}

// TestConstancy: a fixed query is answered as before the swap or as after it, and never as before again.
func TestConstancy(t *testing.T) {
	w := newWorld(t)
	old := w.publish(catalogue()[:4])
	r := w.start(t)
	r.serving(old.ID)
	const body = `{"query":"冷凍倉庫の温度監視","k":3}`
	strip := func(a answer) string {
		b, err := json.Marshal(a.Results)
		must(t, err)
		return string(b)
	}
	before := strip(r.search(body))
	next := w.publish(catalogue()[1:])
	var seen []string
	for {
		a := r.search(body)
		seen = append(seen, strip(a))
		if a.Snapshot == next.ID {
			break
		}
	}
	after := strip(r.search(body))
	if before == after {
		t.Fatal("the swap changes nothing: the test shows nothing")
	}
	for i, s := range seen[:len(seen)-1] {
		if s != before {
			t.Errorf("answer %d is neither: %s", i, s)
		}
	}
	if seen[len(seen)-1] != after {
		t.Error("the first new answer is not the new one")
	}
}

func TestSlowQueryKeepsItsSnapshotOpen(t *testing.T) {
	w := newWorld(t)
	old := w.publish(catalogue())
	gate, entered := make(chan struct{}), make(chan struct{}, 8)
	var slow atomic.Bool
	r := w.start(t, func(d *Deps, _ *Config) {
		open := d.Indexes.Open
		d.Indexes = opening{d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			x, err := open(path, p)
			x.(*bruteIndex).before = func() {
				if slow.Load() {
					entered <- struct{}{}
					<-gate
				}
			}
			return x, err
		}}
	})
	r.serving(old.ID)
	slow.Store(true)
	done := make(chan answer, 1)
	go func() {
		a, err := ask(http.DefaultClient, r.url, `{"query":"会計","mode":"semantic"}`)
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	<-entered
	slow.Store(false) // warming the next one is not held up
	next := w.publish(catalogue()[:3])
	r.serving(next.ID)
	if got := r.m.residentBytes(); got != 4*(5+3)*testDims {
		t.Errorf("%d bytes open: the old snapshot was freed under its query", got)
	}
	close(gate)
	if a := <-done; a.Snapshot != old.ID || len(a.Results) != 5 {
		t.Errorf("%+v", a)
	}
	eventually(t, "the old one is freed", func() bool { return r.m.residentBytes() == 4*3*testDims })
}

func TestSnapshotThatDoesNotFitIsRefused(t *testing.T) {
	w := newWorld(t)
	old := w.publish(catalogue()[:3])
	var limit, used atomic.Int64
	limit.Store(1 << 30)
	r := w.start(t, func(d *Deps, _ *Config) { d.MemoryLimit, d.MemoryUsed = limit.Load, used.Load })
	r.serving(old.ID)
	limit.Store(100 << 10)
	used.Store(90 << 10)
	next := w.publish(catalogue())
	eventually(t, "refused", func() bool { return r.reason() == reasonMemory })
	r.search(`{"query":"会計"}`)
	limit.Store(1 << 30)
	r.serving(next.ID)
}

func TestSnapshotThatDoesNotFitReplacesTheOldWhenAsked(t *testing.T) {
	w := newWorld(t)
	old := w.publish(versioned(0, 60))
	var r *replica
	const limit = 256 << 10 // two indexes of 120 KiB do not fit, one does
	r = w.start(t, func(d *Deps, c *Config) {
		c.SwapWhenTight = TightDrop
		d.MemoryLimit = func() int64 { return limit }
		d.MemoryUsed = func() int64 { return 24<<10 + r.m.residentBytes() }
	})
	_ = old
	eventually(t, "served", r.ready)
	next := w.publish(versioned(1, 60))
	r.serving(next.ID)
	r.close()
	if !strings.Contains(r.log.String(), "served snapshot dropped to make room") {
		t.Error("it was not dropped: the test shows nothing")
	}
}

func TestDrainKeepsServingThenEnds(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	r := w.start(t, func(_ *Deps, c *Config) { c.DrainTime = 300 * time.Millisecond })
	r.serving(p.ID)
	r.Drain()
	r.Drain()
	if code, _, body := r.do("GET", "/ready", ""); code != 503 || !bytes.Contains(body, []byte("draining")) {
		t.Errorf("/ready %d %s", code, body)
	}
	res, err := http.Post(r.url+"/search", "application/json", strings.NewReader(`{"query":"会計"}`))
	must(t, err)
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("/search while draining: %d", res.StatusCode)
	}
	if !res.Close {
		t.Error("connections are kept while draining")
	}
	if err := <-r.done; err != nil {
		t.Errorf("ended with %v", err)
	}
	r.done <- nil // for close
}

func TestStopFinishesRequestsInFlight(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	gate, entered := make(chan struct{}), make(chan struct{}, 8)
	r := w.start(t, func(d *Deps, _ *Config) {
		d.Embedder = func(snapshot.Embedding) (Embedder, error) { return gateEmbedder{entered, gate}, nil }
	})
	r.serving(p.ID)
	done := make(chan error, 1)
	go func() {
		_, err := ask(http.DefaultClient, r.url, `{"query":"会計"}`)
		done <- err
	}()
	<-entered
	r.stop()
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFullQueueIs503AndASlowAnswer504(t *testing.T) {
	gate, entered := make(chan struct{}), make(chan struct{}, 64)
	var slow atomic.Bool
	r := served(t, func(d *Deps, c *Config) {
		c.MaxQueue, c.SearchTimeout = 0, 300*time.Millisecond
		open := d.Indexes.Open
		d.Indexes = opening{d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			x, err := open(path, p)
			x.(*bruteIndex).before = func() {
				if slow.Load() {
					entered <- struct{}{}
					<-gate
				}
			}
			return x, err
		}}
		d.Embedder = func(snapshot.Embedding) (Embedder, error) {
			return embedFunc(func(ctx context.Context, text string) ([]float32, error) {
				if text == "slow" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return gram(text), nil
			}), nil
		}
	})
	if code, _, data := r.do("POST", "/search", `{"query":"slow","mode":"semantic"}`); code != 504 {
		t.Errorf("%d %s", code, data)
	}
	slow.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = ask(http.DefaultClient, r.url, `{"query":"会計","mode":"semantic"}`) })
	<-entered
	code, h, data := r.do("POST", "/search", `{"query":"会計","mode":"semantic"}`)
	if code != 503 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", code, h, data)
	}
	slow.Store(false)
	close(gate)
	wg.Wait()
	r.search(`{"query":"会計","mode":"semantic"}`)
	if n := r.searches.used.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
	r.batches.used.Store(maxBatches)
	if code, h, _ := r.do("POST", "/search/batch", `{"queries":[{"query":"会計"}]}`); code != 503 || h.Get("Retry-After") == "" {
		t.Errorf("a batch too many: %d", code)
	}
	r.batches.used.Store(0)
}

func TestRoomIsMadeOnlyOnceTheLastReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		h := &holder{free: func(*view) { freed++ }}
		h.publish(&view{})
		reader := h.acquire()
		h.publish(nil)
		done := false
		go func() {
			h.wait()
			done = true
		}()
		synctest.Wait()
		if done || freed != 0 {
			t.Error("freed under a reader")
		}
		h.release(reader)
		synctest.Wait()
		if !done || freed != 1 {
			t.Errorf("done %v, freed %d times", done, freed)
		}
	})
}

func TestLoadingBesideAServedSnapshotRestsAtTheLowestPriority(t *testing.T) {
	w := newWorld(t)
	first := w.promote(w.build(versioned(0, 40)))
	var mu sync.Mutex
	priorities := map[int]int{} // nice value: calls
	r := w.start(t, func(d *Deps, _ *Config) {
		d.Rest = func() {
			raw, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			priorities[20-raw]++ // the system call's answer is 20 less the nice value
		}
	})
	r.serving(first.ID)
	mu.Lock()
	if len(priorities) != 1 || priorities[0] == 0 {
		t.Errorf("the first load worked at %v", priorities)
	}
	clear(priorities)
	mu.Unlock()
	r.serving(w.promote(w.build(versioned(1, 40))).ID)
	mu.Lock()
	defer mu.Unlock()
	if len(priorities) != 1 || priorities[19] == 0 {
		t.Errorf("the second worked at %v", priorities)
	}
}
