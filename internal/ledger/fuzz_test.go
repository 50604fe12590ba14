package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var fuzzSpace = [32]byte{1, 2, 3}

const fuzzDims = 4

// FuzzSegment recomputes trailer and name, so that the fuzzer reaches what is behind the digest.
func FuzzSegment(f *testing.F) {
	keys := []Key{{1}, {2}, {3}}
	for _, inputs := range [][]string{nil, {"20260101T000000.000Z-0123456789abcdef.seg"}} {
		tmp, _, err := writeSegment(f.TempDir(), time.Now(), fuzzSpace, fuzzDims, inputs, keys, func(i int) ([]float32, error) {
			return []float32{float32(i), 1, 2, 3}, nil
		})
		if err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(tmp)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n := len(data) - sha256.Size; n >= 0 {
			sum := sha256.Sum256(data[:n])
			data = append(bytes.Clone(data[:n]), sum[:]...)
		}
		sum := sha256.Sum256(data[:max(0, len(data)-sha256.Size)])
		path := filepath.Join(t.TempDir(), "20260101T000000.000Z-"+hex.EncodeToString(sum[:8])+".seg")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		s, keys, err := openSegment(path, fuzzSpace, fuzzDims)
		if err != nil {
			return
		}
		defer s.file.Close()
		again, err := s.keys()
		if err != nil || len(again) != len(keys) || len(keys) != s.rows {
			t.Fatalf("%d keys, then %d of %d rows: %v", len(keys), len(again), s.rows, err)
		}
		v, buf := make([]float32, fuzzDims), make([]byte, 4*fuzzDims)
		for i := range keys {
			if again[i] != keys[i] {
				t.Fatalf("key %d differs", i)
			}
			if err := s.vector(i, v, buf); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzUnused(f *testing.F) {
	f.Add(encodeUnused(nil))
	f.Add(encodeUnused(map[[16]byte]uint32{{1}: 5, {2}: 4}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n := len(data) - sha256.Size; n >= 0 {
			sum := sha256.Sum256(data[:n])
			data = append(bytes.Clone(data[:n]), sum[:]...)
		}
		unused := decodeUnused(data)
		if len(unused) > len(data)/unusedEntry {
			t.Errorf("%d entries from %d bytes", len(unused), len(data))
		}
		if len(unused) > 0 && len(decodeUnused(encodeUnused(unused))) != len(unused) {
			t.Error("it does not survive a round trip")
		}
	})
}
