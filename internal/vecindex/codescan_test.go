package vecindex

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// A scan by codes leaves out what cannot be among the best: what it finds is what a scan of the floats finds, for
// vectors that codes tell apart well and for those that they do not.
func TestAScanByCodesFindsWhatAScanOfTheFloatsFinds(t *testing.T) {
	const n, dims = 9000, 250 // enough for codes; rows end off the vector width
	if !usesCodes(snapshot.IndexParams{Kind: snapshot.Flat}, n, dims) {
		t.Fatal("too small for codes")
	}
	for name, rows := range map[string][]float32{
		"clusters":  clustered(n, dims),
		"identical": copies(n, dims, 0),
		"near":      copies(n, dims, 1e-4),
		"outlier":   withOutlier(clustered(n, dims), dims),
		"few zeros": sparse(n, dims),
	} {
		t.Run(name, func(t *testing.T) {
			x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
			queries := append(clustered(13, dims), rows[:4*dims]...)
			for _, k := range []int{1, 10, 300} {
				pos, scores, err := x.Search(queries, k, nil)
				if err != nil {
					t.Fatal(err)
				}
				for q := range len(queries) / dims {
					want := reference(rows, queries[q*dims:(q+1)*dims], k)
					got := scores[q*k : (q+1)*k]
					for i := range want {
						if math.Abs(float64(got[i])-want[i]) > 2e-6 {
							t.Fatalf("query %d, k %d, hit %d: score %v at %d, want %v", q, k, i, got[i], pos[q*k+i], want[i])
						}
					}
					if seen := distinct(pos[q*k : (q+1)*k]); seen != k {
						t.Errorf("query %d: %d different positions, want %d", q, seen, k)
					}
				}
			}
		})
	}
}

// The parts of a split scan share what they have found: one at a time and all at once must agree, ties included.
func TestASplitScanOfCodesAnswersLikeAWholeOne(t *testing.T) {
	const n, dims, k = 40_000, 64, 20
	rows := clustered(n/2, dims)
	rows = append(rows, rows...) // every score twice
	x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
	queries := clustered(7, dims)
	whole := newHits(7 * k)
	scanWhole(t, x, queries, 7, k, whole)
	for range 20 {
		pos, scores, err := x.Search(queries, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(whole.pos, pos); diff != "" {
			t.Fatal(diff)
		}
		if diff := gocmp.Diff(whole.scores, scores); diff != "" {
			t.Fatal(diff)
		}
	}
}

func copies(n, dims int, noise float64) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	one := clustered(1, dims)
	out := make([]float32, 0, n*dims)
	for range n {
		at := len(out)
		var norm float64
		for _, v := range one {
			v += float32(noise * rng.NormFloat64())
			norm += float64(v) * float64(v)
			out = append(out, v)
		}
		for i := range out[at:] {
			out[at+i] /= float32(math.Sqrt(norm))
		}
	}
	return out
}

// withOutlier makes one component of one row wide: its code is coarse for all others.
func withOutlier(rows []float32, dims int) []float32 {
	row := rows[5*dims : 6*dims]
	clear(row)
	row[7] = 1
	return rows
}

func sparse(n, dims int) []float32 {
	rng := rand.New(rand.NewPCG(5, 6))
	out := make([]float32, n*dims)
	for i := range n {
		for range 2 {
			out[i*dims+rng.IntN(dims)] = float32(math.Sqrt(0.5))
		}
	}
	for i := range n {
		row := out[i*dims : (i+1)*dims]
		var norm float64
		for _, v := range row {
			norm += float64(v) * float64(v)
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(norm))
		}
	}
	return out
}

// reference is the k best scores of all rows, in double precision.
func reference(rows, query []float32, k int) []float64 {
	scores := make([]float64, 0, len(rows)/len(query))
	for at := 0; at < len(rows); at += len(query) {
		var sum float64
		for j, q := range query {
			sum += float64(q) * float64(rows[at+j])
		}
		scores = append(scores, sum)
	}
	slices.SortFunc(scores, func(a, b float64) int { return cmp.Compare(b, a) })
	return scores[:k]
}

func distinct(pos []int64) int {
	return len(slices.Compact(slices.Sorted(slices.Values(pos))))
}
