package reconcile

import (
	"context"
	"math"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// tuneRecall is the recall@10 that a candidate's search must reach. The queries of a graph's measurement are
// easier than real ones (see tuneQueries), so fewer may miss.
const (
	tuneRecall      = 0.99
	tuneRecallGraph = 1 - (1-tuneRecall)/3
)

// Queries that measure ef search. Their exhaustive scans cost queries × rows × dims multiply-adds, up to tuneWork or
// tuneLeast queries: 200 queries of 100,000 × 384 take a third of a second of one core, 78 of 1 M × 512 under three,
// beside builds of some seconds and some minutes. 64 queries have 640 neighbours: ±0.4 % at a recall of 0.99.
const (
	tuneWork  = 4e10
	tuneLeast = 64
	tuneMost  = 200
)

// tune chooses the EfSearch or NProbe that the candidate is searched with, by measuring the very index that would be
// served, and puts it into the manifest. What is below the target with any is left to the gate's own check.
func (p *pass) tune(ctx context.Context, j *judged) error {
	if j.m.Index.Kind == snapshot.Flat {
		return nil
	}
	queries, err := tuneQueries(j.index)
	if err != nil {
		return failf(Verified, indexUnreadable, inputs, "read vectors: %w", err)
	}
	target := tuneRecallGraph
	if j.m.Index.NList > 0 {
		target = tuneRecall
	}
	target = max(target, p.cfg.GateMinRecall)
	params, recall, err := j.index.Tune(target, queries)
	if err != nil {
		return failf(Verified, searchFailed, inputs, "measure ef search: %w", err)
	}
	j.m.Index = params
	p.log.InfoContext(ctx, "ef search measured", "snapshot", j.m.ID, "ef_search", params.EfSearch,
		"nprobe", params.NProbe, "recall", recall, "target", target)
	return ctx.Err()
}

// tuneQueries are sampled vectors, each moved as far from a neighbour of its own as the neighbour is, to the
// other side. A stored vector finds its neighbours too easily, because the graph was linked by just that search. On
// clustered data (10,000 × 384, beam 48), where 2.3 % of the neighbours of vectors held out of the index were missed,
// stored vectors missed 0.1 %, points between two neighbours none, vectors with noise of half or of all their length
// 0.2 and 0.3 %, these 0.7 %; with inverted lists all are alike. Golden queries would be better still, but there are
// few of them or none.
func tuneQueries(x snapshot.Index) ([]float32, error) {
	n, dims := x.Len(), x.Dims()
	count := min(max(int(tuneWork/(float64(n)*float64(dims))), tuneLeast), tuneMost, n)
	out, neighbour := make([]float32, count*dims), make([]float32, dims)
	for i := range count {
		if err := x.Vector(int(int64(i)*int64(n)/int64(count)), out[i*dims:(i+1)*dims]); err != nil {
			return nil, err
		}
	}
	k := min(recallAt+1, n) // the first is the vector itself
	near, _, err := x.Search(out, k, nil)
	if err != nil {
		return nil, err
	}
	for i := range count {
		pos := near[(i+1)*k-1]
		if pos < 0 {
			continue
		}
		if err := x.Vector(int(pos), neighbour); err != nil {
			return nil, err
		}
		reflect(out[i*dims:(i+1)*dims], neighbour)
	}
	return out, nil
}

// reflect puts the unit vector q where the point opposite to other lies, seen from q. The result is never zero: it is
// at least 2 - 1 long.
func reflect(q, other []float32) {
	var sum float64
	for d := range q {
		q[d] = 2*q[d] - other[d]
		sum += float64(q[d]) * float64(q[d])
	}
	norm := float32(math.Sqrt(sum))
	for d := range q {
		q[d] /= norm
	}
}

// lowRecall says whether the structure of the index is what the gate found wanting.
func lowRecall(r *store.GateReport) bool {
	for _, c := range r.Checks {
		if (c.Name == CheckRecall || c.Name == CheckSelfRecall) && c.Result != VerdictPassed {
			return true
		}
	}
	return false
}
