package vecindex

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// vectors makes n unit vectors around a few directions, as embeddings lie.
func vectors(n, dims int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	centres := make([]float32, 32*dims)
	for i := range centres {
		centres[i] = float32(rng.NormFloat64())
	}
	out := make([]float32, n*dims)
	for r := range n {
		c := rng.IntN(32)
		row := out[r*dims : (r+1)*dims]
		var norm float64
		for i := range row {
			row[i] = centres[c*dims+i] + float32(rng.NormFloat64())
			norm += float64(row[i]) * float64(row[i])
		}
		for i := range row {
			row[i] = float32(float64(row[i]) / math.Sqrt(norm))
		}
	}
	return out
}

// kinds are all that can be built.
var kinds = []string{snapshot.Flat, snapshot.IVF, snapshot.HNSW, snapshot.IVFSQ8, snapshot.HNSWSQ8}

// recallOf is the share of the true positions, k a row, that were found.
func recallOf(got, want []int64, k int) float64 {
	found := 0
	for at := 0; at < len(want); at += k {
		truth := make(map[int64]bool, k)
		for _, p := range want[at : at+k] {
			truth[p] = true
		}
		for _, p := range got[at : at+k] {
			if truth[p] {
				found++
			}
		}
	}
	return float64(found) / float64(len(want))
}

func build(t testing.TB, p snapshot.IndexParams, rows []float32, dims int) *Index {
	t.Helper()
	b, err := NewBuilder(p, dims, len(rows)/dims)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(context.Background(), rows); err != nil {
		t.Fatal(err)
	}
	x, err := b.Finish(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func TestEveryKindBuildsWritesOpensAndFindsTheNeighbours(t *testing.T) {
	const n, dims, k = 3000, 48, 10
	rows := vectors(n, dims, 1)
	queries := vectors(50, dims, 2)
	truth := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
	want, _, err := truth.Exact(queries, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			p, err := Resolve(kind, n, dims)
			if err != nil {
				t.Fatal(err)
			}
			built := build(t, p, rows, dims)
			path := filepath.Join(t.TempDir(), "index.faiss")
			if err := built.WriteFile(path); err != nil {
				t.Fatal(err)
			}
			opened, err := Open(path, p)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			for _, x := range []*Index{built, opened} {
				got, scores, err := x.Search(queries, k, nil)
				if err != nil {
					t.Fatal(err)
				}
				if r := recallOf(got, want, k); r < 0.95 {
					t.Errorf("recall %.3f", r)
				}
				for i := 1; i < k; i++ {
					if scores[i] > scores[i-1] {
						t.Errorf("scores not descending: %v", scores[:k])
					}
				}
				exact, _, err := x.Exact(queries, k, nil)
				if err != nil {
					t.Fatal(err)
				}
				floor := 0.999
				if p.Codes() {
					floor = 0.97
				}
				if r := recallOf(exact, want, k); r < floor {
					t.Errorf("exact recall %.3f", r)
				}
				for _, share := range []float64{0.001, 0.01, 0.05, 0.14, 0.16, 0.3, 0.5, 0.9} {
					allow := roaring.New()
					rng := rand.New(rand.NewPCG(3, 3))
					for p := range n {
						if rng.Float64() < share {
							allow.Add(uint32(p))
						}
					}
					want, _, _ := truth.Exact(queries, k, allow)
					got, _, err := x.Search(queries, k, allow)
					if err != nil {
						t.Fatal(err)
					}
					if r := recallOf(got, want, k); r < 0.95 {
						t.Errorf("%v selected: recall %.3f", share, r)
					}
				}
			}
		})
	}
}

// clustered makes n unit vectors as an embedding model gives them: around 256
// centres, varying mostly in 32 directions of their own, plus a little noise.
func clustered(n, dims int) []float32 {
	const centres, rank = 256, 32
	rng := rand.New(rand.NewPCG(11, 11))
	normal := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	centre, basis := normal(centres*dims), normal(rank*dims)
	out := make([]float32, n*dims)
	for r := range n {
		row := out[r*dims : (r+1)*dims]
		copy(row, centre[rng.IntN(centres)*dims:][:dims])
		for a := range rank {
			w := float32(rng.NormFloat64()) * 0.3
			for i, b := range basis[a*dims : (a+1)*dims] {
				row[i] += w * b
			}
		}
		var norm float64
		for i := range row {
			row[i] += float32(rng.Float64()-0.5) * 0.5
			norm += float64(row[i]) * float64(row[i])
		}
		scale := float32(1 / math.Sqrt(norm))
		for i := range row {
			row[i] *= scale
		}
	}
	return out
}

// The walk under a filter, without the choice of a scan that Search makes.
func TestAFilteredWalkKeepsItsRecallAsTheSelectionNarrows(t *testing.T) {
	const n, dims, k = 6000, 384, 10 // enough to walk on codes
	all := clustered(n+40, dims)
	rows, queries := all[:n*dims], all[n*dims:]
	p := withDefaults(snapshot.IndexParams{Kind: snapshot.HNSW}, n)
	if !usesCodes(p, n, dims) {
		t.Fatal("too small for codes")
	}
	x := build(t, p, rows, dims)
	for _, percent := range []int{100, 50, 20, 10, 5, 2} {
		allow := selected(n, percent)
		f := filter{words: allow.ToDense(), count: int(allow.GetCardinality())}
		got := newHits(40 * k)
		complete, err := x.s.search(queries, 40, k, p.EfSearch, f, 0, got)
		if err != nil || !complete {
			t.Fatal(complete, err)
		}
		want, scores, err := x.Exact(queries, k, allow)
		if err != nil {
			t.Fatal(err)
		}
		r := recallOf(got.pos, want, k)
		t.Logf("%d%% selected: recall %.3f", percent, r)
		if r < 0.97 {
			t.Errorf("%d%% selected: recall %.3f", percent, r)
		}
		// Codes only guide the walk: scores are those of the vectors.
		for i, pos := range got.pos {
			if pos == want[i] && math.Abs(float64(got.scores[i]-scores[i])) > 1e-5 {
				t.Errorf("score %v, want %v", got.scores[i], scores[i])
			}
		}
	}
	if _, err := x.s.search(queries, 40, k, p.EfSearch, filter{}, 10, newHits(40*k)); err != nil {
		t.Error(err)
	}
}

// A walk of the graph compares a query with a part of the vectors; a scan would compare it with all.
func TestAWalkLooksAtFewOfTheVectors(t *testing.T) {
	const n, dims, k, nq = 10_000, 64, 10, 16
	rows := clustered(n+nq, dims)
	for _, kind := range []string{snapshot.HNSW, snapshot.HNSWSQ8} {
		x := build(t, snapshot.IndexParams{Kind: kind}, rows[:n*dims], dims)
		complete, err := x.s.search(rows[n*dims:], nq, k, x.params.EfSearch, filter{}, n/4, newHits(nq*k))
		if err != nil || !complete {
			t.Errorf("%s: %d vectors were not enough: %v", kind, n/4, err)
		}
	}
}
