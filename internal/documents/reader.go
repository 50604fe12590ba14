package documents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Document is one record as answers need it.
type Document struct {
	ID       string
	Name     string
	Text     string
	Metadata []byte // the record's JSON
}

// Reader gives random access to the documents of a snapshot, mapped into memory: the kernel keeps what is used and
// drops the rest. Safe for concurrent use until Close, which must come after the last use: the caller counts
// references. The files must not change while they are open.
type Reader struct {
	index    *Index
	lines    []byte
	borrowed bool // they are somebody else's
}

// Open maps documents.jsonl and documents.idx in dir. Every bound is checked here, so that nothing in the files
// can make an accessor read outside of them; whether a line is JSON is found out when it is read.
func Open(dir string) (*Reader, error) {
	index, err := OpenIndex(filepath.Join(dir, snapshot.FileOffsets))
	if err != nil {
		return nil, err
	}
	lines, err := arrays.Map(filepath.Join(dir, snapshot.FileDocuments))
	if err == nil && int64(len(lines)) != index.size {
		err = fmt.Errorf("%w: %s has %d bytes, %s says %d", snapshot.ErrCorrupt, snapshot.FileDocuments, len(lines), snapshot.FileOffsets, index.size)
	}
	r := &Reader{index: index, lines: lines}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open documents: %w", err), r.Close())
	}
	return r, nil
}

// Over reads documents that somebody else keeps in memory: lines are documents.jsonl, offsets documents.idx. Close does
// nothing to them.
func Over(lines, offsets []byte) (*Reader, error) {
	index, err := parseIndex(offsets)
	if err == nil && int64(len(lines)) != index.size {
		err = fmt.Errorf("%w: %d bytes of lines, %s says %d", snapshot.ErrCorrupt, len(lines), snapshot.FileOffsets, index.size)
	}
	if err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	index.mapped = nil
	return &Reader{index: index, lines: lines, borrowed: true}, nil
}

// Len is the number of records.
func (r *Reader) Len() int { return r.index.n }

// SizeBytes is how much is mapped.
func (r *Reader) SizeBytes() int64 { return int64(len(r.lines)) + int64(len(r.index.mapped)) }

// Line returns line i (0 ≤ i < Len) without its newline: a view that is valid until Close.
func (r *Reader) Line(i int) []byte {
	line := r.lines[r.index.offset(i):r.index.offset(i+1)]
	if n := len(line); line[n-1] == '\n' {
		line = line[:n-1]
	}
	return line
}

// Doc decodes record i. Nothing in it refers to the mapped file.
func (r *Reader) Doc(i int) (Document, error) {
	if i < 0 || i >= r.Len() {
		return Document{}, fmt.Errorf("document %d of %d", i, r.Len())
	}
	var l struct {
		ID, Name, Text string
		Metadata       json.RawMessage
	}
	if err := json.Unmarshal(r.Line(i), &l); err != nil || l.ID == "" || len(l.Metadata) == 0 {
		return Document{}, fmt.Errorf("document %d: %w", i, errors.Join(snapshot.ErrCorrupt, err))
	}
	return Document{ID: l.ID, Name: l.Name, Text: l.Text, Metadata: l.Metadata}, nil
}

// Metadata returns the metadata of record i: a view that is valid until Close. It is not checked to be JSON.
func (r *Reader) Metadata(i int) ([]byte, error) {
	if i >= 0 && i < r.Len() {
		if _, _, metadata, ok := splitLine(r.Line(i)); ok {
			return metadata, nil
		}
	}
	doc, err := r.Doc(i)
	return doc.Metadata, err
}

// ID returns the id of record i, "" when the line cannot be read.
func (r *Reader) ID(i int) string {
	id, _, _, err := r.Record(i)
	if err != nil {
		return ""
	}
	return id
}

// Record returns what record i is called and its metadata, as Metadata does. A record's id is this one, whatever its
// metadata says.
func (r *Reader) Record(i int) (id, name string, metadata []byte, err error) {
	if i >= 0 && i < r.Len() {
		quotedID, quotedName, metadata, ok := splitLine(r.Line(i))
		if ok && json.Unmarshal(quotedID, &id) == nil && json.Unmarshal(quotedName, &name) == nil {
			return id, name, metadata, nil
		}
	}
	doc, err := r.Doc(i)
	return doc.ID, doc.Name, doc.Metadata, err
}

// Find returns the position of the record with that id.
func (r *Reader) Find(id string) (pos int, ok bool) {
	pos, ok = r.index.Find(snapshot.IDHash(id))
	if !ok || r.ID(pos) != id {
		return 0, false
	}
	return pos, true
}

// Forget gives back the memory of what has been read so far; it is read from the files again when it is needed. Views
// stay valid.
func (r *Reader) Forget() error {
	if len(r.lines) == 0 || r.borrowed {
		return nil
	}
	return unix.Madvise(r.lines, unix.MADV_DONTNEED) // of a file: the mapping, not the bytes
}

// Close unmaps the files. Close again does nothing.
func (r *Reader) Close() error {
	err := r.index.Close()
	if !r.borrowed {
		err = errors.Join(err, arrays.Unmap(r.lines))
	}
	r.lines = nil
	return err
}

// splitLine returns the JSON strings of the id and the name and the metadata of a line, without decoding the rest. ok is
// false for a line that Writer would not have written.
func splitLine(line []byte) (id, name, metadata []byte, ok bool) {
	rest := line
	for i, field := range []string{`{"id":`, `,"name":`, `,"text":`} {
		var found bool
		if rest, found = bytes.CutPrefix(rest, []byte(field)); !found {
			return nil, nil, nil, false
		}
		n := stringEnd(rest)
		if n == 0 {
			return nil, nil, nil, false
		}
		switch i {
		case 0:
			id = rest[:n]
		case 1:
			name = rest[:n]
		}
		rest = rest[n:]
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"metadata":`))
	if !ok {
		return nil, nil, nil, false
	}
	metadata, ok = bytes.CutSuffix(rest, []byte("}"))
	return id, name, metadata, ok
}

// stringEnd returns the length of the JSON string that b begins with, quotes included; 0 when there is none.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// Index is the reader's documents.idx: it ends with the reader.
func (r *Reader) Index() *Index { return r.index }
