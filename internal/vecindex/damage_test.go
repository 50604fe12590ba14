package vecindex

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	faiss "github.com/blevesearch/go-faiss"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const (
	damagedFiles = 21_000
	// The child is a Go program with a few small indexes; an unguarded read
	// of a damaged length asks for gigabytes.
	damageRSS = 160 << 20
)

// damageReport is what the child prints.
type damageReport struct {
	Opened, Refused map[string]int
	PeakRSS         int64
}

// The files are opened in a child process, because what this looks for is a
// crash of the process.
func TestDamagedFilesNeverCrashNorTakeUnboundedMemory(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestDamageChild$", "-test.v")
	cmd.Env = append(os.Environ(), "VECINDEX_DAMAGE="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v\n%s\n%s", err, out, tail(stderr.String(), 4000))
	}
	var r damageReport
	_, line, ok := strings.Cut(string(out), "REPORT ")
	if !ok {
		t.Fatalf("no report:\n%s", out)
	}
	if err := json.NewDecoder(strings.NewReader(line)).Decode(&r); err != nil {
		t.Fatal(err)
	}
	total := 0
	for kind, refused := range r.Refused {
		total += refused + r.Opened[kind]
		t.Logf("%-12s %5d refused, %5d opened and searched", kind, refused, r.Opened[kind])
		if refused == 0 {
			t.Errorf("%s: no damaged file was refused", kind)
		}
	}
	t.Logf("%d files, peak RSS %d MB", total, r.PeakRSS>>20)
	if total < 20_000 {
		t.Errorf("only %d files", total)
	}
	if r.PeakRSS > damageRSS {
		t.Errorf("peak RSS %d MB", r.PeakRSS>>20)
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// damageSeed is an undamaged file; open reads and uses a damaged copy.
type damageSeed struct {
	kind string
	file []byte
	open func(file []byte) error
}

// TestDamageChild is the child of the test above.
func TestDamageChild(t *testing.T) {
	dir := os.Getenv("VECINDEX_DAMAGE")
	if dir == "" {
		return
	}
	seeds := ownSeeds(t, dir)
	r := damageReport{Opened: map[string]int{}, Refused: map[string]int{}}
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range damagedFiles {
		s := seeds[i%len(seeds)]
		file := damage(rng, s.file)
		if err := s.open(file); err != nil {
			r.Refused[s.kind]++
		} else {
			r.Opened[s.kind]++
		}
	}
	r.PeakRSS = peakRSS(t)
	report, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("REPORT %s\n", report)
}

// ownSeeds are the files this package writes, read back by Open.
func ownSeeds(t *testing.T, dir string) []damageSeed {
	const n, dims = 150, 6
	rows := vectors(n, dims, 1)
	var seeds []damageSeed
	for _, p := range []snapshot.IndexParams{
		{Kind: snapshot.Flat},
		{Kind: snapshot.IVF, NList: 3, NProbe: 2},
		{Kind: snapshot.HNSW, M: 4, EfConstruction: 20, EfSearch: 16},
		{Kind: snapshot.IVFSQ8, NList: 3, NProbe: 2},
		{Kind: snapshot.HNSWSQ8, M: 4, EfConstruction: 20, EfSearch: 16},
	} {
		x := build(t, p, rows, dims)
		path := filepath.Join(dir, "index.faiss")
		if err := x.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, damageSeed{p.Kind, file, func(file []byte) error {
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			x, err := Open(path, p)
			if err != nil {
				return err
			}
			defer x.Close()
			return exercise(x)
		}})
	}
	return seeds
}

// exercise touches everything that follows a stored number into memory.
func exercise(x *Index) error {
	query := make([]float32, 2*x.Dims())
	for i := range query {
		query[i] = float32(i%3) + 1
	}
	half := roaring.New()
	half.AddRange(0, uint64(x.Len()+1)/2)
	for _, allow := range []*roaring.Bitmap{nil, half} {
		if _, _, err := x.Search(query, 5, allow); err != nil {
			return err
		}
		if _, _, err := x.Exact(query, 5, allow); err != nil {
			return err
		}
	}
	dst := make([]float32, x.Dims())
	return x.Vector(x.Len()-1, dst)
}

// The binding has more calls than this package makes. They fail rather than do half of what they say.
func TestWhatTheBindingHasBeyondThisPackageFails(t *testing.T) {
	const dims = 8
	for _, description := range []string{"IDMap2,Flat", "SQ8", "HNSW0,Flat", "HNSW8", "IVF64,PQ0", "IVF0,Flat", "IVF3,SQfp16"} {
		if ix, err := faiss.IndexFactory(dims, description, faiss.MetricInnerProduct); err == nil {
			ix.Close()
			t.Errorf("%s was made", description)
		}
	}
	if _, err := faiss.IndexFactory(dims, "Flat", faiss.MetricL2); err == nil {
		t.Error("an index of distances was made")
	}
	if _, err := faiss.BinaryIndexFactory(64, "BFlat"); err == nil {
		t.Error("a binary index was made")
	}
	if _, err := faiss.ReadIndexFromBuffer([]byte("IxFI"), 0); err == nil {
		t.Error("an index was read from memory")
	}
	x := build(t, snapshot.IndexParams{Kind: snapshot.Flat}, vectors(10, dims, 1), dims)
	if _, _, err := x.ix.Search(make([]float32, dims), 1); err == nil {
		t.Error("the binding searched")
	}
}

// damage returns a copy cut short, with flipped bits, or with hostile numbers
// written over some of it; mostly near the front, where the structure is.
func damage(rng *rand.Rand, file []byte) []byte {
	out := bytes.Clone(file)
	place := func(width int) int {
		span := len(out) - width
		if rng.IntN(2) == 0 {
			span = min(span, 200)
		}
		return rng.IntN(max(1, span+1))
	}
	hostile := []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	switch rng.IntN(6) {
	case 0:
		return out[:rng.IntN(len(out))]
	case 1, 2:
		for range 1 + rng.IntN(4) {
			out[place(1)] ^= 1 << rng.IntN(8)
		}
	case 3:
		binary.LittleEndian.PutUint64(out[place(8):], hostile[rng.IntN(len(hostile))])
	case 4:
		binary.LittleEndian.PutUint32(out[place(4):], uint32(hostile[rng.IntN(len(hostile))]))
	case 5:
		// A piece of the file over another, sometimes shifting what follows.
		from, n := place(16), 1+rng.IntN(16)
		piece := bytes.Clone(out[from:min(len(out), from+n)])
		at := place(0)
		out = append(out[:at:at], append(piece, file[at:]...)...)
	}
	return out
}

// peakRSS is the high-water mark of this process, in bytes.
func peakRSS(t testing.TB) int64 { return procStatus(t, "VmHWM") << 10 }

// procStatus reads a number of /proc/self/status.
func procStatus(t testing.TB, field string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == field {
			v, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no %s", field)
	return 0
}
