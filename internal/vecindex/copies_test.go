package vecindex

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// texts are n distinct unit vectors with copies of each, shuffled; of[i] is which one row i is.
func texts(n, each, dims int, seed uint64) (rows []float32, of []int) {
	distinct := vectors(n, dims, seed)
	for i := range n * each {
		of = append(of, i%n)
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	rng.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	for _, t := range of {
		rows = append(rows, distinct[t*dims:(t+1)*dims]...)
	}
	return rows, of
}

// distinctRecall is the share of the k best distinct vectors that are found; a result is right when it scores at least
// as much as the k-th exact one.
func distinctRecall(t *testing.T, x *Index, queries []float32, k int, allow *roaring.Bitmap) float64 {
	t.Helper()
	_, want, err := x.Exact(queries, k, allow)
	if err != nil {
		t.Fatal(err)
	}
	pos, got, err := x.Search(queries, k, allow)
	if err != nil {
		t.Fatal(err)
	}
	right, all := 0, 0
	for q := range len(queries) / x.Dims() {
		seen := map[int64]bool{}
		for i := q * k; i < (q+1)*k; i++ {
			if want[i] == 0 {
				continue
			}
			all++
			if pos[i] >= 0 && got[i] >= want[(q+1)*k-1] && !seen[pos[i]] {
				right++
			}
			seen[pos[i]] = true
		}
	}
	return float64(right) / float64(all)
}

func TestCopiesOfFewTextsDoNotBreakTheGraph(t *testing.T) {
	const n, each, dims, k = 245, 70, 64, 10
	rows, _ := texts(n, each, dims, 3)
	queries := vectors(200, dims, 4)
	for _, kind := range []string{snapshot.HNSW, snapshot.HNSWSQ8} {
		x := build(t, snapshot.IndexParams{Kind: kind}, rows, dims)
		if r := distinctRecall(t, x, queries, k, nil); r < 0.95 {
			t.Errorf("%s: recall %.3f", kind, r)
		}
		if r := distinctRecall(t, x, queries, 3*each, nil); r < 0.95 { // three texts with all their copies
			t.Errorf("%s: recall %.3f for k %d", kind, r, 3*each)
		}
		some := roaring.New()
		for i := 0; i < n*each; i += 3 {
			some.Add(uint32(i))
		}
		pos, _, err := x.Search(queries, k, some)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pos {
			if p < 0 || p%3 != 0 {
				t.Fatalf("%s: hit %d is position %d, which the filter does not allow", kind, i, p)
			}
		}
		if r := distinctRecall(t, x, queries, k, some); r < 0.95 {
			t.Errorf("%s: recall %.3f under a filter", kind, r)
		}
		path := filepath.Join(t.TempDir(), "index.faiss")
		if err := x.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		again, err := Open(path, x.Params())
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := x.Search(queries, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := again.Search(queries, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s: another answer after it was written and read", kind)
		}
		again.Close()
	}
}

// A graph that is carried over: copies come and go, the first of some is removed, vectors become copies.
func TestCopiesAreCarriedOver(t *testing.T) {
	const n, each, dims, k = 300, 8, 32, 10
	rows, of := texts(n, each, dims, 5)
	queries := vectors(100, dims, 6)
	for _, kind := range []string{snapshot.HNSW, snapshot.HNSWSQ8} {
		x := build(t, snapshot.IndexParams{Kind: kind, EfSearch: 64}, rows, dims)
		at, kinds := rows, of
		for g := range 4 {
			rng := rand.New(rand.NewPCG(uint64(g), 11))
			var next []float32
			var from []int64
			var nextOf []int
			for _, i := range rng.Perm(len(kinds))[len(kinds)/10:] { // a tenth goes, the order changes
				switch {
				case i%17 == 0: // it becomes a copy of another
					other := rng.IntN(len(kinds))
					next, from, nextOf = append(next, at[other*dims:(other+1)*dims]...), append(from, -1), append(nextOf, kinds[other])
				default:
					next, from, nextOf = append(next, at[i*dims:(i+1)*dims]...), append(from, int64(i)), append(nextOf, kinds[i])
				}
			}
			x, at, kinds = rebuild(t, x, next, from, dims), next, nextOf
			if r := distinctRecall(t, x, queries, k, nil); r < 0.95 {
				t.Errorf("%s: recall %.3f after %d generations", kind, r, g+1)
			}
			pos, _, err := x.Search(queries[:dims], x.Len(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Sort(pos); len(slices.Compact(pos)) != x.Len() || pos[0] != 0 {
				t.Fatalf("%s: not every position is found once", kind)
			}
		}
	}
}

// Only copies are marked in the file: without any it is what it was.
func TestAGraphWithoutCopiesIsWrittenAsBefore(t *testing.T) {
	const dims = 24
	rows := vectors(500, dims, 8)
	x := build(t, snapshot.IndexParams{Kind: snapshot.HNSW}, rows, dims)
	y := build(t, snapshot.IndexParams{Kind: snapshot.HNSW}, append(slices.Clone(rows), rows[:dims]...), dims)
	sizes := map[*Index]int{}
	for _, ix := range []*Index{x, y} {
		path := filepath.Join(t.TempDir(), "index.faiss")
		if err := ix.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, []byte("IHNf")) {
			t.Fatalf("the file begins with %q", data[:4])
		}
		sizes[ix] = len(data)
	}
	if sizes[y] <= sizes[x] {
		t.Errorf("%d bytes with a copy, %d without", sizes[y], sizes[x])
	}
}

// Equal vectors score the same to the last bit, on every path and wherever they lie, and order by position.
func TestEqualVectorsTie(t *testing.T) {
	const n, each, dims, k = 60, 19, 250, 19 * 5 // dims off the vector width, groups off the kernels' fours
	rows, of := texts(n, each, dims, 12)
	// More rows, so that flat scans by codes.
	filler := vectors(9000, dims, 13)
	all := append(slices.Clone(rows), filler...)
	queries := append(vectors(7, dims, 14), rows[:dims]...)
	odd := roaring.New()
	for i := 1; i < len(all)/dims; i += 2 {
		odd.Add(uint32(i))
	}
	for _, kind := range []string{snapshot.Flat, snapshot.HNSW, snapshot.IVF, snapshot.HNSWSQ8, snapshot.IVFSQ8} {
		t.Run(kind, func(t *testing.T) {
			x := build(t, snapshot.IndexParams{Kind: kind}, all, dims)
			type search func([]float32, int, *roaring.Bitmap) ([]int64, []float32, error)
			for name, how := range map[string]search{"search": x.Search, "exact": x.Exact} {
				for _, allow := range []*roaring.Bitmap{nil, odd} {
					score := map[[2]int]float32{} // query, text
					for _, nq := range []int{1, 3, 8} {
						pos, scores, err := how(queries[:nq*dims], k, allow)
						if err != nil {
							t.Fatal(err)
						}
						for i := range pos {
							q := i / k
							if i%k > 0 && scores[i] == scores[i-1] && pos[i] < pos[i-1] {
								t.Fatalf("%s: equal scores not by position: %d before %d", name, pos[i-1], pos[i])
							}
							if pos[i] < 0 || pos[i] >= int64(len(of)) {
								continue
							}
							key := [2]int{q, of[pos[i]]}
							if s, ok := score[key]; ok && s != scores[i] {
								t.Fatalf("%s: copies of text %d score %v and %v for query %d", name, key[1], s, scores[i], q)
							}
							score[key] = scores[i]
						}
					}
				}
			}
		})
	}
}
