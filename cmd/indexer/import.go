package main

import "errors"

type importCmd struct {
	Dir string `arg:"" help:"Folder with index.faiss and index.pkl."`
}

// Run imports.
func (c importCmd) Run(a *app) error { return errors.New("x") }
