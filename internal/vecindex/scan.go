package vecindex

import (
	"cmp"
	"slices"
)

const (
	// pieceBytes of vectors or codes are scanned between two looks at who is
	// waiting: about 0.2 ms, against some microseconds for the call and the merge.
	pieceBytes = 2 << 20
	// queryGroup queries share one pass over the vectors: by then the scan is
	// bound by arithmetic, and their scores of a block fit the cache.
	queryGroup = 64
	// mergeLimit bounds the partial results of a split scan: 12 MB.
	mergeLimit = 1 << 20
)

// split is how a scan of n rows of rowBytes for nq queries is cut: pieces of step
// rows.
func split(n, rowBytes, nq, k int) (pieces, step int) {
	step = max(1, pieceBytes/rowBytes)
	if most := mergeLimit / (nq * k); (n+step-1)/step > max(1, most) {
		step = (n + max(1, most) - 1) / max(1, most)
	}
	return (n + step - 1) / step, step
}

// part searches rows [from, to) of what is scanned.
type part func(from, to int, out hits) error

// scanAll scans n rows of rowBytes for the job's queries, on idle cores too. begin
// makes the parts of a group of queries, and what is to be called after them.
func scanAll(c *cores, j job, dims, rowBytes, n int, begin func(queries []float32, nq int) (part, func(), error)) error {
	for from := 0; from < j.nq; from += queryGroup {
		to := min(from+queryGroup, j.nq)
		scan, end, err := begin(j.queries[from*dims:to*dims], to-from)
		if err != nil {
			return err
		}
		group := job{nq: to - from, k: j.k, out: j.out.slice(from*j.k, to*j.k)}
		err = scanGroup(c, group, rowBytes, n, scan)
		end()
		if err != nil {
			return err
		}
	}
	return nil
}

func scanGroup(c *cores, j job, rowBytes, n int, scan part) error {
	pieces, step := split(n, rowBytes, j.nq, j.k)
	if pieces <= 1 {
		return c.each(1, func(int) error { return scan(0, n, j.out) })
	}
	size := j.nq * j.k
	partial := newHits(pieces * size)
	err := c.each(pieces, func(p int) error {
		return scan(p*step, min((p+1)*step, n), partial.slice(p*size, (p+1)*size))
	})
	if err != nil {
		return err
	}
	for q := range j.nq {
		merge(partial, pieces, size, q*j.k, j.k, j.out.slice(q*j.k, (q+1)*j.k))
	}
	return nil
}

// merge takes the k best of the runs of k hits that start at offset, every
// stride. Equal scores go by position, as within a run.
func merge(partial hits, runs, stride, offset, k int, out hits) {
	type hit struct {
		pos   int64
		score float32
	}
	all := make([]hit, 0, runs*k)
	for r := range runs {
		at := r*stride + offset
		for i := at; i < at+k && partial.pos[i] >= 0; i++ {
			all = append(all, hit{partial.pos[i], partial.scores[i]})
		}
	}
	slices.SortFunc(all, func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.pos, b.pos))
	})
	for i := range k {
		out.pos[i], out.scores[i] = -1, 0
		if i < len(all) {
			out.pos[i], out.scores[i] = all[i].pos, all[i].score
		}
	}
}
