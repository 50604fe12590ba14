package reconcile_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// A daemon under one edit every two seconds: collection keeps up beside the edits, and both cost a bounded number of requests.
func TestCollectionKeepsUpWithSteadyEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		r.cfg.ResyncInterval, r.cfg.RetainGrace = time.Second, 2*time.Minute
		all := entriesOf(200)
		writeEntries(r, all)
		var mu sync.Mutex
		requests := map[string]int{}
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, _ string, call func() error) error {
			mu.Lock()
			requests[op]++
			mu.Unlock()
			return call()
		})
		x := r.indexer()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- x.Run(ctx) }()
		time.Sleep(time.Minute)
		mu.Lock()
		clear(requests)
		mu.Unlock()
		const edits = 150
		generation, most := r.pointer().Generation, 0
		for i := range edits {
			all[i%7].text = time.Now().String()
			writeEntries(r, all)
			time.Sleep(2 * time.Second)
			found, err := store.ListSnapshots(t.Context(), r.mem, r.layout)
			must(t, err)
			most = max(most, len(found))
		}
		published := int(r.pointer().Generation - generation)
		cancel()
		must(t, <-done)
		total := 0
		for _, n := range requests {
			total += n
		}
		t.Logf("%d published, up to %d stored, %d requests: %v", published, most, total, requests)
		if published < edits*9/10 {
			t.Errorf("%d of %d edits were published", published, edits)
		}
		// A grace and a minute of edits, their merges with them, and what is kept longer.
		if limit := 2*(120+60)/2 + 40; most > limit {
			t.Errorf("up to %d snapshots are stored, want at most %d", most, limit)
		}
		if per := total / published; per > 32 {
			t.Errorf("%d requests a publication: %v", per, requests)
		}
		if out, err := r.operator().List(t.Context()); err != nil || len(out) > most {
			t.Errorf("%d listed, %v", len(out), err)
		}
		r.condition(reconcile.Collected, reconcile.True, "")
	})
}
