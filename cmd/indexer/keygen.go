package main

import (
	"fmt"
	"io"

	"github.com/taksuehiro/vectorstore/internal/store"
)

type keygenCmd struct {
	Output output `embed:""`
}

// Run makes a pair of keys, and a key for purged records. The private ones go where secrets are kept, the public one to
// every server.
func (c keygenCmd) Run(a *app) error {
	private, public, err := store.GenerateKey()
	if err != nil {
		return err
	}
	pair := struct {
		ID      string `json:"key_id"`
		Private string `json:"signing_key"`
		Public  string `json:"manifest_key"`
		Erase   string `json:"erase_key"`
	}{public.ID, private, public.String(), store.NewNonce() + store.NewNonce()}
	return c.Output.print(a.stdout, pair, func(w io.Writer) {
		fmt.Fprintf(w, "# key %s: the first is a secret of the indexer, the second is for MANIFEST_KEYS of every server and of the indexer\n", pair.ID)
		fmt.Fprintf(w, "SIGNING_KEY=%s\nMANIFEST_KEYS=%s\n", pair.Private, pair.Public)
		fmt.Fprintf(w, "# another secret, of the indexer and of whoever purges records; keep it as long as they must stay purged\nERASE_KEY=%s\n", pair.Erase)
	})
}
