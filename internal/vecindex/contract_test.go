package vecindex

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestWrongQueriesAreRefusedBeforeTheyReachC(t *testing.T) {
	const n, dims = 100, 8
	x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, vectors(n, dims, 1), dims)
	good := vectors(1, dims, 2)
	with := func(v float32) []float32 {
		q := slices.Clone(good)
		q[3] = v
		return q
	}
	beyond := roaring.BitmapOf(1, n)
	tests := []struct {
		name    string
		queries []float32
		k       int
		allow   *roaring.Bitmap
		want    error
	}{
		{"no numbers", nil, 1, nil, ErrVector},
		{"half a row", good[:dims/2], 1, nil, ErrVector},
		{"a row and a half", append(slices.Clone(good), good[:dims/2]...), 1, nil, ErrVector},
		{"NaN", with(float32(math.NaN())), 1, nil, ErrVector},
		{"infinity", with(float32(math.Inf(-1))), 1, nil, ErrVector},
		{"zero vector", make([]float32, dims), 1, nil, ErrVector},
		{"k of 0", good, 0, nil, ErrQuery},
		{"k below 0", good, -1, nil, ErrQuery},
		{"k above the bound", good, MaxK + 1, nil, ErrQuery},
		{"filter beyond the end", good, 1, beyond, ErrQuery},
	}
	for _, tt := range tests {
		for name, f := range map[string]func([]float32, int, *roaring.Bitmap) ([]int64, []float32, error){
			"Search": x.Search, "Exact": x.Exact,
		} {
			if _, _, err := f(tt.queries, tt.k, tt.allow); !errors.Is(err, tt.want) {
				t.Errorf("%s, %s: %v", name, tt.name, err)
			}
		}
	}
	for _, pos := range []int{-1, n} {
		if err := x.Vector(pos, make([]float32, dims)); !errors.Is(err, ErrQuery) {
			t.Errorf("Vector(%d): %v", pos, err)
		}
	}
	if err := x.Vector(0, make([]float32, dims-1)); !errors.Is(err, ErrQuery) {
		t.Errorf("short destination: %v", err)
	}
}

func TestFewerResultsThanKArePaddedAndNeverFewerThanThereAre(t *testing.T) {
	const n, dims, k = 400, 16, 30
	rows := vectors(n, dims, 1)
	for _, kind := range kinds {
		x := build(t, snapshot.IndexParams{Kind: kind}, rows, dims)
		for _, members := range []int{0, 1, 7, 29, 30, 31, 60, 200, 399, n} {
			allow := roaring.New()
			for i := range members {
				allow.Add(uint32(i * n / members))
			}
			pos, scores, err := x.Search(rows[:3*dims], k, allow)
			if err != nil {
				t.Fatal(err)
			}
			for q := range 3 {
				row := pos[q*k : (q+1)*k]
				have := slices.Index(row, -1)
				if have < 0 {
					have = k
				}
				if have != min(k, members) {
					t.Errorf("%s, %d selected: %d hits, want %d", kind, members, have, min(k, members))
				}
				for i, p := range row {
					if p >= 0 && !allow.Contains(uint32(p)) {
						t.Errorf("%s: position %d is not selected", kind, p)
					}
					if p < 0 && scores[q*k+i] != 0 {
						t.Errorf("%s: padding with score %v", kind, scores[q*k+i])
					}
				}
			}
		}
	}
}

func TestListsWithTooLittleInThemStillGiveKHits(t *testing.T) {
	const n, dims, k = 400, 16, 60
	rows := vectors(n, dims, 1)
	x := build(t, snapshot.IndexParams{Kind: snapshot.IVF, NList: 40, NProbe: 1}, rows, dims)
	even := roaring.New()
	for p := 0; p < n; p += 2 {
		even.Add(uint32(p))
	}
	for name, allow := range map[string]*roaring.Bitmap{"all": nil, "half": even} {
		pos, _, err := x.Search(rows[:5*dims], k, allow)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.Index(pos, -1); i >= 0 {
			t.Errorf("%s: row %d has %d hits, want %d", name, i/k, i%k, k)
		}
	}
}

func TestAFilterFarFromTheQueryStillFindsItsBest(t *testing.T) {
	const n, dims, k = 4000, 24, 10
	rows := vectors(n, dims, 1)
	truth := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, rows, dims)
	// The query's own neighbourhood is excluded: the farther half is allowed.
	for _, kind := range kinds[1:] {
		x := build(t, snapshot.IndexParams{Kind: kind}, rows, dims)
		var got, want []int64
		for q := range 20 {
			query := rows[q*dims : (q+1)*dims]
			ranked, _, err := truth.Exact(query, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, from := range []int{n / 2, n * 3 / 4} {
				allow := roaring.New()
				for _, p := range ranked[from:] {
					allow.Add(uint32(p))
				}
				pos, _, err := x.Search(query, k, allow)
				if err != nil {
					t.Fatal(err)
				}
				// In the crowd that far out codes cannot rank as floats do;
				// what is measured is the search, against a scan of the same.
				best, _, err := x.Exact(query, k, allow)
				if err != nil {
					t.Fatal(err)
				}
				got, want = append(got, pos...), append(want, best...)
			}
		}
		if r := recallOf(got, want, k); r < 0.95 {
			t.Errorf("%s: recall %.3f", kind, r)
		}
	}
}

func TestStoredVectorsComeBackByPosition(t *testing.T) {
	const n, dims = 300, 12
	rows := vectors(n, dims, 1)
	for _, kind := range kinds {
		x := build(t, snapshot.IndexParams{Kind: kind}, rows, dims)
		dst := make([]float32, dims)
		for p := range n {
			if err := x.Vector(p, dst); err != nil {
				t.Fatal(err)
			}
			for i, v := range dst {
				off := math.Abs(float64(v - rows[p*dims+i]))
				if off > 0.01 || (off != 0 && !x.params.Codes()) {
					t.Fatalf("%s, position %d: %v, want %v", kind, p, dst, rows[p*dims:(p+1)*dims])
				}
			}
		}
	}
}

func TestBuilderRefusesWhatItCannotIndex(t *testing.T) {
	ctx := context.Background()
	const dims = 8
	good := vectors(4, dims, 1)
	spoil := func(f func([]float32)) []float32 { v := slices.Clone(good); f(v); return v }
	for name, rows := range map[string][]float32{
		"NaN":       spoil(func(v []float32) { v[dims+1] = float32(math.NaN()) }),
		"infinity":  spoil(func(v []float32) { v[0] = float32(math.Inf(1)) }),
		"zero":      spoil(func(v []float32) { clear(v[dims : 2*dims]) }),
		"not unit":  spoil(func(v []float32) { v[0] += 3 }),
		"cut short": good[:len(good)-1],
		"empty":     {},
	} {
		b, err := NewBuilder(snapshot.IndexParams{Kind: snapshot.HNSW}, dims, 4)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(ctx, rows); !errors.Is(err, ErrVector) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.Finish(ctx); err == nil {
			t.Errorf("%s: the build went on", name)
		}
	}
	b, err := NewBuilder(snapshot.IndexParams{Kind: snapshot.Flat}, dims, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, good[:3*dims]); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(ctx); !errors.Is(err, ErrBuild) {
		t.Errorf("finished with a row missing: %v", err)
	}
	if b, err = NewBuilder(snapshot.IndexParams{Kind: snapshot.Flat}, dims, 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, good); !errors.Is(err, ErrBuild) {
		t.Errorf("a row too many: %v", err)
	}
	if errors.Join(b.Close(), b.Close()) != nil {
		t.Error("Close of a failed build")
	}
}

func TestParametersOutsideTheirBoundsAreRefused(t *testing.T) {
	for name, p := range map[string]snapshot.IndexParams{
		"unknown kind": {Kind: "annoy"}, "no kind": {},
		"links": {Kind: snapshot.HNSW, M: 1}, "too many links": {Kind: snapshot.HNSW, M: 4096},
		"beam": {Kind: snapshot.HNSW, EfSearch: -1}, "probes": {Kind: snapshot.IVF, NList: 4, NProbe: 5},
		"lists": {Kind: snapshot.IVF, NList: -1}, "more lists than vectors": {Kind: snapshot.IVF, NList: 101, NProbe: 1},
	} {
		if _, err := NewBuilder(p, 8, 100); !errors.Is(err, ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, shape := range [][2]int{{0, 8}, {-1, 8}, {1, 0}, {1, MaxDims + 1}, {MaxVectors + 1, 8}} {
		if _, err := Resolve(snapshot.Auto, shape[0], shape[1]); !errors.Is(err, ErrParams) {
			t.Errorf("shape %v: %v", shape, err)
		}
	}
	if _, err := Resolve("annoy", 10, 10); !errors.Is(err, ErrParams) {
		t.Errorf("kind: %v", err)
	}
}

func TestABuildReportsProgressAndStopsWhenCancelled(t *testing.T) {
	const n, dims = 3000, 2048 // two chunks
	rows := vectors(n, dims, 1)
	for _, kind := range []string{snapshot.Flat, snapshot.IVF} {
		b, err := NewBuilder(snapshot.IndexParams{Kind: kind, NList: map[string]int{snapshot.IVF: 8}[kind]}, dims, n)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		if err := b.Add(ctx, rows[:len(rows)-dims]); err != nil {
			t.Fatal(err)
		}
		placed, total := b.Progress()
		if total != n || (kind == snapshot.Flat && (placed == 0 || placed == n)) {
			t.Errorf("%s: placed %d of %d after all but one row", kind, placed, total)
		}
		cancel()
		if err := b.Add(ctx, rows[:dims]); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Add after cancel: %v", kind, err)
		}
		if _, err := b.Finish(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Finish after cancel: %v", kind, err)
		}
		if err := b.Add(context.Background(), rows[:dims]); err != nil {
			t.Errorf("%s: Add with a new context: %v", kind, err)
		}
		x, err := b.Finish(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if placed, _ := b.Progress(); placed != n || x.Len() != n || x.Dims() != dims {
			t.Errorf("%s: placed %d, index %d x %d", kind, placed, x.Len(), x.Dims())
		}
		x.Close()
	}
}

func TestOpenRefusesAnotherIndexThanTheParametersSay(t *testing.T) {
	const dims = 8
	rows := vectors(400, dims, 1)
	dir := t.TempDir()
	params := map[string]snapshot.IndexParams{}
	for _, kind := range kinds {
		p, err := Resolve(kind, len(rows)/dims, dims)
		if err != nil {
			t.Fatal(err)
		}
		params[kind] = p
	}
	for kind, p := range params {
		if err := build(t, p, rows, dims).WriteFile(filepath.Join(dir, kind)); err != nil {
			t.Fatal(err)
		}
	}
	for kind := range params {
		for other, p := range params {
			x, err := Open(filepath.Join(dir, kind), p)
			if (err == nil) != (kind == other) {
				t.Errorf("%s opened as %s: %v", kind, other, err)
			}
			if err == nil {
				x.Close()
			}
		}
	}
	for name, path := range map[string]string{"missing": dir + "/none", "a directory": dir} {
		if _, err := Open(path, snapshot.IndexParams{Kind: snapshot.Flat}); !errors.Is(err, ErrNative) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Debian's FAISS reads the files, with positions as ids.
func TestDebiansFAISSReadsTheFilesAndFindsTheSame(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import faiss").Run(); err != nil {
		harness.Missing(t, "python3-faiss")
	}
	const n, dims, k = 2000, 32, 5
	rows := vectors(n, dims, 1)
	for _, kind := range kinds {
		p, err := Resolve(kind, n, dims)
		if err != nil {
			t.Fatal(err)
		}
		x := build(t, p, rows, dims)
		path := filepath.Join(t.TempDir(), "index.faiss")
		if err := x.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		const script = `
import faiss, json, sys
x = faiss.read_index(sys.argv[1])
d, i = x.search(x.reconstruct_n(0, 20) if not isinstance(x, faiss.IndexIVF) else
                (x.make_direct_map(), x.reconstruct_n(0, 20))[1], 5)
print(json.dumps({"type": type(x).__name__, "n": x.ntotal, "ip": x.metric_type == faiss.METRIC_INNER_PRODUCT,
                  "params": getattr(x, "nprobe", 0) or (x.hnsw.efSearch if hasattr(x, "hnsw") else 0),
                  "labels": i.ravel().tolist()}))`
		cmd := exec.Command(python, "-c", script, path)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, &stderr)
		}
		var got struct {
			Type   string
			N      int
			IP     bool
			Params int
			Labels []int64
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got.N != n || !got.IP || got.Params != p.NProbe+p.EfSearch {
			t.Errorf("%s: read as %+v", kind, got)
		}
		want, _, err := x.Search(rows[:20*dims], k, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := recallOf(got.Labels, want, k); r < 0.97 {
			t.Errorf("%s (%s): Debian's FAISS agrees on %.3f", kind, got.Type, r)
		}
		for q := range 20 {
			if got.Labels[q*k] != int64(q) {
				t.Errorf("%s: the vector at %d is found at %d", kind, q, got.Labels[q*k])
			}
		}
	}
}

func TestTheVersionAndKernelsAreNamed(t *testing.T) {
	if Version() != "1.7.3" && !strings.Contains(Version(), ".") {
		t.Errorf("FAISS version %q", Version())
	}
	if _, ok := kernelSets[SIMD()]; !ok {
		t.Errorf("kernels %q", SIMD())
	}
	if want := os.Getenv("VECTORSTORE_SIMD"); want != "" && SIMD() != want {
		t.Errorf("kernels %q, asked for %q", SIMD(), want)
	}
}
