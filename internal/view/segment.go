package view

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// segment is a set of records with everything that answers from them: a base, or a delta. It is opened once and shared by
// the views that are composed of it, and closed with the last of them.
type segment struct {
	name    string         // of the file that makes it what it is: equal ones are the same segment
	index   snapshot.Index // nil without vectors
	docs    *documents.Reader
	filters *filter.Attributes
	words   *lexical.Index
	mapped  []*arrays.File     // that filters and words of a base are views of
	delta   *delta.Delta       // nil: a base
	vectors int                // of the first so many records
	content snapshot.Content   // of a base
	finder  *conditions.Finder // of a base: a view's is made from it
	bytes   int64              // resident
	users   atomic.Int32       // views
}

// segmentName of a file: two files of the same bytes are one.
func segmentName(f snapshot.File) string { return f.Name + " " + f.SHA256 }

// openBase opens the base that m is, or is composed over.
func openBase(m store.Manifest, dir string, indexes snapshot.Indexes) (_ *segment, err error) {
	f, _ := m.File(snapshot.FileOffsets)
	s := &segment{name: segmentName(f)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.index, err = indexes.Open(filepath.Join(dir, snapshot.FileIndex), m.Index); err != nil {
		s.index = nil // a typed nil would not be one
		return nil, err
	}
	if s.docs, err = documents.Open(dir); err != nil {
		s.docs = nil
		return nil, err
	}
	s.vectors, s.bytes = s.index.Len(), s.index.SizeBytes()
	want := m.Stats.Vectors
	if m.Base != nil {
		want = m.Base.Vectors
	}
	// Records without a row are the last ones, and listed in a file of their own.
	_, fewer := m.File(snapshot.FileUnembedded)
	if n := s.vectors; (n != s.docs.Len() && !fewer) || n > s.docs.Len() || n != want || s.index.Dims() != m.Spec.Embedding.Dims {
		return nil, fmt.Errorf("index has %d x %d, there are %d documents, the manifest says %d x %d",
			n, s.index.Dims(), s.docs.Len(), want, m.Spec.Embedding.Dims)
	}
	// A snapshot of an older or newer release may have no filters and words that this process reads: then they are made
	// from the records, as long as that takes.
	if !s.mapArrays(m, dir, snapshot.FileFilters, func(flat [][]byte) (err error) {
		s.filters, err = filter.Open(flat, s.docs.Len(), s.docs.Metadata)
		return err
	}) {
		if s.filters, err = filter.Build(s.docs.Len(), s.docs.Metadata); err != nil {
			return nil, err
		}
	}
	if !s.mapArrays(m, dir, snapshot.FileWords, func(flat [][]byte) (err error) {
		s.words, err = lexical.From(flat, s.docs.Len())
		return err
	}) {
		if s.words, err = lexical.Build(s.docs.Len(), nil, s.wordsOf); err != nil {
			return nil, err
		}
	}
	s.finder = conditions.New(s.filters, s.docs.Len(), s.docs.Metadata)
	ids := s.docs.Index()
	for row := range ids.Len() {
		s.content.Toggle(ids.IDHash(row), ids.Digest(row))
	}
	return s, nil
}

// openDelta opens the delta at path.
func openDelta(f snapshot.File, path string, dims int, indexes snapshot.Indexes) (_ *segment, err error) {
	s := &segment{name: segmentName(f)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.delta, err = delta.Open(path); err != nil {
		s.delta = nil
		return nil, err
	}
	s.docs, s.vectors = s.delta.Documents(), s.delta.Vectors()
	if s.filters, err = filter.Open(s.delta.Filters(), s.docs.Len(), s.docs.Metadata); err != nil {
		if s.filters, err = filter.Build(s.docs.Len(), s.docs.Metadata); err != nil {
			return nil, err
		}
	}
	if s.words, err = lexical.From(s.delta.Words(), s.docs.Len()); err != nil {
		if s.words, err = lexical.Build(s.docs.Len(), nil, s.wordsOf); err != nil {
			return nil, err
		}
	}
	if s.vectors == 0 {
		return s, nil
	}
	file := path + ".faiss"
	err = os.WriteFile(file, s.delta.Index(), 0o600)
	if err == nil {
		s.index, err = indexes.Open(file, s.delta.Params())
	}
	if err != nil {
		s.index = nil
	}
	if err = errors.Join(err, os.Remove(file)); err != nil { // it is open, or of no use
		return nil, err
	}
	s.bytes = s.index.SizeBytes()
	if s.index.Len() != s.vectors || s.index.Dims() != dims {
		return nil, fmt.Errorf("index of a delta has %d x %d, want %d x %d", s.index.Len(), s.index.Dims(), s.vectors, dims)
	}
	return s, nil
}

// mapArrays maps a file of arrays and lets open read it; false when there is none that can be read.
func (s *segment) mapArrays(m store.Manifest, dir, name string, open func(flat [][]byte) error) bool {
	if _, ok := m.File(name); !ok {
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
	s.mapped = append(s.mapped, mapped)
	return true
}

// wordsOf reads what a record is found by.
func (s *segment) wordsOf(row int) (snapshot.Words, error) {
	id, name, raw, err := s.docs.Record(row)
	if err != nil {
		return snapshot.Words{}, err
	}
	return vendors.WordsOf(id, name, raw)
}

// key is where a record stands in the catalogue.
func (s *segment) key(row int) uint64 {
	if s.delta == nil {
		return delta.BaseKey(row, s.vectors)
	}
	return s.delta.Key(row)
}

// names says whether the segment names an id: the row of its record, or -1 for one that it takes away.
func (s *segment) names(id [16]byte) (row int, ok bool) {
	if s.delta == nil {
		return s.docs.Index().Find(id)
	}
	return s.delta.Names(id)
}

// release gives up a view's use, and says how many resident bytes that freed.
func (s *segment) release() (int64, error) {
	if s.users.Add(-1) > 0 {
		return 0, nil
	}
	return s.bytes, s.close()
}

func (s *segment) close() error {
	var err error
	if s.index != nil {
		err = s.index.Close()
	}
	if s.docs != nil {
		err = errors.Join(err, s.docs.Close())
	}
	if s.delta != nil {
		err = errors.Join(err, s.delta.Close())
	}
	for _, m := range s.mapped {
		err = errors.Join(err, m.Close())
	}
	return err
}
