package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// candidate is a snapshot in the making. Per record it keeps the ledger key, 32 bytes; documents and their
// texts stay on disk: 1 M records take 32 MB here and 40 MB in the document writer.
type candidate struct {
	docs    *documents.Reader
	entries []snapshot.File
	keys    []ledger.Key

	// Positions whose text is not in the ledger, each distinct text once.
	missing    []uint32
	tokens     int                       // estimated, of the missing texts
	bought     int                       // texts embedded
	partial    bool                      // it holds what changed, and not the catalogue
	rows       int                       // records with a vector, which are the first
	refused    map[ledger.Key]unembedded // texts that get no vector
	unembedded []unembedded              // the records behind rows
	spent      int                       // tokens counted by the provider
	params     snapshot.IndexParams

	repairs []snapshot.Repair // what was put right in the catalogue

	from    []int64 // where each record is in the served snapshot, -1 = nowhere; nil = nothing to carry over
	carried int     // rows taken over from the served index
}

func (c *candidate) close() {
	if c.docs != nil {
		c.docs.Close()
	}
}

// parse reads the whole catalogue into scratch, or nothing of it.
func (p *pass) parse(ctx context.Context) error {
	p.step("read", 0)
	if err := p.download(ctx); err != nil {
		return err
	}
	if err := p.openLedger(ctx); err != nil {
		return err
	}
	p.step("parse", 0)
	if p.files != nil { // what changed was too much
		p.files.close()
	}
	recalled, err := p.recallRefused(ctx)
	if err != nil {
		return err
	}
	in := intake{p: p, recalled: recalled}
	report, err := p.records(ctx, in.begin, func(rec vendors.Record) error { return in.add(ctx, rec) })
	entries, cerr := in.close()
	if err != nil {
		return p.catalogueError(ctx, err)
	}
	if cerr != nil {
		return fail(Built, noScratch, transient, cerr)
	}
	p.files.entries = entries
	p.source.Records = len(p.files.keys)
	p.noteRepairs(ctx, report)
	if p.files.docs, err = documents.Open(p.dir); err != nil {
		return fail(Built, noScratch, transient, err)
	}
	return nil
}

// intake writes the catalogue's records into scratch as they are read.
type intake struct {
	p        *pass
	recalled map[ledger.Key]unembedded
	w        *documents.Writer
	pending  map[ledger.Key]struct{} // keys of missing: 1 M new texts take ~80 MB until parse returns
}

// begin starts with nothing: at first, and once more when ids turn out to be repeated.
func (in *intake) begin() error {
	_, err := in.close()
	in.p.files = &candidate{refused: map[ledger.Key]unembedded{}}
	in.p.erase.read = 0
	in.pending = map[ledger.Key]struct{}{}
	if err == nil {
		in.w, err = documents.NewWriter(in.p.dir)
	}
	return fail(Built, noScratch, transient, err)
}

func (in *intake) close() ([]snapshot.File, error) {
	if in.w == nil { // the file was refused before its first record
		return nil, nil
	}
	return in.w.Close()
}

func (in *intake) add(ctx context.Context, rec vendors.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, c := in.p, in.p.files
	if p.leftOut(rec.ID) {
		return nil
	}
	key := ledger.NewKey(rec.Text, p.cfg.Embedding, p.cfg.EmbedHost)
	if u, known := in.recalled[key]; known && !p.ledger.Has(key) {
		c.refused[key] = u
	} else if _, twice := in.pending[key]; !twice && !p.ledger.Has(key) {
		in.pending[key] = struct{}{}
		c.missing = append(c.missing, uint32(len(c.keys)))
		c.tokens += p.Embedder.EstimateTokens(rec.Text)
	}
	c.keys = append(c.keys, key)
	p.Progress.Add(1)
	return in.w.Add(rec.ID, rec.Name, rec.Answer, rec.Raw, rec.Digest)
}

func (p *pass) catalogueError(ctx context.Context, err error) error {
	var bad *vendors.CatalogueError
	if errors.As(err, &bad) {
		p.source.err = failf(SourceReady, catalogueInvalid, terminal, "%s: %w", p.Layout.Source, err)
		return p.source.err
	}
	return fail(Built, parseFailed, transient, fmt.Errorf("parse: %w", err))
}

// compare counts what changed against the served snapshot, by id and content digest.
func (p *pass) compare(ctx context.Context) error {
	p.step("compare", 0)
	c := p.files
	p.delta = &Delta{
		Records: len(c.keys), Added: len(c.keys),
		Texts: len(c.missing), Reused: len(c.keys) - len(c.missing) - len(c.refused), Tokens: c.tokens,
		Cost: float64(c.tokens) * p.cfg.TokenPrice / 1e6,
	}
	for _, key := range p.offTopicKeys() {
		if !p.ledger.Has(key) {
			p.delta.Questions++
		}
	}
	if p.pointer == nil {
		return nil
	}
	served, err := p.composed(ctx)
	if err != nil {
		return err
	}
	if served == nil {
		// What is served cannot be read, which is why it is being rebuilt. At least this many ids are gone.
		p.delta.Removed = max(0, p.pointer.Source.Records-len(c.keys))
		return nil
	}
	built, err := documents.OpenIndex(filepath.Join(p.dir, snapshot.FileOffsets))
	if err != nil {
		return fail(Built, noScratch, transient, err)
	}
	defer built.Close()
	p.delta.Added, p.delta.Changed, p.delta.Removed, p.delta.Unchanged = difference(served, p.pointer.Source.Records, built)
	c.from = c.positions(served, built)
	return nil
}

// difference counts ids only in b, in both with another digest, only in a, and in both alike. a has n records.
func difference(a *composition, n int, b *documents.Index) (added, changed, removed, unchanged int) {
	for i := range b.Len() {
		j, ok := a.find(b.IDHash(i))
		switch {
		case !ok:
			added++
		case a.digest(j) != b.Digest(i):
			changed++
		default:
			unchanged++
		}
	}
	return added, changed, n - changed - unchanged, unchanged
}

// fetchServed brings a file of the served snapshot, its digest checked, into scratch, and says where it is.
func (p *pass) fetchServed(ctx context.Context, name string) (path string, err error) {
	return p.fetchFile(ctx, p.pointer.Manifest, name)
}

// fetchFile is fetchServed for any snapshot.
func (p *pass) fetchFile(ctx context.Context, m store.Manifest, name string) (path string, err error) {
	f, ok := m.File(name)
	if !ok {
		return "", fmt.Errorf("%w: %s", store.ErrNotFound, name)
	}
	dir := filepath.Join(p.dir, "served")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fail(Built, noScratch, transient, err)
	}
	m.Files = []snapshot.File{f}
	return filepath.Join(dir, name), store.Fetch(ctx, p.Objects, p.Layout, m, dir, store.FetchOptions{})
}

// unreadable says whether an object is not there, or is not what it should be.
func unreadable(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, snapshot.ErrCorrupt)
}
