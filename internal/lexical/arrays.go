package lexical

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// Version is raised when terms, hashes or the arrays of an Index change: an index of another version would be asked
// with terms that it does not know. Whoever has the records builds it again.
const Version = 3

// Arrays returns the flat arrays that From takes: views, not to be changed. They hold the index as it is searched, so
// that a snapshot can carry it and a replica map it.
func (x *Index) Arrays() [][]byte {
	head := []uint64{Version, uint64(x.n), math.Float64bits(x.mean)}
	return [][]byte{memory(head), memory(x.terms), memory(x.ends), memory(x.df), x.data, memory(x.lengths), memory(x.exact),
		x.names.text, memory(x.names.ends), memory(x.names.pos)}
}

// From opens what Arrays returned for an index of n records. The arrays are kept and must stay as they are for as long
// as the Index is used. Arrays of another version or of other records are an error.
func From(arrays [][]byte, n int) (*Index, error) {
	const version, all = 0, 10
	if len(arrays) == 0 {
		return nil, errors.New("lexical: no arrays")
	}
	head, err := elements[uint64](arrays[version])
	if err != nil || len(head) != 3 || head[0] != Version {
		return nil, fmt.Errorf("lexical: not of version %d", Version)
	}
	if len(arrays) != all {
		return nil, fmt.Errorf("lexical: %d arrays, want %d", len(arrays), all)
	}
	if head[1] != uint64(n) {
		return nil, fmt.Errorf("lexical: index of %d records, want %d", head[1], n)
	}
	x := &Index{n: n, mean: math.Float64frombits(head[2]), data: arrays[4], names: nameTable{text: arrays[7]}}
	var errs [7]error
	x.terms, errs[0] = elements[uint64](arrays[1])
	x.ends, errs[1] = elements[uint64](arrays[2])
	x.df, errs[2] = elements[uint32](arrays[3])
	x.lengths, errs[3] = elements[uint16](arrays[5])
	x.exact, errs[4] = elements[name](arrays[6])
	x.names.ends, errs[5] = elements[uint64](arrays[8])
	x.names.pos, errs[6] = elements[uint32](arrays[9])
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("lexical: %w", err)
	}
	last := uint64(0)
	if k := len(x.ends); k > 0 {
		last = x.ends[k-1]
	}
	if len(x.terms) != len(x.ends) || len(x.terms) != len(x.df) || len(x.lengths) != n || last != uint64(len(x.data)) ||
		!slices.IsSorted(x.ends) || !(x.mean >= 1) || !x.names.fit() {
		return nil, errors.New("lexical: the arrays do not fit together")
	}
	return x, nil
}

// elements reads b as a slice of T, which holds no pointers and no padding.
func elements[T any](b []byte) ([]T, error) {
	var t T
	at := unsafe.Pointer(unsafe.SliceData(b))
	if n := int(unsafe.Sizeof(t)); len(b)%n != 0 || uintptr(at)%unsafe.Alignof(t) != 0 {
		return nil, fmt.Errorf("%d bytes are not aligned elements of %d", len(b), n)
	}
	return unsafe.Slice((*T)(at), len(b)/int(unsafe.Sizeof(t))), nil
}

// memory is the bytes of s.
func memory[T any](s []T) []byte {
	var t T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(t)))
}
