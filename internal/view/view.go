// Package view is one state of the catalogue, opened from a directory of verified files: everything that answers from it,
// and nothing that changes. A query, the page and a warm-up see a [View] and never the files behind it.
//
// A record is a position 0..Len()-1, in the order of the catalogue. The first Vectors() of them have a row in the index;
// the others, whose text the embedding provider refused, are found by words and filters only. Whoever holds a view keeps
// it open: it is safe for concurrent use until Close, and none of its methods may be called after that.
package view

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Embedder turns the text of a query into a unit vector.
type Embedder interface {
	EmbedQuery(ctx context.Context, text string) ([]float32, error)
}

// View answers from one state of the catalogue.
type View struct {
	Embedder // of queries, as the records were embedded

	manifest store.Manifest
	index    snapshot.Index
	docs     *documents.Reader
	filters  *filter.Attributes
	words    *lexical.Index
	mapped   []*arrays.File // that filters and words are views of
	fields   []string
	sample   []float32 // rows of the index, for Cosines
	finder   *conditions.Finder
}

// Open opens the files of m in dir, whose digests were checked, and checks that they belong together.
// e embeds queries as m's records were.
func Open(m store.Manifest, dir string, indexes snapshot.Indexes, e Embedder) (_ *View, err error) {
	v := &View{Embedder: e, manifest: m}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Close())
		}
	}()
	if v.index, err = indexes.Open(filepath.Join(dir, snapshot.FileIndex), m.Index); err != nil {
		v.index = nil // a typed nil would not be one
		return nil, err
	}
	if v.docs, err = documents.Open(dir); err != nil {
		v.docs = nil
		return nil, err
	}
	// Records without a row are the last ones, and listed in a file of their own.
	_, fewer := m.File(snapshot.FileUnembedded)
	if n := v.Vectors(); (n != v.Len() && !fewer) || n > v.Len() || n != m.Stats.Vectors || v.Dims() != m.Spec.Embedding.Dims {
		return nil, fmt.Errorf("index has %d x %d, there are %d documents, the manifest says %d x %d",
			n, v.Dims(), v.Len(), m.Stats.Vectors, m.Spec.Embedding.Dims)
	}
	// A snapshot of an older or newer release may have no filters and words that this process reads: then they are made
	// from the records, as long as that takes.
	if !v.mapArrays(dir, snapshot.FileFilters, func(flat [][]byte) (err error) {
		v.filters, err = filter.Open(flat, v.Len(), v.docs.Metadata)
		return err
	}) {
		if v.filters, err = filter.Build(v.Len(), v.docs.Metadata); err != nil {
			return nil, err
		}
	}
	if !v.mapArrays(dir, snapshot.FileWords, func(flat [][]byte) (err error) {
		v.words, err = lexical.From(flat, v.Len())
		return err
	}) {
		if v.words, err = lexical.Build(v.Len(), nil, v.wordsOf); err != nil {
			return nil, err
		}
	}
	v.fields = pickFields(v.Len(), v.docs.Metadata)
	if v.sample, err = sampleRows(v.index); err != nil {
		return nil, err
	}
	v.finder = conditions.New(v.filters, v.Len(), v.docs.Metadata)
	return v, nil
}

// mapArrays maps a file of arrays and lets open read it; false when there is none that can be read.
func (v *View) mapArrays(dir, name string, open func(flat [][]byte) error) bool {
	if _, ok := v.manifest.File(name); !ok {
		return false
	}
	mapped, flat, err := arrays.Open(filepath.Join(dir, name))
	if err != nil {
		return false
	}
	if open(flat) != nil {
		_ = mapped.Close()
		return false
	}
	v.mapped = append(v.mapped, mapped)
	return true
}

// wordsOf reads what record i is found by.
func (v *View) wordsOf(i int) (snapshot.Words, error) {
	id, name, raw, err := v.docs.Record(i)
	if err != nil {
		return snapshot.Words{}, err
	}
	return vendors.WordsOf(id, name, raw)
}

// Close frees what the view holds, after its last use.
func (v *View) Close() error {
	var err error
	if v.index != nil {
		err = v.index.Close()
	}
	if v.docs != nil {
		err = errors.Join(err, v.docs.Close())
	}
	for _, m := range v.mapped {
		err = errors.Join(err, m.Close())
	}
	return err
}

// ID names the snapshot.
func (v *View) ID() string { return v.manifest.ID }

// Manifest describes the snapshot.
func (v *View) Manifest() store.Manifest { return v.manifest }

// Embedding is how records and queries are embedded.
func (v *View) Embedding() snapshot.Embedding { return v.manifest.Spec.Embedding }

// Len is the number of records, Vectors of those with a vector, Dims the length of each.
func (v *View) Len() int     { return v.docs.Len() }
func (v *View) Vectors() int { return v.index.Len() }
func (v *View) Dims() int    { return v.index.Dims() }

// SizeBytes is the resident memory of the index; what else there is is mapped.
func (v *View) SizeBytes() int64 { return v.index.SizeBytes() }

// Shares tells whether several queries are searched for together in the time of one: a scan costs one pass over the
// memory whatever their number.
func (v *View) Shares() bool { return v.manifest.Index.Kind == snapshot.Flat }

// Search is [snapshot.Index.Search] for one or more queries, among the records with a vector.
func (v *View) Search(queries []float32, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, err error) {
	return v.index.Search(queries, k, allow)
}

// Vector is [snapshot.Index.Vector].
func (v *View) Vector(pos int, dst []float32) error { return v.index.Vector(pos, dst) }

// Curve is what cosines to the records are compared with; the zero value when the snapshot has none.
func (v *View) Curve() snapshot.Curve {
	if v.manifest.Curve == nil {
		return snapshot.Curve{}
	}
	return *v.manifest.Curve
}

// Words ranks at most k allowed records (nil allows all) by the words in query: see [lexical.Index.Search].
func (v *View) Words(query string, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, reach float64) {
	return v.words.Search(query, k, allow)
}

// Select returns the positions of the records that match f. The bitmap is the caller's.
func (v *View) Select(f filter.Filter) *roaring.Bitmap { return v.filters.Select(f) }

// Finder finds in a question what it asks of single fields.
func (v *View) Finder() *conditions.Finder { return v.finder }

// Unknown, Has, Facets and Sorted are those of [filter.Attributes].
func (v *View) Unknown(f filter.Filter) []string { return v.filters.Unknown(f) }
func (v *View) Has(path string) bool             { return v.filters.Has(path) }

func (v *View) Facets(field string, most int, among *roaring.Bitmap) []filter.FacetCount {
	return v.filters.Facets(field, most, among)
}

func (v *View) Sorted(field string, descending bool, among *roaring.Bitmap, limit int) []uint32 {
	return v.filters.Sorted(field, descending, among, limit)
}

// Fields are the paths of a handful of short values that many records share: what a page offers to filter by.
func (v *View) Fields() []string { return v.fields }

// Paths are those of all fields that a filter can name, in order.
func (v *View) Paths() []string { return v.filters.Paths() }

// Find returns the position of the record with an id.
func (v *View) Find(id string) (pos int, ok bool) { return v.docs.Find(id) }

// Doc decodes record pos; Metadata is its JSON in the catalogue; Line is how it stands in documents.jsonl. The latter two
// are views: they end with Close.
func (v *View) Doc(pos int) (documents.Document, error) { return v.docs.Doc(pos) }
func (v *View) Metadata(pos int) ([]byte, error)        { return v.docs.Metadata(pos) }
func (v *View) Line(pos int) []byte                     { return v.docs.Line(pos) }
