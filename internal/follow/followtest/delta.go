package followtest

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// Change is a delta in the making: records with their keys, and ids that are gone.
type Change struct {
	Records []string
	Keys    []uint64
	Gone    []string
}

// BuildDelta uploads a snapshot that is over with change put over it, of which all are the records then, and returns its
// manifest and digest. The deltas of over from the keep-th on are left out: change takes them over.
func (w *World) BuildDelta(over store.Manifest, sha string, keep int, c Change, all []string) (store.Manifest, string) {
	w.t.Helper()
	dir := w.t.TempDir()
	m := w.WriteDelta(dir, over, sha, keep, c, all)
	_, err := store.PutSnapshot(context.Background(), w.Objects, w.Layout, dir, m, nil)
	w.must(err)
	data, err := store.MarshalManifest(m)
	w.must(err)
	return m, store.ManifestDigest(data)
}

// WriteDelta writes the delta to dir and returns the manifest of the whole.
func (w *World) WriteDelta(dir string, over store.Manifest, sha string, keep int, c Change, all []string) store.Manifest {
	w.t.Helper()
	read := w.read(c.Records)
	order := make([]int, len(read))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(c.Keys[a], c.Keys[b]) })
	docs, err := documents.NewWriter(dir)
	w.must(err)
	p := delta.Parts{Dir: dir, Dims: Dims, Params: snapshot.IndexParams{Kind: "flat"}, Index: filepath.Join(dir, snapshot.FileIndex)}
	var rows []float32
	for _, i := range order {
		rec := read[i]
		w.must(docs.Add(rec.ID, rec.Name, rec.Answer, rec.Raw, rec.Digest))
		p.Keys = append(p.Keys, c.Keys[i])
		if c.Keys[i]&delta.Bare == 0 {
			rows = append(rows, Gram(rec.Text)...)
			p.Vectors++
		}
	}
	_, err = docs.Close()
	w.must(err)
	for _, id := range c.Gone {
		p.Tombstones = append(p.Tombstones, snapshot.IDHash(id))
	}
	if p.Vectors > 0 {
		w.must(w.WriteIndex(p.Index, Dims, rows))
	}
	r, err := documents.Open(dir)
	w.must(err)
	defer r.Close()
	attrs, err := filter.Build(r.Len(), r.Metadata)
	w.must(err)
	words, err := lexical.Build(r.Len(), nil, func(i int) (snapshot.Words, error) {
		id, name, raw, err := r.Record(i)
		w.must(err)
		return vendors.WordsOf(id, name, raw)
	})
	w.must(err)
	p.Filters, p.Words = attrs.Arrays(), words.Arrays()
	f, err := delta.Write(filepath.Join(dir, snapshot.FileDelta), p)
	w.must(err)
	return w.compose(over, sha, keep, f, len(c.Records)+len(c.Gone), all)
}

func (w *World) compose(over store.Manifest, sha string, keep int, f snapshot.File, rows int, all []string) store.Manifest {
	w.mu.Lock()
	w.Newest = snapshot.NewID(time.Now(), w.Newest, f.SHA256)
	id := w.Newest
	w.mu.Unlock()
	m := over
	m.FormatVersion, m.ID, m.Role = store.FormatDelta, id, ""
	if over.Base == nil {
		m.Base = &store.Base{ID: over.ID, ManifestSHA256: sha, Records: over.Source.Records, Vectors: over.Stats.Vectors}
	}
	m.Deltas = append(slices.Clone(over.Deltas[:keep]), store.DeltaRef{ID: id, SHA256: f.SHA256, Size: f.Size, Rows: rows})
	m.Files = nil
	for _, g := range over.Files {
		g.From = cmp.Or(g.From, over.ID)
		if g.Name != snapshot.FileDelta || slices.ContainsFunc(m.Deltas, func(d store.DeltaRef) bool { return d.ID == g.From }) {
			m.Files = append(m.Files, g)
		}
	}
	m.Files = append(m.Files, f)
	var content snapshot.Content
	read := w.read(all)
	for _, rec := range read {
		content.Toggle(snapshot.IDHash(rec.ID), [16]byte(rec.Digest[:16]))
	}
	m.ContentDigest, m.Source.Records, m.Stats.Vectors = content.String(), len(read), len(read)-w.Bare
	return m
}

// read parses records; a catalogue of none is none.
func (w *World) read(records []string) []vendors.Record {
	if len(records) == 0 {
		return nil
	}
	read, err := vendorstest.Records(strings.NewReader("[" + strings.Join(records, ",") + "]"))
	w.must(err)
	return read
}
