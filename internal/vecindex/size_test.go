package vecindex

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// sizeTask tells the child what to open; sizeReport is what it measured.
type sizeTask struct {
	Path   string
	Params snapshot.IndexParams
}

type sizeReport struct{ RSS, Size int64 }

// runtimeNoise is by how much the Go runtime's own memory moves meanwhile.
const runtimeNoise = 512 << 10

func TestSizesAreWithinATenthOfWhatOpeningTakes(t *testing.T) {
	const n, dims = 20_000, 256
	rows := vectors(n, dims, 1)
	for _, p := range []snapshot.IndexParams{
		{Kind: snapshot.Flat},
		{Kind: snapshot.IVF, NList: 64, NProbe: 4},
		{Kind: snapshot.HNSW, M: 32, EfConstruction: 16},
		{Kind: snapshot.IVFSQ8, NList: 64, NProbe: 4},
		{Kind: snapshot.HNSWSQ8, M: 32, EfConstruction: 16},
	} {
		x := build(t, p, rows, dims)
		task := sizeTask{filepath.Join(t.TempDir(), "index.faiss"), x.Params()}
		if err := x.WriteFile(task.Path); err != nil {
			t.Fatal(err)
		}
		arg, err := json.Marshal(task)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestSizeChild$", "-test.v")
		cmd.Env = append(os.Environ(), "VECINDEX_SIZE="+string(arg))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var r sizeReport
		_, line, _ := strings.Cut(string(out), "REPORT ")
		if err := json.NewDecoder(strings.NewReader(line)).Decode(&r); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		predicted := PredictBytes(p, n, dims)
		t.Logf("%-8s RSS grew by %.2f MB, SizeBytes %.2f, built %.2f, PredictBytes %.2f", p.Kind,
			mb(r.RSS), mb(r.Size), mb(x.SizeBytes()), mb(predicted))
		for name, v := range map[string]int64{
			"SizeBytes": r.Size, "SizeBytes when built": x.SizeBytes(), "PredictBytes": predicted,
		} {
			if math.Abs(float64(v-r.RSS)) > 0.1*float64(r.RSS)+runtimeNoise {
				t.Errorf("%s: %s is %.2f MB, RSS grew by %.2f", p.Kind, name, mb(v), mb(r.RSS))
			}
		}
	}
}

func mb(n int64) float64 { return float64(n) / (1 << 20) }

// TestSizeChild is the child of the test above.
func TestSizeChild(t *testing.T) {
	arg := os.Getenv("VECINDEX_SIZE")
	if arg == "" {
		return
	}
	var task sizeTask
	if err := json.Unmarshal([]byte(arg), &task); err != nil {
		t.Fatal(err)
	}
	rss := func() int64 {
		debug.FreeOSMemory()
		ReleaseMemory()
		return procStatus(t, "VmRSS") << 10
	}
	open := func() *Index {
		x, err := Open(task.Path, task.Params)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Search(vectors(4, x.Dims(), 3), 10, nil); err != nil {
			t.Fatal(err)
		}
		return x
	}
	open().Close() // what the first use of a library costs is not the index's
	before := rss()
	x := open()
	r := sizeReport{RSS: rss() - before, Size: x.SizeBytes()}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	// Freed memory goes back: this is what a server counts on between swaps.
	if left := rss() - before; left > r.RSS/10+2*runtimeNoise {
		t.Errorf("%.2f MB left after Close", mb(left))
	}
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("REPORT %s\n", out)
}
