package vecindex

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
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

// A scan by codes costs at most a tenth more than one of the floats, whatever the vectors, and at most half where codes
// tell them apart. It is counted, in floats scored in order. A look at a code costs a third. Scoring a single vector is
// the same arithmetic and the fetching of a row from anywhere, which is as long as 256 components; with more queries
// both count more, because a scan fetches a row for several at once. Choosing one costs a quarter of the fetching.
// These are more than was measured.
func TestAScanByCodesCostsAtMostATenthMore(t *testing.T) {
	for _, shape := range [][2]int{{40_000, 64}, {6_000, 384}, {3_000, 1536}} {
		n, dims := shape[0], shape[1]
		for _, d := range codeData(n, dims) {
			x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, d.rows(), dims)
			for _, nq := range []int{1, 2, 3, 4, 16} {
				for _, k := range []int{1, 10, 100, 1000} {
					w := codeWork(t, x, d.queries(nq), nq, k)
					alone, fetch := 1.4*float64(min(nq, 3)), 256/float64(dims)
					cost := float64(w.plain) + float64(w.coded)/3 + alone*((1+fetch)*float64(w.single)+fetch/4*float64(w.chosen))
					cost /= float64(n * nq)
					most := 1.1
					if d.apart && k <= 10 {
						most = 0.5
					}
					if cost > most {
						t.Errorf("%s, %d x %d, %d queries, k %d: %.3f of a plain scan, want at most %v: %+v", d.name, n, dims, nq, k, cost, most, w)
					}
				}
			}
			x.Close()
		}
	}
}

func codeWork(t *testing.T, x *Index, queries []float32, nq, k int) scanWork {
	t.Helper()
	j := job{queries: queries, nq: nq, k: k, count: x.n, out: newHits(nq * k)}
	var sum scanWork
	err := scanAll(newCores(1), j, x.dims, x.dims, x.n, func(queries []float32, nq int) (part, func(), error) {
		sc, err := x.s.scan(queries, nq, k)
		return sc.part, func() { sum = sc.work(); sc.end() }, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// codeSet is vectors and queries for them.
type codeSet struct {
	name    string
	apart   bool // codes tell the vectors apart
	rows    func() []float32
	queries func(nq int) []float32
}

// codeData is data that codes tell apart well, badly, not at all or in some places only.
func codeData(n, dims int) []codeSet {
	held := sync.OnceValue(func() []float32 { return clustered(n+64, dims) })
	clusters := func() []float32 { return held()[:n*dims] }
	of := func(rows func() []float32) func(int) []float32 { // rows that are far from each other, as queries
		return func(nq int) []float32 {
			var queries []float32
			for q := range nq {
				queries = append(queries, rows()[q*(n/nq)*dims:][:dims]...)
			}
			return queries
		}
	}
	set := func(name string, rows func() []float32) codeSet {
		rows = sync.OnceValue(rows)
		return codeSet{name: name, rows: rows, queries: of(rows)}
	}
	heldOut := func(nq int) []float32 { return held()[n*dims : (n+nq)*dims] }
	alike := func(nq int) []float32 { return copies(nq, dims, 1e-3) }
	near := func(n int) []float32 { return copies(n, dims, 1e-5) }
	mixed := func(name string, rows func() []float32) codeSet {
		return codeSet{name: name, rows: sync.OnceValue(rows), queries: alike}
	}
	return []codeSet{
		{"clusters", true, clusters, heldOut},
		set("gaussian", func() []float32 { return gaussian(n, dims) }),
		set("identical", func() []float32 { return copies(n, dims, 0) }),
		set("nearly equal", func() []float32 { return near(n) }),
		set("less nearly equal", func() []float32 { return copies(n, dims, 1e-3) }),
		set("nearly equal but one", func() []float32 { return withOutlier(near(n), dims) }),
		set("2 vectors, many copies", func() []float32 { return fewVectors(n, dims, 2) }),
		set("5 vectors, many copies", func() []float32 { return fewVectors(n, dims, 5) }),
		set("250 vectors, many copies", func() []float32 { return fewVectors(n, dims, 250) }),
		set("few zeros", func() []float32 { return sparse(n, dims) }),
		mixed("clusters, worst first", func() []float32 { return worstFirst(clusters(), alike(1)) }),
		mixed("gaussian, worst first", func() []float32 { return worstFirst(gaussian(n, dims), alike(1)) }),
		mixed("evenly better", func() []float32 { return evenly(n, alike(1)) }),
		mixed("half clusters, half nearly equal", func() []float32 {
			return slices.Concat(held()[:n/2*dims], near(n-n/2))
		}),
		mixed("clusters and nearly equal by turns", func() []float32 {
			rows := slices.Clone(clusters())
			for at := 0; at < n; at += 2000 {
				to := min(at+1000, n)
				copy(rows[at*dims:], near(to-at))
			}
			return rows
		}),
	}
}

func gaussian(n, dims int) []float32 {
	rng := rand.New(rand.NewPCG(7, 8))
	rows := make([]float32, n*dims)
	for at := 0; at < len(rows); at += dims {
		var norm float64
		for j := at; j < at+dims; j++ {
			v := rng.NormFloat64()
			rows[j] = float32(v)
			norm += v * v
		}
		for j := at; j < at+dims; j++ {
			rows[j] /= float32(math.Sqrt(norm))
		}
	}
	return rows
}

// fewVectors is the first few vectors over and over.
func fewVectors(n, dims, distinct int) []float32 {
	few := clustered(distinct, dims)
	var rows []float32
	for i := range n {
		at := i % distinct * dims
		rows = append(rows, few[at:at+dims]...)
	}
	return rows
}

// worstFirst sorts rows by their scores with a query: each is better than those before it.
func worstFirst(rows, query []float32) []float32 {
	type scored struct {
		row   []float32
		score float64
	}
	var all []scored
	for row := range slices.Chunk(rows, len(query)) {
		s := scored{row: row}
		for j, q := range query {
			s.score += float64(q) * float64(row[j])
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	var out []float32
	for _, s := range all {
		out = append(out, s.row...)
	}
	return out
}

// evenly is n vectors on the way from the opposite of a query to it, by even steps of the score.
func evenly(n int, query []float32) []float32 {
	across := slices.Clone(query) // at a right angle to query
	across[0], across[1] = query[1], -query[0]
	clear(across[2:])
	norm := math.Hypot(float64(across[0]), float64(across[1]))
	var rows []float32
	for i := range n {
		score := 2*float64(i)/float64(n) - 1
		for j, q := range query {
			rows = append(rows, float32(score*float64(q)+math.Sqrt(1-score*score)*float64(across[j])/norm))
		}
	}
	return rows
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
