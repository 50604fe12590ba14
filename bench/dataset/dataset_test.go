package dataset

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var small = Shape{Name: "small", N: 3000, Dims: 32, Queries: 20, Seed: 7}

func TestOpenMakesTheSameBytesEveryTime(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		s, err := Open(t.Context(), dir, small)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"base.f32", "queries.f32", "truth.i32"} {
		x, err := os.ReadFile(filepath.Join(small.Dir(a), name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(small.Dir(b), name))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x, y) {
			t.Errorf("%s differs between two runs", name)
		}
	}
}

func TestOpenRefusesATruncatedFile(t *testing.T) {
	cache := t.TempDir()
	s, err := Open(t.Context(), cache, small)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.Truncate(filepath.Join(s.Dir, "base.f32"), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cache, small); err == nil {
		t.Error("a truncated base was accepted")
	}
}

func TestRowsAreUnitAndNoQueryIsInTheBase(t *testing.T) {
	base, queries, err := Generate(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < small.N; i++ {
		row := base[i*small.Dims : (i+1)*small.Dims]
		if n := float64(dot(row, row)); math.Abs(n-1) > 1e-5 {
			t.Fatalf("row %d has squared length %g", i, n)
		}
	}
	for q := 0; q < small.Queries; q++ {
		query := queries[q*small.Dims : (q+1)*small.Dims]
		for i := 0; i < small.N; i++ {
			if slices.Equal(query, base[i*small.Dims:(i+1)*small.Dims]) {
				t.Fatalf("query %d is row %d", q, i)
			}
		}
	}
}

func TestExactEqualsAFullSort(t *testing.T) {
	base, queries, err := Generate(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	copy(base[5*small.Dims:6*small.Dims], base[2*small.Dims:3*small.Dims]) // a tie: the lower position comes first
	copy(queries, base[2*small.Dims:3*small.Dims])
	got, err := Exact(t.Context(), base, queries, small.Dims)
	if err != nil {
		t.Fatal(err)
	}
	for q := 0; q < small.Queries; q++ {
		all := make([]candidate, small.N)
		for i := range all {
			all[i] = candidate{int32(i), dot(queries[q*small.Dims:(q+1)*small.Dims], base[i*small.Dims:(i+1)*small.Dims])}
		}
		slices.SortStableFunc(all, func(a, b candidate) int {
			switch {
			case a.score > b.score:
				return -1
			case a.score < b.score:
				return 1
			}
			return 0
		})
		for i := range K {
			if got[q*K+i] != all[i].pos {
				t.Fatalf("query %d, rank %d: %d, want %d", q, i, got[q*K+i], all[i].pos)
			}
		}
	}
	if got[0] != 2 || got[1] != 5 {
		t.Errorf("equal rows came as %v, want 2 then 5 first", got[:2])
	}
}

func TestHitsCountsARepeatedPositionOnce(t *testing.T) {
	s := &Set{Shape: Shape{Queries: 1}, Truth: []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
	if n := s.Hits(0, []int{1, 1, 1, 11, 2}); n != 2 {
		t.Errorf("%d hits, want 2", n)
	}
}

func BenchmarkDot384(b *testing.B) {
	base, _, err := Generate(b.Context(), Shape{N: 100, Dims: 384, Queries: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(384 * 4)
	var sink float32
	for i := 0; b.Loop(); i++ {
		sink += dot(base[:384], base[(i%100)*384:(i%100+1)*384])
	}
	_ = sink
}
