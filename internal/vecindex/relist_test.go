package vecindex

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// saved writes x and returns the path, which is gone when the test ends.
func saved(t *testing.T, x *Index) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.faiss")
	if err := x.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// reused builds rows over the file of an earlier index and opens what was written.
func reused(t *testing.T, p snapshot.IndexParams, path string, was snapshot.IndexParams, rows []float32, from []int64, dims int) (*Index, int) {
	t.Helper()
	b, err := NewBuilder(p, dims, len(rows)/dims)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Reuse(path, was, from); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // it is not read again
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(t.TempDir(), "index.faiss")
	if err := b.WriteFile(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	built, carried := b.Built()
	x, err := Open(next, built)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x, carried
}

func TestListsAreTakenOverWhileTheyFit(t *testing.T) {
	const n, dims, k = 4000, 16, 10
	pool := vectors(n+n/100+200, dims, 1)
	rows, fresh, queries := pool[:n*dims], pool[n*dims:], pool[len(pool)-200*dims:]
	drifted := vectors(n, dims, 99) // around other centres
	next, from := changed(rows, fresh, dims, 100, 0, 3)
	for _, kind := range []string{snapshot.IVF, snapshot.IVFSQ8} {
		prev := build(t, snapshot.IndexParams{Kind: kind, NList: 64, NProbe: 4}, rows, dims)
		for name, tt := range map[string]struct {
			rows    []float32
			from    []int64
			lists   int // asked for; the earlier index has 64
			carried int
			want    int // lists
		}{
			"a hundredth changed":   {next, from, 64, n - n/100, 64},
			"a few lists more":      {next, from, 80, n - n/100, 64},
			"many more lists":       {next, from, 129, 0, 129},
			"far fewer lists":       {next, from, 31, 0, 31},
			"rows that lie apart":   {drifted, repeated(n, -1), 80, 0, 80},
			"half the rows drifted": {slices.Concat(drifted[:n/2*dims], rows[n/2*dims:]), repeated(n, -1), 64, 0, 64},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				p := snapshot.IndexParams{Kind: kind, NList: tt.lists}
				x, carried := reused(t, p, saved(t, prev), prev.Params(), tt.rows, tt.from, dims)
				if carried != tt.carried || x.Params().NList != tt.want {
					t.Errorf("%d rows carried into %d lists, want %d and %d", carried, x.Params().NList, tt.carried, tt.want)
				}
				// Nothing was trained exactly when the centroids are the earlier ones.
				if same := sameCentroids(t, prev, x); same != (tt.carried > 0) {
					t.Errorf("the earlier centroids: %v, with %d rows carried", same, carried)
				}
				if carried == 0 {
					return
				}
				anew := build(t, x.Params(), tt.rows, dims)
				if got, want := recallAt(t, x, queries, 4, k), recallAt(t, anew, queries, 4, k); got < want-0.01 {
					t.Errorf("recall %.3f, trained anew %.3f", got, want)
				}
			})
		}
	}
}

func sameCentroids(t *testing.T, a, b *Index) bool {
	t.Helper()
	if a.params.NList != b.params.NList {
		return false
	}
	probe := vectors(500, a.dims, 77)
	fit := func(x *Index) float64 {
		h, err := handle(x.ix)
		if err != nil {
			t.Fatal(err)
		}
		f, err := listsFit(h, probe, 500)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	return fit(a) == fit(b)
}

func recallAt(t *testing.T, x *Index, queries []float32, ef, k int) float64 {
	t.Helper()
	want, _, err := x.Exact(queries, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := withEf(x.Params(), ef)
	got, _, err := x.run(queries, k, nil, func(j job) error { return x.searchWith(p, j) })
	if err != nil {
		t.Fatal(err)
	}
	return recallOf(got, want, k)
}

func TestAGraphIsCarriedOverFromItsFile(t *testing.T) {
	const n, dims, k = 3000, 32, 10
	pool := vectors(n+131, dims, 1)
	rows, queries := pool[:n*dims], pool[len(pool)-100*dims:]
	next, from := changed(rows, pool[n*dims:], dims, 100, 0, 2)
	for _, kind := range []string{snapshot.HNSW, snapshot.HNSWSQ8} {
		prev := build(t, snapshot.IndexParams{Kind: kind}, rows, dims)
		x, carried := reused(t, prev.Params(), saved(t, prev), prev.Params(), next, from, dims)
		if carried != n-n/100 {
			t.Errorf("%s: %d rows carried, want %d", kind, carried, n-n/100)
		}
		if r := recallAt(t, x, queries, 96, k); r < 0.98 {
			t.Errorf("%s: recall %.3f", kind, r)
		}
		x, carried = reused(t, prev.Params(), saved(t, prev), prev.Params(), next, repeated(n, -1), dims)
		if r := recallAt(t, x, queries, 96, k); carried != 0 || r < 0.98 {
			t.Errorf("%s, nothing in common: %d rows carried, recall %.3f", kind, carried, r)
		}
	}
}

func TestABuildGoesOnWithoutAnEarlierIndexThatCannotBeRead(t *testing.T) {
	const n, dims = 500, 8
	rows := vectors(n, dims, 1)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("IxHN"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		b, err := NewBuilder(snapshot.IndexParams{Kind: kind}, dims, n)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.Reuse(bad, snapshot.IndexParams{Kind: kind}, repeated(n, -1)); err == nil {
			t.Errorf("%s: a damaged file was accepted", kind)
		}
		if err := b.Add(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		x, err := b.Finish(t.Context())
		if _, carried := b.Built(); err != nil || carried != 0 {
			t.Fatal(kind, err, carried)
		}
		x.Close()
	}
}
