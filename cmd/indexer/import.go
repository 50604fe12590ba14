package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type importCmd struct {
	Dir      string        `arg:"" type:"existingdir" help:"Folder that LangChain's save_local wrote: index.faiss and index.pkl."`
	Provider wire.Provider `embed:""`
	Model    string        `name:"model" env:"EMBEDDING_MODEL" placeholder:"MODEL" help:"Model that the vectors were made with; must be what the indexer will use."`
	Dims     int           `name:"dims" env:"EMBEDDING_DIMENSIONS" placeholder:"N" help:"Dimensions of the vectors; must be what the indexer will use."`
	Out      string        `name:"out" default:"vendors.json" help:"Where to write the draft of the catalogue."`
}

// Run reads the pickle first, which refuses whatever is not a LangChain docstore, then the index, and only then
// writes: the draft of a catalogue, and the vectors into the embedding ledger under the texts they stand for.
func (c importCmd) Run(a *app) error {
	embedder, err := c.Provider.Open(a.ctx, wire.Model{Model: c.Model, Dims: c.Dims}, wire.Calls{})
	if err != nil {
		return usage(err)
	}
	draft, err := renameio.NewPendingFile(c.Out, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer draft.Cleanup()
	docs, err := c.documents(draft)
	if err != nil {
		return err
	}
	keys, err := c.keys(draft.Name(), embedder, docs)
	if err != nil {
		return err
	}
	if err := c.vectors(a, embedder, keys); err != nil {
		return err
	}
	if err := draft.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	s, l := embedder.Spec(), a.store.Layout()
	fmt.Fprintf(a.stdout, "imported %d records and their vectors (%s %s, %d dimensions)\n", docs, s.Provider, s.Model, s.Dims)
	fmt.Fprintf(a.stdout, "wrote %s: look it over, then put it at %s\n", c.Out, l.Source)
	fmt.Fprintln(a.stdout, "while a record keeps its _text, that text is what is embedded, and nothing is bought again; without it the record moves to the standard text")
	return nil
}

// documents writes the docstore as a catalogue, in the order of the index, and returns how many there are.
func (c importCmd) documents(draft io.Writer) (int, error) {
	f, err := os.Open(filepath.Join(c.Dir, store.FilePickle))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(draft, 1<<20)
	n := 0
	fmt.Fprint(w, "{\"vendors\":[")
	err = langchain.ReadPickle(bufio.NewReaderSize(f, 1<<20), langchain.DefaultLimits(), func(pos int, d langchain.Found) error {
		if pos != n {
			return fmt.Errorf("document %d of the index comes after %d", pos, n-1)
		}
		record, err := langchain.ToVendor(&d, pos)
		if err != nil {
			return fmt.Errorf("document %d (%.80q): %w", pos, d.ID, err)
		}
		if n++; n > 1 {
			fmt.Fprint(w, ",")
		}
		_, err = fmt.Fprintf(w, "\n%s", record)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	fmt.Fprint(w, "\n]}\n")
	return n, w.Flush()
}

// keys reads the draft back as the indexer will, and returns the ledger's key of each record's text.
func (c importCmd) keys(path string, e embed.Embedder, n int) ([]store.LedgerKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	keys := make([]store.LedgerKey, 0, n)
	strict := vendors.DefaultRules()
	strict.Duplicates = vendors.DuplicatesRefuse
	_, err = vendors.Read(f, strict, vendors.DefaultLimits(), nil, func(r vendors.Record) error {
		keys = append(keys, store.NewLedgerKey(r.Text, store.Embedding(e.Spec()), e.Endpoint()))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the documents do not make a catalogue: %w", err)
	}
	return keys, nil
}

// importWindow vectors are stored at a time: 1,024 x 1,536 components are 6 MiB.
const importWindow = 1024

// vectors puts the index's vectors into the ledger, as if they had just been bought.
func (c importCmd) vectors(a *app, e embed.Embedder, keys []store.LedgerKey) error {
	f, err := os.Open(filepath.Join(c.Dir, store.FileIndex))
	if err != nil {
		return err
	}
	defer f.Close()
	objects, err := a.store.Open(a.ctx, prometheus.NewRegistry(), wire.Command)
	if err != nil {
		return usage(err)
	}
	dir, err := os.MkdirTemp("", "vectorstore-import-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := e.Spec()
	ledger, err := store.OpenLedger(a.ctx, objects, a.store.Layout(), dir, store.Embedding(s), e.Endpoint())
	if err != nil {
		return err
	}
	progress := newProgress(a.stderr, a.log.Logger(a.stderr))
	progress.Step("import", int64(len(keys)))
	window := make([]float32, 0, importWindow*s.Dims)
	err = langchain.ReadFlat(bufio.NewReaderSize(f, 1<<20), func(n, dims int) error {
		if dims == s.Dims && n == len(keys) {
			return nil
		}
		return fmt.Errorf("it has %d vectors of %d dimensions, the pickle %d documents, and %s %d dimensions (--model and --dims say what made the index)",
			n, dims, len(keys), s.Model, s.Dims)
	}, func(i int, v []float32) error {
		if err := normalise(v); err != nil {
			return err
		}
		window = append(window, v...)
		if n := len(window) / s.Dims; n == importWindow || i == len(keys)-1 {
			if err := ledger.Flush(a.ctx, keys[i+1-n:i+1], window, s.Dims); err != nil {
				return err
			}
			progress.Add(int64(n))
			window = window[:0]
		}
		return nil
	})
	progress.Done()
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), err)
	}
	return errors.Join(err, ledger.Close())
}

// normalise makes a vector unit length: LangChain stores what the provider sent, which need not be.
func normalise(row []float32) error {
	var sum float64
	for _, v := range row {
		sum += float64(v) * float64(v)
	}
	norm := math.Sqrt(sum)
	if norm == 0 || math.IsNaN(norm) || math.IsInf(norm, 0) {
		return errors.New("is zero or not finite")
	}
	for i, v := range row {
		row[i] = float32(float64(v) / norm)
	}
	return nil
}
