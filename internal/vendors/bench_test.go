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
