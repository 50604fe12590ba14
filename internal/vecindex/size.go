package vecindex

// PredictBytes is the C heap that an index of n vectors of dims components
// will hold, so that a server can refuse a snapshot before loading it.
func PredictBytes(p Params, n, dims int) int64 {
	p = p.withDefaults(n)
	rows, vector := int64(n), int64(dims)*4
	total := rows * vector
	switch p.Kind {
	case IVF:
		// An id and a pointer per vector; a centroid and two slice headers
		// per list.
		total += rows*(8+8) + int64(p.NList)*(vector+48)
	case HNSW:
		// 2M links on the ground level, M more on each level above, which
		// one vector in M reaches; an offset and a level per vector; two
		// bytes of visited marks for two searches at once.
		links := 2*int64(p.M) + (int64(p.M)+int64(p.M)-2)/(int64(p.M)-1)
		total += rows * (links*4 + 8 + 4 + 2)
	}
	return total
}
