package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// composition is what a leader keeps of the served snapshot between passes, so that a change costs what it changes: which
// records it has, with the digest and the order key of each. It is of one manifest, by its digest; when the pointer names
// another it is opened anew. Segment 0 is the base, segment i the i-th delta; the newest that names an id decides.
type composition struct {
	m      store.Manifest
	sha    string // of the manifest's bytes
	base   *documents.Index
	deltas []*delta.Delta // oldest first
	dead   bits           // rows of the base that a delta names
}

// bits is a set of small numbers.
type bits []uint64

func newBits(n int) bits      { return make(bits, (n+63)/64) }
func (b bits) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bits) with(o bits) bits { // both
	out := slices.Clone(b)
	for i := range out {
		out[i] |= o[i]
	}
	return out
}

// rowAt is where a record is in a composition.
type rowAt struct{ segment, row int }

// find says where the record of an id is. One that a delta took away is nowhere.
func (c *composition) find(id [16]byte) (rowAt, bool) {
	for i := len(c.deltas); i > 0; i-- {
		if row, named := c.deltas[i-1].Names(id); named {
			return rowAt{i, row}, row >= 0
		}
	}
	row, ok := c.base.Find(id)
	return rowAt{0, row}, ok
}

// ids are those of a segment's records, by row.
func (c *composition) ids(segment int) *documents.Index {
	if segment == 0 {
		return c.base
	}
	return c.deltas[segment-1].Documents().Index()
}

func (c *composition) digest(at rowAt) [16]byte { return c.ids(at.segment).Digest(at.row) }

// key is the record's place in the order of the catalogue.
func (c *composition) key(at rowAt) uint64 {
	if at.segment == 0 {
		return delta.BaseKey(at.row, baseOf(c.m, c.sha).Vectors)
	}
	return c.deltas[at.segment-1].Key(at.row)
}

// baseOf is what a snapshot over m names as its base: m's own, or m itself.
func baseOf(m store.Manifest, sha string) store.Base {
	if m.Base != nil {
		return *m.Base
	}
	return store.Base{ID: m.ID, ManifestSHA256: sha, Records: m.Source.Records, Vectors: m.Stats.Vectors}
}

// each calls visit with every record, in no order that matters, but the base's rows in skip.
func (c *composition) each(skip bits, visit func(id [16]byte, at rowAt)) {
	skip = skip.with(c.dead)
	for row := range c.base.Len() {
		if !skip.has(row) {
			visit(c.base.IDHash(row), rowAt{0, row})
		}
	}
	for i, d := range c.deltas {
		ids := d.Documents().Index()
		for row := range ids.Len() {
			id := ids.IDHash(row)
			if at, ok := c.find(id); ok && at.segment == i+1 {
				visit(id, at)
			}
		}
	}
}

// bury notes the rows of the base that d names.
func (c *composition) bury(d *delta.Delta) {
	d.EachID(func(id [16]byte) {
		if row, ok := c.base.Find(id); ok {
			c.dead.add(row)
		}
	})
}

// check reads the composition once as a whole: it is what its manifest says, or damaged.
func (c *composition) check() error {
	var content snapshot.Content
	n := 0
	c.each(newBits(c.base.Len()), func(id [16]byte, at rowAt) {
		n++
		digest := c.digest(at)
		content.Toggle(id, digest)
	})
	if n != c.m.Source.Records || c.m.ContentDigest != "" && content.String() != c.m.ContentDigest {
		return fmt.Errorf("%w: %s has %d records of content %s, its manifest says %d of %s", snapshot.ErrCorrupt, c.m.ID,
			n, content, c.m.Source.Records, c.m.ContentDigest)
	}
	return nil
}

// replaced is the composition in which d stands for the deltas from the keep-th on. Nothing is opened or closed.
func (c *composition) replaced(keep int, d *delta.Delta) *composition {
	next := &composition{base: c.base, deltas: append(slices.Clone(c.deltas[:keep]), d), dead: slices.Clone(c.dead)}
	next.bury(d)
	return next
}

// bare counts the records without a vector: only a base has any.
func (c *composition) bare(base store.Base) int {
	n := 0
	for row := base.Vectors; row < c.base.Len(); row++ {
		if !c.dead.has(row) {
			n++
		}
	}
	return n
}

// contentOf is the content digest of next, of which only the deltas from the keep-th on differ from c, and how many
// records it has: all that either of them names there is looked up in both.
func (c *composition) contentOf(next *composition, keep int, content snapshot.Content, records int) (snapshot.Content, int) {
	seen := map[[16]byte]bool{}
	visit := func(id [16]byte) {
		if seen[id] {
			return
		}
		seen[id] = true
		if at, ok := c.find(id); ok {
			content.Toggle(id, c.digest(at))
			records--
		}
		if at, ok := next.find(id); ok {
			content.Toggle(id, next.digest(at))
			records++
		}
	}
	for _, d := range append(slices.Clone(c.deltas[keep:]), next.deltas[keep:]...) {
		d.EachID(visit)
	}
	return content, records
}

func (c *composition) close() error {
	err := c.base.Close()
	for _, d := range c.deltas {
		err = errors.Join(err, d.Close())
	}
	return err
}

// composed opens the served snapshot's composition, or returns the one that is open. nil: it is not there or not whole,
// which is said in the log; what follows is a full build.
func (p *pass) composed(ctx context.Context) (*composition, error) {
	r := p.Reconciler
	if c := r.open; c != nil && c.sha == p.pointer.ManifestSHA256 {
		return c, nil
	}
	r.closeComposition()
	c, err := p.composedOver(ctx, manifestOf{p.pointer.Manifest, p.pointer.ManifestSHA256})
	r.open = c
	return c, err
}

// composedOver is composed for any snapshot; it is the caller's to close.
func (p *pass) composedOver(ctx context.Context, of manifestOf) (*composition, error) {
	c, err := p.openComposition(ctx, of)
	switch {
	case unreadable(err):
		p.log.WarnContext(ctx, "records unreadable", "snapshot", of.m.ID, "error", err)
		return nil, nil
	case err != nil:
		return nil, fail(Built, baselineUnreadable, transient, err)
	}
	return c, nil
}

// closeComposition lets go of what was kept of a served snapshot.
func (r *Reconciler) closeComposition() {
	if r.open == nil {
		return
	}
	if err := r.open.close(); err != nil {
		r.Log.Warn("served records not closed", "error", err)
	}
	r.open = nil
}

// servedDir holds the local copies of what compositions are opened from, by where they are stored.
func (r *Reconciler) servedDir() string { return filepath.Join(r.cfg.Dir, "served") }

// localSegment is the local copy of a file of m.
func (r *Reconciler) localSegment(m store.Manifest, f snapshot.File) string {
	id := f.From
	if id == "" {
		id = m.ID
	}
	return filepath.Join(r.servedDir(), id+"."+f.Name)
}

// openComposition fetches what is not here yet, checks it and opens it. Copies that are of no use any more go.
func (p *pass) openComposition(ctx context.Context, of manifestOf) (_ *composition, err error) {
	m := of.m
	if err := os.MkdirAll(p.servedDir(), 0o755); err != nil {
		return nil, err
	}
	tmp := filepath.Join(p.dir, "composed")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	wanted := m
	wanted.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f snapshot.File) bool {
		return f.Name != snapshot.FileOffsets && f.Name != snapshot.FileDelta
	})
	err = store.Fetch(ctx, p.Objects, p.Layout, wanted, tmp, store.FetchOptions{Reuse: func(f snapshot.File) (string, bool) {
		return p.localSegment(m, f), true
	}})
	if err != nil {
		return nil, err
	}
	c := &composition{m: m, sha: of.sha}
	kept := map[string]bool{}
	defer func() {
		if err != nil && c.base != nil {
			err = errors.Join(err, c.close())
		}
	}()
	for _, f := range wanted.Files {
		path := p.localSegment(m, f)
		kept[filepath.Base(path)] = true
		if err := os.Rename(filepath.Join(tmp, m.LocalName(f)), path); err != nil {
			return nil, err
		}
		if f.Name == snapshot.FileOffsets {
			if c.base, err = documents.OpenIndex(path); err != nil {
				return nil, err
			}
		}
	}
	if c.base == nil {
		return nil, fmt.Errorf("%w: %s", store.ErrNotFound, snapshot.FileOffsets)
	}
	for _, d := range m.Deltas {
		path := filepath.Join(p.servedDir(), d.ID+"."+snapshot.FileDelta)
		opened, err := delta.Open(path)
		if err != nil {
			return nil, err
		}
		c.deltas = append(c.deltas, opened)
	}
	c.dead = newBits(c.base.Len())
	for _, d := range c.deltas {
		c.bury(d)
	}
	p.clearServed(kept)
	return c, c.check()
}

// clearServed removes local copies of other compositions. What stays by mistake only takes room.
func (r *Reconciler) clearServed(kept map[string]bool) {
	entries, _ := os.ReadDir(r.servedDir())
	for _, e := range entries {
		if !kept[e.Name()] {
			_ = os.Remove(filepath.Join(r.servedDir(), e.Name()))
		}
	}
}
