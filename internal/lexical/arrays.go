package lexical

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/arrays"
)

// Version is raised when terms, hashes or the arrays of an Index change: an index of another version would be asked
// with terms that it does not know. Whoever has the records builds it again.
const Version = 3

// Arrays returns the flat arrays that From takes: views, not to be changed. They hold the index as it is searched, so
// that a snapshot can carry it and a replica map it.
func (x *Index) Arrays() [][]byte {
	head := []uint64{Version, uint64(x.n), math.Float64bits(meanLength(x.total, x.n))}
	return [][]byte{arrays.Bytes(head), arrays.Bytes(x.terms), arrays.Bytes(x.ends), arrays.Bytes(x.df), x.data, arrays.Bytes(x.lengths), arrays.Bytes(x.exact),
		x.names.text, arrays.Bytes(x.names.ends), arrays.Bytes(x.names.pos)}
}

// From opens what Arrays returned for an index of n records. The arrays are kept and must stay as they are for as long
// as the Index is used. Arrays of another version or of other records are an error.
func From(flat [][]byte, n int) (*Index, error) {
	const version, all = 0, 10
	if len(flat) == 0 {
		return nil, errors.New("lexical: no arrays")
	}
	head, err := arrays.Of[uint64](flat[version])
	if err != nil || len(head) != 3 || head[0] != Version {
		return nil, fmt.Errorf("lexical: not of version %d", Version)
	}
	if len(flat) != all {
		return nil, fmt.Errorf("lexical: %d arrays, want %d", len(flat), all)
	}
	if head[1] != uint64(n) {
		return nil, fmt.Errorf("lexical: index of %d records, want %d", head[1], n)
	}
	x := &Index{n: n, data: flat[4], names: nameTable{text: flat[7]}}
	var errs [7]error
	x.terms, errs[0] = arrays.Of[uint64](flat[1])
	x.ends, errs[1] = arrays.Of[uint64](flat[2])
	x.df, errs[2] = arrays.Of[uint32](flat[3])
	x.lengths, errs[3] = arrays.Of[uint16](flat[5])
	x.exact, errs[4] = arrays.Of[name](flat[6])
	x.names.ends, errs[5] = arrays.Of[uint64](flat[8])
	x.names.pos, errs[6] = arrays.Of[uint32](flat[9])
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("lexical: %w", err)
	}
	last := uint64(0)
	if k := len(x.ends); k > 0 {
		last = x.ends[k-1]
	}
	for _, l := range x.lengths {
		x.total += uint64(l)
	}
	if len(x.terms) != len(x.ends) || len(x.terms) != len(x.df) || len(x.lengths) != n || last != uint64(len(x.data)) ||
		!slices.IsSorted(x.ends) || meanLength(x.total, n) != math.Float64frombits(head[2]) || !x.names.fit() {
		return nil, errors.New("lexical: the arrays do not fit together")
	}
	x.alone = Join([]Part{{Index: x}}, nil)
	return x, nil
}
