package documents

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Index is documents.idx, mapped: which ids a snapshot holds, whether a record changed, and where its line is. Safe for
// concurrent use until Close. Every bound was checked when it was opened.
type Index struct {
	mapped  []byte
	n       int
	size    int64 // of documents.jsonl
	entries []byte
	order   []byte
}

// OpenIndex maps the documents.idx at path.
func OpenIndex(path string) (*Index, error) {
	mapped, err := arrays.Map(path)
	if err != nil {
		return nil, fmt.Errorf("open document index: %w", err)
	}
	x, err := parseIndex(mapped)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open document index: %w", err), arrays.Unmap(mapped))
	}
	return x, nil
}

// parseIndex checks everything that the accessors rely on: they cannot run out of bounds afterwards.
func parseIndex(data []byte) (*Index, error) {
	bad := func(format string, args ...any) (*Index, error) {
		return nil, fmt.Errorf("%w: %s: %s", snapshot.ErrCorrupt, snapshot.FileOffsets, fmt.Sprintf(format, args...))
	}
	if len(data) < indexHeader+8 || string(data[:8]) != indexMagic {
		return bad("no header")
	}
	if v := binary.LittleEndian.Uint32(data[8:]); v != indexVersion {
		return nil, fmt.Errorf("%w: %s is of version %d", snapshot.ErrNewer, snapshot.FileOffsets, v)
	}
	n64, size := binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:])
	if n64 > maxRecords || int64(len(data)) != indexHeader+int64(n64)*(indexEntry+4)+8 {
		return bad("%d bytes for %d records", len(data), n64)
	}
	n := int(n64)
	order := indexHeader + n*indexEntry + 8
	x := &Index{mapped: data, n: n, size: int64(size), entries: data[indexHeader:order], order: data[order:]}
	if x.offset(0) != 0 || x.offset(n) != size || size > 1<<62 {
		return bad("lines from %d to %d of %d bytes", x.offset(0), x.offset(n), size)
	}
	for i := range n {
		a, b := x.offset(i), x.offset(i+1)
		if a >= b || b-a > maxLine {
			return bad("line %d from %d to %d", i, a, b)
		}
	}
	for i := range n {
		p := x.at(i)
		if p < 0 || p >= n {
			return bad("order names position %d", p)
		}
		// Strictly ascending hashes: every position occurs once, and no id twice.
		if i > 0 && bytes.Compare(x.idHash(x.at(i-1)), x.idHash(p)) >= 0 {
			return bad("order is not sorted at %d", i)
		}
	}
	return x, nil
}

// offset i of 0..n; entry n is the lone u64 behind the last whole entry.
func (x *Index) offset(i int) uint64 { return binary.LittleEndian.Uint64(x.entries[i*indexEntry:]) }

func (x *Index) idHash(i int) []byte { return x.entries[i*indexEntry+8:][:hashLen] }

// at is the position whose id hash is the i-th.
func (x *Index) at(i int) int { return int(binary.LittleEndian.Uint32(x.order[i*4:])) }

// Len is the number of records.
func (x *Index) Len() int { return x.n }

// IDHash is the snapshot.IDHash of record i.
func (x *Index) IDHash(i int) [16]byte { return [16]byte(x.idHash(i)) }

// Digest is the first 16 bytes of the content digest of record i.
func (x *Index) Digest(i int) [16]byte { return [16]byte(x.entries[i*indexEntry+8+hashLen:]) }

// Find returns the position of the record with that snapshot.IDHash.
func (x *Index) Find(hash [16]byte) (pos int, ok bool) {
	lo, hi := 0, x.n
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if bytes.Compare(x.idHash(x.at(mid)), hash[:]) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < x.n && bytes.Equal(x.idHash(x.at(lo)), hash[:]) {
		return x.at(lo), true
	}
	return 0, false
}

// Close unmaps the file. Close again does nothing.
func (x *Index) Close() error {
	err := arrays.Unmap(x.mapped)
	*x = Index{}
	return err
}

// ReadIDs reads a documents.idx as a stream and calls each with the snapshot.IDHash of every record, in catalogue order.
func ReadIDs(r io.Reader, each func(id [16]byte)) error {
	in := bufio.NewReader(r)
	var head [indexHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return fmt.Errorf("%w: %s: %w", snapshot.ErrCorrupt, snapshot.FileOffsets, err)
	}
	n := binary.LittleEndian.Uint64(head[16:])
	if string(head[:8]) != indexMagic || binary.LittleEndian.Uint32(head[8:]) != indexVersion || n > maxRecords {
		return fmt.Errorf("%w: %s has no header that is known", snapshot.ErrCorrupt, snapshot.FileOffsets)
	}
	var entry [indexEntry]byte
	for range n {
		if _, err := io.ReadFull(in, entry[:]); err != nil {
			return fmt.Errorf("%w: %s: %w", snapshot.ErrCorrupt, snapshot.FileOffsets, err)
		}
		each([16]byte(entry[8:]))
	}
	return nil
}
