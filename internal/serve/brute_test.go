package serve

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
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// bruteIndex is an exact index over a file of float32: dims, then rows. It fails loudly when used after Close.
type bruteIndex struct {
	snapshot.Index // what a server does not ask for

	dims   int
	rows   []float32
	closed atomic.Bool
	abused *atomic.Int64 // uses after Close, second Closes
	calls  *atomic.Int64 // calls of Search
	rowsIn *atomic.Int64 // queries in them
	before func()        // of every search, when set
}

func writeBrute(path string, dims int, rows []float32) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(dims))
	for _, f := range rows {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return os.WriteFile(path, b, 0o600)
}

// openers counts what the indexes it opens are put through.
type openers struct {
	snapshot.Indexes // what a server does not ask for

	abused, calls, rowsIn, open atomic.Int64
	before                      func()
}

func (o *openers) Open(path string, _ snapshot.IndexParams) (snapshot.Index, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("short index file")
	}
	x := &bruteIndex{dims: int(binary.LittleEndian.Uint32(b)), abused: &o.abused, calls: &o.calls, rowsIn: &o.rowsIn, before: o.before}
	for b = b[4:]; len(b) >= 4; b = b[4:] {
		x.rows = append(x.rows, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	if x.dims < 1 || len(x.rows)%x.dims != 0 {
		return nil, fmt.Errorf("damaged index file")
	}
	o.open.Add(1)
	return x, nil
}

func (o *openers) PredictBytes(_ snapshot.IndexParams, n, dims int) int64 { return int64(4 * n * dims) }

// opening opens indexes in its own way.
type opening struct {
	snapshot.Indexes
	open func(path string, p snapshot.IndexParams) (snapshot.Index, error)
}

func (o opening) Open(path string, p snapshot.IndexParams) (snapshot.Index, error) {
	return o.open(path, p)
}

func (x *bruteIndex) check() {
	if x.closed.Load() {
		x.abused.Add(1)
	}
}

func (x *bruteIndex) Len() int         { return len(x.rows) / x.dims }
func (x *bruteIndex) Dims() int        { return x.dims }
func (x *bruteIndex) SizeBytes() int64 { return int64(4 * len(x.rows)) }

func (x *bruteIndex) Close() error {
	if x.closed.Swap(true) {
		x.abused.Add(1)
		return fmt.Errorf("closed twice")
	}
	return nil
}

func (x *bruteIndex) Vector(pos int, dst []float32) error {
	x.check()
	copy(dst, x.rows[pos*x.dims:(pos+1)*x.dims])
	return nil
}

func (x *bruteIndex) Search(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	x.check()
	x.calls.Add(1)
	x.rowsIn.Add(int64(len(queries) / x.dims))
	if x.before != nil {
		x.before()
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

func (x *bruteIndex) one(q []float32, k int, allow *roaring.Bitmap) ([]int64, []float32) {
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

const testDims = embed.LocalDims

var gramEmbedder = embed.NewLocal(testDims)

// gram embeds a text as the sample snapshots do.
func gram(text string) []float32 {
	v, err := gramEmbedder.EmbedQuery(context.Background(), text)
	if err != nil {
		panic(err)
	}
	return v
}

// buildWords and lexical.Fuse are what the server is wired to.
func buildWords(n int, words func(i int) (snapshot.Words, error)) (Lexical, error) {
	return lexical.Build(n, nil, func(i int) (snapshot.Words, error) {
		w, err := words(i)
		return w, err
	})
}
