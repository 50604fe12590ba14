//go:build compare

package vecindex

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// TestCompareCodes times scans by codes against scans of the floats on data that codes tell apart and data that they
// do not: one thread, both sides in turn, the median of the ratios.
func TestCompareCodes(t *testing.T) {
	shapes := [][2]int{{100_000, 64}, {40_000, 384}, {10_000, 1536}}
	var names []string
	cells := map[string][]string{}
	for _, shape := range shapes {
		n, dims := shape[0], shape[1]
		for _, d := range codeData(n, dims) {
			x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, d.rows(), dims)
			h, err := handle(x.ix)
			if err != nil {
				t.Fatal(err)
			}
			floats, err := newSearcher(h, nobody)
			if err != nil {
				t.Fatal(err)
			}
			if cells[d.name] == nil {
				names = append(names, d.name)
			}
			cells[d.name] = append(cells[d.name], fmt.Sprintf("%.2f / %.2f",
				codesPerFloats(t, x, floats, d.queries(1), 1), codesPerFloats(t, x, floats, d.queries(16), 16)))
			floats.free()
			x.Close()
		}
	}
	var table strings.Builder
	table.WriteString("| data |")
	for _, shape := range shapes {
		fmt.Fprintf(&table, " %d x %d |", shape[0], shape[1])
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(shapes)) + "\n")
	for _, name := range names {
		fmt.Fprintf(&table, "| %s | %s |\n", name, strings.Join(cells[name], " | "))
	}
	publish(t, "codes", table.String())
}

// codesPerFloats is how long a scan by codes takes beside one of the floats, for the ten best.
func codesPerFloats(t *testing.T, x *Index, floats searcher, queries []float32, nq int) float64 {
	const k = 10
	one := newCores(1)
	scan := func(s searcher) time.Duration {
		j := job{queries: queries, nq: nq, k: k, count: x.n, out: newHits(nq * k)}
		start := time.Now()
		err := scanAll(one, j, x.dims, x.dims, x.n, func(queries []float32, nq int) (part, func(), error) {
			sc, err := s.scan(queries, nq, k)
			return sc.part, sc.end, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	var ratios []float64
	for began := time.Now(); len(ratios) < 51 || time.Since(began) < 200*time.Millisecond; {
		codes, plain := scan(x.s), scan(floats)
		ratios = append(ratios, float64(codes)/float64(plain))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}
