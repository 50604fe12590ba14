package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/lexical/readings"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// buildRows is how many vectors are handed to the index at a time: 1,024 × 1,536 × 4 bytes = 6 MiB.
const buildRows = 1024

// build writes the index, what searches by word and filter, and the old readers' documents into scratch and composes the
// manifest.
func (p *pass) build(ctx context.Context) error {
	began := p.Clock.Elapsed()
	c := p.files
	p.step("build", int64(c.rows))
	names, err := p.writeSides(ctx)
	if err != nil {
		return err
	}
	if err := p.buildIndex(ctx, p.spec.IndexKind); err != nil {
		return err
	}
	p.step("hash", 0)
	files := make([]snapshot.File, 0, len(names)+len(c.entries))
	for _, name := range append(names, snapshot.FileIndex) {
		f, err := store.HashFile(ctx, filepath.Join(p.dir, name), nil)
		if err != nil {
			return fail(Built, noScratch, transient, err)
		}
		files = append(files, f)
	}
	id, err := p.newID(ctx)
	if err != nil {
		return err
	}
	content, err := p.builtContent()
	if err != nil {
		return err
	}
	p.chosen = chosen{dir: p.dir}
	p.chosen.m = store.Manifest{
		FormatVersion: store.FormatVersion,
		ID:            id,
		CreatedAt:     p.Clock.Now().UTC().Truncate(time.Second),
		Source:        p.source.Source,
		Spec:          p.spec,
		SpecDigest:    p.specDigest,
		Index:         c.params,
		Files:         append(files, c.entries...),
		Stats: store.Stats{
			Vectors: c.rows, Added: p.delta.Added, Changed: p.delta.Changed, Removed: p.delta.Removed,
			Unchanged: p.delta.Unchanged, Embedded: c.bought, Reused: c.rows - c.bought, Tokens: c.spent,
			Carried: c.carried, ChangedSinceFull: p.sinceFull(),
			BuildSeconds: (p.Clock.Elapsed() - began).Seconds(),
		},
		Repairs:       c.repairs,
		Role:          p.role,
		DesiredDigest: p.source.desired,
		ContentDigest: content.String(),
		BuiltEpoch:    p.lease.epoch(),
		Builder:       p.cfg.Builder,
	}
	p.log.InfoContext(ctx, "index rebuilt from vendors.json", "snapshot", p.chosen.m.ID, "source", p.source.Key,
		"vectors", c.rows, "index", c.params.Kind, "added", p.delta.Added, "changed", p.delta.Changed,
		"removed", p.delta.Removed, "embedded", c.bought, "reused", c.rows-c.bought, "tokens", c.spent,
		"carried", c.carried)
	return nil
}

// manyBytes of documents are worth a collection of garbage once they have been indexed.
const manyBytes = 64 << 20

// writeSides writes what is made of the documents alone, and names the files. It is over before the vectors are
// loaded: a million records take 1.5 GB of mapped documents and as much again for the words and filters in the making,
// and linking uses all cores anyway.
func (p *pass) writeSides(ctx context.Context) ([]string, error) {
	docs := p.files.docs
	names := []string{snapshot.FileFilters, snapshot.FileWords, snapshot.FilePickle}
	g, gctx := errgroup.WithContext(ctx) // one core each
	g.Go(func() error { return p.writeFilters(gctx) })
	g.Go(func() error { return p.writeWords(gctx) })
	g.Go(func() error { return p.writePickle(gctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if u := p.files.unembedded; len(u) > 0 {
		names = append(names, snapshot.FileUnembedded)
		if err := writeUnembedded(p.dir, u); err != nil {
			return nil, fail(Built, noScratch, transient, err)
		}
	}
	if docs.SizeBytes() >= manyBytes {
		debug.FreeOSMemory()
	}
	if err := docs.Forget(); err != nil {
		return nil, fail(Built, noScratch, transient, fmt.Errorf("release documents: %w", err))
	}
	return names, nil
}

// builtContent is the digest of the records that were built.
func (p *pass) builtContent() (content snapshot.Content, err error) {
	built, err := documents.OpenIndex(filepath.Join(p.dir, snapshot.FileOffsets))
	if err != nil {
		return content, fail(Built, noScratch, transient, err)
	}
	defer built.Close()
	for i := range built.Len() {
		content.Toggle(built.IDHash(i), built.Digest(i))
	}
	return content, nil
}

// newID is one for a snapshot that this pass makes. Only the first of a term asks the store which there are.
func (p *pass) newID(ctx context.Context) (string, error) {
	if p.role == store.RoleBase { // gc.json names it already
		return p.newest, nil
	}
	if p.newest == "" {
		newest, err := p.newestID(ctx)
		if err != nil {
			return "", err
		}
		p.newest = newest
	}
	if p.pointer != nil {
		p.newest = max(p.newest, p.pointer.ID)
	}
	p.newest = snapshot.NewID(p.Clock.Now(), p.newest, p.source.digest(), p.specDigest, fmt.Sprint(p.lease.epoch()), p.owner, store.NewNonce())
	return p.newest, nil
}

// newestID is the newest id in the store, complete or not: the next one sorts after it whatever our clock says.
func (p *pass) newestID(ctx context.Context) (string, error) {
	found, err := store.ListSnapshots(ctx, p.Objects, p.Layout)
	if err != nil {
		return "", fail(Built, storeUnreadable, transient, err)
	}
	newest := ""
	if n := len(found); n > 0 {
		newest = found[n-1].ID
	}
	if p.pointer != nil {
		newest = max(newest, p.pointer.ID)
	}
	return newest, nil
}

// buildIndex streams the vectors from the ledger, in catalogue order, into the index.
func (p *pass) buildIndex(ctx context.Context, kind string) error {
	c, dims := p.files, p.cfg.Embedding.Dims
	params, err := p.Indexes.Resolve(kind, c.rows, dims)
	if err != nil {
		return fail(Built, buildFailed, inputs, fmt.Errorf("resolve index: %w", err))
	}
	b, err := p.Indexes.NewBuilder(params, dims, c.rows)
	if err != nil {
		return fail(Built, buildFailed, inputs, fmt.Errorf("start index: %w", err))
	}
	defer b.Close()
	if p.carries(params) {
		if err := p.carry(ctx, b); err != nil {
			return err
		}
	}
	if err := p.addRows(ctx, b); err != nil {
		return err
	}
	if err := b.WriteFile(ctx, filepath.Join(p.dir, snapshot.FileIndex)); err != nil {
		return fail(Built, buildFailed, inputs, fmt.Errorf("write index: %w", err))
	}
	c.params, c.carried = b.Built()
	return nil
}

// addRows hands the vectors of the catalogue to b.
func (p *pass) addRows(ctx context.Context, b snapshot.Builder) error {
	c, dims := p.files, p.cfg.Embedding.Dims
	rows := make([]float32, min(buildRows, c.rows)*dims)
	for start := 0; start < c.rows; start += buildRows {
		n := min(buildRows, c.rows-start)
		for i, key := range c.keys[start : start+n] {
			ok, err := p.ledger.Get(key, rows[i*dims:(i+1)*dims])
			if err != nil || !ok {
				// Damage found only now: the next pass opens the ledger without it and buys what is gone.
				p.damaged = true
				return fail(Built, ledgerDamaged, transient, fmt.Errorf("vector of record %d is not in the ledger: %w", start+i, errors.Join(snapshot.ErrCorrupt, err)))
			}
		}
		if err := b.Add(ctx, rows[:n*dims]); err != nil {
			return fail(Built, buildFailed, inputs, fmt.Errorf("add to index: %w", err))
		}
		p.Progress.Add(int64(n))
	}
	return nil
}

// writeWords writes the index of words that replicas search by.
func (p *pass) writeWords(ctx context.Context) error {
	x, err := p.indexWords(ctx)
	if err != nil {
		return err
	}
	return p.writeArrays(snapshot.FileWords, x.Arrays())
}

func (p *pass) indexWords(ctx context.Context) (*lexical.Index, error) {
	docs := p.files.docs
	dictionary, err := readings.Open()
	if err != nil {
		return nil, fail(Built, buildFailed, inputs, err)
	}
	x, err := lexical.Build(docs.Len(), dictionary, func(i int) (snapshot.Words, error) {
		id, name, raw, err := docs.Record(i)
		if err := errors.Join(ctx.Err(), err); err != nil {
			return snapshot.Words{}, err
		}
		return vendors.WordsOf(id, name, raw)
	})
	if err != nil {
		return nil, fail(Built, buildFailed, inputs, fmt.Errorf("index words: %w", err))
	}
	return x, nil
}

// writeFilters writes the values that replicas filter and count by.
func (p *pass) writeFilters(ctx context.Context) error {
	a, err := p.indexFilters(ctx)
	if err != nil {
		return err
	}
	return p.writeArrays(snapshot.FileFilters, a.Arrays())
}

func (p *pass) indexFilters(ctx context.Context) (*filter.Attributes, error) {
	docs := p.files.docs
	a, err := filter.Build(docs.Len(), func(i int) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return docs.Metadata(i)
	})
	if err != nil {
		return nil, fail(Built, buildFailed, inputs, fmt.Errorf("index filters: %w", err))
	}
	return a, nil
}

func (p *pass) writeArrays(name string, flat [][]byte) error {
	if err := arrays.Write(filepath.Join(p.dir, name), flat); err != nil {
		return fail(Built, noScratch, transient, fmt.Errorf("write %s: %w", name, err))
	}
	return nil
}

func (p *pass) writePickle(ctx context.Context) (err error) {
	f, err := os.Create(filepath.Join(p.dir, snapshot.FilePickle))
	if err != nil {
		return fail(Built, noScratch, transient, err)
	}
	err = p.pickle(ctx, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fail(Built, buildFailed, inputs, fmt.Errorf("write index.pkl: %w", err))
	}
	return nil
}

func (p *pass) pickle(ctx context.Context, w io.Writer) error {
	docs := p.files.docs
	return langchain.WritePickle(w, p.files.rows, func(i int) (langchain.Document, error) {
		d, err := docs.Doc(i)
		if err := errors.Join(ctx.Err(), err); err != nil {
			return langchain.Document{}, err
		}
		text, err := pageContent(d)
		return langchain.Document{ID: d.ID, PageContent: text, Metadata: d.Metadata}, err
	})
}

// pageContent is what old readers show of a record: its "_text" while it has one, else what answers show.
func pageContent(d documents.Document) (string, error) {
	if !bytes.Contains(d.Metadata, []byte(`"_text"`)) {
		return d.Text, nil
	}
	var own struct {
		Text *string `json:"_text"`
	}
	if err := json.Unmarshal(d.Metadata, &own); err != nil {
		return "", fmt.Errorf("read record %s: %w", d.ID, err)
	}
	if own.Text == nil { // the word stands deeper inside
		return d.Text, nil
	}
	return *own.Text, nil
}
