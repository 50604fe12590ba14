// Package arrays keeps flat arrays in files that are mapped and used where they lie: what an indexer computes once, and
// every replica searches without decoding it. The words and the filters of a snapshot are such files.
//
// The layout, little-endian like every machine this runs on:
//
//	"vsarrays"              8 bytes
//	number of arrays        uint64
//	length of each, bytes   uint64 each
//	the arrays              each from a multiple of 64
//
// What the arrays mean, and whether they fit together, is for their room to check.
package arrays

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const (
	magic     = "vsarrays"
	alignment = 64
	maxArrays = 64
)

// Write writes a file of arrays at path, over an older one.
func Write(path string, arrays [][]byte) (err error) {
	if len(arrays) > maxArrays {
		return fmt.Errorf("write %s: %d arrays, at most %d", path, len(arrays), maxArrays)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	head := binary.LittleEndian.AppendUint64([]byte(magic), uint64(len(arrays)))
	for _, a := range arrays {
		head = binary.LittleEndian.AppendUint64(head, uint64(len(a)))
	}
	at := 0
	for _, part := range append([][]byte{head}, arrays...) {
		for ; at%alignment != 0; at++ {
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

// File is a mapped file of arrays. Its views are valid until Close and must not be written to.
type File struct{ mapped []byte }

// Open maps the file of arrays at path and returns views of them. The file must not change while it is open.
func Open(path string) (*File, [][]byte, error) {
	mapped, err := Map(path)
	if err != nil {
		return nil, nil, err
	}
	views, err := split(mapped)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open %s: %w: %w", path, snapshot.ErrCorrupt, err), Unmap(mapped))
	}
	return &File{mapped}, views, nil
}

func split(data []byte) ([][]byte, error) {
	const fixed = len(magic) + 8
	if len(data) < fixed || string(data[:len(magic)]) != magic {
		return nil, errors.New("not a file of arrays")
	}
	n := binary.LittleEndian.Uint64(data[len(magic):])
	if n > maxArrays || uint64(len(data)) < uint64(fixed)+8*n {
		return nil, fmt.Errorf("%d arrays in %d bytes", n, len(data))
	}
	views := make([][]byte, n)
	at := uint64(fixed) + 8*n
	for i := range views {
		at = (at + alignment - 1) / alignment * alignment
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
func (f *File) SizeBytes() int64 { return int64(len(f.mapped)) }

// Close unmaps the file. Close again does nothing.
func (f *File) Close() error {
	err := Unmap(f.mapped)
	f.mapped = nil
	return err
}

// Map maps a whole file read-only. An empty file is an empty slice.
func Map(path string) ([]byte, error) {
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

// Unmap gives back what Map returned.
func Unmap(mapped []byte) error {
	if len(mapped) == 0 {
		return nil
	}
	return unix.Munmap(mapped)
}

// Of reads an array as elements of T, which holds neither pointers nor padding: a view.
func Of[T any](array []byte) ([]T, error) {
	var t T
	at, size := unsafe.Pointer(unsafe.SliceData(array)), int(unsafe.Sizeof(t))
	if len(array)%size != 0 || uintptr(at)%unsafe.Alignof(t) != 0 {
		return nil, fmt.Errorf("array of %d bytes: want whole, aligned elements of %d", len(array), size)
	}
	return unsafe.Slice((*T)(at), len(array)/size), nil
}

// Bytes is the array that Of reads as elements: a view.
func Bytes[T any](elements []T) []byte {
	var t T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(elements))), len(elements)*int(unsafe.Sizeof(t)))
}
