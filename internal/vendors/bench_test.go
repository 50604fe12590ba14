package vendors_test

import (
	"bytes"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func generated(tb testing.TB, n int) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := vendorstest.Write(&b, vendorstest.Options{N: n, Seed: 1}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	data := generated(b, 5000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vendors.Read(bytes.NewReader(data), strict, vendors.DefaultLimits(), nil, func(vendors.Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// What a replica does with the filters of a snapshot that it loads.
func BenchmarkBuildAttributes(b *testing.B) {
	var raws [][]byte
	if _, err := vendors.Read(bytes.NewReader(generated(b, 5000)), strict, vendors.DefaultLimits(), nil, func(r vendors.Record) error {
		raws = append(raws, r.Raw)
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	var a *vendors.Attributes
	for b.Loop() {
		var err error
		if a, err = vendors.BuildAttributes(len(raws), func(i int) ([]byte, error) { return raws[i], nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(a.SizeBytes())/float64(len(raws)), "B/record")
}
