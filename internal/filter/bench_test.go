package filter_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// What a replica does with the filters of a snapshot that it loads.
func BenchmarkBuildAttributes(b *testing.B) {
	var catalogue bytes.Buffer
	if err := vendorstest.Write(&catalogue, vendorstest.Options{N: 5000, Seed: 1}); err != nil {
		b.Fatal(err)
	}
	records, err := vendorstest.Records(bytes.NewReader(catalogue.Bytes()))
	if err != nil {
		b.Fatal(err)
	}
	var a *filter.Attributes
	for b.Loop() {
		var err error
		if a, err = filter.Build(len(records), func(i int) ([]byte, error) { return records[i].Raw, nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(a.SizeBytes())/float64(len(records)), "B/record")
}

// What dead rows and a tail cost: the same question to a base alone and to a base of which some are replaced, in turns.
func BenchmarkJoined(b *testing.B) {
	const n = 100_000
	raw := func(i int) ([]byte, error) {
		return fmt.Appendf(nil, `{"type":%q,"score":%d,"rare":"text %d"}`, []string{"SaaS", "SI", "BPO"}[i%3], i*7919%10, i/2), nil
	}
	base, err := filter.Build(n, raw)
	if err != nil {
		b.Fatal(err)
	}
	f, err := filter.Parse([]byte(`{"type":"SaaS","score":{"gte":5}}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, every := range []int{1000, 50} {
		dead := roaring.New()
		for i := 0; i < n; i += every {
			dead.AddInt(i)
		}
		rows := dead.ToArray()
		tail, err := filter.Build(len(rows), func(i int) ([]byte, error) { return raw(int(rows[i])) })
		if err != nil {
			b.Fatal(err)
		}
		at := func(pos uint32) uint32 {
			if pos < n {
				return pos
			}
			return rows[pos-n]
		}
		parts := []filter.Part{{Attributes: base, Dead: dead}, {Attributes: tail, First: n}}
		join := func() *filter.Joined { return filter.Join(parts, func(x, y uint32) bool { return at(x) < at(y) }) }
		j := join()
		found, all := j.Select(f), base.Select(f)
		for _, of := range []struct {
			name        string
			one, joined func()
		}{
			{"select", func() { base.Select(f) }, func() { j.Select(f) }},
			{"facets", func() { base.Facets("score", 10, nil) }, func() { j.Facets("score", 10, nil) }},
			{"facets within", func() { base.Facets("score", 10, all) }, func() { j.Facets("score", 10, found) }},
			{"sorted", func() { base.Sorted("score", true, all, 10) }, func() { j.Sorted("score", true, found, 10) }},
			{"join", func() { base.Select(f) }, func() { join() }},
		} {
			b.Run(fmt.Sprintf("%s, %d of %d dead", of.name, len(rows), n), func(b *testing.B) {
				var took [2]time.Duration
				for b.Loop() {
					for i, call := range []func(){of.one, of.joined} {
						start := time.Now()
						call()
						took[i] += time.Since(start)
					}
				}
				b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
				b.ReportMetric(float64(took[1].Microseconds())/float64(b.N), "joined-us/op")
			})
		}
	}
}
