package suite

import (
	"bytes"
	"context"
	"math"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// Limits measures what a flat search cannot beat on this machine: reading the vectors, and the scan itself without
// HTTP, split over all cores.
func (s *Suite) Limits(ctx context.Context, shape dataset.Shape) error {
	set, err := dataset.Open(ctx, s.Cache, shape)
	if err != nil {
		return err
	}
	defer set.Close()
	whole, err := flat(ctx, set, 0, set.N)
	if err != nil {
		return err
	}
	defer whole.Close()
	threads := runtime.GOMAXPROCS(0)
	var parts []*vecindex.Index
	for i := range threads {
		part, err := flat(ctx, set, i*set.N/threads, (i+1)*set.N/threads)
		if err != nil {
			return err
		}
		defer part.Close()
		parts = append(parts, part)
	}
	out := result.Limits{Machine: s.machine(ctx), Data: shape.Label(), Bytes: int64(len(set.Base)) * 4}
	for round := range s.Rounds {
		if err := limitsRound(&out, set, whole, parts, round); err != nil {
			return err
		}
		s.logf("round %d: read %.1f and %.1f GB/s; split scan %.2f ms, search %.2f ms, 64 at once %.0f q/s, plain Go %.1f ms", round+1,
			out.Read1[round]/1e9, out.Read2[round]/1e9, 1000*out.ScanSplit[round], 1000*out.Search[round],
			out.Batch64[round], 1000*out.Scalar[round])
	}
	return result.Save(s.results(), "limits-"+shape.Name, out)
}

func flat(ctx context.Context, set *dataset.Set, from, to int) (*vecindex.Index, error) {
	b, err := vecindex.NewBuilder(snapshot.IndexParams{Kind: snapshot.Flat}, set.Dims, to-from)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if err := b.Add(ctx, set.Base[from*set.Dims:to*set.Dims]); err != nil {
		return nil, err
	}
	return b.Finish(ctx)
}

// sustained is the median time of one search after the other for so long, as the load generator asks a server: a machine
// that is shared gives less after the first tenths of a second.
func sustained(x *vecindex.Index, set *dataset.Set, warm, lasts time.Duration) (float64, error) {
	var all result.Samples
	began := time.Now()
	for i := 0; time.Since(began) < warm+lasts; i++ {
		start := time.Now()
		if _, _, err := x.Search(set.Query(i%set.Shape.Queries), dataset.K, nil); err != nil {
			return 0, err
		}
		if start.Sub(began) >= warm {
			all = append(all, time.Since(start).Seconds())
		}
	}
	return all.Median(), nil
}

// repeats of each measurement inside a round. Of reads the fastest counts, as limits are about what is possible; of
// searches, each for another query, the median.
const repeats = 15

func typical(n int, f func(i int) error) (float64, error) {
	var all result.Samples
	for i := range n {
		start := time.Now()
		if err := f(i); err != nil {
			return 0, err
		}
		all = append(all, time.Since(start).Seconds())
	}
	return all.Median(), nil
}

func fastest(n int, f func() error) (float64, error) {
	best := math.Inf(1)
	for range n {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start).Seconds())
	}
	return best, nil
}

func limitsRound(out *result.Limits, set *dataset.Set, whole *vecindex.Index, parts []*vecindex.Index, round int) error {
	query := func(i int) []float32 { return set.Query((round*repeats + i) % set.Shape.Queries) }
	batch := set.Queries[:min(64, set.Shape.Queries)*set.Dims]
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&set.Base[0])), len(set.Base)*4)
	k := dataset.K
	for _, m := range []struct {
		to  *result.Samples
		n   int
		per float64 // the sample is per/seconds, or seconds when 0
		f   func() error
	}{
		{&out.Read1, repeats, float64(len(raw)), func() error { return read(raw, 1) }},
		{&out.Read2, repeats, float64(len(raw)), func() error { return read(raw, len(parts)) }},
		{&out.Batch64, 3, float64(len(batch) / set.Dims), func() error { _, _, err := whole.Search(batch, k, nil); return err }},
		{&out.Scalar, 2, 0, func() error { _, err := dataset.Exact(context.Background(), set.Base, query(0), set.Dims); return err }},
	} {
		seconds, err := fastest(m.n, m.f)
		if err != nil {
			return err
		}
		if m.per > 0 {
			seconds = m.per / seconds
		}
		*m.to = append(*m.to, seconds)
	}
	for _, m := range []struct {
		to *result.Samples
		f  func(q []float32) error
	}{
		// One search per core at once leaves no idle core to split one of them.
		{&out.ScanSplit, func(q []float32) error {
			return together(len(parts), func(i int) error { _, _, err := parts[i].Exact(q, k, nil); return err })
		}},
		{&out.Search, func(q []float32) error { _, _, err := whole.Search(q, k, nil); return err }},
	} {
		seconds, err := typical(repeats, func(i int) error { return m.f(query(i)) })
		if err != nil {
			return err
		}
		*m.to = append(*m.to, seconds)
	}
	return nil
}

// together runs f(0) … f(n-1) at once.
func together(n int, f func(int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// read touches every byte at the speed of memory: counting a byte is a vector loop in the runtime.
func read(raw []byte, threads int) error {
	return together(threads, func(i int) error {
		part := raw[i*len(raw)/threads : (i+1)*len(raw)/threads]
		_ = bytes.Count(part, []byte{0})
		return nil
	})
}
