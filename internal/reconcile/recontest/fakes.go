// Package recontest holds the stand-in of an embedder: it hashes. Tests of the reconciler and the simulator share it.
package recontest

import (
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"sync"
)

// Embedder makes a unit vector of each text's digest and counts what it was asked for.
type Embedder struct {
	Dims  int
	Batch int // texts per call of done; 0 = all at once
	// Before runs before each batch; its error ends the call.
	Before func(ctx context.Context, texts []string) error
	// Query replaces the vector of a query.
	Query func(text string) []float32
	// RefuseQuery is the error that a query ends with, nil for none.
	RefuseQuery func(text string) error
	// Refuse says that a text itself is refused.
	Refuse func(text string) bool

	mu      sync.Mutex
	bought  map[string]int // texts by how often
	queries int
	refused int
}

// Embed implements reconcile.Embedder.
func (e *Embedder) Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error {
	refused := refusals{}
	size := e.Batch
	if size == 0 {
		size = len(texts)
	}
	for first := 0; first < len(texts); first += size {
		batch := texts[first:min(first+size, len(texts))]
		if e.Before != nil {
			if err := e.Before(ctx, batch); err != nil {
				return err
			}
		}
		for i := 0; i < len(batch); i++ {
			var rows []float32
			from := i
			for ; i < len(batch) && (e.Refuse == nil || !e.Refuse(batch[i])); i++ {
				rows = append(rows, Vector(batch[i], e.Dims)...)
			}
			if i < len(batch) {
				refused[first+i] = errors.New("this text is refused")
			}
			if e.count(batch[from:i]); i == from {
				continue
			}
			if err := done(first+from, rows, i-from); err != nil {
				return err
			}
		}
	}
	if len(refused) > 0 {
		e.countRefused(len(refused))
		return refused
	}
	return ctx.Err()
}

// refusals is an embedder's error about some of the texts.
type refusals map[int]error

func (r refusals) Error() string               { return "some texts are refused" }
func (r refusals) RefusedTexts() map[int]error { return r }

func (e *Embedder) countRefused(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refused += n
}

// Refused is how often a text was refused.
func (e *Embedder) Refused() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refused
}

func (e *Embedder) count(batch []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bought == nil {
		e.bought = map[string]int{}
	}
	for _, t := range batch {
		e.bought[t]++
	}
}

// EmbedQuery implements reconcile.Embedder.
func (e *Embedder) EmbedQuery(_ context.Context, text string) ([]float32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queries++
	if e.RefuseQuery != nil {
		if err := e.RefuseQuery(text); err != nil {
			return nil, err
		}
	}
	if e.Query != nil {
		return e.Query(text), nil
	}
	return Vector(text, e.Dims), nil
}

// EstimateTokens implements reconcile.Embedder: one per text.
func (e *Embedder) EstimateTokens(string) int { return 1 }

// Bought is the number of texts embedded, counting repeats.
func (e *Embedder) Bought() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, c := range e.bought {
		n += c
	}
	return n
}

// Again is how many of them had been embedded before.
func (e *Embedder) Again() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, c := range e.bought {
		n += c - 1
	}
	return n
}

// Queries is the number of queries embedded.
func (e *Embedder) Queries() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queries
}

// Vector is the unit vector of a text.
func Vector(text string, dims int) []float32 {
	v := make([]float32, dims)
	sum := sha256.Sum256([]byte(text))
	var norm float64
	for i := range v {
		v[i] = float32(int(sum[i%len(sum)])-127) + 0.5
		norm += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(norm))
	}
	return v
}
