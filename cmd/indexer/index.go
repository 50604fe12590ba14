package main

import (
	"context"

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
	return vecindex.Open(path, vecindex.Params(p))
}

type builder struct{ *vecindex.Builder }

// WriteFile finishes the index, writes it and frees it: what is served is what is read back from the file.
func (b builder) WriteFile(ctx context.Context, path string) error {
	x, err := b.Finish(ctx)
	if err != nil {
		return err
	}
	if err := x.WriteFile(path); err != nil {
		_ = x.Close() // the write's error says more
		return err
	}
	return x.Close()
}
