package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// A ledger segment is an immutable file of vectors with their keys. Integers and floats are little endian:
//
//	0    magic "VSLEDGER"
//	8    u32 version (1), u32 dims
//	16   u32 rows, u32 inputs
//	24   32 bytes: digest of the embedding space that all of it belongs to
//	56   inputs × 42 bytes: names of the segments that this one replaces
//	     rows × 32 bytes: keys
//	     rows × dims × f32: vectors
//	     32 bytes: SHA-256 of everything before
//
// Its name is the UTC time of writing and the first 16 hex digits of that SHA-256, so a name belongs to one content.
const (
	segmentMagic   = "VSLEDGER"
	segmentVersion = 1
	segmentHeader  = 56
	segmentTime    = "20060102T150405.000Z"
	segmentName    = len(segmentTime) + 1 + 16 + len(".seg")

	// segmentCap ends a segment, in bytes: with 1,536 dims one holds 10,800 vectors, and 1 M make 93 segments.
	segmentCap = 64 << 20
	bufferSize = 256 << 10
	// maxInputs bounds what one segment replaces.
	maxInputs = 1 << 16
)

var segmentPattern = regexp.MustCompile(`^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{16}\.seg$`)

// segment is one verified segment: its local copy, open for reading at random.
type segment struct {
	name   string
	file   *os.File
	rows   int
	dims   int
	inputs []string
	size   int64
}

// segmentShape is what a header says.
type segmentShape struct{ rows, dims, inputs int }

func (s segmentShape) keysAt() int64    { return segmentHeader + int64(s.inputs)*int64(segmentName) }
func (s segmentShape) vectorsAt() int64 { return s.keysAt() + int64(s.rows)*sha256.Size }
func (s segmentShape) size() int64 {
	return s.vectorsAt() + int64(s.rows)*int64(s.dims)*4 + sha256.Size
}

func (s *segment) shape() segmentShape {
	return segmentShape{rows: s.rows, dims: s.dims, inputs: len(s.inputs)}
}

// keys reads the keys of all rows.
func (s *segment) keys() ([]Key, error) {
	keys := make([]Key, s.rows)
	r := bufio.NewReader(io.NewSectionReader(s.file, s.shape().keysAt(), int64(s.rows)*sha256.Size))
	for i := range keys {
		if _, err := io.ReadFull(r, keys[i][:]); err != nil {
			return nil, fmt.Errorf("read ledger segment %s: %w", s.name, err)
		}
	}
	return keys, nil
}

// vector reads row i into dst, which has dims entries, by way of buf, which has four times as many bytes.
func (s *segment) vector(i int, dst []float32, buf []byte) error {
	at := s.shape().vectorsAt() + int64(i)*int64(s.dims)*4
	if _, err := s.file.ReadAt(buf, at); err != nil {
		return fmt.Errorf("read ledger segment %s: %w", s.name, err)
	}
	for j := range dst {
		dst[j] = math.Float32frombits(binary.LittleEndian.Uint32(buf[j*4:]))
	}
	return nil
}

// openSegment checks the local file of a segment, all of it, and returns it with its keys by row. Bytes that are not
// what the name promises are ErrCorrupt.
func openSegment(path string, space [32]byte, dims int) (*segment, []Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	s := &segment{name: filepath.Base(path), file: f}
	keys, err := s.verify(space, dims)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("ledger segment %s: %w", s.name, err)
	}
	return s, keys, nil
}

func (s *segment) verify(space [32]byte, dims int) ([]Key, error) {
	st, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	s.size = st.Size()
	h, file := sha256.New(), bufio.NewReaderSize(s.file, bufferSize)
	r := io.TeeReader(file, h)
	shape, err := readShape(r, space, dims, s.size)
	if err != nil {
		return nil, err
	}
	s.rows, s.dims, s.inputs = shape.rows, shape.dims, make([]string, shape.inputs)
	keys := make([]Key, shape.rows)
	name := make([]byte, segmentName)
	for i := range s.inputs {
		if _, err := io.ReadFull(r, name); err != nil {
			return nil, err
		}
		s.inputs[i] = string(name)
	}
	for i := range keys {
		if _, err := io.ReadFull(r, keys[i][:]); err != nil {
			return nil, err
		}
	}
	if _, err := io.CopyN(h, file, s.size-sha256.Size-shape.vectorsAt()); err != nil {
		return nil, err
	}
	trailer := make([]byte, sha256.Size)
	if _, err := io.ReadFull(file, trailer); err != nil {
		return nil, err
	}
	if sum := h.Sum(nil); !bytes.Equal(sum, trailer) || s.name[len(segmentTime)+1:][:16] != hex.EncodeToString(sum[:8]) {
		return nil, fmt.Errorf("%w: its SHA-256 is %x", snapshot.ErrCorrupt, sum)
	}
	return keys, nil
}

func readShape(r io.Reader, space [32]byte, dims int, size int64) (segmentShape, error) {
	var head [segmentHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %d bytes", snapshot.ErrCorrupt, size)
		}
		return segmentShape{}, err
	}
	if string(head[:8]) != segmentMagic {
		return segmentShape{}, fmt.Errorf("%w: no header", snapshot.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v > segmentVersion {
		return segmentShape{}, fmt.Errorf("%w: version %d", snapshot.ErrNewer, v)
	}
	shape := shapeOf(head[:])
	// Sizes are compared before anything is allocated by them: 2^32 rows × 2^32 dims would overflow.
	switch {
	case shape.dims != dims, [32]byte(head[24:]) != space:
		return shape, fmt.Errorf("%w: it is of another embedding", snapshot.ErrCorrupt)
	case shape.inputs > maxInputs, int64(shape.rows) > size/sha256.Size, shape.size() != size:
		return shape, fmt.Errorf("%w: %d bytes for %d rows of %d dims", snapshot.ErrCorrupt, size, shape.rows, shape.dims)
	}
	return shape, nil
}

func shapeOf(head []byte) segmentShape {
	return segmentShape{
		dims:   int(binary.LittleEndian.Uint32(head[12:])),
		rows:   int(binary.LittleEndian.Uint32(head[16:])),
		inputs: int(binary.LittleEndian.Uint32(head[20:])),
	}
}

// writeSegment writes a segment into a temporary file in dir and returns its path, and its entry under the name that
// it is to have. Vector i is asked for after vector i-1 was used.
func writeSegment(dir string, now time.Time, space [32]byte, dims int, inputs []string, keys []Key, vector func(i int) ([]float32, error)) (tmp string, f snapshot.File, err error) {
	out, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return "", snapshot.File{}, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write ledger segment: %w", errors.Join(err, os.Remove(out.Name())))
		}
	}()
	content, whole := sha256.New(), sha256.New() // without the trailer, and with it
	file := bufio.NewWriterSize(io.MultiWriter(out, whole), bufferSize)
	size, err := writeRows(io.MultiWriter(file, content), space, dims, inputs, keys, vector)
	sum := content.Sum(nil)
	if err == nil {
		_, err = file.Write(sum)
	}
	if err = errors.Join(err, file.Flush(), out.Close()); err != nil {
		return "", snapshot.File{}, err
	}
	name := now.UTC().Format(segmentTime) + "-" + hex.EncodeToString(sum[:8]) + ".seg"
	return out.Name(), snapshot.File{Name: name, Size: size + sha256.Size, SHA256: hex.EncodeToString(whole.Sum(nil))}, nil
}

// writeRows writes everything but the trailer.
func writeRows(w io.Writer, space [32]byte, dims int, inputs []string, keys []Key, vector func(int) ([]float32, error)) (int64, error) {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte(segmentMagic), segmentVersion)
	b = le.AppendUint32(b, uint32(dims))
	b = le.AppendUint32(b, uint32(len(keys)))
	b = le.AppendUint32(b, uint32(len(inputs)))
	b = append(b, space[:]...)
	for _, name := range inputs {
		b = append(b, name...)
	}
	for _, key := range keys {
		b = append(b, key[:]...)
	}
	if _, err := w.Write(b); err != nil {
		return 0, err
	}
	size := int64(len(b))
	row := make([]byte, 0, dims*4)
	for i := range keys {
		v, err := vector(i)
		if err != nil {
			return 0, err
		}
		row = row[:0]
		for _, x := range v {
			row = le.AppendUint32(row, math.Float32bits(x))
		}
		if _, err := w.Write(row); err != nil {
			return 0, err
		}
		size += int64(len(row))
	}
	return size, nil
}

// rowsPerSegment is how many rows of these dims stay under segmentCap.
func rowsPerSegment(dims int) int {
	return max(1, (segmentCap-segmentHeader-2*sha256.Size)/(sha256.Size+dims*4))
}
