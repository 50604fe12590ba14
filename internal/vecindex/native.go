package vecindex

/*
#cgo LDFLAGS: -lfaiss_c
#include <stdlib.h>
#include <faiss/c_api/error_c.h>
#include <vectorstore/native.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	faiss "github.com/blevesearch/go-faiss"
)

// ErrNative marks a failure inside the native library, such as no memory.
var ErrNative = errors.New("native library")

// Version is the version of the FAISS library linked in.
func Version() string { return C.GoString(C.vs_faiss_version()) }

// SIMD names the distance kernels in use: "avx512", "avx2" or "baseline". The
// environment variable VECTORSTORE_SIMD chooses among those the CPU has.
func SIMD() string { return C.GoString(C.vs_simd()) }

// ReleaseMemory returns freed C heap to the system. Call it after closing a
// large index: glibc keeps freed memory otherwise.
func ReleaseMemory() { C.vs_release_memory() }

// Pause is called now and then during a long work on a thread of the lowest
// priority (nice 19) in a process of a higher one: it sleeps, so that the thread
// works a third of the time. Open does so itself. Elsewhere it returns at once.
func Pause() { C.vs_pause() }

// onThread runs a call of the FAISS binding so that its error text, which the
// binding fetches in a second call, comes from the thread that failed.
func onThread(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := f(); err != nil {
		return fmt.Errorf("%w: %w", ErrNative, err)
	}
	return nil
}

// native turns a return code into an error. f runs on one OS thread.
func native(f func() C.int) error {
	return onThread(func() error {
		if f() != 0 {
			return errors.New(C.GoString(C.faiss_get_last_error()))
		}
		return nil
	})
}

var lastToken atomic.Uint64

// handle is the C++ object behind a binding's index. The binding keeps it
// private; publishing it under a token is the shim's way out (see handle.h).
func handle(ix faiss.Index) (unsafe.Pointer, error) {
	token := lastToken.Add(1)
	var h unsafe.Pointer
	err := onThread(func() error {
		space, err := faiss.NewParameterSpace()
		if err != nil {
			return err
		}
		defer space.Delete()
		return space.SetIndexParameter(ix, "vectorstore_handle", float64(token))
	})
	if err != nil {
		return nil, err
	}
	if h = C.vs_take_handle(C.uint64_t(token)); h == nil {
		return nil, fmt.Errorf("%w: no handle", ErrNative)
	}
	return h, nil
}

// kind and structure are what an index really is: its kind, and its
// number of lists or links.
func kind(h unsafe.Pointer) string   { return C.GoString(C.vs_kind(h)) }
func structure(h unsafe.Pointer) int { return int(C.vs_structure(h)) }

func reserve(h unsafe.Pointer, n int) error {
	return native(func() C.int { return C.vs_reserve(h, C.int64_t(n)) })
}

func shrink(h unsafe.Pointer) error {
	return native(func() C.int { return C.vs_shrink(h) })
}

// appendRows stores rows of a graph that will be linked later.
func appendRows(h unsafe.Pointer, rows []float32, n int) error {
	return native(func() C.int { return C.vs_append(h, C.int64_t(n), fptr(rows)) })
}

// graph links the stored rows.
type graph struct {
	c *C.vs_graph
}

func newGraph(h unsafe.Pointer) (graph, error) {
	var g graph
	err := native(func() C.int { return C.vs_graph_new(h, &g.c) })
	return g, err
}

// carryGraph keeps the links among vectors that old has too.
func carryGraph(h, old unsafe.Pointer, from []int64) (graph, error) {
	var g graph
	err := native(func() C.int { return C.vs_graph_carry(h, old, iptr(from), &g.c) })
	return g, err
}

// size is how many vectors are to be inserted.
func (g graph) size() int { return int(C.vs_graph_size(g.c)) }

func (g graph) insert(from, to int) error {
	return native(func() C.int { return C.vs_graph_insert(g.c, C.int64_t(from), C.int64_t(to)) })
}

func (g graph) free() { C.vs_graph_free(g.c) }

// dropVectors frees the vectors of a graph; carryGraph can still read its links.
func dropVectors(h unsafe.Pointer) error {
	return native(func() C.int { return C.vs_drop_vectors(h) })
}

// takeLists gives untrained, empty lists the centroids of trained ones.
func takeLists(h, old unsafe.Pointer) error {
	return native(func() C.int { return C.vs_take_lists(h, old) })
}

// listsFit is the mean inner product of rows with their nearest centroid.
func listsFit(h unsafe.Pointer, rows []float32, n int) (float64, error) {
	var mean C.double
	err := native(func() C.int { return C.vs_lists_fit(h, C.int64_t(n), fptr(rows), &mean) })
	return float64(mean), err
}

// plainCodes makes lists encode vectors instead of residuals: codes can then be
// scored without regard to their list.
func plainCodes(h unsafe.Pointer) error {
	return native(func() C.int { return C.vs_plain_codes(h) })
}

// codeRange sets what trained, empty lists of codes encode: the least components
// and the widths above them.
func codeRange(h unsafe.Pointer, low, width []float32) error {
	return native(func() C.int { return C.vs_code_range(h, fptr(low), fptr(width)) })
}

// quantizeGraph moves a finished graph to an empty index over codes.
func quantizeGraph(floats, codes unsafe.Pointer) error {
	return native(func() C.int { return C.vs_quantize_graph(floats, codes) })
}

// newBlock is room for n numbers on the C heap, where freeing takes effect at
// once: the garbage collector would hold a build's rows long after their use.
func newBlock(n int) ([]float32, error) {
	p := C.malloc(C.size_t(n) * C.sizeof_float)
	if p == nil {
		return nil, fmt.Errorf("%w: out of memory", ErrNative)
	}
	return unsafe.Slice((*float32)(p), n)[:0], nil
}

// freeBlock frees what newBlock made; nil is allowed.
func freeBlock(b []float32) { C.free(unsafe.Pointer(unsafe.SliceData(b))) }

// searcher is the native view of a finished index.
type searcher struct {
	c *C.vs_searcher
}

// newSearcher makes 8-bit codes for walking and scanning, unless nobody does.
func newSearcher(h unsafe.Pointer, by coding) (searcher, error) {
	var s searcher
	err := native(func() C.int { return C.vs_searcher_new(h, C.int(by), &s.c) })
	return s, err
}

func (s searcher) free() { C.vs_searcher_free(s.c) }

func (s searcher) bytes() int64 { return int64(C.vs_searcher_bytes(s.c)) }

// hits is the result of nq queries: nq*k entries, best first in each.
type hits struct {
	pos    []int64
	scores []float32
}

func newHits(n int) hits { return hits{make([]int64, n), make([]float32, n)} }

func (h hits) slice(from, to int) hits { return hits{h.pos[from:to], h.scores[from:to]} }

// Search calls do not lock the thread: with checked arguments they fail only
// for lack of memory, and then the text matters little.
func searchError(rc C.int) error {
	if rc != 0 {
		return fmt.Errorf("%w: search failed with code %d", ErrNative, int(rc))
	}
	return nil
}

// scan is an exhaustive search in parts.
type scan struct {
	c       *C.vs_scan_state
	queries []float32
	nq, k   int
}

// scan begins one; end ends it.
func (s searcher) scan(queries []float32, nq, k int) (scan, error) {
	sc := scan{queries: queries, nq: nq, k: k}
	err := searchError(C.vs_scan_begin(s.c, C.int64_t(nq), fptr(queries), &sc.c))
	return sc, err
}

func (s scan) end() { C.vs_scan_end(s.c) }

// part searches the positions [begin, end).
func (s scan) part(begin, end int, out hits) error {
	return searchError(C.vs_scan(s.c, C.int64_t(s.nq), fptr(s.queries), C.int64_t(s.k),
		C.int64_t(begin), C.int64_t(end), fptr(out.scores), iptr(out.pos)))
}

// scanWork is what a scan by codes has done, in vectors times queries.
type scanWork struct {
	coded  int // looked at by code
	chosen int // of these kept, for some time at least
	single int // of these scored by their floats, wherever they lie
	plain  int // scored by their floats in order
}

func (s scan) work() scanWork {
	w := C.vs_scan_done(s.c)
	return scanWork{coded: int(w.coded), chosen: int(w.chosen), single: int(w.single), plain: int(w.plain)}
}

// scanSelected searches the given positions exhaustively.
func (s searcher) scanSelected(queries []float32, nq, k int, selected []uint32, out hits) error {
	var first *C.uint32_t
	if len(selected) > 0 {
		first = (*C.uint32_t)(unsafe.Pointer(&selected[0]))
	}
	return searchError(C.vs_scan_selected(s.c, C.int64_t(nq), fptr(queries), C.int64_t(k),
		first, C.size_t(len(selected)), fptr(out.scores), iptr(out.pos)))
}

// search runs the graph or list search. complete is false when a query would
// have needed more than budget distances (0 = no bound).
func (s searcher) search(queries []float32, nq, k, ef int, f filter, budget int, out hits) (complete bool, err error) {
	var words *C.uint64_t
	if len(f.words) > 0 {
		words = (*C.uint64_t)(unsafe.Pointer(&f.words[0]))
	}
	rc := C.vs_search(s.c, C.int64_t(nq), fptr(queries), C.int64_t(k), C.int64_t(ef),
		words, C.size_t(len(f.words)), C.int64_t(f.count), C.int64_t(budget),
		fptr(out.scores), iptr(out.pos))
	if rc == 1 {
		return false, nil
	}
	return true, searchError(rc)
}

func (s searcher) vector(pos int, dst []float32) error {
	return searchError(C.vs_vector(s.c, C.int64_t(pos), fptr(dst)))
}

func fptr(s []float32) *C.float { return (*C.float)(unsafe.Pointer(&s[0])) }
func iptr(s []int64) *C.int64_t { return (*C.int64_t)(unsafe.Pointer(&s[0])) }
