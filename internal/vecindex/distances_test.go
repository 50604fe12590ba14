package vecindex

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// faissAnswer is what FAISS itself makes of an index file.
type faissAnswer struct {
	Metric    int       `json:"metric"`
	IDs       []int64   `json:"ids"`
	Distances []float64 `json:"distances"`
	Faiss     string    `json:"faiss"`
}

// TestDistancesRankAsInnerProducts rewrites a file of every kind for old readers and has FAISS itself search both: the
// release that writes our files and the one from PyPI that LangChain users have.
func TestDistancesRankAsInnerProducts(t *testing.T) {
	t.Parallel()
	const n, dims, nq, k = 3000, 48, 50, 10
	rows, queries := vectors(n, dims, 1), vectors(nq, dims, 2)
	dir := t.TempDir()
	queryFile := filepath.Join(dir, "queries")
	var raw bytes.Buffer
	_ = binary.Write(&raw, binary.LittleEndian, queries)
	if err := os.WriteFile(queryFile, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"testdata/distances.py", queryFile, strconv.Itoa(dims), strconv.Itoa(k)}
	for _, kind := range kinds {
		src, dst := filepath.Join(dir, kind), filepath.Join(dir, kind+".l2")
		writeIndex(t, kind, rows, dims, src)
		if err := langchain.Distances(src, dst); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		args = append(args, src, dst)
	}
	for _, python := range []string{"/usr/bin/python3", harness.Python(t)} {
		out, err := exec.Command(python, args...).Output()
		if err != nil {
			t.Fatalf("%s: %v", python, err)
		}
		var answers []faissAnswer
		if err := json.Unmarshal(out, &answers); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for i, kind := range kinds {
			compareDistances(t, kind, answers[2*i], answers[2*i+1], k)
		}
	}
}

func writeIndex(t *testing.T, kind string, rows []float32, dims int, path string) {
	t.Helper()
	b, err := NewBuilder(snapshot.IndexParams{Kind: kind}, dims, len(rows)/dims)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteFile(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

// compareDistances wants the same ranks where vectors are whole, and nearly the same where codes stand for them.
func compareDistances(t *testing.T, kind string, ip, l2 faissAnswer, k int) {
	t.Helper()
	if ip.Metric != 0 || l2.Metric != 1 {
		t.Fatalf("%s, FAISS %s: metrics %d and %d", kind, l2.Faiss, ip.Metric, l2.Metric)
	}
	exact, same := kind != snapshot.HNSWSQ8 && kind != snapshot.IVFSQ8, 0
	for i := range ip.IDs {
		if i%k > 0 && l2.Distances[i] < l2.Distances[i-1] {
			t.Fatalf("%s, FAISS %s: distance %v comes after %v", kind, l2.Faiss, l2.Distances[i], l2.Distances[i-1])
		}
		if exact && math.Abs(l2.Distances[i]-(2-2*ip.Distances[i])) > 1e-5 {
			t.Fatalf("%s, FAISS %s, query %d: distance %v for the inner product %v", kind, l2.Faiss, i/k, l2.Distances[i], ip.Distances[i])
		}
		if ip.IDs[i] == l2.IDs[i] {
			same++
		} else if exact && !nearTie(ip.Distances, i, k) {
			t.Errorf("%s, FAISS %s, query %d, rank %d: %d, was %d", kind, l2.Faiss, i/k, i%k, l2.IDs[i], ip.IDs[i])
		}
	}
	recall := recallOf(l2.IDs, ip.IDs, k)
	t.Logf("%s, FAISS %s: %d of %d ranks alike, %.3f of the ids", kind, l2.Faiss, same, len(ip.IDs), recall)
	if recall < 0.97 {
		t.Errorf("%s, FAISS %s: only %.3f of the ids are the same", kind, l2.Faiss, recall)
	}
}

// nearTie tells whether rank i and a neighbour differ by less than rounding may.
func nearTie(scores []float64, i, k int) bool {
	near := func(j int) bool { return math.Abs(scores[i]-scores[j]) < 2e-6 }
	return i%k > 0 && near(i-1) || i%k < k-1 && near(i+1) || i%k == k-1
}
