package vecindex

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestTuneFindsTheLeastEfThatReachesTheTarget(t *testing.T) {
	const n, dims, k = 4000, 64, 10
	all := clustered(n+100, dims)
	rows, queries := all[:n*dims], all[n*dims:]
	for _, start := range []snapshot.IndexParams{
		{Kind: snapshot.HNSW, M: 8, EfSearch: 10}, {Kind: snapshot.IVF, NList: 64, NProbe: 1},
		{Kind: snapshot.HNSWSQ8, M: 8, EfSearch: 10}, {Kind: snapshot.IVFSQ8, NList: 64, NProbe: 1},
	} {
		x := build(t, start, rows, dims)
		path := filepath.Join(t.TempDir(), "index.faiss")
		if err := x.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		last := 0
		for _, target := range []float64{0.8, 0.95, 0.99} {
			p, measured, err := x.Tune(target, queries)
			if err != nil {
				t.Fatal(err)
			}
			ef := p.NProbe + p.EfSearch
			t.Logf("%s: %.2f with an ef of %d: %.3f", p.Kind, target, ef, measured)
			if measured < target || ef < last {
				t.Errorf("%s: ef %d has recall %.3f, wanted %.2f", p.Kind, ef, measured, target)
			}
			last = ef
			tuned, err := Open(path, p)
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := tuned.Exact(queries, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := tuned.Search(queries, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r := recallOf(got, want, k); r < target {
				t.Errorf("%s: opened with ef %d, recall %.3f, wanted %.2f", p.Kind, ef, r, target)
			}
			tuned.Close()
			if same, _, err := x.Search(queries, k, nil); err != nil || x.Params() != p || !slices.Equal(same, got) {
				t.Errorf("%s: after Tune found ef %d the index searches by %+v, otherwise than the file opened by it: %v", p.Kind, ef, x.Params(), err)
			}
		}
	}
	x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
	if p, r, err := x.Tune(0.9, queries); err != nil || r != 1 || p != x.Params() {
		t.Errorf("flat: %+v, %v, %v", p, r, err)
	}
	for _, target := range []float64{0, -1, 1.1} {
		if _, _, err := x.Tune(target, queries); !errors.Is(err, ErrQuery) {
			t.Errorf("target %v: %v", target, err)
		}
	}
}
