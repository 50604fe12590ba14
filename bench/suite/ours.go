package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/proc"
	"github.com/taksuehiro/vectorstore/bench/publish"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// steps of efSearch and nprobe that are tried, ascending. The peers' scripts use the same.
var steps = []int{8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512}

// ownEnv hides the developer's settings from the measured binaries.
var ownEnv = []string{"VECTORSTORE_", "OPENAI_", "EMBEDDING_", "AWS_", "API_KEYS", "RATE_LIMIT", "INDEX_KIND", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "LOG_", "MAX_", "DEFAULT_MODE"}

// buildIndex makes an index of the set; only the making is timed.
func buildIndex(ctx context.Context, set *dataset.Set, p snapshot.IndexParams) (*vecindex.Index, time.Duration, error) {
	start := time.Now()
	b, err := vecindex.NewBuilder(p, set.Dims, set.N)
	if err != nil {
		return nil, 0, err
	}
	defer b.Close()
	if err := b.Add(ctx, set.Base); err != nil {
		return nil, 0, err
	}
	ix, err := b.Finish(ctx)
	return ix, time.Since(start), err
}

// withBeam is p with the parameter that trades speed for recall set.
func withBeam(p snapshot.IndexParams, v int) snapshot.IndexParams {
	if p.Kind == snapshot.HNSW {
		p.EfSearch = v
	} else {
		p.NProbe = min(v, p.NList)
	}
	return p
}

// recall10 of an index, and how many queries per second one goroutine gets answered: 1 over the median time of one, so
// that the scheduler's interruptions do not count.
func recall10(ix *vecindex.Index, set *dataset.Set) (recall, qps float64, err error) {
	hits := 0
	n := set.Shape.Queries
	each := make(result.Samples, n)
	for i := range n {
		start := time.Now()
		pos, _, err := ix.Search(set.Query(i), dataset.K, nil)
		each[i] = time.Since(start).Seconds()
		if err != nil {
			return 0, 0, err
		}
		got := make([]int, len(pos))
		for j, p := range pos {
			got[j] = int(p)
		}
		hits += set.Hits(i, got)
	}
	return float64(hits) / float64(n*dataset.K), 1 / each.Median(), nil
}

// tune opens the index file with ascending beams. It returns the curve and the first setting that reaches target, or
// the best one when none does.
func tune(path string, p snapshot.IndexParams, set *dataset.Set, target float64) (snapshot.IndexParams, []result.Point, error) {
	var curve []result.Point
	best, reached := p, 0.0
	found := false
	for _, v := range steps {
		ix, err := vecindex.Open(path, withBeam(p, v))
		if err != nil {
			return p, nil, err
		}
		recall, qps, err := recall10(ix, set)
		ix.Close()
		if err != nil {
			return p, nil, err
		}
		curve = append(curve, result.Point{Param: v, Recall: recall, QPS: qps})
		if !found && recall > reached {
			best, reached = withBeam(p, v), recall
		}
		found = found || recall >= target
		if n := len(curve); recall >= max(target, 0.998) || n > 5 && recall-curve[n-5].Recall < 0.001 {
			break
		}
	}
	return best, curve, nil
}

// beam is the number that tune chose.
func beam(p snapshot.IndexParams) int { return max(p.EfSearch, p.NProbe) }

// ownBuild builds an index of kind, tunes it and publishes it as the current snapshot of a directory store.
func (s *Suite) ownBuild(set *dataset.Set, dir, kind string) func(context.Context) (result.Built, error) {
	return func(ctx context.Context) (result.Built, error) {
		p, err := vecindex.Resolve(kind, set.N, set.Dims)
		if err != nil {
			return result.Built{}, err
		}
		ix, took, err := buildIndex(ctx, set, p)
		if err != nil {
			return result.Built{}, err
		}
		out := result.Built{Seconds: result.Samples{took.Seconds()}, Path: filepath.Join(dir, "store-"+kind)}
		path := filepath.Join(dir, "own-"+kind+".faiss")
		if err := ix.WriteFile(path); err != nil {
			return out, err
		}
		ix.Close()
		defer os.Remove(path)
		if p.Kind != snapshot.Flat {
			if p, out.Curve, err = tune(path, p, set, targetRecall); err != nil {
				return out, err
			}
			out.Param = beam(p)
		}
		tuned, err := vecindex.Open(path, p)
		if err != nil {
			return out, err
		}
		defer tuned.Close()
		m, err := s.publish(ctx, tuned, out.Path, dir)
		if err != nil {
			return out, err
		}
		f, _ := m.File(snapshot.FileIndex)
		out.Bytes = f.Size
		return out, nil
	}
}

// publish puts ix into a fresh directory store.
func (s *Suite) publish(ctx context.Context, ix *vecindex.Index, root, scratch string) (store.Manifest, error) {
	if err := os.RemoveAll(root); err != nil {
		return store.Manifest{}, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return store.Manifest{}, err
	}
	objects, err := store.NewDir(root)
	if err != nil {
		return store.Manifest{}, err
	}
	return publish.Snapshot(ctx, objects, ix, scratch)
}

// ownServer runs bin/server on a store that ownBuild made.
func (s *Suite) ownServer(b result.Built, port int) proc.Command {
	return proc.Command{
		Path: filepath.Join(s.Bin, "server"), Unset: ownEnv,
		Env: append(ownSettings(port), "VECTORSTORE_STORE_DIR="+b.Path, "VECTORSTORE_LOCAL_DIR="+b.Path+"-local"),
	}
}

// ownSettings of a measured server. The provider is never called: all queries are vectors.
func ownSettings(port int) []string {
	return []string{
		"LISTEN_ADDR=127.0.0.1:" + strconv.Itoa(port), "ADMIN_ADDR=127.0.0.1:" + strconv.Itoa(port+1),
		"OPENAI_API_KEY=none", "OPENAI_BASE_URL=http://127.0.0.1:9/v1", "DRAIN_TIME=0s", "LOG_FORMAT=json",
	}
}

// label of one of our contestants.
func label(kind, encoding string) string { return fmt.Sprintf("vectorstore %s, %s", kind, encoding) }
