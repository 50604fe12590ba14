package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// A file of arrays holds what a room computed once and every replica maps: the indexes of words and of filters. The
// layout, little-endian like every machine this runs on:
//
//	"vsarrays"              8 bytes
//	number of arrays        uint64
//	length of each, bytes   uint64 each
//	the arrays              each from a multiple of 64
//
// What the arrays mean, and whether they fit together, is for their room to check.
const (
	arraysMagic = "vsarrays"
	arraysAlign = 64
	maxArrays   = 64
)

// WriteArrays writes a file of arrays at path, over an older one.
func WriteArrays(path string, arrays [][]byte) (err error) {
	if len(arrays) > maxArrays {
		return fmt.Errorf("write %s: %d arrays, at most %d", path, len(arrays), maxArrays)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	head := binary.LittleEndian.AppendUint64([]byte(arraysMagic), uint64(len(arrays)))
	for _, a := range arrays {
		head = binary.LittleEndian.AppendUint64(head, uint64(len(a)))
	}
	at := 0
	for _, part := range append([][]byte{head}, arrays...) {
		for ; at%arraysAlign != 0; at++ {
			if err := w.WriteByte(0); err != nil {
				return err
			}
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		at += len(part)
	}
	return w.Flush()
}

// Arrays is a mapped file of arrays. Its views are valid until Close and must not be written to.
type Arrays struct{ mapped []byte }

// OpenArrays maps the file of arrays at path and returns views of them. The file must not change while it is open.
func OpenArrays(path string) (*Arrays, [][]byte, error) {
	mapped, err := mapFile(path)
	if err != nil {
		return nil, nil, err
	}
	views, err := splitArrays(mapped)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open %s: %w: %w", path, snapshot.ErrCorrupt, err), unmapFile(mapped))
	}
	return &Arrays{mapped}, views, nil
}

func splitArrays(data []byte) ([][]byte, error) {
	const fixed = len(arraysMagic) + 8
	if len(data) < fixed || string(data[:len(arraysMagic)]) != arraysMagic {
		return nil, errors.New("not a file of arrays")
	}
	n := binary.LittleEndian.Uint64(data[len(arraysMagic):])
	if n > maxArrays || uint64(len(data)) < uint64(fixed)+8*n {
		return nil, fmt.Errorf("%d arrays in %d bytes", n, len(data))
	}
	views := make([][]byte, n)
	at := uint64(fixed) + 8*n
	for i := range views {
		at = (at + arraysAlign - 1) / arraysAlign * arraysAlign
		size := binary.LittleEndian.Uint64(data[fixed+8*i:])
		if size > uint64(len(data)) || at > uint64(len(data))-size {
			return nil, fmt.Errorf("array %d: %w", i, io.ErrUnexpectedEOF)
		}
		views[i] = data[at : at+size : at+size]
		at += size
	}
	if at != uint64(len(data)) {
		return nil, fmt.Errorf("%d bytes behind the last array", uint64(len(data))-at)
	}
	return views, nil
}

// SizeBytes is how much is mapped.
func (a *Arrays) SizeBytes() int64 { return int64(len(a.mapped)) }

// Close unmaps the file. Close again does nothing.
func (a *Arrays) Close() error {
	err := unmapFile(a.mapped)
	a.mapped = nil
	return err
}
