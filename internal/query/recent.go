package query

import (
	"sync"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// recentCount is how many query vectors are kept for warming: 64 of 1,536 dimensions are 384 KiB.
const recentCount = 64

// recentVectors is a ring of the last query vectors. Texts are not kept.
type recentVectors struct {
	mu   sync.Mutex
	by   snapshot.Embedding // of all kept vectors
	ring [][]float32
	next int
}

// add keeps vector, which is not copied and not written to again.
func (r *recentVectors) add(by snapshot.Embedding, vector []float32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by != by {
		r.by, r.ring, r.next = by, r.ring[:0], 0
	}
	if len(r.ring) < recentCount {
		r.ring = append(r.ring, vector)
		return
	}
	r.ring[r.next] = vector
	r.next = (r.next + 1) % recentCount
}

// of returns the kept vectors made by that embedding.
func (r *recentVectors) of(by snapshot.Embedding) [][]float32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by != by {
		return nil
	}
	return append([][]float32(nil), r.ring...)
}
