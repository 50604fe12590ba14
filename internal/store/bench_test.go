package store_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
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
