package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Docs gives random access to the documents of a snapshot, mapped into memory: the kernel keeps what is used and
// drops the rest. Safe for concurrent use until Close, which must come after the last use: the caller counts
// references. The files must not change while they are open.
type Docs struct {
	table docTable
	lines []byte
	index []byte
}

// OpenDocs maps documents.jsonl and documents.idx in dir. Every bound is checked here, so that nothing in the files
// can make an accessor read outside of them; whether a line is JSON is found out when it is read.
func OpenDocs(dir string) (*Docs, error) {
	index, err := mapFile(filepath.Join(dir, snapshot.FileOffsets))
	if err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	d := &Docs{index: index}
	var size int64
	d.table, size, err = newDocTable(index)
	if err == nil {
		d.lines, err = mapFile(filepath.Join(dir, snapshot.FileDocuments))
	}
	if err == nil && int64(len(d.lines)) != size {
		err = fmt.Errorf("%w: %s has %d bytes, %s says %d", snapshot.ErrCorrupt, snapshot.FileDocuments, len(d.lines), snapshot.FileOffsets, size)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("open documents: %w", err)
	}
	return d, nil
}

// Len is the number of records.
func (d *Docs) Len() int { return d.table.n }

// SizeBytes is how much is mapped.
func (d *Docs) SizeBytes() int64 { return int64(len(d.lines)) + int64(len(d.index)) }

// Line returns line i (0 ≤ i < Len) without its newline: a view that is valid until Close.
func (d *Docs) Line(i int) []byte {
	line := d.lines[d.table.offset(i):d.table.offset(i+1)]
	if n := len(line); line[n-1] == '\n' {
		line = line[:n-1]
	}
	return line
}

// Doc decodes record i. Nothing in it refers to the mapped file. A position outside of the catalogue is ErrNotFound.
func (d *Docs) Doc(i int) (Document, error) {
	if i < 0 || i >= d.table.n {
		return Document{}, fmt.Errorf("document %d: %w", i, ErrNotFound)
	}
	var l docLine
	if err := json.Unmarshal(d.Line(i), &l); err != nil || l.ID == "" || len(l.Metadata) == 0 {
		return Document{}, fmt.Errorf("document %d: %w", i, errors.Join(snapshot.ErrCorrupt, err))
	}
	return Document{ID: l.ID, Name: l.Name, Text: l.Text, Metadata: l.Metadata}, nil
}

// Metadata returns the metadata of record i: a view that is valid until Close. It is not checked to be JSON.
func (d *Docs) Metadata(i int) ([]byte, error) {
	if i >= 0 && i < d.table.n {
		if _, _, metadata, ok := splitLine(d.Line(i)); ok {
			return metadata, nil
		}
	}
	doc, err := d.Doc(i)
	return doc.Metadata, err
}

// ID returns the id of record i, "" when the line cannot be read.
func (d *Docs) ID(i int) string {
	if i < 0 || i >= d.table.n {
		return ""
	}
	var id string
	if quoted, _, _, ok := splitLine(d.Line(i)); ok && json.Unmarshal(quoted, &id) == nil {
		return id
	}
	doc, err := d.Doc(i)
	if err != nil {
		return ""
	}
	return doc.ID
}

// Record returns what record i is called and its metadata, as Metadata does. A record's id is this one, whatever its
// metadata says.
func (d *Docs) Record(i int) (id, name string, metadata []byte, err error) {
	if i >= 0 && i < d.table.n {
		quotedID, quotedName, metadata, ok := splitLine(d.Line(i))
		if ok && json.Unmarshal(quotedID, &id) == nil && json.Unmarshal(quotedName, &name) == nil {
			return id, name, metadata, nil
		}
	}
	doc, err := d.Doc(i)
	return doc.ID, doc.Name, doc.Metadata, err
}

// Find returns the position of the record with that id.
func (d *Docs) Find(id string) (pos int, ok bool) {
	pos, ok = d.table.find(IDHash(id))
	if !ok || d.ID(pos) != id {
		return 0, false
	}
	return pos, true
}

// Forget gives back the memory of what has been read so far; it is read from the files again when it is needed. Views
// stay valid.
func (d *Docs) Forget() error {
	if len(d.lines) == 0 {
		return nil
	}
	return unix.Madvise(d.lines, unix.MADV_DONTNEED) // of a file: the mapping, not the bytes
}

// Close unmaps the files. Close again does nothing.
func (d *Docs) Close() error {
	err := errors.Join(unmapFile(d.index), unmapFile(d.lines))
	*d = Docs{}
	return err
}

// DocIndex is documents.idx alone: which ids a snapshot holds and whether a record changed, without its documents.
type DocIndex struct {
	table docTable
	index []byte
}

// OpenDocIndex maps the documents.idx at path.
func OpenDocIndex(path string) (*DocIndex, error) {
	index, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("open document index: %w", err)
	}
	table, _, err := newDocTable(index)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open document index: %w", err), unmapFile(index))
	}
	return &DocIndex{table, index}, nil
}

// Len is the number of records.
func (d *DocIndex) Len() int { return d.table.n }

// IDHash is the IDHash of record i.
func (d *DocIndex) IDHash(i int) [16]byte { return [16]byte(d.table.idHash(i)) }

// Digest is the first 16 bytes of the content digest of record i.
func (d *DocIndex) Digest(i int) [16]byte { return [16]byte(d.table.digest(i)) }

// Find returns the position of the record with that IDHash.
func (d *DocIndex) Find(hash [16]byte) (pos int, ok bool) { return d.table.find(hash) }

// Close unmaps the file. Close again does nothing.
func (d *DocIndex) Close() error {
	err := unmapFile(d.index)
	*d = DocIndex{}
	return err
}

// mapFile maps a whole file read-only. An empty file is an empty slice.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if st.Size() == 0 {
		return nil, nil
	}
	return unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

func unmapFile(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return unix.Munmap(b)
}
