package vecindex

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	faiss "github.com/blevesearch/go-faiss"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrClosed is returned by every method of an index after its Close.
var ErrClosed = errors.New("index is closed")

// ErrMismatch marks a file that holds another index than its parameters say.
var ErrMismatch = errors.New("index file does not match its parameters")

// Index is a finished index. Its methods may be called from any number of
// goroutines; Close waits for the running ones.
type Index struct {
	n     int
	dims  int
	size  int64
	cores *cores

	mu     sync.RWMutex         // held for reading by every use of what is below
	params snapshot.IndexParams // only Tune changes them, and only EfSearch or NProbe
	ix     *faiss.IndexImpl
	s      searcher
	closed bool
}

// newIndex takes over ix, except when it fails. h is ix's handle.
func newIndex(ix *faiss.IndexImpl, h unsafe.Pointer, p snapshot.IndexParams) (*Index, error) {
	return newIndexOn(oneThread, ix, h, p)
}

// Who makes the 8-bit codes that an index is searched by, where it is.
type coding int

const (
	nobody     coding = 0
	oneThread  coding = 1
	allThreads coding = -1 // of a build
)

// newIndexOn is newIndex, with the codes made like this.
func newIndexOn(by coding, ix *faiss.IndexImpl, h unsafe.Pointer, p snapshot.IndexParams) (*Index, error) {
	if !usesCodes(p, int(ix.Ntotal()), ix.D()) {
		by = nobody
	}
	s, err := newSearcher(h, by)
	if err != nil {
		return nil, err
	}
	x := &Index{params: p, n: int(ix.Ntotal()), dims: ix.D(), ix: ix, s: s, cores: sharedCores()}
	x.size = int64(ix.Size()) + s.bytes() + marks(p, x.n)
	return x, nil
}

// FAISS makes and opens indexes.
type FAISS struct{}

var _ snapshot.Indexes = FAISS{}

// Resolve fills in the defaults, see the function.
func (FAISS) Resolve(kind string, n, dims int) (snapshot.IndexParams, error) {
	return Resolve(kind, n, dims)
}

// NewBuilder starts an index, see the function.
func (FAISS) NewBuilder(p snapshot.IndexParams, dims, n int) (snapshot.Builder, error) {
	b, err := NewBuilder(p, dims, n)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Open reads a file, see the function.
func (FAISS) Open(path string, p snapshot.IndexParams) (snapshot.Index, error) {
	x, err := Open(path, p)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// PredictBytes is what an index will take, see the function.
func (FAISS) PredictBytes(p snapshot.IndexParams, n, dims int) int64 { return PredictBytes(p, n, dims) }

// Open reads a file that WriteFile or another FAISS wrote. p is what it was
// built with; NProbe and EfSearch take effect for this opening.
//
// The file's structure is checked before and after FAISS reads it, so that a
// damaged one is an error and neither a crash nor unbounded memory. Damaged
// vector components cannot be told from others: compare a digest first.
func Open(path string, p snapshot.IndexParams) (*Index, error) {
	return open(path, p, newIndex)
}

// openToReuse is Open for a build that takes the index over: nobody searches it,
// so no codes are made.
func openToReuse(path string, p snapshot.IndexParams) (*Index, error) {
	return open(path, p, func(ix *faiss.IndexImpl, h unsafe.Pointer, p snapshot.IndexParams) (*Index, error) {
		return newIndexOn(nobody, ix, h, p)
	})
}

// wrap makes an Index of a checked FAISS object, as newIndex does.
type wrap func(ix *faiss.IndexImpl, h unsafe.Pointer, p snapshot.IndexParams) (*Index, error)

func open(path string, p snapshot.IndexParams, as wrap) (*Index, error) {
	var ix *faiss.IndexImpl
	err := onThread(func() (err error) {
		ix, err = faiss.ReadIndex(path, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x, err := adopt(ix, p, as)
	if err != nil {
		ix.Close()
		return nil, fmt.Errorf("open index: %w", err)
	}
	return x, nil
}

// adopt makes an Index of what was read; on an error ix is still the caller's.
func adopt(ix *faiss.IndexImpl, p snapshot.IndexParams, as wrap) (*Index, error) {
	if err := checkShape(int(ix.Ntotal()), ix.D()); err != nil {
		return nil, err
	}
	h, err := handle(ix)
	if err != nil {
		return nil, err
	}
	p = withDefaults(p, int(ix.Ntotal()))
	if err := errors.Join(validate(p), matches(h, p)); err != nil {
		return nil, err
	}
	return as(ix, h, p)
}

// matches compares an index with what the parameters say was built.
func matches(h unsafe.Pointer, p snapshot.IndexParams) error {
	if is := kind(h); is != p.Kind {
		return fmt.Errorf("%w: it is of kind %s, not %s", ErrMismatch, is, p.Kind)
	}
	if want := p.NList + p.M; structure(h) != want {
		return fmt.Errorf("%w: %d lists or links, not %d", ErrMismatch, structure(h), want)
	}
	return nil
}

// WriteFile writes a FAISS file. It neither syncs nor renames.
func (x *Index) WriteFile(path string) error {
	return x.use(func() error {
		return onThread(func() error { return faiss.WriteIndex(x.ix, path) })
	})
}

// Vector copies the stored vector of a position into dst, which has Dims
// components.
func (x *Index) Vector(pos int, dst []float32) error {
	if pos < 0 || pos >= x.n {
		return fmt.Errorf("%w: position %d of %d", ErrQuery, pos, x.n)
	}
	if len(dst) != x.dims {
		return fmt.Errorf("%w: destination of %d for %d components", ErrQuery, len(dst), x.dims)
	}
	return x.use(func() error { return x.s.vector(pos, dst) })
}

// Len is the number of vectors, Dims their components.
func (x *Index) Len() int { return x.n }

// Dims is the number of components of a vector.
func (x *Index) Dims() int { return x.dims }

// Params are those the index was built or opened with, and what Tune found.
func (x *Index) Params() snapshot.IndexParams {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.params
}

// SizeBytes is the C heap the index holds.
func (x *Index) SizeBytes() int64 { return x.size }

// Close frees the index after the running calls have returned. Later calls of
// any method, Close included, return ErrClosed.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	x.closed = true
	x.s.free()
	x.ix.Close()
	return nil
}

// use runs f while the index cannot be closed.
func (x *Index) use(f func() error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.closed {
		return ErrClosed
	}
	return f()
}
