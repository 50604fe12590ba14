package vecindex

import (
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// PredictBytes is the C heap that an index of n vectors of dims components
// will hold, so that a server can refuse a snapshot before loading it.
func PredictBytes(p snapshot.IndexParams, n, dims int) int64 {
	p = withDefaults(p, n)
	rows, centroid, vector := int64(n), int64(dims)*4, int64(dims)*4
	if p.Codes() {
		vector = int64(dims)
	}
	total := rows * vector
	switch {
	case p.Lists():
		// An id and a pointer per vector; a centroid and two slice headers
		// per list.
		total += rows*(8+8) + int64(p.NList)*(centroid+48)
	case p.Graph():
		// 2M links on the ground level and M more on each level above, which
		// one vector in M reaches; an offset and a level per vector.
		links := 2*float64(p.M) + float64(p.M)/float64(p.M-1)
		total += int64(float64(rows)*links)*4 + rows*(8+4) + marks(p, n)
	}
	if usesCodes(p, n, dims) {
		total += rows * int64(dims)
	}
	return total
}

// marks is the heap for the visited marks of a graph: a byte per vector for
// every search that may run at once.
func marks(p snapshot.IndexParams, n int) int64 {
	if !p.Graph() {
		return 0
	}
	return int64(n) * int64(Cores())
}

// codesBytes of vectors and more are walked or scanned by 8-bit codes. Below, they
// lie in the processor's caches, and an eighth of a millisecond is not worth a
// quarter more memory.
const codesBytes = 8 << 20

func usesCodes(p snapshot.IndexParams, n, dims int) bool {
	return (p.Kind == snapshot.HNSW || p.Kind == snapshot.Flat) && int64(n)*int64(dims)*4 >= codesBytes
}
