package embed

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

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

	// makeWay is the nice value of threads that embed catalogues for long: of a core that they share with a search, the
	// search gets three quarters.
	makeWay = 5
)

// Local embeds in this process, without network: by a multilingual sentence model (NewSentence), or by n-grams.
type Local struct {
	embedding snapshot.Embedding
	batch     int  // texts, handed over at a time
	slow      bool // enough for searches beside it to feel
	fresh     func() (encoder, error)
	idle      sync.Pool // encoders
	queries   chan struct{}
}

var _ Embedder = (*Local)(nil)

// encoder turns texts into vectors with memory of its own: one goroutine's at a time.
type encoder interface {
	// encode writes the unit vectors of texts to out and returns how many tokens they have.
	encode(texts []string, out []float32) int
}

// newLocal returns a Local whose encoders fresh makes. At most as many queries as cores are embedded at a time: more would
// take memory and be no faster.
func newLocal(e snapshot.Embedding, batch int, fresh func() (encoder, error)) *Local {
	return &Local{embedding: e, batch: batch, fresh: fresh, queries: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// NewLocal returns the n-gram embedder with dims components, LocalDims when dims is not positive. It needs no model and is
// deterministic on every machine. It hashes character n-grams and words into a vector (see features), which finds texts
// that share words or parts of words, in Japanese and in languages with spaces, plus the business terms that localTerms
// knows to mean the same. It does not understand paraphrases beyond that.
func NewLocal(dims int) *Local {
	if dims <= 0 {
		dims = LocalDims
	}
	generic, terms := wordList(), newTermTrie()
	spec := snapshot.Embedding{Provider: "local", Model: LocalModel, Dims: dims, Version: localVersion}
	return newLocal(spec, localBatch, func() (encoder, error) { return &extractor{generic: generic, terms: terms}, nil })
}

// Embedding implements Embedder.
func (l *Local) Embedding() snapshot.Embedding { return l.embedding }

// Endpoint implements Embedder: nothing is asked.
func (l *Local) Endpoint() string { return "" }

// Ready says why it cannot embed: a model that is not installed.
func (l *Local) Ready() error {
	e, err := l.take()
	if err == nil {
		l.idle.Put(e)
	}
	return err
}

func (l *Local) take() (encoder, error) {
	if e, ok := l.idle.Get().(encoder); ok {
		return e, nil
	}
	return l.fresh()
}

// EstimateTokens implements Embedder. Local texts cost nothing; the count serves progress and comparison: one per
// Japanese character, one per four other bytes.
func (l *Local) EstimateTokens(text string) int { return estimate(text) }

func estimate(text string) int {
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
	select {
	case l.queries <- struct{}{}:
		defer func() { <-l.queries }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, err := l.take()
	if err != nil {
		return nil, err
	}
	out := make([]float32, l.embedding.Dims)
	e.encode([]string{text}, out)
	l.idle.Put(e)
	return out, nil
}

// Embed implements Embedder on all cores that Go may use.
func (l *Local) Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error {
	if len(texts) == 0 {
		return errors.New("embed: no texts")
	}
	if err := l.Ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
	}()

	// Buffers circulate through free, so that memory is bounded by one batch per worker and one in done.
	batches := (len(texts) + l.batch - 1) / l.batch
	workers := min(runtime.GOMAXPROCS(0), batches)
	free := make(chan []float32, workers+1)
	for range workers + 1 {
		free <- make([]float32, l.batch*l.embedding.Dims)
	}
	var taken atomic.Int64
	ready := make(chan localResult)
	for range workers {
		wg.Go(func() {
			if l.slow {
				runtime.LockOSThread() // for good: the thread ends with the goroutine, and its priority with it
				_ = unix.Setpriority(unix.PRIO_PROCESS, 0, makeWay)
			}
			e, err := l.take()
			if err != nil {
				return // not after Ready
			}
			defer l.idle.Put(e)
			for {
				first := int(taken.Add(int64(l.batch))) - l.batch
				if first >= len(texts) {
					return
				}
				select {
				case buf := <-free:
					part := texts[first:min(first+l.batch, len(texts))]
					r := localResult{first: first, vectors: buf[:len(part)*l.embedding.Dims]}
					r.tokens = e.encode(part, r.vectors)
					select {
					case ready <- r:
					case <-ctx.Done():
						return
					}
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
			free <- r.vectors[:l.batch*l.embedding.Dims]
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
