package vecindex

import (
	"errors"
	"fmt"
	"math"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrParams marks parameters that no index can be made with.
var ErrParams = errors.New("invalid index parameters")

// Bounds of what an index may be. Positions are 31 bits in FAISS's graph.
const (
	MaxDims    = 1 << 16
	MaxVectors = math.MaxInt32
	// MaxK bounds one search: k hits of 12 bytes for each query.
	MaxK = 1 << 16

	maxLists = 1 << 20
	minLinks = 4
	maxLinks = 512
	maxBeam  = 1 << 16
)

// flatBytes is where a scan stops being the best choice: above it "auto" takes
// hnsw. The measurements are in BENCHMARKS.md.
const flatBytes = 32 << 20

// Resolve fills in the defaults for n vectors of dims components. kind is
// "auto" or one of the kinds; "auto" is flat up to 32 MB of vectors, where
// a scan takes about a millisecond and finds everything, and hnsw above.
func Resolve(kind string, n, dims int) (snapshot.IndexParams, error) {
	if err := checkShape(n, dims); err != nil {
		return snapshot.IndexParams{}, err
	}
	if kind == snapshot.Auto || kind == "" {
		kind = snapshot.HNSW
		if int64(n)*int64(dims)*4 <= flatBytes {
			kind = snapshot.Flat
		}
	}
	p := withDefaults(snapshot.IndexParams{Kind: kind}, n)
	return p, validate(p)
}

// withDefaults replaces zeros.
func withDefaults(p snapshot.IndexParams, n int) snapshot.IndexParams {
	switch {
	case p.Lists():
		if p.NList == 0 {
			// FAISS wants 39 training vectors a list at least.
			p.NList = max(1, min(int(4*math.Sqrt(float64(n))), n/39, maxLists))
		}
		if p.NProbe == 0 {
			p.NProbe = min(p.NList, max(24, p.NList/8))
		}
	case p.Graph():
		if p.M == 0 {
			p.M = 32
		}
		if p.EfConstruction == 0 {
			p.EfConstruction = 64
		}
		if p.EfSearch == 0 {
			p.EfSearch = 96
		}
	}
	return p
}

func validate(p snapshot.IndexParams) error {
	inRange := func(name string, v, lo, hi int) error {
		if v < lo || v > hi {
			return fmt.Errorf("%w: %s is %d, must be %d to %d", ErrParams, name, v, lo, hi)
		}
		return nil
	}
	switch {
	case p.Kind == snapshot.Flat:
		return nil
	case p.Lists():
		return errors.Join(
			inRange("nlist", p.NList, 1, maxLists),
			inRange("nprobe", p.NProbe, 1, p.NList))
	case p.Graph():
		return errors.Join(
			inRange("m", p.M, minLinks, maxLinks),
			inRange("ef_construction", p.EfConstruction, 1, maxBeam),
			inRange("ef_search", p.EfSearch, 1, maxBeam))
	default:
		return fmt.Errorf("%w: unknown kind %q", ErrParams, p.Kind)
	}
}

func checkShape(n, dims int) error {
	if dims < 1 || dims > MaxDims {
		return fmt.Errorf("%w: %d dimensions, must be 1 to %d", ErrParams, dims, MaxDims)
	}
	if n < 1 || n > MaxVectors {
		return fmt.Errorf("%w: %d vectors, must be 1 to %d", ErrParams, n, MaxVectors)
	}
	return nil
}

// description is the FAISS factory string to build with. A graph is linked over
// floats also when codes will be stored.
func description(p snapshot.IndexParams) string {
	switch p.Kind {
	case snapshot.IVF:
		return fmt.Sprintf("IVF%d,Flat", p.NList)
	case snapshot.IVFSQ8:
		return fmt.Sprintf("IVF%d,SQ8", p.NList)
	case snapshot.HNSW, snapshot.HNSWSQ8:
		return fmt.Sprintf("HNSW%d,Flat", p.M)
	default:
		return "Flat"
	}
}
