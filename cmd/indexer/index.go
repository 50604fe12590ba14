package main

import (
	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// indexes gives reconcile the index library.
type indexes struct{}

func (indexes) Resolve(kind string, n, dims int) (store.IndexParams, error) {
	p, err := vecindex.Resolve(kind, n, dims)
	return store.IndexParams(p), err
}

func (indexes) NewBuilder(p store.IndexParams, dims, n int) (reconcile.Builder, error) {
	b, err := vecindex.NewBuilder(vecindex.Params(p), dims, n)
	if err != nil {
		return nil, err
	}
	return builder{b}, nil
}

func (indexes) Open(path string, p store.IndexParams) (reconcile.Index, error) {
	x, err := vecindex.Open(path, vecindex.Params(p))
	if err != nil {
		return nil, err
	}
	return &index{Index: x, params: x.Params()}, nil
}

type builder struct{ *vecindex.Builder }

func (b builder) Reuse(path string, p store.IndexParams, from []int64) error {
	return b.ReuseFile(path, vecindex.Params(p), from)
}

func (b builder) Built() (store.IndexParams, int) {
	return store.IndexParams(b.Params()), b.Carried()
}

// index searches as wide as its last Tune said.
type index struct {
	*vecindex.Index
	params vecindex.Params
}

func (x *index) Tune(target float64, queries []float32) (store.IndexParams, float64, error) {
	p, recall, err := x.Index.Tune(target, queries)
	if err == nil {
		x.params = p
	}
	return store.IndexParams(p), recall, err
}

func (x *index) Search(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	return x.SearchWith(x.params, queries, k, allow)
}
