package ledger_test

import (
	"testing"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestForgetModelDropsAllDimsOfItAndNothingElse(t *testing.T) {
	r := newLedgerRig(t)
	other, wider, local := embedding, embedding, embedding
	other.Model, wider.Dims, local.Provider = "n", 16, "local"
	for _, e := range []snapshot.Embedding{embedding, other, wider, local} {
		g := r.openSpace(e)
		keys := []ledger.Key{ledger.NewKey("a", e, "api.example.com"), ledger.NewKey("b", e, "api.example.com")}
		for i := range 2 { // two segments each
			if err := g.Flush(t.Context(), keys[i:i+1], make([]float32, e.Dims), e.Dims); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := ledger.ForgetModel(t.Context(), r.mem, r.l, embedding, "another.example.com"); n != 0 || err != nil {
		t.Errorf("at another host: %d, %v", n, err)
	}
	if n, err := ledger.ForgetModel(t.Context(), r.mem, r.l, embedding, "api.example.com"); n != 4 || err != nil {
		t.Errorf("%d vectors, %v; want 4: two of 8 dims, two of 16", n, err)
	}
	for e, want := range map[snapshot.Embedding]int{embedding: 0, wider: 0, other: 2, local: 2} {
		r.dir = t.TempDir()
		if got := r.openSpace(e).Len(); got != want {
			t.Errorf("%+v: %d vectors are left, want %d", e, got, want)
		}
	}
	if n, err := ledger.ForgetModel(t.Context(), r.mem, r.l, embedding, "api.example.com"); n != 0 || err != nil {
		t.Errorf("a second time: %d, %v", n, err)
	}
}

func TestForgetModelIsNotStoppedByDamage(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	r.flushed(g, 1)
	short := r.flushed(g, 2)
	if _, err := r.mem.Put(t.Context(), short, []byte("VSLEDGER"), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if n, err := ledger.ForgetModel(t.Context(), r.mem, r.l, embedding, "api.example.com"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if left := r.segments(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}
