// Package dataset makes the vectors that the benchmarks search: deterministic, unit length, shaped like embeddings
// (clusters in a space of low rank, plus noise in all dimensions), with held-out queries and their exact neighbours.
//
// A set is three files in a cache directory, little-endian and without headers, so that every peer can map them:
// base.f32 (n x dims, row-major), queries.f32 (queries x dims), truth.i32 (queries x K positions, best first).
package dataset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"
)

// K neighbours per query are known exactly.
const K = 10

// version is part of the directory's name: a change of the generator makes new files.
const version = "v1"

// Shape names a set. Equal shapes give equal bytes on every little-endian machine with the same Go.
type Shape struct {
	Name    string
	N       int // rows of the base
	Dims    int
	Queries int
	Seed    uint64
}

// Dir is where the files of s are kept below cache.
func (s Shape) Dir(cache string) string {
	return filepath.Join(cache, fmt.Sprintf("data-%s-%dx%d-q%d-s%d", version, s.N, s.Dims, s.Queries, s.Seed))
}

// Set is a set that is mapped into memory, read only.
type Set struct {
	Shape
	Dir     string
	Base    []float32 // N x Dims
	Queries []float32 // Queries x Dims
	Truth   []int32   // Queries x K, positions in Base, best first

	maps [][]byte
}

// Query returns the i-th query.
func (s *Set) Query(i int) []float32 { return s.Queries[i*s.Dims : (i+1)*s.Dims] }

// Row returns the i-th base vector.
func (s *Set) Row(i int) []float32 { return s.Base[i*s.Dims : (i+1)*s.Dims] }

// Neighbours returns the exact K best of query i.
func (s *Set) Neighbours(i int) []int32 { return s.Truth[i*K : (i+1)*K] }

// Hits counts how many of got are among the exact K best of query i. Repeated positions count once.
func (s *Set) Hits(i int, got []int) int {
	n := 0
	for _, want := range s.Neighbours(i) {
		for _, g := range got {
			if g == int(want) {
				n++
				break
			}
		}
	}
	return n
}

// Open maps the set, making it first where it is missing. Making takes seconds to a minute; both cores are used.
func Open(ctx context.Context, cache string, shape Shape) (*Set, error) {
	if shape.N < K || shape.Dims < 1 || shape.Queries < 1 {
		return nil, fmt.Errorf("data set %s: %d x %d with %d queries", shape.Name, shape.N, shape.Dims, shape.Queries)
	}
	if native := binary.NativeEndian.Uint16([]byte{1, 0}); native != 1 {
		return nil, errors.New("data sets are little-endian, this machine is not")
	}
	dir := shape.Dir(cache)
	if _, err := os.Stat(filepath.Join(dir, "truth.i32")); errors.Is(err, fs.ErrNotExist) {
		if err := create(ctx, dir, shape); err != nil {
			return nil, fmt.Errorf("make data set %s: %w", shape.Name, err)
		}
	}
	s := &Set{Shape: shape, Dir: dir}
	var err error
	s.Base, err = mapped[float32](s, "base.f32", shape.N*shape.Dims)
	if err == nil {
		s.Queries, err = mapped[float32](s, "queries.f32", shape.Queries*shape.Dims)
	}
	if err == nil {
		s.Truth, err = mapped[int32](s, "truth.i32", shape.Queries*K)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open data set %s: %w", shape.Name, err), s.Close())
	}
	return s, nil
}

// Close unmaps the files; the slices of s must not be used any more.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.maps {
		errs = append(errs, syscall.Munmap(m))
	}
	s.maps, s.Base, s.Queries, s.Truth = nil, nil, nil, nil
	return errors.Join(errs...)
}

func mapped[T float32 | int32](s *Set, name string, n int) ([]T, error) {
	f, err := os.Open(filepath.Join(s.Dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(n)*4 {
		return nil, fmt.Errorf("%s has %d bytes, not %d: remove %s", name, info.Size(), int64(n)*4, s.Dir)
	}
	m, err := syscall.Mmap(int(f.Fd()), 0, n*4, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	s.maps = append(s.maps, m)
	return unsafe.Slice((*T)(unsafe.Pointer(&m[0])), n), nil
}

// write stores the values as little-endian bytes.
func write[T float32 | int32](path string, values []T) error {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*4)
	return os.WriteFile(path, bytes, 0o644)
}

// Label is how a set is named in tables: 100k x 384.
func (s Shape) Label() string {
	n := strconv.Itoa(s.N)
	switch {
	case s.N%1_000_000 == 0:
		n = strconv.Itoa(s.N/1_000_000) + " M"
	case s.N%1000 == 0:
		n = strconv.Itoa(s.N/1000) + "k"
	}
	return fmt.Sprintf("%s x %d", n, s.Dims)
}
