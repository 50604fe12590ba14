package langchain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrUnknownIndex marks an index file of a kind that Distances does not know.
var ErrUnknownIndex = errors.New("index of an unknown kind")

// Distances writes the index file at src again, as dst, so that a search answers with squared L2 distances, lower being
// better: what LangChain takes a score for unless it is told otherwise. src answers with inner products of unit vectors,
// higher being better. The order is the same, as |q-v|² = 2 - 2qv, and so is everything else in the file: vectors, codes,
// links and lists. Only what names the metric changes, a few bytes, so no vector is loaded and the copy is as large.
//
// A metric stands in the header of each index in the file. A graph's storage is an index of its own and must agree with the
// graph. The quantizer of inverted lists is one too, but keeps its metric: it decides which lists a query visits, and
// the vectors were dealt to lists by it. Codes of a byte per component (SQ8) decode to vectors that are not quite of
// unit length, so there near ties may change places.
func Distances(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	at, err := headers(in)
	if err != nil {
		return fmt.Errorf("%s: %w", src, err)
	}
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	for _, h := range at {
		if err := h.toL2(out); err != nil {
			return err
		}
	}
	return nil
}

const (
	metricIP, metricL2 = 0, 1
	metricAt           = 33 // of a header: after kind, dims, total, two unused numbers and the trained flag
	headerSize         = metricAt + 4
)

// header is where an index begins in a file, and its kind.
type header struct {
	at   int64
	kind string
}

func (h header) toL2(f *os.File) error {
	if h.kind == "IxFI" { // a flat index says it in its kind as well
		if _, err := f.WriteAt([]byte("IxF2"), h.at); err != nil {
			return err
		}
	}
	_, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, metricL2), h.at+metricAt)
	return err
}

// headers finds those that name the metric of a search, in files as faiss/impl/index_write.cpp writes them.
func headers(f *os.File) ([]header, error) {
	outer, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	switch outer.kind {
	case "IxFI", "IwFl", "IwSq": // flat, inverted lists, inverted lists of codes
		return []header{outer}, nil
	case "IHNf", "IHNs": // graph over vectors, over codes
	default:
		return nil, fmt.Errorf("%w: it begins with %q", ErrUnknownIndex, outer.kind)
	}
	// The graph: probabilities by level, neighbours by level, level and offset of each vector, links; five numbers.
	for _, size := range []int64{8, 4, 4, 8, 4} {
		var n int64
		if err := binary.Read(f, binary.LittleEndian, &n); err != nil {
			return nil, fmt.Errorf("read graph: %w", noEOF(err))
		}
		if n < 0 || n > 1<<40 {
			return nil, fmt.Errorf("damaged: an array of %d entries", n)
		}
		if _, err := f.Seek(n*size, io.SeekCurrent); err != nil {
			return nil, err
		}
	}
	if _, err := f.Seek(5*4, io.SeekCurrent); err != nil {
		return nil, err
	}
	storage, err := readHeader(f)
	if err != nil {
		return nil, fmt.Errorf("read the graph's storage: %w", err)
	}
	if storage.kind != "IxFI" && storage.kind != "IxSQ" {
		return nil, fmt.Errorf("%w: a graph over %q", ErrUnknownIndex, storage.kind)
	}
	return []header{outer, storage}, nil
}

// readHeader reads the header at the file's position, which must be of an inner product.
func readHeader(f *os.File) (header, error) {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return header{}, err
	}
	var b [headerSize]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return header{}, fmt.Errorf("read header: %w", noEOF(err))
	}
	h := header{at: at, kind: string(b[:4])}
	if m := binary.LittleEndian.Uint32(b[metricAt:]); m != metricIP {
		return header{}, fmt.Errorf("%w: %q with metric %d", ErrUnknownIndex, h.kind, m)
	}
	return h, nil
}
