// Package delta is the object `delta` of a delta snapshot: the records that are new or changed, with everything that
// answers from them, and the ids that are gone. It is a small snapshot in one file, which is put over a base and over other
// deltas: the newest segment that names an id decides. No position of another segment is in it.
//
// The file is one of arrays (package arrays), in this order:
//
//	head        u64 each: version (1), records, vectors (of the first so many records), dims, arrays of filters, of words
//	params      how the index is to be opened, as in a manifest; empty without vectors
//	index       index.faiss; empty without vectors
//	lines       documents.jsonl
//	offsets     documents.idx
//	keys        u64 each: where the record stands in the catalogue
//	tombstones  16 bytes each: the hash of an id that is gone (snapshot.IDHash), sorted
//	filters     the arrays of package filter
//	words       the arrays of package lexical
//
// # The order of a composition
//
// Records of a composition stand in the order of their keys. Those of a base have no key in it: row i has BaseKey. A record
// keeps its key as long as it stays where it is; a new one gets one between its neighbours'. Records without a vector come
// behind all others, as in a base: their keys have the bit Bare.
package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const (
	version = 1

	atHead, atParams, atIndex, atLines, atOffsets, atKeys, atTombstones, atFilters = 0, 1, 2, 3, 4, 5, 6, 7

	headLen   = 6
	maxParams = 4 << 10 // bytes
	maxDims   = 1 << 16
)

// Bare is set in the key of a record without a vector.
const Bare = 1 << 63

// BaseKey is the key of a base's row, of which the first vectors have a vector.
func BaseKey(row, vectors int) uint64 {
	key := uint64(row+1) << 32
	if row >= vectors {
		key |= Bare
	}
	return key
}

// Parts are what a delta is written of.
type Parts struct {
	Dir        string // holds documents.jsonl and documents.idx of its records
	Keys       []uint64
	Tombstones [][16]byte // in any order
	Filters    [][]byte   // filter.Attributes.Arrays of the records
	Words      [][]byte   // lexical.Index.Arrays
	Dims       int
	Vectors    int                  // of the first so many records
	Index      string               // path of index.faiss; "" without vectors
	Params     snapshot.IndexParams // of it
}

// Write writes a delta at path and returns what a manifest says of it. The same parts make the same bytes.
func Write(path string, p Parts) (snapshot.File, error) {
	var none snapshot.File
	lines, err := os.ReadFile(filepath.Join(p.Dir, snapshot.FileDocuments))
	if err != nil {
		return none, err
	}
	offsets, err := os.ReadFile(filepath.Join(p.Dir, snapshot.FileOffsets))
	if err != nil {
		return none, err
	}
	var params, index []byte
	if p.Vectors > 0 {
		if params, err = json.Marshal(p.Params); err != nil {
			return none, err
		}
		if index, err = os.ReadFile(p.Index); err != nil {
			return none, err
		}
	}
	gone := slices.Clone(p.Tombstones)
	slices.SortFunc(gone, compareIDs)
	head := []uint64{version, uint64(len(p.Keys)), uint64(p.Vectors), uint64(p.Dims), uint64(len(p.Filters)), uint64(len(p.Words))}
	all := append([][]byte{
		arrays.Bytes(head), params, index, lines, offsets, arrays.Bytes(p.Keys), slices.Concat(idBytes(gone)...),
	}, p.Filters...)
	if err := arrays.Write(path, append(all, p.Words...)); err != nil {
		return none, err
	}
	d, err := Open(path) // what cannot be read must not be stored
	if err != nil {
		return none, err
	}
	return digest(path, d.Close())
}

func digest(path string, err error) (snapshot.File, error) {
	var none snapshot.File
	f, oerr := os.Open(path)
	if err = errors.Join(err, oerr); err != nil {
		return none, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return snapshot.File{Name: snapshot.FileDelta, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

func compareIDs(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }

func idBytes(ids [][16]byte) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		out[i] = ids[i][:]
	}
	return out
}

// Delta is an opened one. Safe for concurrent use until Close; everything that it returns are views of the mapped file.
type Delta struct {
	mapped  *arrays.File
	all     [][]byte
	docs    *documents.Reader
	vectors int
	dims    int
	params  snapshot.IndexParams
	keys    []uint64
	filters int // arrays of them
}

// Open maps the delta at path, whose digest was checked, and checks every bound: nothing that it holds can make a reader
// leave it. ErrCorrupt, or ErrNewer.
func Open(path string) (*Delta, error) {
	mapped, all, err := arrays.Open(path)
	if err != nil {
		return nil, err
	}
	d := &Delta{mapped: mapped, all: all}
	if err := d.read(); err != nil {
		if !errors.Is(err, snapshot.ErrNewer) && !errors.Is(err, snapshot.ErrCorrupt) {
			err = fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
		}
		return nil, errors.Join(fmt.Errorf("open delta %s: %w", path, err), d.Close())
	}
	return d, nil
}

func (d *Delta) read() error {
	if len(d.all) <= atFilters {
		return fmt.Errorf("%d arrays", len(d.all))
	}
	head, err := arrays.Of[uint64](d.all[atHead])
	switch {
	case err != nil || len(head) == 0:
		return errors.New("no head")
	case head[0] > version:
		return fmt.Errorf("%w: a delta of version %d", snapshot.ErrNewer, head[0])
	case head[0] != version || len(head) != headLen:
		return fmt.Errorf("a head of %d numbers, version %d", len(head), head[0])
	}
	if d.docs, err = documents.Over(d.all[atLines], d.all[atOffsets]); err != nil {
		return err
	}
	if d.keys, err = arrays.Of[uint64](d.all[atKeys]); err != nil {
		return err
	}
	n, arraysLeft := uint64(d.docs.Len()), uint64(len(d.all)-atFilters)
	if head[1] != n || uint64(len(d.keys)) != n || head[2] > n || head[3] > maxDims || head[4] > arraysLeft || head[4]+head[5] != arraysLeft {
		return fmt.Errorf("head %v for %d records, %d keys, %d arrays", head, n, len(d.keys), len(d.all))
	}
	d.vectors, d.dims, d.filters = int(head[2]), int(head[3]), int(head[4])
	if len(d.all[atIndex]) == 0 != (d.vectors == 0) || len(d.all[atParams]) > maxParams {
		return fmt.Errorf("an index of %d bytes for %d vectors, %d bytes of parameters", len(d.all[atIndex]), d.vectors, len(d.all[atParams]))
	}
	if d.vectors > 0 {
		if err := json.Unmarshal(d.all[atParams], &d.params); err != nil {
			return fmt.Errorf("parameters: %w", err)
		}
	}
	return d.checkTombstones()
}

// checkTombstones: an id is named once, as a record or as gone.
func (d *Delta) checkTombstones() error {
	if len(d.all[atTombstones])%16 != 0 {
		return fmt.Errorf("tombstones of %d bytes", len(d.all[atTombstones]))
	}
	for i := range d.gone() {
		id := d.tombstone(i)
		if last := d.tombstone(max(0, i-1)); i > 0 && compareIDs(last, id) >= 0 {
			return errors.New("tombstones are not in order")
		}
		if _, ok := d.ids().Find(id); ok {
			return errors.New("an id is a record and gone")
		}
	}
	return nil
}

func (d *Delta) ids() *documents.Index    { return d.docs.Index() }
func (d *Delta) gone() int                { return len(d.all[atTombstones]) / 16 }
func (d *Delta) tombstone(i int) [16]byte { return [16]byte(d.all[atTombstones][16*i:]) }

// Len is the number of records, Rows of records and tombstones, Vectors of records with a vector, which are the first.
func (d *Delta) Len() int     { return d.docs.Len() }
func (d *Delta) Rows() int    { return d.Len() + d.gone() }
func (d *Delta) Vectors() int { return d.vectors }
func (d *Delta) Dims() int    { return d.dims }

// Documents are the records.
func (d *Delta) Documents() *documents.Reader { return d.docs }

// Key says where a record stands in the catalogue.
func (d *Delta) Key(row int) uint64 { return d.keys[row] }

// Index is the file index.faiss, to be opened with Params; empty without vectors.
func (d *Delta) Index() []byte                { return d.all[atIndex] }
func (d *Delta) Params() snapshot.IndexParams { return d.params }

// Filters and Words are what filter.Open and lexical.From take.
func (d *Delta) Filters() [][]byte { return d.all[atFilters:][:d.filters] }
func (d *Delta) Words() [][]byte   { return d.all[atFilters+d.filters:] }

// Names says what the delta says of an id: the record's row, -1 for one that is gone; ok is false when it says nothing.
func (d *Delta) Names(id [16]byte) (row int, ok bool) {
	if row, ok = d.ids().Find(id); ok {
		return row, true
	}
	lo, hi := 0, d.gone()
	for lo < hi {
		if mid := (lo + hi) / 2; compareIDs(d.tombstone(mid), id) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return -1, lo < d.gone() && d.tombstone(lo) == id
}

// EachID calls visit with every id that the delta names: records by row, then tombstones in order.
func (d *Delta) EachID(visit func(id [16]byte)) {
	for row := range d.Len() {
		visit(d.ids().IDHash(row))
	}
	for _, id := range d.Tombstones() {
		visit(id)
	}
}

// Tombstones are the ids that are gone, in order.
func (d *Delta) Tombstones() [][16]byte {
	out := make([][16]byte, d.gone())
	for i := range out {
		out[i] = d.tombstone(i)
	}
	return out
}

// SizeBytes is how much is mapped.
func (d *Delta) SizeBytes() int64 { return d.mapped.SizeBytes() }

// Close unmaps the file, after the last use of anything of it.
func (d *Delta) Close() error { return d.mapped.Close() }
