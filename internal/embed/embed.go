// Package embed turns texts into unit vectors.
//
// Three providers share one interface: local (in this process, deterministic, no network), openai (any
// OpenAI-compatible server) and bedrock (its own package below this one, so that its SDK is linked only where it
// is wanted). What makes two vectors comparable is written down in a snapshot.Embedding: vectors may be compared, cached
// and reused exactly when theirs are equal.
package embed

import (
	"context"
	"errors"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrTerminal marks an error that trying again cannot cure: a rejected key, an unknown model, vectors of the wrong
// length. Test with errors.Is. Every other error of an Embedder is transient: the same call may succeed later.
var ErrTerminal = errors.New("embedding refused")

// Embedder turns texts into vectors of unit length. Implementations are safe for concurrent use.
type Embedder interface {
	// Embedding says what the vectors are. It is constant for the life of the Embedder.
	Embedding() snapshot.Embedding

	// Embed embeds texts (at least one) and calls done once per finished batch, more often for a batch of which texts
	// were refused. Calls of done are serial, in any order of batches. A batch is contiguous: first is the index in texts of its first text, vectors holds
	// len(batch)*Dims numbers, row-major, each row of unit length, valid only during the call. tokens is what the
	// provider counted for the batch, or an estimate where it does not count.
	//
	// Embed returns nil when every text was passed to done, a *RefusedError when texts themselves were refused, else the first error that could not be retried away,
	// which is also how an error of done ends it. What was passed to done before stays valid, so a caller that
	// stores each batch never pays for it twice.
	Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error

	// EmbedQuery embeds one query, for a caller who is waiting: few retries, short timeouts.
	EmbedQuery(ctx context.Context, text string) ([]float32, error)

	// EstimateTokens is what the provider would probably count for text, without asking it.
	EstimateTokens(text string) int

	// Endpoint is the host (with port, if any) that is asked, "" when none is. The same model name behind two
	// hosts need not be the same model, so it is part of the key of a cached vector.
	Endpoint() string
}
