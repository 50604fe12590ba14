package followtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Index is an exact index over a file of float32: dims, then rows. It fails loudly when used after Close.
type Index struct {
	snapshot.Index // what a server does not ask for

	dims   int
	rows   []float32
	closed atomic.Bool
	abused *atomic.Int64
	Before func() // of every search, when set
}

// WriteIndex writes the file of an Index.
func WriteIndex(path string, dims int, rows []float32) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(dims))
	for _, f := range rows {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return os.WriteFile(path, b, 0o600)
}

// Openers counts what the indexes it opens are put through.
type Openers struct {
	snapshot.Indexes // what a server does not ask for

	Abused atomic.Int64 // uses after Close, second Closes
	Opened atomic.Int64
}

// Open implements snapshot.Indexes.
func (o *Openers) Open(path string, _ snapshot.IndexParams) (snapshot.Index, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("short index file")
	}
	x := &Index{dims: int(binary.LittleEndian.Uint32(b)), abused: &o.Abused}
	for b = b[4:]; len(b) >= 4; b = b[4:] {
		x.rows = append(x.rows, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	if x.dims < 1 || len(x.rows)%x.dims != 0 {
		return nil, fmt.Errorf("damaged index file")
	}
	o.Opened.Add(1)
	return x, nil
}

// PredictBytes implements snapshot.Indexes.
func (o *Openers) PredictBytes(_ snapshot.IndexParams, n, dims int) int64 { return int64(4 * n * dims) }

func (x *Index) check() {
	if x.closed.Load() {
		x.abused.Add(1)
	}
}

func (x *Index) Len() int         { return len(x.rows) / x.dims }
func (x *Index) Dims() int        { return x.dims }
func (x *Index) SizeBytes() int64 { return int64(4 * len(x.rows)) }

func (x *Index) Close() error {
	if x.closed.Swap(true) {
		x.abused.Add(1)
		return fmt.Errorf("closed twice")
	}
	return nil
}

func (x *Index) Vector(pos int, dst []float32) error {
	x.check()
	copy(dst, x.rows[pos*x.dims:(pos+1)*x.dims])
	return nil
}

func (x *Index) Search(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	x.check()
	if x.Before != nil {
		x.Before()
	}
	if k < 1 || len(queries)%x.dims != 0 {
		return nil, nil, fmt.Errorf("k %d, %d floats", k, len(queries))
	}
	var pos []int64
	var scores []float32
	for q := queries; len(q) > 0; q = q[x.dims:] {
		p, s := x.one(q[:x.dims], k, allow)
		pos, scores = append(pos, p...), append(scores, s...)
	}
	x.check()
	return pos, scores, nil
}

func (x *Index) one(q []float32, k int, allow *roaring.Bitmap) ([]int64, []float32) {
	type found struct {
		pos   int64
		score float32
	}
	var all []found
	for i := range x.Len() {
		if allow != nil && !allow.Contains(uint32(i)) {
			continue
		}
		var dot float32
		for d, v := range x.rows[i*x.dims : (i+1)*x.dims] {
			dot += v * q[d]
		}
		all = append(all, found{int64(i), dot})
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(b.score, a.score) })
	pos, scores := make([]int64, k), make([]float32, k)
	for i := range pos {
		pos[i] = -1
		if i < len(all) {
			pos[i], scores[i] = all[i].pos, all[i].score
		}
	}
	return pos, scores
}

// Dims of its vectors.
const Dims = embed.LocalDims

// Embedder embeds as the snapshots of a World do.
var Embedder = embed.NewLocal(Dims)

// Gram embeds a text so.
func Gram(text string) []float32 {
	v, err := Embedder.EmbedQuery(context.Background(), text)
	if err != nil {
		panic(err)
	}
	return v
}

// EmbedFunc is a view.Embedder.
type EmbedFunc func(ctx context.Context, text string) ([]float32, error)

// EmbedQuery implements view.Embedder.
func (f EmbedFunc) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return f(ctx, text)
}

// Opening is x but for how an index is opened.
func Opening(x snapshot.Indexes, how func(path string, p snapshot.IndexParams) (snapshot.Index, error)) snapshot.Indexes {
	return opening{x, how}
}

type opening struct {
	snapshot.Indexes
	how func(path string, p snapshot.IndexParams) (snapshot.Index, error)
}

func (o opening) Open(path string, p snapshot.IndexParams) (snapshot.Index, error) {
	return o.how(path, p)
}
