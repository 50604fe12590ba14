// Package view is one state of the catalogue, opened from a directory of verified files: everything that answers from it,
// and nothing that changes. A query, the page and a warm-up see a [View] and never the files behind it.
//
// A record is a position 0..Len()-1, in the order of the catalogue. The first Vectors() of them have a row in the index;
// the others, whose text the embedding provider refused, are found by words and filters only. Whoever holds a view keeps
// it open: it is safe for concurrent use until Close, and none of its methods may be called after that.
package view

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Embedder turns the text of a query into a unit vector.
type Embedder interface {
	EmbedQuery(ctx context.Context, text string) ([]float32, error)
}

// View answers from one state of the catalogue.
type View struct {
	Embedder // of queries, as the records were embedded

	manifest  store.Manifest
	segments  []*segment
	first     []uint32          // position of each segment's first row
	dead      []*roaring.Bitmap // rows of each
	live      *roaring.Bitmap   // positions
	n         int               // records
	vectors   int               // of them with one
	bare      []uint32          // positions of the others, in catalogue order
	tail      []placed          // the deltas' records, in catalogue order
	tailRanks []int             // and which record of all each of them is
	content   snapshot.Content
	words     *lexical.Joined
	filters   *filter.Joined
	fields    []string
	sample    []float32 // vectors of records, for Cosines
	finder    *conditions.Finder
	opened    int64 // resident bytes that nobody held before
}

// Open opens the files of m in dir, whose digests were checked, and checks that they belong together. e embeds queries as
// m's records were. Segments that near, which is kept open meanwhile, has as well are shared with it; nil: there is none.
func Open(m store.Manifest, dir string, indexes snapshot.Indexes, e Embedder, near *View) (_ *View, err error) {
	v := &View{Embedder: e, manifest: m}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Close())
		}
	}()
	shared, err := v.openSegments(dir, indexes, near)
	if err != nil {
		return nil, err
	}
	v.bury(near, shared)
	if err := v.check(near, shared); err != nil {
		return nil, err
	}
	return v, v.compose(near, shared)
}

// openSegments opens the base and the deltas, oldest first. The first shared ones are near's.
func (v *View) openSegments(dir string, indexes snapshot.Indexes, near *View) (shared int, err error) {
	files := []snapshot.File{}
	base, _ := v.manifest.File(snapshot.FileOffsets)
	files = append(files, base)
	for _, d := range v.manifest.Deltas {
		for _, f := range v.manifest.Files {
			if f.Name == snapshot.FileDelta && cmp.Or(f.From, v.manifest.ID) == d.ID {
				files = append(files, f)
			}
		}
	}
	at := uint32(0)
	for i, f := range files {
		var s *segment
		switch {
		case near != nil && shared == i && i < len(near.segments) && near.segments[i].name == segmentName(f) && near.sameBase(v):
			s = near.segments[i]
			shared++
		case i == 0:
			s, err = openBase(v.manifest, dir, indexes)
		default:
			s, err = openDelta(f, filepath.Join(dir, v.manifest.LocalName(f)), v.manifest.Spec.Embedding.Dims, indexes)
		}
		if err != nil {
			return 0, err
		}
		if s.users.Add(1) == 1 {
			v.opened += s.bytes
		}
		v.segments, v.first = append(v.segments, s), append(v.first, at)
		at += uint32(s.docs.Len())
	}
	return shared, nil
}

// sameBase says whether o has the base of v: every file of it is the same.
func (v *View) sameBase(o *View) bool {
	digests := func(m store.Manifest) map[string]string {
		out := map[string]string{}
		for _, f := range m.Files {
			if f.Name != snapshot.FileDelta {
				out[f.Name] = f.SHA256
			}
		}
		return out
	}
	return maps.Equal(digests(v.manifest), digests(o.manifest)) && v.manifest.Index == o.manifest.Index
}

// compose makes what answers from all segments together.
func (v *View) compose(near *View, shared int) (err error) {
	words, filters := make([]lexical.Part, len(v.segments)), make([]filter.Part, len(v.segments))
	var before func(a, b uint32) bool
	if !v.single() {
		before = v.Before
	}
	for i, s := range v.segments {
		words[i] = lexical.Part{Index: s.words, Dead: v.dead[i], First: v.first[i]}
		filters[i] = filter.Part{Attributes: s.filters, Dead: v.dead[i], First: v.first[i]}
		for row := s.vectors; row < s.docs.Len(); row++ {
			if !v.dead[i].ContainsInt(row) {
				v.bare = append(v.bare, v.first[i]+uint32(row))
			}
		}
	}
	slices.SortFunc(v.bare, v.compare)
	v.tail, v.tailRanks = v.tailOf(near, shared)
	v.words, v.filters = lexical.Join(words, before), filter.Join(filters, before)
	v.fields = pickFields(v.n, v.recordAt)
	if v.sample, err = v.sampleVectors(); err != nil {
		return err
	}
	if v.finder = v.segments[0].finder; !v.single() {
		v.finder = v.finder.Over(v.filters, v.n)
	}
	return nil
}

// recordAt is the JSON of the i'th record in catalogue order.
func (v *View) recordAt(i int) ([]byte, error) { return v.Metadata(int(v.ranked(i))) }

// Close frees what the view holds and nobody shares, after its last use.
func (v *View) Close() error {
	_, err := v.Release()
	return err
}

// Release is Close, and tells how many resident bytes are free now.
func (v *View) Release() (freed int64, err error) {
	for _, s := range v.segments {
		n, rerr := s.release()
		freed, err = freed+n, errors.Join(err, rerr)
	}
	v.segments = nil
	return freed, err
}

// Opened is how many resident bytes Open added to those that near held.
func (v *View) Opened() int64 { return v.opened }

// SharesBase tells whether a view of m, opened beside v, would share v's base: then only deltas are opened.
func (v *View) SharesBase(m store.Manifest) bool { return v.sameBase(&View{manifest: m}) }

// ID names the snapshot.
func (v *View) ID() string { return v.manifest.ID }

// Manifest describes the snapshot.
func (v *View) Manifest() store.Manifest { return v.manifest }

// Embedding is how records and queries are embedded.
func (v *View) Embedding() snapshot.Embedding { return v.manifest.Spec.Embedding }

// Len is the number of records, Vectors of those with a vector, Dims the length of each.
func (v *View) Len() int     { return v.n }
func (v *View) Vectors() int { return v.vectors }
func (v *View) Dims() int    { return v.manifest.Spec.Embedding.Dims }

// All are the positions of all records; Bare of those without a vector, in catalogue order. Neither may be changed.
func (v *View) All() *roaring.Bitmap { return v.live }
func (v *View) Bare() []uint32       { return v.bare }

// HasVector tells whether the record at pos has a vector.
func (v *View) HasVector(pos int) bool {
	i, row := v.at(uint32(pos))
	return row < v.segments[i].vectors
}

// SizeBytes is the resident memory of the indexes; what else there is is mapped.
func (v *View) SizeBytes() int64 {
	var n int64
	for _, s := range v.segments {
		n += s.bytes
	}
	return n
}

// Shares tells whether several queries are searched for together in the time of one: a scan costs one pass over the
// memory whatever their number.
func (v *View) Shares() bool { return v.manifest.Index.Kind == snapshot.Flat }

// Vector is [snapshot.Index.Vector] of the record at pos, which has one.
func (v *View) Vector(pos int, dst []float32) error {
	i, row := v.at(uint32(pos))
	return v.segments[i].index.Vector(row, dst)
}

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
func (v *View) Find(id string) (pos int, ok bool) {
	i, row, ok := v.find(snapshot.IDHash(id))
	if !ok || v.segments[i].docs.ID(row) != id {
		return 0, false
	}
	return int(v.first[i]) + row, true
}

// Doc decodes record pos; Metadata is its JSON in the catalogue; Line is how it stands in documents.jsonl. The latter two
// are views: they end with Close.
func (v *View) Doc(pos int) (documents.Document, error) {
	i, row := v.at(uint32(pos))
	return v.segments[i].docs.Doc(row)
}

func (v *View) Metadata(pos int) ([]byte, error) {
	i, row := v.at(uint32(pos))
	return v.segments[i].docs.Metadata(row)
}

func (v *View) Line(pos int) []byte {
	i, row := v.at(uint32(pos))
	return v.segments[i].docs.Line(row)
}
