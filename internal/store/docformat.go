package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// documents.jsonl holds one line per record in catalogue order:
//
//	{"id":"V-001","name":"…","text":"…","metadata":{…}}
//
// metadata is the record as it was written, and last, so that a reader can skip to it. documents.idx makes the lines
// addressable. All integers are little endian, n is the number of records:
//
//	0    magic "VSDOCIDX"
//	8    u32 version (1), u32 zero
//	16   u64 n
//	24   u64 size of documents.jsonl
//	32   n × { u64 offset of the line, 16 bytes of SHA-256(id), 16 bytes of the record's digest }
//	     u64 the size again, so that line i always ends where line i+1 begins
//	     n × u32 positions, ordered by their id hash: Find is a binary search in the file
//
// 1 M records make 44 MB, mapped, with nothing of it on the heap.
const (
	docMagic   = "VSDOCIDX"
	docVersion = 1
	docHeader  = 32
	docEntry   = 8 + hashLen + hashLen
	hashLen    = 16

	// MaxDocuments bounds n; maxLine bounds one line in bytes (a record is bounded far lower by its parser).
	MaxDocuments = 1 << 28
	maxLine      = 64 << 20
)

// Document is one record as answers need it.
type Document struct {
	ID       string
	Name     string
	Text     string
	Metadata []byte // the record's JSON
}

// IDHash is how documents.idx knows an id.
func IDHash(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:hashLen])
}

func docIndexSize(n int) int64 { return docHeader + int64(n)*(docEntry+4) + 8 }

// docTable reads the bytes of a documents.idx that passed its checks.
type docTable struct {
	n       int
	entries []byte
	order   []byte
}

// newDocTable checks everything that the accessors rely on: they cannot run out of bounds afterwards.
func newDocTable(data []byte) (docTable, int64, error) {
	bad := func(format string, args ...any) (docTable, int64, error) {
		return docTable{}, 0, fmt.Errorf("%w: %s: %s", snapshot.ErrCorrupt, snapshot.FileOffsets, fmt.Sprintf(format, args...))
	}
	if len(data) < docHeader+8 || string(data[:8]) != docMagic {
		return bad("no header")
	}
	if v := binary.LittleEndian.Uint32(data[8:]); v != docVersion {
		return docTable{}, 0, fmt.Errorf("%w: %s is of version %d", snapshot.ErrNewer, snapshot.FileOffsets, v)
	}
	n64, size := binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:])
	if n64 > MaxDocuments || int64(len(data)) != docIndexSize(int(n64)) {
		return bad("%d bytes for %d records", len(data), n64)
	}
	n := int(n64)
	t := docTable{n: n, entries: data[docHeader : docHeader+n*docEntry+8], order: data[docHeader+n*docEntry+8:]}
	if t.offset(0) != 0 || t.offset(n) != size || size > 1<<62 {
		return bad("lines from %d to %d of %d bytes", t.offset(0), t.offset(n), size)
	}
	for i := range n {
		a, b := t.offset(i), t.offset(i+1)
		if a >= b || b-a > maxLine {
			return bad("line %d from %d to %d", i, a, b)
		}
	}
	for i := range n {
		p := t.at(i)
		if p < 0 || p >= n {
			return bad("order names position %d", p)
		}
		// Strictly ascending hashes: every position occurs once, and no id twice.
		if i > 0 && bytes.Compare(t.idHash(t.at(i-1)), t.idHash(p)) >= 0 {
			return bad("order is not sorted at %d", i)
		}
	}
	return t, int64(size), nil
}

// offset i of 0..n; entry n is the lone u64 behind the last whole entry.
func (t docTable) offset(i int) uint64 { return binary.LittleEndian.Uint64(t.entries[i*docEntry:]) }

func (t docTable) idHash(i int) []byte { return t.entries[i*docEntry+8:][:hashLen] }
func (t docTable) digest(i int) []byte { return t.entries[i*docEntry+8+hashLen:][:hashLen] }
func (t docTable) at(i int) int        { return int(binary.LittleEndian.Uint32(t.order[i*4:])) }

// find returns the position of the record with that id hash.
func (t docTable) find(hash [16]byte) (int, bool) {
	lo, hi := 0, t.n
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if bytes.Compare(t.idHash(t.at(mid)), hash[:]) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < t.n && bytes.Equal(t.idHash(t.at(lo)), hash[:]) {
		return t.at(lo), true
	}
	return 0, false
}

// docLine is the shape of one line; the field order is the format.
type docLine struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	Text     string          `json:"text"`
	Metadata json.RawMessage `json:"metadata"`
}

// splitLine returns the JSON strings of the id and the name and the metadata of a line, without decoding the rest. ok is
// false for a line that DocWriter would not have written.
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
