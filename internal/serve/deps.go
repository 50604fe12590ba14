package serve

import (
	"context"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Embedder turns the text of a query into a unit vector.
type Embedder interface {
	EmbedQuery(ctx context.Context, text string) ([]float32, error)
}

// Lexical finds records by the words in them. Safe for concurrent use.
type Lexical interface {
	// Search returns at most k allowed positions (nil allows all), best first, with their scores.
	Search(query string, k int, allow *roaring.Bitmap) (pos []int64, scores []float32)
	SizeBytes() int64
}

// Deps are the rooms that a server stands on. Objects, Indexes and Embedder are required.
type Deps struct {
	Objects store.Objects
	Layout  store.Layout
	Indexes snapshot.Indexes // opens them, and predicts what they will take
	// Embedder returns what embeds queries for a snapshot, or why this process cannot.
	Embedder func(snapshot.Embedding) (Embedder, error)
	// OpenLexical opens the arrays of words.idx, which it keeps, for n records; an error means that this process knows
	// them not. BuildLexical then indexes the words of n records itself; words reads one, in catalogue order. Fuse merges
	// a ranking by meaning with one of Lexical into at most k positions, best first, with scores in 0..1. Without them
	// lexical and hybrid searches go by meaning alone.
	OpenLexical  func(arrays [][]byte, n int) (Lexical, error)
	BuildLexical func(n int, words func(i int) (snapshot.Words, error)) (Lexical, error)
	Fuse         func(k int, semantic, lexical []int64, lexicalScores []float32) (pos []int64, scores []float32)
	// ReleaseMemory gives freed memory outside Go's heap back to the system. Optional.
	ReleaseMemory func()
	// Keys: only snapshots whose manifest one of them signed are served; none: any is.
	Keys store.Keys
	// Rest is called now and then while a snapshot is loaded beside another, on a thread of the lowest priority: it
	// sleeps, so that loading leaves caches and memory to the searches too. Optional.
	Rest func()
	// MemoryLimit and MemoryUsed are in bytes; nil means the cgroup's limit (else the machine's memory) and this
	// process's anonymous resident memory.
	MemoryLimit func() int64
	MemoryUsed  func() int64
	// Registerer gets this package's metrics, Gatherer is what /metrics shows.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
}
