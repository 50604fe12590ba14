package filter_test

import (
	"bytes"
	"testing"

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
