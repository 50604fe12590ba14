package sentence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Name and Version are what a snapshot says of its vectors.
	Name    = "use-multilingual-v3"
	Version = "1"

	// Dims is how many components a vector has.
	Dims = 512

	// FileName is what the file of the weights is called in its directory.
	FileName = Name + ".weights"

	fileSize   = 81485056
	fileDigest = "3c947af695a4c5e48f31eea21ea38c2cd552e362346ede6cea8346a28d0175c6"
)

// ErrNotInstalled is wrapped by the error of Open when there is no file of weights.
var ErrNotInstalled = errors.New("the model " + Name + " is not installed (make weights fetches it)")

// Installed tells whether dir has a file of weights, without reading it.
func Installed(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, FileName))
	return err == nil && info.Mode().IsRegular()
}

var (
	mu     sync.Mutex
	opened = map[string]*Model{} // by path
)

// Open maps the weights in dir. The file is read whole once and must have the one digest this package was tested with. A
// process has one mapping of a file, and holds it until its end: vectors may be wanted until then.
func Open(dir string) (*Model, error) {
	path := filepath.Join(dir, FileName)
	mu.Lock()
	defer mu.Unlock()
	m, err := opened[path], error(nil)
	if m == nil {
		if m, err = open(path); err == nil {
			opened[path] = m
		}
	}
	return m, err
}

func open(path string) (*Model, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s", ErrNotInstalled, path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != fileSize {
		return nil, fmt.Errorf("%s has %d bytes, not %d: remove it and run make weights", path, info.Size(), fileSize)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != fileDigest {
		return nil, fmt.Errorf("%s has SHA-256 %s, not %s: remove it and run make weights", path, got, fileDigest)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, fileSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return newModel(data), nil
}

// sections hands out the sections of a file in the order in which tools/weights/pack.py wrote them.
type sections struct{ rest []byte }

// take returns n values. The digest vouches for the file, so that a wrong n is a mistake in this package: it panics.
func take[T uint8 | uint32 | float32](s *sections, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	out := unsafe.Slice((*T)(unsafe.Pointer(&s.rest[:size][0])), n)
	s.rest = s.rest[(size+63)&^63:]
	return out
}

// matrix is a rows x columns matrix of weights in panels of 32 columns.
type matrix struct {
	rows, columns int
	data          []float32
}

func (s *sections) matrix(rows, columns int) matrix {
	return matrix{rows, columns, take[float32](s, rows*columns)}
}

// conv is a convolution of one order: two layers, each with what is added to it.
type conv struct {
	order, left int // how many pieces it sees, and how many of them come before
	w           [2]matrix
	b           [2][]float32
}

// Model is the network with its tokenizer. It may be used by any number of goroutines, each with its own Encoder.
type Model struct {
	tokens *tokenizer

	table     []uint8 // width numbers a piece
	scale, lo []float32

	project            matrix
	projectBias        []float32
	gamma, beta        []float32
	convs              [3]conv
	gammaAll, betaAll  []float32
	mean               matrix
	meanBias           []float32
	d0, d1, p1, d2, p3 matrix
	d3                 matrix
}

const (
	width    = 512 // of a row of the table
	channels = 256 // of a convolution
	features = width + 3*channels
	hidden   = 320
	chunks   = 17     // the table was cut into this many, each with its own scale
	rows     = 128010 // of the table: pieces, and a few without a meaning
)

func newModel(data []byte) *Model {
	s := &sections{data}
	head := take[uint32](s, 6)
	pieces, blob, units, replacements := int(head[2]), int(head[3]), int(head[4]), int(head[5])
	m := &Model{table: take[uint8](s, rows*width), scale: take[float32](s, chunks), lo: take[float32](s, chunks)}
	m.project, m.projectBias = s.matrix(width, 3*channels), take[float32](s, 3*channels)
	m.gamma, m.beta = take[float32](s, 3*channels), take[float32](s, 3*channels)
	for i, c := range []conv{{order: 2, left: 0}, {order: 3, left: 1}, {order: 5, left: 2}} {
		for l := range c.w {
			c.w[l], c.b[l] = s.matrix(c.order*channels, channels), take[float32](s, channels)
		}
		m.convs[i] = c
	}
	m.gammaAll, m.betaAll = take[float32](s, features), take[float32](s, features)
	m.mean, m.meanBias = s.matrix(features, width), take[float32](s, width)
	m.d0, m.d1, m.p1 = s.matrix(width, hidden), s.matrix(hidden, hidden), s.matrix(width, hidden)
	m.d2, m.p3, m.d3 = s.matrix(hidden, width), s.matrix(hidden, Dims), s.matrix(width, Dims)

	offsets, scores := take[uint32](s, pieces+1), take[float32](s, pieces)
	trie, text := take[uint32](s, units), take[uint8](s, blob)
	m.tokens = newTokenizer(offsets, scores, text, trie, take[uint8](s, replacements))
	return m
}
