package store

import (
	"path/filepath"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// FuzzPointer: whatever is accepted names only safe ids and files.
func FuzzPointer(f *testing.F) {
	m := Manifest{
		FormatVersion: 1, ID: "20260102T030405Z-0123abcd", Spec: snapshot.Spec{Embedding: snapshot.Embedding{Dims: 3}},
		Files: []snapshot.File{{Name: snapshot.FileIndex, Size: 1, SHA256: hexDigest(nil)}},
	}
	m.SpecDigest = m.Spec.Digest()
	p := Pointer{Kind: KindPointer, Manifest: m, ManifestSHA256: hexDigest(nil), Lineage: "l", Generation: 1}
	data, err := marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format_version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Pointer
		if decodeDoc(data, &p) != nil || p.validate() != nil {
			return
		}
		for _, file := range p.Files {
			if filepath.Base(file.Name) != file.Name || CheckKey("p/"+p.ID+"/"+file.Name) != nil {
				t.Errorf("accepted %q in %q", file.Name, p.ID)
			}
		}
		again, err := marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Pointer
		if err := decodeDoc(again, &q); err != nil || q.validate() != nil {
			t.Errorf("what was accepted is refused after a round trip: %v", err)
		}
	})
}
