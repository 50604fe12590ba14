package delta_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// parts are those of n records and as many tombstones.
func parts(t testing.TB, n int) delta.Parts {
	t.Helper()
	dir := t.TempDir()
	w, err := documents.NewWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := delta.Parts{
		Dir: dir, Dims: 4, Vectors: n, Params: snapshot.IndexParams{Kind: snapshot.Flat}, Index: filepath.Join(dir, snapshot.FileIndex),
		Filters: [][]byte{[]byte("filters"), nil}, Words: [][]byte{[]byte("words"), []byte("more"), nil},
	}
	for i := range n {
		raw := fmt.Appendf(nil, `{"id":"V-%d","name":"会社 %d"}`, i, i)
		if err := w.Add(fmt.Sprintf("V-%d", i), fmt.Sprintf("会社 %d", i), "text", raw, sha256.Sum256(raw)); err != nil {
			t.Fatal(err)
		}
		p.Keys = append(p.Keys, uint64(i+1)<<32)
		p.Tombstones = append(p.Tombstones, snapshot.IDHash(fmt.Sprintf("gone %d", i)))
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Index, []byte("an index"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func written(t testing.TB, p delta.Parts) (string, snapshot.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), snapshot.FileDelta)
	f, err := delta.Write(path, p)
	if err != nil {
		t.Fatal(err)
	}
	return path, f
}

func TestADeltaIsReadBackAsWritten(t *testing.T) {
	for _, n := range []int{0, 1, 7} {
		p := parts(t, n)
		path, f := written(t, p)
		d, err := delta.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if d.Len() != n || d.Rows() != 2*n || d.Vectors() != n || d.Dims() != 4 || f.Name != snapshot.FileDelta || f.Size == 0 {
			t.Errorf("%d records: %d, %d rows, %d x %d vectors, %+v", n, d.Len(), d.Rows(), d.Vectors(), d.Dims(), f)
		}
		if got, want := fmt.Sprintf("%q %q", d.Filters(), d.Words()), fmt.Sprintf("%q %q", p.Filters, p.Words); got != want {
			t.Errorf("arrays %s, want %s", got, want)
		}
		if n > 0 && (string(d.Index()) != "an index" || d.Params() != p.Params) || n == 0 && len(d.Index()) > 0 {
			t.Errorf("index %q of %+v", d.Index(), d.Params())
		}
		named := 0
		d.EachID(func(id [16]byte) {
			row, ok := d.Names(id)
			if want := named; !ok || named < n && row != want || named >= n && row != -1 {
				t.Errorf("id %d is row %d, %v", named, row, ok)
			}
			named++
		})
		if _, ok := d.Names(snapshot.IDHash("never heard of")); ok || named != 2*n {
			t.Errorf("%d ids are named", named)
		}
		for i := range n {
			if doc, err := d.Documents().Doc(i); err != nil || doc.ID != fmt.Sprintf("V-%d", i) || d.Key(i) != p.Keys[i] {
				t.Errorf("record %d: %+v, key %d, %v", i, doc, d.Key(i), err)
			}
		}
		if !slices.IsSortedFunc(d.Tombstones(), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) {
			t.Error("tombstones are not in order")
		}
	}
}

// TestADeltaIsAFormat pins the bytes: deltas of an earlier release must stay readable.
func TestADeltaIsAFormat(t *testing.T) {
	_, f := written(t, parts(t, 3))
	if want := (snapshot.File{Name: "delta", Size: 1152, SHA256: "7604e04054eadacbb764e86b80c036c1486c110c1c417a8be04b7145203da25e"}); f != want {
		t.Errorf("%+v, want %+v", f, want)
	}
}

func TestWhatDoesNotBelongTogetherIsNotWritten(t *testing.T) {
	for name, change := range map[string]func(p *delta.Parts){
		"a key too few":               func(p *delta.Parts) { p.Keys = p.Keys[1:] },
		"more vectors than records":   func(p *delta.Parts) { p.Vectors++ },
		"an id that is gone and here": func(p *delta.Parts) { p.Tombstones = append(p.Tombstones, snapshot.IDHash("V-1")) },
		"an id that is gone twice":    func(p *delta.Parts) { p.Tombstones = append(p.Tombstones, p.Tombstones[0]) },
		"no index":                    func(p *delta.Parts) { p.Index = filepath.Join(p.Dir, "none") },
	} {
		p := parts(t, 3)
		change(&p)
		if _, err := delta.Write(filepath.Join(t.TempDir(), snapshot.FileDelta), p); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

// use calls everything that a reader calls.
func use(d *delta.Delta) {
	d.EachID(func(id [16]byte) { d.Names(id) })
	for i := range d.Len() {
		d.Key(i)
		_, _ = d.Documents().Doc(i)
	}
	_ = append(d.Filters(), d.Words()...)
	_, _ = d.Index(), d.Params()
}

// TestOpenSurvivesAnyDamage flips and cuts at every position.
func TestOpenSurvivesAnyDamage(t *testing.T) {
	path, _ := written(t, parts(t, 2))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := delta.Open(path)
		if err != nil {
			if !errors.Is(err, snapshot.ErrCorrupt) && !errors.Is(err, snapshot.ErrNewer) {
				t.Error(err)
			}
			return
		}
		use(d)
		d.Close()
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
}

func TestANewerDeltaIsSaidToBeOne(t *testing.T) {
	path, _ := written(t, parts(t, 1))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1})
	data[i]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := delta.Open(path); !errors.Is(err, snapshot.ErrNewer) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	path, _ := written(f, parts(f, 2))
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), snapshot.FileDelta)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := delta.Open(path)
		if err != nil {
			return
		}
		use(d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
