package ledger_test

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// BenchmarkMillion: 1 M vectors of 256 dims (1 GB) on the directory store: flush, compact, open again, read all.
func BenchmarkMillion(b *testing.B) {
	const n, batch, dims = 1_000_000, 1024, 256
	d, err := store.NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	e := snapshot.Embedding{Provider: "p", Model: "m", Dims: dims}
	dir := b.TempDir()
	open := func() *ledger.Ledger {
		g, err := ledger.Open(b.Context(), d, store.NewLayout("p", ""), dir, e, "")
		if err != nil {
			b.Fatal(err)
		}
		return g
	}
	key := func(i int) ledger.Key {
		return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	}
	before := heap()
	g := open()
	b.Run("flush", func(b *testing.B) {
		for b.Loop() {
			rows := make([]float32, batch*dims)
			for first := 0; first < n; first += batch {
				keys := make([]ledger.Key, min(batch, n-first))
				for i := range keys {
					keys[i] = key(first + i)
					rows[i*dims] = float32(first + i)
				}
				if err := g.Flush(b.Context(), keys, rows[:len(keys)*dims], dims); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")
	})
	b.Run("compact", func(b *testing.B) {
		for b.Loop() {
			if _, err := g.Compact(b.Context(), func(ledger.Key) bool { return true }, ledger.CompactOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	g.Close()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			open().Close()
		}
	})
	g = open()
	defer g.Close()
	b.Run("get", func(b *testing.B) {
		v := make([]float32, dims)
		for i := 0; b.Loop(); i++ {
			at := i * 7919 % n
			if ok, err := g.Get(key(at), v); !ok || err != nil || v[0] != float32(at) {
				b.Fatal(at, ok, err, v[0])
			}
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
