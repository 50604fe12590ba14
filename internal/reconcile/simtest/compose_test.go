package simtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// composed reads the records of m, whose files are in dir, by code of its own: the newest segment that names an id decides.
// It returns their lines, and how many there are.
func composed(dir string, m store.Manifest) (lines []byte, n int, err error) {
	base, err := documents.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	defer base.Close()
	found := map[[16]byte][]byte{}
	content := snapshot.Content{}
	read := func(docs *documents.Reader) {
		for i := range docs.Len() {
			found[docs.Index().IDHash(i)] = bytes.Clone(docs.Line(i))
		}
	}
	digests := map[[16]byte][16]byte{}
	note := func(x *documents.Index) {
		for i := range x.Len() {
			digests[x.IDHash(i)] = x.Digest(i)
		}
	}
	read(base)
	note(base.Index())
	for _, ref := range m.Deltas {
		d, err := delta.Open(filepath.Join(dir, ref.ID+"."+snapshot.FileDelta))
		if err != nil {
			return nil, 0, err
		}
		read(d.Documents())
		note(d.Documents().Index())
		for _, id := range d.Tombstones() {
			delete(found, id)
		}
		if err := d.Close(); err != nil {
			return nil, 0, err
		}
	}
	for id, line := range found {
		lines = append(append(lines, line...), '\n')
		content.Toggle(id, digests[id])
	}
	if m.ContentDigest != "" && content.String() != m.ContentDigest {
		return nil, 0, fmt.Errorf("%w: content %s, the manifest says %s", snapshot.ErrCorrupt, content, m.ContentDigest)
	}
	return lines, len(found), nil
}

// records are the lines of the records of m as they are stored now.
func (w *world) records(m store.Manifest) (_ []byte, err error) {
	dir, err := os.MkdirTemp(w.dir, "records-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, f := range m.Files {
		if err := os.WriteFile(filepath.Join(dir, m.LocalName(f)), w.mem.Data(w.layout.FileKey(m, f)), 0o600); err != nil {
			return nil, err
		}
	}
	lines, _, err := composed(dir, m)
	return lines, err
}

// baseOf is what old readers get copies of.
func baseOf(ptr store.Pointer) string {
	if ptr.Base == nil {
		return ptr.ID
	}
	return ptr.Base.ID
}
