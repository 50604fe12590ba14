package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// SnapshotIDs calls each with the IDHash of every record of a snapshot, in catalogue order, from its documents.idx, which
// is read as a stream: 44 bytes a record. snapshot.ErrCorrupt when the bytes are not what m promises: what each saw counts for
// nothing then. ErrNotFound: the file is gone, or m names none.
func SnapshotIDs(ctx context.Context, objects Objects, l Layout, m Manifest, each func(id [16]byte)) error {
	f, ok := m.File(snapshot.FileOffsets)
	if !ok {
		return fmt.Errorf("ids of %s: %w: no %s", m.ID, ErrNotFound, snapshot.FileOffsets)
	}
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, _, err := stream(ctx, objects, l.File(m.ID, f.Name), GetOptions{}, f.Size, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	h := sha256.New()
	n, err := readIDs(bufio.NewReaderSize(io.TeeReader(pr, h), copyBuffer), each)
	pr.CloseWithError(err)
	if serr := <-done; err == nil {
		err = serr
	}
	if err == nil {
		err = f.Check(n, hex.EncodeToString(h.Sum(nil)))
	}
	if err != nil {
		return fmt.Errorf("ids of %s: %w", m.ID, err)
	}
	return nil
}

// readIDs reads a documents.idx to its end and returns its length.
func readIDs(r *bufio.Reader, each func(id [16]byte)) (size int64, err error) {
	var head [docHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, fmt.Errorf("%w: %s: %w", snapshot.ErrCorrupt, snapshot.FileOffsets, err)
	}
	n := binary.LittleEndian.Uint64(head[16:])
	if string(head[:8]) != docMagic || binary.LittleEndian.Uint32(head[8:]) != docVersion || n > MaxDocuments {
		return 0, fmt.Errorf("%w: %s has no header that is known", snapshot.ErrCorrupt, snapshot.FileOffsets)
	}
	var entry [docEntry]byte
	for range n {
		if _, err := io.ReadFull(r, entry[:]); err != nil {
			return 0, fmt.Errorf("%w: %s: %w", snapshot.ErrCorrupt, snapshot.FileOffsets, err)
		}
		each([16]byte(entry[8:]))
	}
	rest, err := io.Copy(io.Discard, r)
	return docHeader + int64(n)*docEntry + rest, err
}
