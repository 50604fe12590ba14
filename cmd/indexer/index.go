package main

import (
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
	return vecindex.NewBuilder(vecindex.Params(p), dims, n)
}

func (indexes) Open(path string, p store.IndexParams) (reconcile.Index, error) {
	return vecindex.Open(path, vecindex.Params(p))
}
