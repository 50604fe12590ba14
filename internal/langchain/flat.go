package langchain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrNotFlat marks an index.faiss of a kind whose vectors this package does not read.
var ErrNotFlat = errors.New("not a flat index (IndexFlatL2 or IndexFlatIP), the kind that LangChain makes")

// flatHeader is the start of a flat index file, little-endian, as faiss/impl/index_write.cpp writes it: the kind, the
// fields every index has, and the number of floats that follow.
type flatHeader struct {
	FourCC  [4]byte // IxF2 or IxFI; the metric below says the same
	Dims    int32
	Total   int64
	_       [2]int64 // unused
	Trained uint8
	Metric  int32 // 0 inner product, 1 L2; others would add a field here
	Floats  uint64
}

// ReadFlat reads the vectors of a flat index.faiss in order. check sees the shape before anything is read and may
// refuse it; row gets each vector, valid only during the call. Distances do not matter here: vectors of unit length
// rank alike under both metrics.
func ReadFlat(r io.Reader, check func(n, dims int) error, row func(i int, v []float32) error) error {
	var h flatHeader
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return fmt.Errorf("read header: %w", noEOF(err))
	}
	if k := string(h.FourCC[:]); (k != "IxF2" && k != "IxFI" && k != "IxFl") || h.Metric < 0 || h.Metric > 1 {
		return fmt.Errorf("%w: it begins with %q", ErrNotFlat, k)
	}
	const maxDims, maxTotal = 1 << 16, 1 << 31
	if h.Dims < 1 || h.Dims > maxDims || h.Total < 0 || h.Total > maxTotal || h.Floats != uint64(h.Total)*uint64(h.Dims) {
		return fmt.Errorf("damaged: %d vectors of %d dimensions in %d numbers", h.Total, h.Dims, h.Floats)
	}
	if err := check(int(h.Total), int(h.Dims)); err != nil {
		return err
	}
	buf, v := make([]byte, 4*h.Dims), make([]float32, h.Dims)
	for i := range int(h.Total) {
		if _, err := io.ReadFull(r, buf); err != nil {
			return fmt.Errorf("read vector %d of %d: %w", i, h.Total, noEOF(err))
		}
		for j := range v {
			v[j] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*j:]))
		}
		if err := row(i, v); err != nil {
			return fmt.Errorf("vector %d: %w", i, err)
		}
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
