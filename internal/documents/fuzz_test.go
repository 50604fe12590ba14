package documents

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// FuzzIndex: an index that was accepted has only positions and offsets inside its file.
func FuzzIndex(f *testing.F) {
	w, err := NewWriter(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := w.Add(id, "", "", []byte("{}"), sha256.Sum256([]byte(id))); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(w.dir, snapshot.FileOffsets))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(binary.LittleEndian.AppendUint64([]byte(indexMagic+"\x01\x00\x00\x00\x00\x00\x00\x00"), 1<<40))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parseIndex(data)
		if err != nil {
			return
		}
		var seen int
		for i := range x.n {
			if a, b := x.offset(i), x.offset(i+1); a >= b || int64(b) > x.size {
				t.Fatalf("line %d from %d to %d of %d", i, a, b, x.size)
			}
			if p, ok := x.Find([16]byte(x.idHash(i))); !ok || p != i {
				t.Fatalf("record %d is found at %d %v", i, p, ok)
			}
			seen++
		}
		if seen != x.n {
			t.Fatal(seen)
		}
	})
}

func FuzzSplitLine(f *testing.F) {
	f.Add([]byte(`{"id":"a\"","name":"b","text":"c","metadata":{"x":1}}`))
	f.Add([]byte(`{"id":"a`))
	f.Fuzz(func(t *testing.T, line []byte) {
		id, name, metadata, ok := splitLine(line)
		if ok && (len(id) < 2 || len(name) < 2 || !bytes.Contains(line, metadata)) {
			t.Errorf("id %q, metadata %q", id, metadata)
		}
	})
}
