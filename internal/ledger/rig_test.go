package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

var embedding = snapshot.Embedding{Provider: "openai", Model: "m", Dims: 8, Version: "v1"}

// ledgerRig is a ledger on a store whose clock the test moves.
type ledgerRig struct {
	t   *testing.T
	now time.Time
	mem *storetest.Mem
	l   store.Layout
	dir string
}

func newLedgerRig(t *testing.T) *ledgerRig {
	r := &ledgerRig{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), l: store.NewLayout("p", ""), dir: t.TempDir()}
	r.mem = storetest.NewMem(func() time.Time { return r.now })
	return r
}

func (r *ledgerRig) open() *ledger.Ledger { return r.openSpace(embedding) }

func (r *ledgerRig) openSpace(e snapshot.Embedding) *ledger.Ledger {
	r.t.Helper()
	g, err := ledger.Open(r.t.Context(), r.mem, r.l, r.dir, e, "api.example.com")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { g.Close() })
	return g
}

// reopen opens the ledger without its local copy.
func (r *ledgerRig) reopen() *ledger.Ledger {
	r.dir = r.t.TempDir()
	return r.open()
}

func (r *ledgerRig) segments() []string {
	return slices.DeleteFunc(r.mem.Keys(r.l.Ledger()), func(key string) bool { return !strings.HasSuffix(key, ".seg") })
}

// flushed flushes ids and returns the key of the segment that they became.
func (r *ledgerRig) flushed(g *ledger.Ledger, ids ...int) string {
	r.t.Helper()
	before := r.segments()
	flush(r.t, g, ids...)
	for _, key := range r.segments() {
		if !slices.Contains(before, key) {
			return key
		}
	}
	r.t.Fatal("no new segment")
	return ""
}

func ledgerKey(i int) ledger.Key {
	return ledger.NewKey(fmt.Sprint("text ", i), embedding, "api.example.com")
}

func vectorOf(i int) []float32 {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	v := make([]float32, embedding.Dims)
	for j := range v {
		v[j] = rng.Float32()
	}
	return v
}

func flush(t *testing.T, g *ledger.Ledger, ids ...int) {
	t.Helper()
	var keys []ledger.Key
	var rows []float32
	for _, i := range ids {
		keys, rows = append(keys, ledgerKey(i)), append(rows, vectorOf(i)...)
	}
	if err := g.Flush(t.Context(), keys, rows, embedding.Dims); err != nil {
		t.Fatal(err)
	}
}

// holds checks that exactly the ids of want are there, among 0..n-1, with their own vectors.
func holds(t *testing.T, g *ledger.Ledger, n int, want ...int) {
	t.Helper()
	got := make([]float32, embedding.Dims)
	for i := range n {
		ok, err := g.Get(ledgerKey(i), got)
		if err != nil {
			t.Fatal(err)
		}
		if ok != slices.Contains(want, i) || ok != g.Has(ledgerKey(i)) {
			t.Errorf("vector %d: there %v, want %v", i, ok, !ok)
		}
		if ok && !slices.Equal(got, vectorOf(i)) {
			t.Errorf("vector %d is %v, want %v", i, got, vectorOf(i))
		}
	}
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func compact(t *testing.T, g *ledger.Ledger, grace time.Duration, keep ...int) ledger.CompactReport {
	t.Helper()
	needed := map[ledger.Key]bool{}
	for _, i := range keep {
		needed[ledgerKey(i)] = true
	}
	report, err := g.Compact(t.Context(), func(k ledger.Key) bool { return needed[k] }, ledger.CompactOptions{Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	return report
}
