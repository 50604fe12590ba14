//go:build compare

package vecindex

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// The comparison behind BENCHMARKS.md: Debian's python3-faiss and this package
// on the same data in alternating runs, medians of all rounds. Each side runs
// in a process of its own; `make bench-vecindex` calls it.

const compareRounds = 3

// compareTask is one data set and what is measured on it.
type compareTask struct {
	Rows, Queries string // files of float32 rows
	N, NQ, Dims   int
	Build         string // "flat", or the kind to time the build and search of
	Threads       int
	M, EfC, Ef    int
	NList, NProbe int
}

// compareResult is one round of one side.
type compareResult struct {
	BuildSeconds float64
	OneMillis    float64 // one query at a time
	BatchQPS     float64 // sixteen at a time
	Recall       float64 // at 10
}

func TestCompareWithDebiansFAISS(t *testing.T) {
	dir := t.TempDir()
	tasks := []struct {
		name string
		compareTask
	}{
		{"flat, 20k x 1536", compareTask{N: 20_000, NQ: 48, Dims: 1536, Build: snapshot.Flat, Threads: 1}},
		{"hnsw, 20k x 384", compareTask{N: 20_000, NQ: 400, Dims: 384, Build: snapshot.HNSW, Threads: 2, M: 32, EfC: 40, Ef: 64}},
		{"ivf, 50k x 384", compareTask{N: 50_000, NQ: 400, Dims: 384, Build: snapshot.IVF, Threads: 2, NList: 512, NProbe: 64}},
		{"ivf-sq8, 50k x 384", compareTask{N: 50_000, NQ: 400, Dims: 384, Build: snapshot.IVFSQ8, Threads: 2, NList: 512, NProbe: 64}},
	}
	sides := []string{"debian", "baseline", "avx2", "avx512"}
	sides = slices.DeleteFunc(sides, func(s string) bool { return s != "debian" && !runs(s) })
	var table strings.Builder
	for _, task := range tasks {
		c := task.compareTask
		c.Rows, c.Queries = filepath.Join(dir, "rows"), filepath.Join(dir, "queries")
		writeFloats(t, c.Rows, clustered(c.N+c.NQ, c.Dims)[:c.N*c.Dims])
		writeFloats(t, c.Queries, clustered(c.N+c.NQ, c.Dims)[c.N*c.Dims:])
		results := map[string][]compareResult{}
		for range compareRounds {
			for _, side := range sides {
				results[side] = append(results[side], runSide(t, dir, side, c))
			}
		}
		for _, side := range sides {
			writeRow(&table, task.name, side, results[side], results["debian"])
		}
	}
	publish(t, "debian", "| data | side | build, s | one query, ms | 16 at a time, queries/s | recall@10 |\n"+
		"|---|---|---|---|---|---|\n"+table.String())
}

// TestCompareKinds measures what "auto" has to choose between.
func TestCompareKinds(t *testing.T) {
	const dims, queries, k = 384, 200, 10
	var table strings.Builder
	for _, n := range []int{1000, 2000, 5000, 10_000, 20_000, 50_000} {
		all := clustered(n+queries, dims)
		rows, qs := all[:n*dims], all[n*dims:]
		for _, p := range []snapshot.IndexParams{{Kind: snapshot.Flat}, {Kind: snapshot.IVF}, {Kind: snapshot.IVFSQ8}, {Kind: snapshot.HNSW, M: 16}, {Kind: snapshot.HNSW}, {Kind: snapshot.HNSWSQ8}} {
			p = withDefaults(p, n)
			start := time.Now()
			x := build(t, p, rows, dims)
			built := time.Since(start)
			var got []int64
			start = time.Now()
			for q := range queries {
				pos, _, err := x.Search(qs[q*dims:(q+1)*dims], k, nil)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, pos...)
			}
			one := time.Since(start) / queries
			want := truth(t, rows, qs, dims, k)
			name := p.Kind
			if p.Lists() {
				name += fmt.Sprintf(", %d of %d lists", p.NProbe, p.NList)
			}
			if p.Graph() {
				name += fmt.Sprintf(", M %d, ef %d", p.M, p.EfSearch)
			}
			fmt.Fprintf(&table, "| %d | %s | %.3f | %.3f | %.2f | %.1f |\n", n, name,
				float64(one.Microseconds())/1000, recallOf(got, want, k), built.Seconds(), mb(x.SizeBytes()))
			x.Close()
		}
	}
	publish(t, "kinds", "| vectors | kind | one query, ms | recall@10 | build, s | memory, MB |\n"+
		"|---|---|---|---|---|---|\n"+table.String())
}

// truth is what an exhaustive search over the floats finds.
func truth(t *testing.T, rows, queries []float32, dims, k int) []int64 {
	t.Helper()
	flat := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
	defer flat.Close()
	want, _, err := flat.Exact(queries, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// publish logs a table and puts it between its markers in VECINDEX_REPORT.
func publish(t *testing.T, name, table string) {
	t.Helper()
	t.Logf("\n%s", table)
	path := os.Getenv("VECINDEX_REPORT")
	if path == "" {
		return
	}
	report, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(string(report), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("no markers of %s in %s", name, path)
	}
	if err := os.WriteFile(path, []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func runs(set string) bool {
	cmd := exec.Command(os.Args[0], "-test.run=^TestCompareName$", "-test.v")
	cmd.Env = append(os.Environ(), "VECTORSTORE_SIMD="+set)
	out, _ := cmd.Output()
	return strings.Contains(string(out), "kernels="+set)
}

func TestCompareName(t *testing.T) { fmt.Println("kernels=" + SIMD()) }

func median(rs []compareResult, f func(compareResult) float64) float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = f(r)
	}
	slices.SortFunc(vs, cmp.Compare)
	return vs[len(vs)/2]
}

func writeRow(w *strings.Builder, task, side string, rs, base []compareResult) {
	build := func(r compareResult) float64 { return r.BuildSeconds }
	one := func(r compareResult) float64 { return r.OneMillis }
	qps := func(r compareResult) float64 { return r.BatchQPS }
	fmt.Fprintf(w, "| %s | %s | %.2f (%.1fx) | %.3f (%.1fx) | %.0f (%.1fx) | %.3f |\n", task, side,
		median(rs, build), median(base, build)/median(rs, build),
		median(rs, one), median(base, one)/median(rs, one),
		median(rs, qps), median(rs, qps)/median(base, qps),
		median(rs, func(r compareResult) float64 { return r.Recall }))
}

func runSide(t *testing.T, dir, side string, c compareTask) compareResult {
	t.Helper()
	task := filepath.Join(dir, "task.json")
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(task, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "testdata/compare.py", task)
	if side != "debian" {
		cmd = exec.Command(os.Args[0], "-test.run=^TestCompareChild$", "-test.v")
		cmd.Env = append(os.Environ(), "VECTORSTORE_SIMD="+side, "VECINDEX_COMPARE="+task,
			fmt.Sprintf("GOMAXPROCS=%d", c.Threads))
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", side, err, out)
	}
	_, line, ok := strings.Cut(string(out), "RESULT ")
	var r compareResult
	if !ok || json.NewDecoder(strings.NewReader(line)).Decode(&r) != nil {
		t.Fatalf("%s: %s", side, out)
	}
	return r
}

// TestCompareChild measures this package; testdata/compare.py is its twin.
func TestCompareChild(t *testing.T) {
	path := os.Getenv("VECINDEX_COMPARE")
	if path == "" {
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var c compareTask
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	rows, queries := readFloats(t, c.Rows), readFloats(t, c.Queries)
	p := snapshot.IndexParams{Kind: c.Build, M: c.M, EfConstruction: c.EfC, EfSearch: c.Ef, NList: c.NList, NProbe: c.NProbe}
	var r compareResult
	start := time.Now()
	x := build(t, p, rows, c.Dims)
	r.BuildSeconds = time.Since(start).Seconds()
	const k, batch = 10, 16
	search := func(q []float32) []int64 {
		pos, _, err := x.Search(q, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		return pos
	}
	search(queries[:c.Dims])
	var got []int64
	start = time.Now()
	for i := range c.NQ {
		got = append(got, search(queries[i*c.Dims:(i+1)*c.Dims])...)
	}
	r.OneMillis = time.Since(start).Seconds() * 1000 / float64(c.NQ)
	start = time.Now()
	for at := 0; at < c.NQ; at += batch {
		search(queries[at*c.Dims : min(at+batch, c.NQ)*c.Dims])
	}
	r.BatchQPS = float64(c.NQ) / time.Since(start).Seconds()
	r.Recall = recallOf(got, truth(t, rows, queries, c.Dims, k), k)
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("RESULT %s\n", out)
}

func writeFloats(t *testing.T, path string, v []float32) {
	t.Helper()
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*4)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFloats(t *testing.T, path string) []float32 {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(raw)/4)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), len(raw)), raw)
	if math.IsNaN(float64(out[0])) {
		t.Fatal("not a number")
	}
	return out
}
