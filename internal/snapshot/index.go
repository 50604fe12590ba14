package snapshot

import (
	"context"

	"github.com/RoaringBitmap/roaring/v2"
)

// The kinds of index, and the name that lets Indexes.Resolve choose one.
const (
	Auto = "auto"
	Flat = "flat"
	IVF  = "ivf"
	HNSW = "hnsw"
	// The same with a byte per component instead of a float: a quarter of the
	// memory, scores within about 0.001.
	IVFSQ8  = "ivf-sq8"
	HNSWSQ8 = "hnsw-sq8"
)

// IndexParams say how an index is built and searched: what Spec.IndexKind was resolved to for this catalogue. The same
// vectors under the same IndexParams make an equivalent index. Fields that the kind does not use are zero.
type IndexParams struct {
	Kind string `json:"kind"`
	// NList is the number of inverted lists, NProbe how many a query visits.
	NList  int `json:"nlist,omitempty"`
	NProbe int `json:"nprobe,omitempty"`
	// M is the number of links of a vector in the graph (2M on the ground
	// level), EfConstruction and EfSearch the beam widths.
	M              int `json:"m,omitempty"`
	EfConstruction int `json:"ef_construction,omitempty"`
	EfSearch       int `json:"ef_search,omitempty"`
}

// Lists and Graph say how the kind searches.
func (p IndexParams) Lists() bool { return p.Kind == IVF || p.Kind == IVFSQ8 }
func (p IndexParams) Graph() bool { return p.Kind == HNSW || p.Kind == HNSWSQ8 }

// Codes says whether the kind stores codes of a byte per component.
func (p IndexParams) Codes() bool { return p.Kind == IVFSQ8 || p.Kind == HNSWSQ8 }

// Indexes makes and opens vector indexes.
type Indexes interface {
	// Resolve turns an asked-for kind ("auto" included) into parameters for n rows of dims.
	Resolve(kind string, n, dims int) (IndexParams, error)
	// NewBuilder starts an index that will receive n rows. The caller closes the Builder.
	NewBuilder(p IndexParams, dims, n int) (Builder, error)
	// Open reads an index file whose digest was checked. The caller closes the Index.
	Open(path string, p IndexParams) (Index, error)
	// PredictBytes is the memory that an opened index of n rows will take.
	PredictBytes(p IndexParams, n, dims int) int64
}

// Builder takes unit vectors in order of their positions, any number per call, in bounded memory.
type Builder interface {
	// Reuse lets the build take over what it has in common with the earlier index in the file at path, which is read
	// here only. from[i] is where row i was there, -1 for a new row, and only a hint. Before the first Add; after an
	// error the build goes on without.
	Reuse(path string, p IndexParams, from []int64) error
	Add(ctx context.Context, rows []float32) error
	// WriteFile finishes the index and writes it where Indexes.Open can read it.
	WriteFile(ctx context.Context, path string) error
	// Built says, after WriteFile, what to open the file with, and how many rows were taken over from the earlier
	// index: 0 when all was made anew.
	Built() (p IndexParams, carried int)
	// Close frees the builder, finished or not.
	Close() error
}

// Index is an opened vector index over positions 0..Len()-1. Safe for concurrent use until Close, which is called once,
// after the last use.
type Index interface {
	// Search returns len(queries)/Dims() rows of k positions and inner products, best first, row-major; position -1
	// means none. A nil allow allows all; otherwise min(k, |allow|) results are found.
	Search(queries []float32, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, err error)
	// Exact is Search by a scan of every stored vector, whatever the kind of index.
	Exact(queries []float32, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, err error)
	// Tune measures how wide a search must be for a recall@10 of target on the queries, and returns the parameters
	// and the recall that was reached. Search is as wide from then on.
	Tune(target float64, queries []float32) (IndexParams, float64, error)
	// Vector copies the stored vector at pos into dst, which has Dims() elements.
	Vector(pos int, dst []float32) error
	Len() int
	Dims() int
	// SizeBytes is the memory outside Go's heap that the index holds.
	SizeBytes() int64
	Close() error
}
