package followtest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
)

// Index fails loudly when used after Close.
type Index struct {
	snapshot.Index

	closed atomic.Bool
	abused *atomic.Int64
	Before func() // of every search, when set
}

// Openers counts what the indexes it opens are put through.
type Openers struct {
	snapshottest.Indexes

	Abused atomic.Int64 // uses after Close, second Closes
	Opened atomic.Int64
}

// Open implements snapshot.Indexes.
func (o *Openers) Open(path string, p snapshot.IndexParams) (snapshot.Index, error) {
	x, err := o.Indexes.Open(path, p)
	if err != nil {
		return nil, err
	}
	o.Opened.Add(1)
	return &Index{Index: x, abused: &o.Abused}, nil
}

func (x *Index) check() {
	if x.closed.Load() {
		x.abused.Add(1)
	}
}

func (x *Index) Close() error {
	if x.closed.Swap(true) {
		x.abused.Add(1)
		return errors.New("closed twice")
	}
	return nil
}

func (x *Index) Vector(pos int, dst []float32) error {
	x.check()
	return x.Index.Vector(pos, dst)
}

func (x *Index) Search(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	defer x.check()
	x.check()
	if x.Before != nil {
		x.Before()
	}
	return x.Index.Search(queries, k, allow)
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
