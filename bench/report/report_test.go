package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/bench/result"
)

func sample() result.Contest {
	built := func(s float64) *result.Built {
		return &result.Built{Seconds: result.Samples{s}, Param: 40, Curve: []result.Point{{Param: 20, Recall: 0.95, QPS: 2000}, {Param: 40, Recall: 0.99, QPS: 1000}}}
	}
	row := func(name, family string, own bool, one, many, build float64) result.Row {
		return result.Row{System: name, Family: family, Own: own, Recall: 0.99, Build: built(build), One: result.Samples{one, one, 9}, Many: result.Samples{many, many, 1}}
	}
	return result.Contest{Data: "100k x 384", Clients: 16, Rounds: 3, Rows: []result.Row{
		row("vectorstore hnsw, base64", "graph", true, 0.0001, 25_000, 5),
		row("vectorstore hnsw, JSON", "graph", true, 0.0002, 10_000, 5),
		row("usearch bf16, node cluster 2", "graph", false, 0.0004, 8000, 6),
		row("Debian's python FAISS HNSW, FastAPI, 2 workers", "graph", false, 0.001, 1000, 30),
	}}
}

func TestPromisesAreJudgedAgainstTheBestPeer(t *testing.T) {
	verdicts := map[string]bool{}
	for _, tg := range append(searchTargets(sample()), buildTargets(sample())...) {
		verdicts[tg.what+" "+tg.measured] = tg.met
	}
	for what, met := range map[string]bool{
		"100k x 384, JSON: throughput against usearch bf16, node cluster 2 1.25x":        false, // promised 1.5
		"100k x 384, base64: throughput against usearch bf16, node cluster 2 3.12x":      true,
		"100k x 384, JSON: p50 of one client against usearch bf16, node cluster 2 0.50x": true,
		"100k x 384, hnsw build: speed against Debian's python FAISS 6.00x":              true,
	} {
		if got, ok := verdicts[what]; !ok || got != met {
			t.Errorf("%s: met %v (found %v), want %v; all: %v", what, got, ok, met, verdicts)
		}
	}
}

func TestWriteReadsBackAFullReportWithItsPictures(t *testing.T) {
	dir, docs := t.TempDir(), t.TempDir()
	if err := result.Save(dir, "contest-tall", sample()); err != nil {
		t.Fatal(err)
	}
	if err := result.Save(dir, "million", result.Million{Records: 1_000_000, VectorBytes: 2e9, IndexerPeak: 4e9, SwapRequests: 5, SwapFailed: 1}); err != nil {
		t.Fatal(err)
	}
	f, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, docs); err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(docs, "BENCHMARKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| **vectorstore hnsw, JSON** | 0.990 (40) | 0.20 | 10,000 |", "1 of 5.0 | **no** |", "img/bench-recall-tall.svg", "(2.00x)"} {
		if !strings.Contains(string(md), want) {
			t.Errorf("the report lacks %q:\n%s", want, md)
		}
	}
	if _, err := os.Stat(filepath.Join(docs, "img", "bench-recall-tall.svg")); err != nil {
		t.Error(err)
	}
}

func TestMediansIgnoreOneBadRound(t *testing.T) {
	s := result.Samples{5, 1, 100, 6, 4}
	if s.Median() != 5 {
		t.Errorf("median %g, want 5", s.Median())
	}
	if (result.Samples{1, 3}).Median() != 2 {
		t.Error("the median of two is their middle")
	}
}
