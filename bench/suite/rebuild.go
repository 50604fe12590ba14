package suite

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// changedEvery row of a rebuild is another vector than before: 1 %.
const changedEvery = 100

// Rebuild compares building a changed catalogue anew with carrying the last graph over.
func (s *Suite) Rebuild(ctx context.Context, shape dataset.Shape) error {
	set, err := dataset.Open(ctx, s.Cache, shape)
	if err != nil {
		return err
	}
	defer set.Close()
	p, err := vecindex.Resolve(snapshot.HNSW, set.N, set.Dims)
	if err != nil {
		return err
	}
	prev, _, err := buildIndex(ctx, set, p)
	if err != nil {
		return err
	}
	defer prev.Close()
	scratch, err := os.MkdirTemp("", "vectorstore-rebuild-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	earlier := filepath.Join(scratch, snapshot.FileIndex)
	if err := prev.WriteFile(earlier); err != nil {
		return err
	}
	rows, from := edited(set)
	out := result.Rebuild{Machine: s.machine(ctx), Data: shape.Label(), Kind: p.Kind}
	for round := range s.Rounds {
		full, took, err := rebuild(ctx, rows, set.Dims, p, "", nil)
		if err != nil {
			return err
		}
		out.Full = append(out.Full, took.Seconds())
		if out.Recall, err = selfRecall(full, set); err != nil {
			return err
		}
		full.Close()
		reused, took, err := rebuild(ctx, rows, set.Dims, p, earlier, from)
		if err != nil {
			return err
		}
		out.Reuse = append(out.Reuse, took.Seconds())
		if out.RecallR, err = selfRecall(reused, set); err != nil {
			return err
		}
		reused.Close()
		s.logf("round %d: full %.2f s at recall %.4f, reusing %.2f s at %.4f", round+1, out.Full[round], out.Recall, out.Reuse[round], out.RecallR)
	}
	return result.Save(s.results(), "rebuild", out)
}

// edited returns the base with 1 % of its rows moved half way to a query, as edited texts move, and where each row was.
func edited(set *dataset.Set) (rows []float32, from []int64) {
	rows = slices.Clone(set.Base)
	from = make([]int64, set.N)
	for i := range from {
		from[i] = int64(i)
		if i%changedEvery != 0 {
			continue
		}
		from[i] = -1
		row, other := rows[i*set.Dims:(i+1)*set.Dims], set.Query(i/changedEvery%set.Shape.Queries)
		var sum float64
		for j := range row {
			row[j] += other[j]
			sum += float64(row[j]) * float64(row[j])
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(sum))
		}
	}
	return rows, from
}

// rebuild reuses the earlier index of p in a file, unless that is "".
func rebuild(ctx context.Context, rows []float32, dims int, p snapshot.IndexParams, earlier string, from []int64) (*vecindex.Index, time.Duration, error) {
	start := time.Now()
	b, err := vecindex.NewBuilder(p, dims, len(rows)/dims)
	if err != nil {
		return nil, 0, err
	}
	defer b.Close()
	if earlier != "" {
		if err := b.Reuse(earlier, p, from); err != nil {
			return nil, 0, err
		}
	}
	if err := b.Add(ctx, rows); err != nil {
		return nil, 0, err
	}
	ix, err := b.Finish(ctx)
	return ix, time.Since(start), err
}

// selfRecall is recall@10 against the index's own exhaustive search, with its default beam.
func selfRecall(ix *vecindex.Index, set *dataset.Set) (float64, error) {
	hits, n := 0, min(set.Shape.Queries, 200)
	for i := range n {
		got, _, err := ix.Search(set.Query(i), dataset.K, nil)
		if err != nil {
			return 0, err
		}
		want, _, err := ix.Exact(set.Query(i), dataset.K, nil)
		if err != nil {
			return 0, err
		}
		for _, w := range want {
			if slices.Contains(got, w) {
				hits++
			}
		}
	}
	return float64(hits) / float64(n*dataset.K), nil
}
