package dataset

import (
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// blockBytes of the base are compared with a group of queries while they sit in the second-level cache.
const blockBytes = 512 << 10

// Exact returns the K best base rows of every query by inner product, best first, equal scores by position. It is
// plain Go on purpose: what it is the judge of must not be what computes it.
func Exact(ctx context.Context, base, queries []float32, dims int) ([]int32, error) {
	n := len(queries) / dims
	truth := make([]int32, n*K)
	group := max(1, min(32, n/runtime.GOMAXPROCS(0)))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for first := 0; first < n; first += group {
		end := min(first+group, n)
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			exactGroup(base, queries[first*dims:end*dims], dims, truth[first*K:end*K])
			return nil
		})
	}
	return truth, g.Wait()
}

func exactGroup(base, queries []float32, dims int, out []int32) {
	best := make([]top, len(queries)/dims)
	block := max(1, blockBytes/4/dims)
	rows := len(base) / dims
	for first := 0; first < rows; first += block {
		end := min(first+block, rows)
		for q := range best {
			query := queries[q*dims : (q+1)*dims]
			for i := first; i < end; i++ {
				best[q].offer(int32(i), dot(query, base[i*dims:(i+1)*dims]))
			}
		}
	}
	for q := range best {
		for i, c := range best[q].entries {
			out[q*K+i] = c.pos
		}
	}
}

type candidate struct {
	pos   int32
	score float32
}

// top keeps the K best, best first. Positions are offered in ascending order, so of equal scores the first stays.
type top struct{ entries []candidate }

func (t *top) offer(pos int32, score float32) {
	if len(t.entries) == K {
		if score <= t.entries[K-1].score {
			return
		}
		t.entries = t.entries[:K-1]
	}
	at := len(t.entries)
	for at > 0 && t.entries[at-1].score < score {
		at--
	}
	t.entries = slices.Insert(t.entries, at, candidate{pos, score})
}

// dot with eight sums, so that additions do not wait for each other.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	i := 0
	for ; i+8 <= len(a); i += 8 {
		x, y := a[i:i+8:i+8], b[i:i+8:i+8]
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		s4 += x[4] * y[4]
		s5 += x[5] * y[5]
		s6 += x[6] * y[6]
		s7 += x[7] * y[7]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
}
