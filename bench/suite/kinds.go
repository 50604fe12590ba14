package suite

import (
	"context"
	"os"
	"path/filepath"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// kindQueries of the curves over size.
const kindQueries = 200

// Kinds measures every kind of index over growing catalogues: what "auto" chooses from.
func (s *Suite) Kinds(ctx context.Context) error {
	dir, err := s.scratch("kinds")
	if err != nil {
		return err
	}
	sizes := []int{1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000}
	if s.Quick {
		sizes = sizes[:4]
	}
	out := result.Kinds{Machine: s.machine(ctx), Dims: 384}
	for _, n := range sizes {
		set, err := dataset.Open(ctx, s.Cache, dataset.Shape{Name: "kinds", N: n, Dims: out.Dims, Queries: kindQueries, Seed: 3})
		if err != nil {
			return err
		}
		for _, kind := range ownKinds(n, out.Dims) {
			row, err := s.kind(ctx, set, kind, dir)
			if err != nil {
				set.Close()
				return err
			}
			out.Rows = append(out.Rows, row)
			s.logf("%-10s %7d: built in %.3f s, %d kB, %.3f ms at recall %.4f (%d)", kind, n, row.Build, row.Bytes>>10, 1000*row.Latency, row.Recall, row.Param)
		}
		if err := set.Close(); err != nil {
			return err
		}
	}
	return result.Save(s.results(), "kinds", out)
}

// ownKinds lists what this build of vecindex offers for n vectors.
func ownKinds(n, dims int) []string {
	var kinds []string
	for _, kind := range []string{"flat", "ivf", "hnsw", "ivf-sq8", "hnsw-sq8"} {
		if _, err := vecindex.Resolve(kind, n, dims); err == nil {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func (s *Suite) kind(ctx context.Context, set *dataset.Set, kind, dir string) (result.KindRow, error) {
	row := result.KindRow{Kind: kind, N: set.N}
	p, err := vecindex.Resolve(kind, set.N, set.Dims)
	if err != nil {
		return row, err
	}
	ix, took, err := buildIndex(ctx, set, p)
	if err != nil {
		return row, err
	}
	row.Build = took.Seconds()
	path := filepath.Join(dir, kind+".faiss")
	err = ix.WriteFile(path)
	ix.Close()
	if err != nil {
		return row, err
	}
	defer os.Remove(path)
	if kind != snapshot.Flat {
		if p, _, err = tune(path, p, set, targetRecall); err != nil {
			return row, err
		}
		row.Param = beam(p)
	}
	if ix, err = vecindex.Open(path, p); err != nil {
		return row, err
	}
	defer ix.Close()
	row.Bytes = ix.SizeBytes()
	recall, qps, err := recall10(ix, set)
	row.Recall, row.Latency = recall, 1/qps
	return row, err
}
