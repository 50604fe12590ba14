package embed

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const (
	// LocalDims is how many components the local embedder's vectors have unless asked otherwise.
	LocalDims = 512

	// LocalModel and localVersion change whenever a vector changes; a test over golden vectors insists on it. One change
	// went without: texts with unseen characters or unusual dashes (package spelling). Their vectors were of use to no
	// query, and another version would have cost every catalogue a rebuild that old servers cannot take.
	LocalModel   = "local-ngram-v1"
	localVersion = "1"

	// localBatch texts are handed over at a time: 64 texts of 512 components are 128 KiB.
	localBatch = 64
)

// Local embeds in this process: deterministic on every machine, without network or model files. It hashes character
// n-grams and words into a vector (see features), which finds texts that share words or parts of words, in Japanese
// and in languages with spaces, plus the business terms that localTerms knows to mean the same. It does not
// understand paraphrases beyond that; a model behind a provider does.
type Local struct {
	dims    int
	scratch sync.Pool // *extractor
}

var _ Embedder = (*Local)(nil)

// NewLocal returns a local embedder with dims components, LocalDims when dims is not positive.
func NewLocal(dims int) *Local {
	if dims <= 0 {
		dims = LocalDims
	}
	generic, terms := wordList(), newTermTrie()
	return &Local{dims: dims, scratch: sync.Pool{New: func() any { return &extractor{generic: generic, terms: terms} }}}
}

// Embedding implements Embedder.
func (l *Local) Embedding() snapshot.Embedding {
	return snapshot.Embedding{Provider: "local", Model: LocalModel, Dims: l.dims, Version: localVersion}
}

// Endpoint implements Embedder: nothing is asked.
func (l *Local) Endpoint() string { return "" }

// EstimateTokens implements Embedder. Local texts cost nothing; the count serves progress and comparison: one per
// Japanese character, one per four other bytes.
func (l *Local) EstimateTokens(text string) int {
	ascii, wide := 0, 0
	for _, r := range text {
		if r < 0x80 {
			ascii++
		} else {
			wide++
		}
	}
	return wide + (ascii+3)/4
}

// EmbedQuery implements Embedder.
func (l *Local) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]float32, l.dims)
	l.embed(text, out)
	return out, nil
}

func (l *Local) embed(text string, out []float32) {
	x := l.scratch.Get().(*extractor)
	x.vector(text, out)
	l.scratch.Put(x)
}

// Embed implements Embedder on all cores that Go may use.
func (l *Local) Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error {
	if len(texts) == 0 {
		return errors.New("embed: no texts")
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
	}()

	// Buffers circulate through free, so that memory is bounded by one batch per worker and one in done.
	batches := (len(texts) + localBatch - 1) / localBatch
	workers := min(runtime.GOMAXPROCS(0), batches)
	free := make(chan []float32, workers+1)
	for range workers + 1 {
		free <- make([]float32, localBatch*l.dims)
	}
	var taken atomic.Int64
	ready := make(chan localResult)
	for range workers {
		wg.Go(func() {
			for {
				first := int(taken.Add(localBatch)) - localBatch
				if first >= len(texts) {
					return
				}
				r, ok := l.batch(ctx, texts, first, free)
				if !ok {
					return
				}
				select {
				case ready <- r:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for range batches {
		select {
		case r := <-ready:
			if err := done(r.first, r.vectors, r.tokens); err != nil {
				return err
			}
			free <- r.vectors[:localBatch*l.dims]
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// localResult is what done is called with.
type localResult struct {
	first   int
	vectors []float32
	tokens  int
}

// batch embeds the batch that starts at first into a free buffer. ok is false when ctx ended before.
func (l *Local) batch(ctx context.Context, texts []string, first int, free <-chan []float32) (r localResult, ok bool) {
	var buf []float32
	select {
	case buf = <-free:
	case <-ctx.Done():
		return r, false
	}
	part := texts[first:min(first+localBatch, len(texts))]
	for i, text := range part {
		if ctx.Err() != nil {
			return r, false
		}
		l.embed(text, buf[i*l.dims:(i+1)*l.dims])
		r.tokens += l.EstimateTokens(text)
	}
	r.first, r.vectors = first, buf[:len(part)*l.dims]
	return r, true
}
