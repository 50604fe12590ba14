package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// window is the most texts that are bought before they are made durable. While one window is in flight the one
// before it is being flushed, and a third does not start before that flush is done: a crash loses at most
// 2 × 1,024 = 2,048 texts, whatever the embedder's own concurrency.
const window = 1024

// salvage is how long the flush of what was already bought may take after the pass was told to stop.
const salvage = 5 * time.Second

// goldenPrefix keeps golden queries apart from documents in the ledger: providers may treat queries differently.
const goldenPrefix = "golden query\x00"

func (p *pass) openLedger(ctx context.Context) error {
	if p.ledger != nil {
		return nil
	}
	if p.ledger, p.kept = p.kept, nil; p.ledger != nil {
		return nil
	}
	l, err := ledger.Open(ctx, p.Objects, p.Layout, filepath.Join(p.cfg.Dir, "ledger"), p.cfg.Embedding, p.cfg.EmbedHost)
	if err != nil {
		return fail(Built, ledgerUnreadable, transient, fmt.Errorf("open ledger: %w", err))
	}
	p.ledger = l
	if damaged := l.Damaged(); len(damaged) > 0 {
		p.log.WarnContext(ctx, "ledger segments damaged", "segments", damaged)
	}
	return nil
}

// embed buys the vectors that the ledger lacks, a window at a time.
func (p *pass) embed(ctx context.Context) error {
	c := p.files
	p.Metrics.embedded("reused", len(c.keys)-len(c.missing)-len(c.refused))
	if len(c.missing) == 0 {
		return nil
	}
	p.step("embed", int64(len(c.missing)))
	if len(c.missing) > p.cfg.EmbedWindow {
		p.announceBuild(ctx)
	}
	flushed := make(chan error, 1)
	flushed <- nil // no flush is running
	var failed error
	step := p.cfg.EmbedWindow
	for start := 0; start < len(c.missing) && failed == nil; start += step {
		// Asked of the store, not of the clock: a machine that was suspended since the texts were found missing
		// would buy what another leader has bought meanwhile.
		if failed = p.lease.confirm(ctx); failed != nil {
			failed = fail(Built, leaseUnreadable, transient, failed)
			break
		}
		batch, err := p.embedWindow(ctx, c.missing[start:min(start+step, len(c.missing))])
		// The previous window must be durable before this one joins it.
		failed = errors.Join(<-flushed, err)
		go func() { flushed <- p.flush(ctx, batch) }()
	}
	failed = errors.Join(failed, <-flushed)
	return p.embedError(ctx, failed)
}

func (p *pass) embedError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return fail(Built, whyNotEmbedded(err), inputs, err)
}

// whyNotEmbedded tells a model that has to be installed here from a provider that refuses or does not answer.
func whyNotEmbedded(err error) reason {
	if m := interface{ ModelMissing() string }(nil); errors.As(err, &m) {
		return modelMissing
	}
	return embeddingFailed
}

// purchase is what a window brought: rows of keys, in the order they arrived.
type purchase struct {
	keys []ledger.Key
	rows []float32
}

// embedWindow embeds the texts at positions. What arrived before an error is returned with it.
func (p *pass) embedWindow(ctx context.Context, positions []uint32) (purchase, error) {
	c, dims := p.files, p.cfg.Embedding.Dims
	texts := make([]string, len(positions))
	for i, pos := range positions {
		raw, err := c.docs.Metadata(int(pos))
		if err != nil {
			return purchase{}, fmt.Errorf("read record %d back: %w", pos, err)
		}
		if texts[i], err = vendors.TextOf(raw); err != nil {
			return purchase{}, fmt.Errorf("read record %d back: %w", pos, err)
		}
	}
	got := purchase{rows: make([]float32, 0, len(texts)*dims)}
	for ask := slices.Clone(positions); len(ask) > 0; {
		answered, err := p.embedTexts(ctx, ask, texts, &got)
		if err != nil {
			return got, err
		}
		left := 0
		for i, done := range answered {
			if !done {
				ask[left], texts[left] = ask[i], texts[i]
				left++
			}
		}
		ask, texts = ask[:left], texts[:left]
	}
	return got, nil
}

// embedTexts makes one call of the embedder. answered says which texts came back, or were refused; those that were not
// are to be asked for again.
func (p *pass) embedTexts(ctx context.Context, positions []uint32, texts []string, got *purchase) (answered []bool, err error) {
	c, dims := p.files, p.cfg.Embedding.Dims
	answered = make([]bool, len(positions))
	err = p.Embedder.Embed(ctx, texts, func(first int, vectors []float32, tokens int) error {
		n := len(vectors) / dims
		if len(vectors) != n*dims || first < 0 || first+n > len(positions) {
			return fmt.Errorf("embedder returned %d numbers for texts %d.. of %d, dims %d", len(vectors), first, len(texts), dims)
		}
		for i, pos := range positions[first : first+n] {
			got.keys = append(got.keys, c.keys[pos])
			answered[first+i] = true
		}
		got.rows = append(got.rows, vectors...)
		c.bought += n
		c.spent += tokens
		p.Metrics.embedded("computed", n)
		p.Metrics.tokens(tokens)
		p.Progress.Add(int64(n))
		return nil
	})
	if refused, ok := errors.AsType[refusedTexts](err); ok && len(refused.RefusedTexts()) > 0 {
		for i, why := range refused.RefusedTexts() {
			p.refuse(positions[i], why)
			answered[i] = true
		}
		return answered, p.checkRefused()
	}
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	if slices.Contains(answered, false) {
		return nil, fmt.Errorf("embed: not all of %d texts came back", len(positions))
	}
	return answered, nil
}

// flush makes a purchase durable. It is paid for, so a pass that is told to stop still stores it: segments
// are append-only and keyed by content, harmless under any lease.
func (p *pass) flush(ctx context.Context, b purchase) error {
	if len(b.keys) == 0 {
		return nil
	}
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(salvage, cancel) })()
	ctx = detached
	p.bought = true
	if err := p.ledger.Flush(ctx, b.keys, b.rows, p.cfg.Embedding.Dims); err != nil {
		return fmt.Errorf("flush ledger: %w", err)
	}
	return nil
}

// goldenVector returns the vector of a golden query, from the ledger when it was bought before.
func (p *pass) goldenVector(ctx context.Context, query string) ([]float32, error) {
	if err := p.openLedger(ctx); err != nil {
		return nil, err
	}
	v := make([]float32, p.cfg.Embedding.Dims)
	key := p.goldenKey(query)
	p.questions = append(p.questions, key)
	if ok, err := p.ledger.Get(key, v); ok && err == nil {
		return v, nil
	}
	got, err := p.Embedder.EmbedQuery(ctx, query)
	if err != nil {
		return nil, fail(Verified, whyNotEmbedded(err), inputs, fmt.Errorf("embed golden query: %w", err))
	}
	if len(got) != len(v) {
		return nil, failf(Verified, embeddingFailed, inputs, "embed golden query: %d dims, want %d", len(got), len(v))
	}
	if err := p.flush(ctx, purchase{keys: []ledger.Key{key}, rows: got}); err != nil {
		return nil, fail(Verified, embeddingFailed, transient, err)
	}
	return got, nil
}

func (p *pass) goldenKey(query string) ledger.Key {
	return ledger.NewKey(goldenPrefix+p.cfg.Embedding.QueryPrefix+query, p.cfg.Embedding, p.cfg.EmbedHost)
}
