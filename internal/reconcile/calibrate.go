package reconcile

import (
	"context"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/relevance"
)

// tolerated failures of single questions: emoji may be refused. After them the provider is left alone.
const tolerated = 3

// calibrate measures how near the candidate's records come to questions that have nothing to do with them, and puts it
// into the manifest: without it a score means less, so a provider that fails here is said and holds nothing up.
func (p *pass) calibrate(ctx context.Context, j *judged) error {
	vectors, failed, err := p.offTopicVectors(ctx)
	if err != nil {
		return err
	}
	n := len(vectors) / j.index.Dims()
	best := make([]float64, n)
	if n > 0 {
		_, scores, err := j.index.Search(vectors, 1, nil)
		if err != nil {
			return failf(Verified, searchFailed, inputs, "search candidate: %w", err)
		}
		for i := range best {
			best[i] = float64(scores[i])
		}
	}
	curve, ok := relevance.NewCurve(best)
	if !ok {
		p.log.WarnContext(ctx, "scores are not calibrated: too few questions could be embedded", "snapshot", j.m.ID,
			"embedded", n, "questions", len(relevance.OffTopic), "error", failed)
		return nil
	}
	j.m.Curve = &curve
	return nil
}

// offTopicVectors returns the vectors of the questions that could be embedded, from the ledger when they were bought
// before, and the last failure of the others. One after the other: that is once for a model, and in the same order every
// time.
func (p *pass) offTopicVectors(ctx context.Context) (vectors []float32, failed, err error) {
	if err := p.openLedger(ctx); err != nil {
		return nil, nil, err
	}
	var bought purchase
	v := make([]float32, p.cfg.Embedding.Dims)
	failures := 0
	for i, key := range p.offTopicKeys() {
		if ok, err := p.ledger.Get(key, v); ok && err == nil {
			vectors = append(vectors, v...)
			continue
		}
		if failures == tolerated || ctx.Err() != nil {
			continue
		}
		got, err := p.Embedder.EmbedQuery(ctx, relevance.OffTopic[i])
		if err == nil && len(got) != len(v) {
			err = fmt.Errorf("the answer has %d dims, want %d", len(got), len(v))
		}
		if err != nil {
			failures++
			failed = err
			continue
		}
		bought.keys, bought.rows = append(bought.keys, key), append(bought.rows, got...)
	}
	if err := p.flush(ctx, bought); err != nil {
		return nil, nil, fail(Verified, embeddingFailed, transient, err)
	}
	return append(vectors, bought.rows...), failed, ctx.Err()
}

func (p *pass) offTopicKeys() []ledger.Key {
	keys := make([]ledger.Key, len(relevance.OffTopic))
	for i, q := range relevance.OffTopic {
		keys[i] = p.goldenKey(q)
	}
	return keys
}
