// Package snapshottest holds a stand-in for indexes of vectors: an array of them in a file, scanned. The tests of every
// room that builds, opens or searches snapshots share it.
package snapshottest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// header begins an index file: that of FAISS's flat index of inner products, so that the copies for old readers are made
// as of a real one.
type header struct {
	Kind    [4]byte
	Dims    int32
	Total   int64
	Carried [2]int64 // unused by FAISS; rows that were carried over
	Trained uint8
	Metric  int32 // 0: inner product
	Floats  uint64
}

var flat, foreign = [4]byte([]byte("IxFI")), [4]byte([]byte("IxXX"))

// TunedEf is the EfSearch that Tune finds.
const TunedEf = 77

// Indexes keeps vectors in a flat file and scans it. The zero value is ready.
type Indexes struct {
	// Kind that is resolved to; "" is flat, of which nothing can be carried over.
	Kind string
	// Miss makes Search return the worst instead of the best, so that recall is poor; MissCarried only in indexes
	// with rows that were carried over.
	Miss, MissCarried bool
	// Foreign makes files of a kind that cannot be rewritten for old readers.
	Foreign bool
}

// Resolve implements snapshot.Indexes.
func (x Indexes) Resolve(string, int, int) (snapshot.IndexParams, error) {
	if x.Kind == "" {
		return snapshot.IndexParams{Kind: "flat"}, nil
	}
	return snapshot.IndexParams{Kind: x.Kind, M: 8}, nil
}

// NewBuilder implements snapshot.Indexes.
func (x Indexes) NewBuilder(p snapshot.IndexParams, dims, n int) (snapshot.Builder, error) {
	kind := flat
	if x.Foreign {
		kind = foreign
	}
	return &builder{kind: kind, params: p, dims: dims, want: n}, nil
}

type builder struct {
	kind       [4]byte
	params     snapshot.IndexParams
	dims, want int
	rows       []float32
	earlier    *Index
	from       []int64
	carried    int
}

func (b *builder) Reuse(path string, _ snapshot.IndexParams, from []int64) (err error) {
	if len(from) != b.want || len(b.rows) > 0 {
		return fmt.Errorf("%d positions for %d rows, after %d numbers", len(from), b.want, len(b.rows))
	}
	b.earlier, err = Load(path, false)
	b.from = from
	return err
}

// carry counts the rows that the earlier index really has.
func (b *builder) carry() error {
	if b.earlier == nil {
		return nil
	}
	seen := map[int64]bool{}
	for i, pos := range b.from {
		if pos < 0 {
			continue
		}
		if pos >= int64(b.earlier.Len()) || seen[pos] {
			return fmt.Errorf("position %d is twice or beyond %d rows", pos, b.earlier.Len())
		}
		seen[pos] = true
		if slices.Equal(b.rows[i*b.dims:(i+1)*b.dims], b.earlier.rows[int(pos)*b.dims:(int(pos)+1)*b.dims]) {
			b.carried++
		}
	}
	return nil
}

func (b *builder) Built() (snapshot.IndexParams, int) { return b.params, b.carried }

func (b *builder) Add(_ context.Context, rows []float32) error {
	b.rows = append(b.rows, rows...)
	return nil
}

func (b *builder) WriteFile(_ context.Context, path string) error {
	if len(b.rows) != b.want*b.dims {
		return fmt.Errorf("%d numbers for %d rows of %d", len(b.rows), b.want, b.dims)
	}
	if err := b.carry(); err != nil {
		return err
	}
	var data bytes.Buffer
	head := header{Kind: b.kind, Dims: int32(b.dims), Total: int64(b.want), Carried: [2]int64{int64(b.carried)}, Trained: 1, Floats: uint64(len(b.rows))}
	err := errors.Join(binary.Write(&data, binary.LittleEndian, head), binary.Write(&data, binary.LittleEndian, b.rows))
	return errors.Join(err, os.WriteFile(path, data.Bytes(), 0o644))
}

func (b *builder) Close() error { return nil }

// Open implements snapshot.Indexes.
func (x Indexes) Open(path string, p snapshot.IndexParams) (snapshot.Index, error) {
	ix, err := Load(path, x.Miss)
	if err != nil {
		return nil, err
	}
	ix.params = p
	ix.miss = ix.miss || (x.MissCarried && ix.carried)
	return ix, nil
}

// PredictBytes implements snapshot.Indexes.
func (Indexes) PredictBytes(_ snapshot.IndexParams, n, dims int) int64 { return int64(4 * n * dims) }

// Index is an opened index file.
type Index struct {
	params  snapshot.IndexParams
	dims    int
	rows    []float32
	miss    bool
	carried bool // rows of an earlier index are in it
}

// WriteFile writes an index of rows at path.
func WriteFile(path string, dims int, rows []float32) error {
	b := &builder{kind: flat, dims: dims, want: len(rows) / dims, rows: rows}
	return b.WriteFile(context.Background(), path)
}

// Load reads an index file.
func Load(path string, miss bool) (*Index, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var head header
	r := bytes.NewReader(data)
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil || head.Kind != flat && head.Kind != foreign || head.Dims < 1 || head.Floats != uint64(r.Len()/4) || head.Floats%uint64(head.Dims) != 0 {
		return nil, fmt.Errorf("not an index: %q: %w", head.Kind, err)
	}
	x := &Index{dims: int(head.Dims), rows: make([]float32, head.Floats), miss: miss, carried: head.Carried[0] > 0}
	return x, binary.Read(r, binary.LittleEndian, x.rows)
}

// Search finds the best k rows.
func (x *Index) Search(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	return x.scan(queries, k, allow, x.miss)
}

// Tune implements snapshot.Index.
func (x *Index) Tune(float64, []float32) (snapshot.IndexParams, float64, error) {
	p := x.params
	p.EfSearch = TunedEf
	return p, 1, nil
}

// Exact finds the best k rows.
func (x *Index) Exact(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	return x.scan(queries, k, allow, false)
}

func (x *Index) scan(queries []float32, k int, allow *roaring.Bitmap, worst bool) ([]int64, []float32, error) {
	if k < 1 || len(queries)%x.dims != 0 {
		return nil, nil, fmt.Errorf("k %d, %d floats", k, len(queries))
	}
	type hit struct {
		pos   int64
		score float32
	}
	var positions []int64
	var scores []float32
	for q := 0; q < len(queries); q += x.dims {
		var hits []hit
		for i := range x.Len() {
			if allow != nil && !allow.Contains(uint32(i)) {
				continue
			}
			var s float32
			for d := range x.dims {
				s += queries[q+d] * x.rows[i*x.dims+d]
			}
			hits = append(hits, hit{int64(i), s})
		}
		slices.SortStableFunc(hits, func(a, b hit) int {
			if worst {
				a, b = b, a
			}
			return cmp.Compare(b.score, a.score)
		})
		for r := range k {
			if r < len(hits) {
				positions, scores = append(positions, hits[r].pos), append(scores, hits[r].score)
			} else {
				positions, scores = append(positions, -1), append(scores, -2)
			}
		}
	}
	return positions, scores, nil
}

// Vector copies row pos.
func (x *Index) Vector(pos int, dst []float32) error {
	copy(dst, x.rows[pos*x.dims:(pos+1)*x.dims])
	return nil
}

// Len is the number of rows.
func (x *Index) Len() int { return len(x.rows) / x.dims }

// Dims of a row.
func (x *Index) Dims() int { return x.dims }

// SizeBytes of the rows.
func (x *Index) SizeBytes() int64 { return int64(4 * len(x.rows)) }

// Close does nothing.
func (x *Index) Close() error { return nil }
