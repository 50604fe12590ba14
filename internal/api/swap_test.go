package api

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
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// TestSwapStorm holds queries of every kind against a server through swaps: none fails, none mixes two snapshots,
// none touches an index after it was closed (replica.close checks).
func TestSwapStorm(t *testing.T) {
	const versions = 25
	w := followtest.New(t)
	version := map[string]int{} // by snapshot id
	var mu sync.Mutex
	publish := func(v int) store.Pointer {
		m, digest := w.Build(followtest.Versioned(v, 40))
		mu.Lock()
		version[m.ID] = v
		mu.Unlock()
		return w.Promote(m, digest)
	}
	p := publish(0)
	r := start(t, w)
	r.serving(p.ID)

	var stop atomic.Bool
	var sent atomic.Int64
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	bodies := []string{
		`{"query":"冷凍倉庫 7","k":3}`, `{"query":"冷凍倉庫 7","k":3,"mode":"semantic"}`, `{"query":"vendor 12","k":2,"mode":"lexical"}`,
		`{"query":"冷凍","filter":{"version":{"gte":0}},"k":4}`, `{"filter":{"version":{"exists":true}},"k":2}`,
		`{"vector":"` + base64Vector(followtest.Gram("冷凍倉庫 7")) + `","k":5}`,
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
	followtest.Eventually(t, "old snapshots are freed", func() bool { return r.follower.ResidentBytes() == 4*40*followtest.Dims })
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
	w := followtest.New(t)
	old := w.Publish(followtest.Catalogue()[:4])
	r := start(t, w)
	r.serving(old.ID)
	const body = `{"query":"冷凍倉庫の温度監視","k":3}`
	strip := func(a answer) string {
		b, err := json.Marshal(a.Results)
		must(t, err)
		return string(b)
	}
	before := strip(r.search(body))
	next := w.Publish(followtest.Catalogue()[1:])
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
	w := followtest.New(t)
	old := w.Publish(followtest.Catalogue())
	gate, entered := make(chan struct{}), make(chan struct{}, 8)
	var slow atomic.Bool
	r := start(t, w, func(d *follow.Deps, _ *Config) {
		open := d.Indexes.Open
		d.Indexes = followtest.Opening(d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			x, err := open(path, p)
			x.(*followtest.Index).Before = func() {
				if slow.Load() {
					entered <- struct{}{}
					<-gate
				}
			}
			return x, err
		})
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
	next := w.Publish(followtest.Catalogue()[:3])
	r.serving(next.ID)
	if got := r.follower.ResidentBytes(); got != 4*(5+3)*followtest.Dims {
		t.Errorf("%d bytes open: the old snapshot was freed under its query", got)
	}
	close(gate)
	if a := <-done; a.Snapshot != old.ID || len(a.Results) != 5 {
		t.Errorf("%+v", a)
	}
	followtest.Eventually(t, "the old one is freed", func() bool { return r.follower.ResidentBytes() == 4*3*followtest.Dims })
}

func TestDrainKeepsServingThenEnds(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	r := start(t, w, func(_ *follow.Deps, c *Config) { c.DrainTime = 300 * time.Millisecond })
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
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	gate, entered := make(chan struct{}), make(chan struct{}, 8)
	r := start(t, w, func(d *follow.Deps, _ *Config) {
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) { return gateEmbedder{entered, gate}, nil }
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
	r := served(t, func(d *follow.Deps, c *Config) {
		c.MaxQueue, c.SearchTimeout = 0, 300*time.Millisecond
		open := d.Indexes.Open
		d.Indexes = followtest.Opening(d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			x, err := open(path, p)
			x.(*followtest.Index).Before = func() {
				if slow.Load() {
					entered <- struct{}{}
					<-gate
				}
			}
			return x, err
		})
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) {
			return followtest.EmbedFunc(func(ctx context.Context, text string) ([]float32, error) {
				if text == "slow" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return followtest.Gram(text), nil
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
