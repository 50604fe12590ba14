package vecindex

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	faiss "github.com/blevesearch/go-faiss"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrBuild marks a build that was used wrongly, such as with too many rows.
var ErrBuild = errors.New("invalid build")

// chunkBytes of vectors are handed to FAISS at a time. A chunk bounds what is
// buffered, how long cancelling takes, and (on the other side) how often FAISS
// allocates its per-call tables of one lock per vector.
const chunkBytes = 16 << 20

// Builder makes an index from rows that arrive in any portions. It is not safe
// for concurrent use, except for Progress.
//
// Peak memory is the index and one chunk. An hnsw build links all rows in
// Finish, on 8-bit codes that take a quarter of the vectors' size. An ivf build,
// which needs a sample of all vectors before it can place the first, holds them
// once more until they are placed. Close a Builder that is not finished: it holds C memory.
type Builder struct {
	params snapshot.IndexParams
	dims   int
	n      int // rows that will come

	ix    *faiss.IndexImpl
	h     unsafe.Pointer
	chunk []float32   // rows not yet handed on, on the C heap
	held  [][]float32 // full chunks of an ivf build, likewise
	got   int         // rows taken
	reuse *reuse      // nil unless an earlier graph is taken over
	lists *lists      // nil unless earlier lists are taken over
	err   error       // sticky: a failed build stays failed

	placed  atomic.Int64
	carried int // rows taken over from an earlier index, known when complete
}

// NewBuilder starts an index of n vectors of dims components. p is completed
// with defaults, so the kind is enough.
func NewBuilder(p snapshot.IndexParams, dims, n int) (*Builder, error) {
	if err := checkShape(n, dims); err != nil {
		return nil, err
	}
	p = withDefaults(p, n)
	if err := validate(p); err != nil {
		return nil, err
	}
	if p.Lists() && n < p.NList {
		return nil, fmt.Errorf("%w: %d vectors for %d lists", ErrParams, n, p.NList)
	}
	ix, h, err := prepared(p, dims, n)
	if err != nil {
		return nil, fmt.Errorf("new index: %w", err)
	}
	return &Builder{params: p, dims: dims, n: n, ix: ix, h: h}, nil
}

// prepared makes an empty index: what the factory string does not say is set,
// and the storage is sized.
func prepared(p snapshot.IndexParams, dims, n int) (ix *faiss.IndexImpl, h unsafe.Pointer, err error) {
	err = onThread(func() (err error) {
		ix, err = faiss.IndexFactory(dims, description(p), faiss.MetricInnerProduct)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if h, err = handle(ix); err == nil {
		err = prepare(ix, h, p, n)
	}
	if err != nil {
		ix.Close()
		return nil, nil, err
	}
	return ix, h, nil
}

func prepare(ix *faiss.IndexImpl, h unsafe.Pointer, p snapshot.IndexParams, n int) error {
	if err := reserve(h, n); err != nil {
		return err
	}
	set := map[string]int{}
	if p.Graph() {
		set = map[string]int{"efConstruction": p.EfConstruction, "efSearch": p.EfSearch}
	}
	if p.Lists() {
		ix.SetNProbe(int32(p.NProbe))
	}
	if p.Kind == snapshot.IVFSQ8 {
		if err := plainCodes(h); err != nil {
			return err
		}
	}
	return onThread(func() error {
		space, err := faiss.NewParameterSpace()
		if err != nil {
			return err
		}
		defer space.Delete()
		for name, v := range set {
			if err := space.SetIndexParameter(ix, name, float64(v)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Add appends unit vectors, row-major. It returns ctx's error between chunks.
// After an error the build is lost.
func (b *Builder) Add(ctx context.Context, rows []float32) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if err := checkRows(rows, b.dims, true); err != nil {
		return b.fail(fmt.Errorf("row %d and on: %w", b.got, err))
	}
	if b.got+len(rows)/b.dims > b.n {
		return b.fail(fmt.Errorf("%w: more than the %d rows announced", ErrBuild, b.n))
	}
	for len(rows) > 0 {
		if err := b.makeRoom(ctx); err != nil {
			return b.fail(err)
		}
		part := rows[:min(len(rows), cap(b.chunk)-len(b.chunk))]
		b.chunk = append(b.chunk, part...)
		rows = rows[len(part):]
		b.got += len(part) / b.dims
	}
	return nil
}

// makeRoom hands a full chunk on and sees that there is one to fill.
func (b *Builder) makeRoom(ctx context.Context) (err error) {
	if len(b.chunk) == cap(b.chunk) {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	if b.chunk == nil {
		b.chunk, err = newBlock(min(max(1, chunkBytes/4/b.dims), b.n-b.got) * b.dims)
	}
	return err
}

// flush hands the chunk on: to FAISS, or to those held until training.
func (b *Builder) flush(ctx context.Context) error {
	if len(b.chunk) == 0 {
		return nil
	}
	if b.params.Lists() {
		b.held = append(b.held, b.chunk)
		b.chunk = nil
		return nil
	}
	if err := b.place(ctx, b.chunk); err != nil {
		return err
	}
	b.chunk = b.chunk[:0]
	return nil
}

// place puts rows into the index. A graph's are only stored; linkAll follows.
func (b *Builder) place(ctx context.Context, rows []float32) error {
	n := len(rows) / b.dims
	if b.params.Graph() {
		if b.reuse != nil {
			if err := b.reuse.confirm(rows, b.dims, b.got-n); err != nil {
				return err
			}
		}
		return appendRows(b.h, rows, n)
	}
	err := sharedCores().building(ctx, func() error {
		return onThread(func() error { return b.ix.Add(rows) })
	})
	if err != nil {
		return err
	}
	b.placed.Add(int64(n))
	return nil
}

// Finish returns the index of the n rows and ends the build. It does most of
// the work of hnsw and ivf, and looks at ctx in between.
func (b *Builder) Finish(ctx context.Context) (*Index, error) {
	if err := b.complete(ctx); err != nil {
		return nil, err
	}
	if err := shrink(b.h); err != nil {
		return nil, b.fail(err)
	}
	x, err := newIndexOn(allThreads, b.ix, b.h, b.params)
	if err != nil {
		return nil, b.fail(err)
	}
	b.ix = nil
	b.err = fmt.Errorf("%w: finished", ErrBuild)
	b.Close()
	return x, nil
}

// WriteFile ends the build by writing its FAISS file, without the structures
// that a search would need. It neither syncs nor renames.
func (b *Builder) WriteFile(ctx context.Context, path string) error {
	if err := b.complete(ctx); err != nil {
		return err
	}
	if err := onThread(func() error { return faiss.WriteIndex(b.ix, path) }); err != nil {
		return b.fail(fmt.Errorf("write index: %w", err))
	}
	b.err = fmt.Errorf("%w: finished", ErrBuild)
	return b.Close()
}

// complete places the last rows.
func (b *Builder) complete(ctx context.Context) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if b.got != b.n {
		return b.fail(fmt.Errorf("%w: %d rows of the %d announced", ErrBuild, b.got, b.n))
	}
	if err := b.flush(ctx); err != nil {
		return b.fail(err)
	}
	var err error
	switch {
	case b.params.Lists():
		err = b.trainAndPlace(ctx)
	case b.params.Graph():
		err = b.linkAll(ctx)
	}
	if err != nil {
		return b.fail(err)
	}
	return nil
}

// linkRows are linked between two looks at ctx: about 0.1 s on two cores.
const linkRows = 2000

// linkAll makes the graph over the stored rows.
func (b *Builder) linkAll(ctx context.Context) error {
	freeBlock(b.chunk)
	b.chunk = nil
	var g graph
	err := sharedCores().building(ctx, func() (err error) {
		g, err = b.linker()
		return err
	})
	if err != nil {
		return err
	}
	defer g.free()
	b.reuse.free() // the links are copied
	size := g.size()
	for from := 0; from < size; from += linkRows {
		to := min(from+linkRows, size)
		if err := sharedCores().building(ctx, func() error { return g.insert(from, to) }); err != nil {
			return err
		}
		b.placed.Store(int64(b.n - size + to))
	}
	b.placed.Store(int64(b.n))
	if b.params.Codes() {
		return b.quantize()
	}
	return nil
}

// quantize replaces the linked index by one over codes.
func (b *Builder) quantize() error {
	var codes *faiss.IndexImpl
	err := onThread(func() (err error) {
		description := fmt.Sprintf("HNSW%d,SQ8", b.params.M)
		codes, err = faiss.IndexFactory(b.dims, description, faiss.MetricInnerProduct)
		return err
	})
	if err != nil {
		return err
	}
	h, err := handle(codes)
	if err == nil {
		err = quantizeGraph(b.h, h)
	}
	if err != nil {
		codes.Close()
		return err
	}
	b.ix.Close()
	b.ix, b.h = codes, h
	return nil
}

// Built says, after the build, what to open the file with, and how many rows
// were taken over from an earlier index; 0 says that everything was made anew.
// The parameters differ from NewBuilder's only where earlier lists were taken over.
func (b *Builder) Built() (p snapshot.IndexParams, carried int) { return b.params, b.carried }

// Progress is how many rows the index holds of how many will come.
func (b *Builder) Progress() (placed, total int) { return int(b.placed.Load()), b.n }

// Close drops an unfinished build. It may be called at any time, also twice.
func (b *Builder) Close() error {
	if b.ix != nil {
		b.ix.Close()
		b.ix = nil
	}
	b.lists.free()
	b.reuse.free()
	b.lists, b.reuse = nil, nil
	freeBlock(b.chunk)
	for _, rows := range b.held {
		freeBlock(rows)
	}
	b.chunk, b.held = nil, nil
	if b.err == nil {
		b.err = ErrClosed
	}
	return nil
}

func (b *Builder) usable(ctx context.Context) error {
	if b.err != nil {
		return b.err
	}
	return ctx.Err()
}

func (b *Builder) fail(err error) error {
	b.err = err
	b.Close()
	return err
}
