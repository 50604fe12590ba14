package documents

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Writer writes documents.jsonl and documents.idx of a snapshot, one record after the other. Not for concurrent
// use. It keeps 40 bytes per record in memory.
type Writer struct {
	dir     string
	lines   *digestFile
	line    bytes.Buffer
	encoder *json.Encoder
	entries []entry
}

type entry struct {
	offset     int64
	id, digest [hashLen]byte
}

// NewWriter creates the files in dir, over older ones.
func NewWriter(dir string) (*Writer, error) {
	lines, err := createDigestFile(filepath.Join(dir, snapshot.FileDocuments))
	if err != nil {
		return nil, fmt.Errorf("write documents: %w", err)
	}
	w := &Writer{dir: dir, lines: lines}
	w.encoder = json.NewEncoder(&w.line)
	w.encoder.SetEscapeHTML(false)
	return w, nil
}

// Add appends a record. metadata is its JSON (whitespace outside strings is removed when it holds a line break),
// digest identifies its content. After an error the writer is good for Close only.
func (w *Writer) Add(id, name, text string, metadata []byte, digest [32]byte) error {
	if len(w.entries) == maxRecords {
		return fmt.Errorf("write documents: more than %d records", maxRecords)
	}
	if id == "" || !utf8.ValidString(id) || !json.Valid(metadata) {
		return fmt.Errorf("write documents: record %d: id %.80q or its metadata is not valid", len(w.entries), id)
	}
	if err := w.encode(id, name, text, metadata); err != nil {
		return fmt.Errorf("write documents: record %d: %w", len(w.entries), err)
	}
	w.entries = append(w.entries, entry{w.lines.size, snapshot.IDHash(id), [hashLen]byte(digest[:hashLen])})
	if _, err := w.lines.Write(w.line.Bytes()); err != nil {
		return fmt.Errorf("write documents: %w", err)
	}
	return nil
}

// encode fills w.line. The strings go through the encoder, the metadata byte by byte: an encoder would rewrite it.
func (w *Writer) encode(id, name, text string, metadata []byte) error {
	w.line.Reset()
	for i, s := range []string{id, name, text} {
		w.line.WriteString([]string{`{"id":`, `,"name":`, `,"text":`}[i])
		if err := w.encoder.Encode(s); err != nil {
			return err
		}
		w.line.Truncate(w.line.Len() - 1) // the encoder's newline
	}
	w.line.WriteString(`,"metadata":`)
	if bytes.IndexByte(metadata, '\n') < 0 {
		w.line.Write(metadata)
	} else if err := json.Compact(&w.line, metadata); err != nil {
		return err
	}
	w.line.WriteString("}\n")
	if w.line.Len() > maxLine {
		return fmt.Errorf("%d bytes, the limit is %d", w.line.Len(), maxLine)
	}
	return nil
}

// Close finishes both files and returns their manifest entries. A duplicate id is an error.
func (w *Writer) Close() ([]snapshot.File, error) {
	lines, err := w.lines.finish()
	if err != nil {
		return nil, fmt.Errorf("write documents: %w", err)
	}
	index, err := w.writeIndex(lines.Size)
	if err != nil {
		return nil, fmt.Errorf("write documents: %w", err)
	}
	return []snapshot.File{lines, index}, nil
}

func (w *Writer) writeIndex(size int64) (snapshot.File, error) {
	order := make([]uint32, len(w.entries))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(bytes.Compare(w.entries[a].id[:], w.entries[b].id[:]), cmp.Compare(a, b))
	})
	for i := 1; i < len(order); i++ {
		if w.entries[order[i-1]].id == w.entries[order[i]].id {
			return snapshot.File{}, fmt.Errorf("records %d and %d have the same id", order[i-1], order[i])
		}
	}
	out, err := createDigestFile(filepath.Join(w.dir, snapshot.FileOffsets))
	if err != nil {
		return snapshot.File{}, err
	}
	b := binary.LittleEndian.AppendUint32([]byte(indexMagic), indexVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(w.entries)))
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	for _, e := range w.entries {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.offset))
		b = append(append(b, e.id[:]...), e.digest[:]...)
		out.Write(b) // an error comes again at finish
		b = b[:0]
	}
	out.Write(binary.LittleEndian.AppendUint64(b, uint64(size)))
	for _, p := range order {
		out.Write(binary.LittleEndian.AppendUint32(b[:0], p))
	}
	return out.finish()
}

// digestFile is a buffered file that hashes what is written.
type digestFile struct {
	path string
	f    *os.File
	buf  *bufio.Writer
	hash hash.Hash
	size int64
	err  error // the first
}

func createDigestFile(path string) (*digestFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	d := &digestFile{path: path, f: f, hash: sha256.New()}
	d.buf = bufio.NewWriterSize(io.MultiWriter(f, d.hash), 256<<10)
	return d, nil
}

func (d *digestFile) Write(p []byte) (int, error) {
	n, err := d.buf.Write(p)
	d.size += int64(n)
	if d.err == nil {
		d.err = err
	}
	return n, err
}

// finish closes the file and returns its entry, or the first error of its life.
func (d *digestFile) finish() (snapshot.File, error) {
	err := errors.Join(d.err, d.buf.Flush(), d.f.Close())
	if err != nil {
		return snapshot.File{}, err
	}
	return snapshot.File{Name: filepath.Base(d.path), Size: d.size, SHA256: hex.EncodeToString(d.hash.Sum(nil))}, nil
}
