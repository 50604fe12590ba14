package store_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// benchSize is the file of the transfer benchmarks: an index of 40,000 vectors of 1,536 dims.
const benchSize = 240 << 20

func benchFile(b *testing.B) (string, snapshot.File) {
	b.Helper()
	path := filepath.Join(b.TempDir(), snapshot.FileIndex)
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for i := range benchSize >> 20 {
		binary.LittleEndian.PutUint64(block, uint64(i))
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	f.Close()
	file, err := store.HashFile(b.Context(), path, nil)
	if err != nil {
		b.Fatal(err)
	}
	return path, file
}

// benchTransfer measures both ways of a large file. The server under it shares the cores.
func benchTransfer(b *testing.B, o store.Objects) {
	path, file := benchFile(b)
	m := testManifest([]snapshot.File{file})
	b.Run("put", func(b *testing.B) {
		b.SetBytes(benchSize)
		for i := 0; b.Loop(); i++ {
			if _, err := o.PutFile(b.Context(), fmt.Sprint("bench/", i), path, store.PutOptions{IfAbsent: true}); err != nil {
				b.Fatal(err)
			}
			if err := o.Delete(b.Context(), fmt.Sprint("bench/", i)); err != nil {
				b.Fatal(err)
			}
		}
	})
	if _, err := store.WriteFile(b.Context(), o, layout.File(m.ID, file.Name), path, file, store.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	for _, parallel := range []int{1, 4} {
		b.Run(fmt.Sprint("fetch-", parallel), func(b *testing.B) {
			b.SetBytes(benchSize)
			dir := b.TempDir()
			for b.Loop() {
				if err := store.Fetch(b.Context(), o, layout, m, dir, store.FetchOptions{Parallel: parallel}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("hash", func(b *testing.B) { // what no verified transfer can be faster than
		b.SetBytes(benchSize)
		for b.Loop() {
			if _, err := store.HashFile(b.Context(), path, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkTransferVersitygw(b *testing.B) {
	server := s3test.Versitygw(b)
	server.CreateBucket("bucket", false)
	o, err := store.NewS3(b.Context(), server.Config("bucket"))
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	benchTransfer(b, o)
}

func BenchmarkTransferDir(b *testing.B) {
	d, err := store.NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	benchTransfer(b, d)
}

func BenchmarkPollUnchangedPointer(b *testing.B) {
	server := s3test.Versitygw(b)
	server.CreateBucket("bucket", false)
	s3, err := store.NewS3(b.Context(), server.Config("bucket"))
	if err != nil {
		b.Fatal(err)
	}
	defer s3.Close()
	dir, err := store.NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for name, o := range map[string]store.Objects{"versitygw": s3, "dir": dir} {
		b.Run(name, func(b *testing.B) {
			info, err := store.WriteDoc(b.Context(), o, layout.Pointer(), newDoc("x"), store.PutOptions{})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := store.ReadPointer(b.Context(), o, layout, info.ETag); err == nil {
					b.Fatal("changed")
				}
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkLedgerMillion: 1 M vectors of 256 dims (1 GB) on the directory store: flush, compact, open again, read all.
func BenchmarkLedgerMillion(b *testing.B) {
	const n, batch, dims = 1_000_000, 1024, 256
	d, err := store.NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	e := snapshot.Embedding{Provider: "p", Model: "m", Dims: dims}
	dir := b.TempDir()
	open := func() *store.Ledger {
		g, err := store.OpenLedger(b.Context(), d, layout, dir, e, "")
		if err != nil {
			b.Fatal(err)
		}
		return g
	}
	key := func(i int) store.LedgerKey {
		return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	}
	before := heap()
	g := open()
	b.Run("flush", func(b *testing.B) {
		for b.Loop() {
			rows := make([]float32, batch*dims)
			for first := 0; first < n; first += batch {
				keys := make([]store.LedgerKey, min(batch, n-first))
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
			if _, err := g.Compact(b.Context(), func(store.LedgerKey) bool { return true }, store.CompactOptions{}); err != nil {
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
