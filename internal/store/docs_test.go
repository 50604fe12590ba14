package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// writeDocs writes documents of n records into dir.
func writeDocs(t testing.TB, dir string, n int) []snapshot.File {
	t.Helper()
	w, err := store.NewDocWriter(dir)
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
		want := rapid.SliceOfNDistinct(rapid.Custom(drawDocument), 0, 30, func(d store.Document) string { return d.ID }).Draw(rt, "docs")
		w, err := store.NewDocWriter(dir)
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
		checkDocs(rt, dir, want)
	})
}

// drawDocument draws ids, names and texts with anything in them; metadata as a catalogue would spell it.
func drawDocument(t *rapid.T) store.Document {
	text := rapid.StringN(0, 20, -1)
	value, err := json.Marshal(text.Draw(t, "value"))
	if err != nil {
		t.Fatal(err)
	}
	return store.Document{
		ID:       rapid.StringN(1, 10, -1).Draw(t, "id"),
		Name:     text.Draw(t, "name"),
		Text:     text.Draw(t, "text"),
		Metadata: fmt.Appendf(nil, `{"b":1.50,"a":[%s,null],"b":"\u3042"}`, value),
	}
}

func checkDocs(t *rapid.T, dir string, want []store.Document) {
	docs, err := store.OpenDocs(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer docs.Close()
	index, err := store.OpenDocIndex(filepath.Join(dir, snapshot.FileOffsets))
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
		if index.IDHash(i) != store.IDHash(w.ID) || index.Digest(i) != [16]byte(digest[:16]) {
			t.Fatalf("index entry %d", i)
		}
		if pos, ok := index.Find(store.IDHash(w.ID)); !ok || pos != i {
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
	writeDocs(t, dir, 2)
	docs, err := store.OpenDocs(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer docs.Close()
	for _, i := range []int{-1, 2} {
		if _, err := docs.Doc(i); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Doc(%d): %v", i, err)
		}
		if _, err := docs.Metadata(i); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Metadata(%d): %v", i, err)
		}
		if id := docs.ID(i); id != "" {
			t.Errorf("ID(%d) = %q", i, id)
		}
	}
}

func TestDocWriterRefusesWhatCouldNotBeReadBack(t *testing.T) {
	add := func(id string, metadata string) error {
		w, err := store.NewDocWriter(t.TempDir())
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
	files := writeDocs(t, t.TempDir(), 3)
	want := []snapshot.File{
		{Name: "documents.jsonl", Size: 339, SHA256: "4e7ccf12d3b5f90c049d2f6908b0b2890019d6e0e9b6c24c55d6a955ff15bae9"},
		{Name: "documents.idx", Size: 172, SHA256: "eaa228d92d1088f8c6e22c37bbb7cb5cf1d9a09668b327fed54bd19758e91dfb"},
	}
	if !cmp.Equal(files, want) {
		t.Error(cmp.Diff(want, files))
	}
}

// useDocs calls everything that a server calls.
func useDocs(docs *store.Docs) {
	for i := range min(docs.Len(), 100) {
		_, _ = docs.Doc(i)
		_, _ = docs.Metadata(i)
		docs.Line(i)
		docs.Find(docs.ID(i))
	}
	docs.Find("V-001")
}

func FuzzOpenDocs(f *testing.F) {
	dir := f.TempDir()
	writeDocs(f, dir, 5)
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
		docs, err := store.OpenDocs(dir)
		if err != nil {
			return
		}
		useDocs(docs)
		if err := docs.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOpenDocsSurvivesAnyDamage flips and cuts at every position of small files.
func TestOpenDocsSurvivesAnyDamage(t *testing.T) {
	dir := t.TempDir()
	writeDocs(t, dir, 4)
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
			docs, err := store.OpenDocs(dir)
			if err != nil {
				if !errors.Is(err, snapshot.ErrCorrupt) && !errors.Is(err, snapshot.ErrNewer) {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			opened++
			useDocs(docs)
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
