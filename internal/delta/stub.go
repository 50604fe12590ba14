// Package delta is a stand-in until the real one is there.
package delta

import (
	"bytes"
	"context"
	"encoding/gob"
	"os"
	"path/filepath"
	"sort"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

const Bare = 1 << 63

func BaseKey(row, vectors int) uint64 {
	k := uint64(row+1) << 32
	if row >= vectors {
		k |= Bare
	}
	return k
}

type Parts struct {
	Dir            string
	Keys           []uint64
	Tombstones     [][16]byte
	Dims, Vectors  int
	Words, Filters [][]byte
	Index          string
	Params         snapshot.IndexParams
}

type file struct {
	Keys    []uint64
	Gone    [][16]byte
	Dims, N int
	Docs    []byte
	Offsets []byte
	Index   []byte
	Params  snapshot.IndexParams
}

func Write(path string, p Parts) (snapshot.File, error) {
	f := file{Keys: p.Keys, Gone: p.Tombstones, Dims: p.Dims, N: p.Vectors, Params: p.Params}
	f.Docs, _ = os.ReadFile(filepath.Join(p.Dir, snapshot.FileDocuments))
	f.Offsets, _ = os.ReadFile(filepath.Join(p.Dir, snapshot.FileOffsets))
	if p.Index != "" {
		f.Index, _ = os.ReadFile(p.Index)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(f); err != nil {
		return snapshot.File{}, err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return snapshot.File{}, err
	}
	g, err := store.HashFile(context.Background(), path, nil)
	g.Name = snapshot.FileDelta
	return g, err
}

type Delta struct {
	f    file
	docs *documents.Reader
	dir  string
	gone map[[16]byte]bool
}

func Open(path string) (*Delta, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Delta{gone: map[[16]byte]bool{}}
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&d.f); err != nil {
		return nil, err
	}
	d.dir, _ = os.MkdirTemp("", "delta")
	os.WriteFile(filepath.Join(d.dir, snapshot.FileDocuments), d.f.Docs, 0o600)
	os.WriteFile(filepath.Join(d.dir, snapshot.FileOffsets), d.f.Offsets, 0o600)
	for _, id := range d.f.Gone {
		d.gone[id] = true
	}
	sort.Slice(d.f.Gone, func(i, j int) bool { return bytes.Compare(d.f.Gone[i][:], d.f.Gone[j][:]) < 0 })
	d.docs, err = documents.Open(d.dir)
	return d, err
}
func (d *Delta) Len() int                         { return d.docs.Len() }
func (d *Delta) Rows() int                        { return d.Len() + len(d.f.Gone) }
func (d *Delta) Vectors() int                     { return d.f.N }
func (d *Delta) Dims() int                        { return d.f.Dims }
func (d *Delta) Params() snapshot.IndexParams     { return d.f.Params }
func (d *Delta) Index() []byte                    { return d.f.Index }
func (d *Delta) Documents() *documents.Reader     { return d.docs }
func (d *Delta) Key(row int) uint64               { return d.f.Keys[row] }
func (d *Delta) Tombstones() [][16]byte           { return d.f.Gone }
func (d *Delta) Close() error                     { os.RemoveAll(d.dir); return d.docs.Close() }
func (d *Delta) Names(id [16]byte) (int, bool) {
	if d.gone[id] {
		return -1, true
	}
	row, ok := d.docs.Index().Find(id)
	return row, ok
}
func (d *Delta) EachID(visit func([16]byte)) {
	for i := range d.Len() {
		visit(d.docs.Index().IDHash(i))
	}
	for _, id := range d.f.Gone {
		visit(id)
	}
}
