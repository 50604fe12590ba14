package main

import (
	"errors"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type forgetCmd struct {
	Provider wire.Provider `embed:""`
	Model    string        `name:"model" placeholder:"MODEL" help:"The model whose vectors are dropped."`
}

// Run drops a model's vectors from the embedding ledger: those of an index that was imported under the wrong name, above
// all. What is served goes on; whatever is built next buys the vectors that it needs.
func (c forgetCmd) Run(a *app) error {
	if c.Model == "" {
		return usage(errors.New("forget needs --model, the model whose vectors are to be dropped"))
	}
	embedder, err := c.Provider.Open(a.ctx, wire.Model{Model: c.Model}, wire.Calls{})
	if err != nil {
		return usage(err)
	}
	o, err := a.acting()
	if err != nil {
		return err
	}
	e := embedder.Embedding()
	e.Model = c.Model
	n, err := ledger.ForgetModel(a.ctx, o.Objects, o.Layout, e, embedder.Endpoint())
	if err != nil {
		return err
	}
	whose := e.Provider + " " + e.Model
	if host := embedder.Endpoint(); host != "" {
		whose += " at " + host
	}
	fmt.Fprintf(a.stdout, "forgot %s of %s\n", count(n, "vector"), whose)
	p, _, err := store.ReadPointer(a.ctx, o.Objects, o.Layout, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil && p.Spec.Embedding.Provider == e.Provider && p.Spec.Embedding.Model == e.Model {
		fmt.Fprintf(a.stdout, "the served snapshot %s was made with them and stays; `indexer reconcile --force` buys them again\n", p.ID)
	}
	return err
}
