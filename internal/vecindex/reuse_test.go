package vecindex

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// changed returns the rows with every one divisible by every replaced by a fresh
// one, some removed, in another order, and where each came from.
func changed(rows, fresh []float32, dims, every, removed int, seed uint64) ([]float32, []int64) {
	n := len(rows) / dims
	var out []float32
	var from []int64
	rng := rand.New(rand.NewPCG(seed, 5))
	for _, i := range rng.Perm(n)[removed:] {
		if i%every == 0 {
			out = append(out, fresh[i/every*dims:][:dims]...)
			from = append(from, -1)
			continue
		}
		out = append(out, rows[i*dims:(i+1)*dims]...)
		from = append(from, int64(i))
	}
	return out, from
}

func rebuild(t *testing.T, prev *Index, rows []float32, from []int64, dims int) *Index {
	t.Helper()
	b, err := NewBuilder(prev.Params(), dims, len(rows)/dims)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Reuse(saved(t, prev), prev.Params(), from); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	x, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func TestAGraphCarriedOverManyChangesFindsWhatANewOneFinds(t *testing.T) {
	const n, dims, k, generations = 4000, 48, 10, 8
	for _, kind := range []string{snapshot.HNSW, snapshot.HNSWSQ8} {
		pool := vectors(n+generations*(n/33+1)+100, dims, 1)
		rows, spare := pool[:n*dims], pool[n*dims:]
		x := build(t, snapshot.IndexParams{Kind: kind, M: 12, EfConstruction: 60, EfSearch: 12}, rows, dims)
		for g := range generations { // a quarter of the rows in all
			next, from := changed(rows, spare, dims, 33, 20, uint64(g+20))
			x, rows, spare = rebuild(t, x, next, from, dims), next, spare[n/33*dims:]
		}
		queries := pool[len(pool)-100*dims:] // of the same clusters, never added
		anew := build(t, x.Params(), rows, dims)
		measure := func(x *Index) float64 {
			want, _, err := x.Exact(queries, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := x.Search(queries, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			return recallOf(got, want, k)
		}
		carried, fresh := measure(x), measure(anew)
		t.Logf("%s: recall %.4f after %d changes, %.4f anew", kind, carried, generations, fresh)
		if carried < fresh-0.03 {
			t.Errorf("%s: recall %.3f, a new graph has %.3f", kind, carried, fresh)
		}
		// The file passes the same checks as any other.
		path := filepath.Join(t.TempDir(), "index.faiss")
		if err := x.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(path, x.Params())
		if err != nil {
			t.Fatal(err)
		}
		opened.Close()
	}
}

func TestASmallChangeInsertsOnlyWhatChanged(t *testing.T) {
	const n, dims = 3000, 32
	pool := vectors(n+31, dims, 1)
	rows := pool[:n*dims]
	x := build(t, snapshot.IndexParams{Kind: snapshot.HNSW}, rows, dims)
	next, from := changed(rows, pool[n*dims:], dims, 100, 0, 2)
	lying := append([]int64(nil), from...)
	for i := range 10 { // rows that are not what the hint says are new
		lying[i], lying[i+10] = lying[i+10], lying[i]
	}
	for name, tt := range map[string]struct {
		from []int64
		want int
	}{
		"a hundredth changed": {from, 30},
		"wrong hints":         {lying, 30 + 20},
		"nothing in common":   {repeated(len(from), -1), n - 1},
	} {
		b, err := NewBuilder(x.Params(), dims, len(next)/dims)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Reuse(saved(t, x), x.Params(), tt.from); err != nil {
			t.Fatal(err)
		}
		if err := b.Add(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		if err := b.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		g, err := b.linker()
		if err != nil {
			t.Fatal(err)
		}
		if got := g.size(); got < tt.want-2 || got > tt.want {
			t.Errorf("%s: %d vectors to insert, want %d", name, got, tt.want)
		}
		g.free()
		b.Close()
	}
}

func repeated(n int, v int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func TestReuseRefusesImpossibleHints(t *testing.T) {
	const n, dims = 100, 8
	rows := vectors(n, dims, 1)
	x := build(t, snapshot.IndexParams{Kind: snapshot.HNSW}, rows, dims)
	path := saved(t, x)
	b, err := NewBuilder(snapshot.IndexParams{Kind: snapshot.HNSW}, dims, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, from := range [][]int64{nil, {1}, {0, n}, {5, 5}} {
		if err := b.Reuse(path, x.Params(), from); !errors.Is(err, ErrBuild) {
			t.Errorf("%v: %v", from, err)
		}
	}
	if err := b.Add(t.Context(), rows[:dims]); err != nil {
		t.Fatal(err)
	}
	if err := b.Reuse(path, x.Params(), []int64{0, 1}); !errors.Is(err, ErrBuild) {
		t.Errorf("after Add: %v", err)
	}
}
