package documents_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// write writes documents of n records into dir.
func write(t testing.TB, dir string, n int) []snapshot.File {
	t.Helper()
	w, err := documents.NewWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("V-%03d", i)
		meta := fmt.Sprintf(`{"vendor_id":%q,"name":"会社 %d","n":%d.50}`, id, i, i)
		if err := w.Add(id, fmt.Sprint("会社 ", i), "text <&>\n", []byte(meta), sha256.Sum256([]byte(meta))); err != nil {
			t.Fatal(err)
		}
	}
	files, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDocsAreReadBackAsWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		want := rapid.SliceOfNDistinct(rapid.Custom(draw), 0, 30, func(d documents.Document) string { return d.ID }).Draw(rt, "docs")
		w, err := documents.NewWriter(dir)
		if err != nil {
			rt.Fatal(err)
		}
		for _, d := range want {
			if err := w.Add(d.ID, d.Name, d.Text, d.Metadata, sha256.Sum256(d.Metadata)); err != nil {
				rt.Fatal(err)
			}
		}
		files, err := w.Close()
		if err != nil {
			rt.Fatal(err)
		}
		for _, f := range files {
			if got, err := store.HashFile(t.Context(), filepath.Join(dir, f.Name), nil); err != nil || got != f {
				rt.Fatalf("entry %+v, file %+v, %v", f, got, err)
			}
		}
		checkAll(rt, dir, want)
	})
}

// draw draws ids, names and texts with anything in them; metadata as a catalogue would spell it.
func draw(t *rapid.T) documents.Document {
	text := rapid.StringN(0, 20, -1)
	value, err := json.Marshal(text.Draw(t, "value"))
	if err != nil {
		t.Fatal(err)
	}
	return documents.Document{
		ID:       rapid.StringN(1, 10, -1).Draw(t, "id"),
		Name:     text.Draw(t, "name"),
		Text:     text.Draw(t, "text"),
		Metadata: fmt.Appendf(nil, `{"b":1.50,"a":[%s,null],"b":"\u3042"}`, value),
	}
}

func checkAll(t *rapid.T, dir string, want []documents.Document) {
	docs, err := documents.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer docs.Close()
	index, err := documents.OpenIndex(filepath.Join(dir, snapshot.FileOffsets))
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	if docs.Len() != len(want) || index.Len() != len(want) {
		t.Fatalf("%d and %d records, want %d", docs.Len(), index.Len(), len(want))
	}
	for i, w := range want {
		got, err := docs.Doc(i)
		if err != nil || !cmp.Equal(got, w) {
			t.Fatalf("record %d: %v\n%s", i, err, cmp.Diff(w, got))
		}
		meta, err := docs.Metadata(i)
		if err != nil || !bytes.Equal(meta, w.Metadata) {
			t.Fatalf("metadata of %d: %q, %v", i, meta, err)
		}
		if pos, ok := docs.Find(w.ID); !ok || pos != i || docs.ID(i) != w.ID {
			t.Fatalf("found %q at %d %v, want %d", w.ID, pos, ok, i)
		}
		digest := sha256.Sum256(w.Metadata)
		if index.IDHash(i) != snapshot.IDHash(w.ID) || index.Digest(i) != [16]byte(digest[:16]) {
			t.Fatalf("index entry %d", i)
		}
		if pos, ok := index.Find(snapshot.IDHash(w.ID)); !ok || pos != i {
			t.Fatalf("index finds %q at %d %v", w.ID, pos, ok)
		}
		if !json.Valid(docs.Line(i)) {
			t.Fatalf("line %d is not JSON: %q", i, docs.Line(i))
		}
	}
	if _, ok := docs.Find("no such id, however long"); ok {
		t.Fatal("found an id that is not there")
	}
}

func TestDocsRefusePositionsOutside(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 2)
	docs, err := documents.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer docs.Close()
	for _, i := range []int{-1, 2} {
		if _, err := docs.Doc(i); err == nil || errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("Doc(%d): %v", i, err)
		}
		if _, err := docs.Metadata(i); err == nil || errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("Metadata(%d): %v", i, err)
		}
		if id := docs.ID(i); id != "" {
			t.Errorf("ID(%d) = %q", i, id)
		}
	}
}

func TestWriterRefusesWhatCouldNotBeReadBack(t *testing.T) {
	add := func(id string, metadata string) error {
		w, err := documents.NewWriter(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		err = w.Add("first", "", "", []byte("{}"), [32]byte{})
		if err == nil {
			err = w.Add(id, "", "", []byte(metadata), [32]byte{})
		}
		_, cerr := w.Close()
		return errors.Join(err, cerr)
	}
	for name, c := range map[string][2]string{
		"no id": {"", "{}"}, "an id that is not UTF-8": {"\xff", "{}"}, "a duplicate id": {"first", "{}"}, "metadata that is not JSON": {"a", "{"},
	} {
		if err := add(c[0], c[1]); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := add("a", "{\n \"a\": 1\n}"); err != nil {
		t.Errorf("metadata over several lines: %v", err)
	}
}

// TestDocsFilesAreAFormat pins the bytes: files of an earlier release must stay readable.
func TestDocsFilesAreAFormat(t *testing.T) {
	files := write(t, t.TempDir(), 3)
	want := []snapshot.File{
		{Name: "documents.jsonl", Size: 339, SHA256: "4e7ccf12d3b5f90c049d2f6908b0b2890019d6e0e9b6c24c55d6a955ff15bae9"},
		{Name: "documents.idx", Size: 172, SHA256: "eaa228d92d1088f8c6e22c37bbb7cb5cf1d9a09668b327fed54bd19758e91dfb"},
	}
	if !cmp.Equal(files, want) {
		t.Error(cmp.Diff(want, files))
	}
}

// use calls everything that a server calls.
func use(docs *documents.Reader) {
	for i := range min(docs.Len(), 100) {
		_, _ = docs.Doc(i)
		_, _ = docs.Metadata(i)
		docs.Line(i)
		docs.Find(docs.ID(i))
	}
	docs.Find("V-001")
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	write(f, dir, 5)
	lines, err := os.ReadFile(filepath.Join(dir, snapshot.FileDocuments))
	if err != nil {
		f.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, snapshot.FileOffsets))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(lines, index)
	f.Add([]byte("{}\n"), index)
	f.Add(lines, []byte{})
	f.Fuzz(func(t *testing.T, lines, index []byte) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, snapshot.FileDocuments), lines, 0o644),
			os.WriteFile(filepath.Join(dir, snapshot.FileOffsets), index, 0o644)); err != nil {
			t.Fatal(err)
		}
		docs, err := documents.Open(dir)
		if err != nil {
			return
		}
		use(docs)
		if err := docs.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOpenSurvivesAnyDamage flips and cuts at every position of small files.
func TestOpenSurvivesAnyDamage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 4)
	opened, tried := 0, 0
	for _, name := range []string{snapshot.FileOffsets, snapshot.FileDocuments} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		try := func(data []byte) {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			tried++
			docs, err := documents.Open(dir)
			if err != nil {
				if !errors.Is(err, snapshot.ErrCorrupt) && !errors.Is(err, snapshot.ErrNewer) {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			opened++
			use(docs)
			docs.Close()
		}
		for i := range good {
			try(good[:i])
			for _, bit := range []byte{1, 0x80} {
				bad := bytes.Clone(good)
				bad[i] ^= bit
				try(bad)
			}
		}
		try(append(bytes.Clone(good), 0))
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d damaged files, %d of them opened (the digest is what refuses those)", tried, opened)
}

func TestIDsAreReadFromTheIndexAlone(t *testing.T) {
	dir, mem, l := t.TempDir(), storetest.NewMem(nil), store.NewLayout("p", "")
	w, err := documents.NewWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"V-1", "ベンダー", "V-3"}
	for _, id := range want {
		if err := w.Add(id, "n", "t", []byte("{}"), [32]byte{}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	m := store.Manifest{ID: "20260102T030405Z-0123abcd", Files: files}
	f, _ := m.File(snapshot.FileOffsets)
	key := l.File(m.ID, f.Name)
	if _, err := mem.PutFile(t.Context(), key, dir+"/"+f.Name, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	ids := func(objects store.Objects) (got []([16]byte), err error) {
		err = store.StreamFile(t.Context(), objects, l, m, f, func(r io.Reader) error {
			return documents.ReadIDs(r, func(id [16]byte) { got = append(got, id) })
		})
		return got, err
	}
	got, err := ids(mem)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d ids, %v", len(got), err)
	}
	for i, id := range want {
		if got[i] != snapshot.IDHash(id) {
			t.Errorf("id %d is not %s's", i, id)
		}
	}
	for _, at := range []int{3, 40, len(mem.Data(key)) - 1} {
		mem.Corrupt(key, func(b []byte) []byte { b[at] ^= 0x40; return b })
		if _, err := ids(mem); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		mem.Corrupt(key, func(b []byte) []byte { b[at] ^= 0x40; return b })
	}
	mem.Corrupt(key, func(b []byte) []byte { return b[:50] })
	if _, err := ids(mem); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
	if err := mem.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := ids(mem); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("gone: %v", err)
	}
	// A store that does not answer says nothing about the bytes.
	away := store.Hooked(mem, func(context.Context, string, string, func() error) error { return store.ErrDenied })
	if _, err := ids(away); !errors.Is(err, store.ErrDenied) || errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("refused: %v", err)
	}
}

// BenchmarkMillion: 1 M records. heap-MB is what they cost the garbage collector.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	dir := b.TempDir()
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			write(b, dir, n)
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			docs, err := documents.Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			docs.Close()
		}
	})
	before := heap()
	docs, err := documents.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer docs.Close()
	after := heap()
	b.Run("find", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if pos, ok := docs.Find(fmt.Sprintf("V-%03d", i*7919%n)); !ok || pos != i*7919%n {
				b.Fatal(pos, ok)
			}
		}
		b.ReportMetric(float64(after-before)/1e6, "heap-MB")
	})
	b.Run("doc", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := docs.Doc(i * 7919 % n); err != nil {
				b.Fatal(err)
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
