package dataset

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// The shape of the cloud. Texts of one domain use few directions of an embedding space: points lie around cluster
// centres in a space of rank dimensions, with noise in all of them.
const (
	rank       = 48
	perCluster = 200  // rows to a cluster
	spread     = 0.55 // of a row around its centre, against centres of standard deviation 1
	noise      = 0.25 // in all dimensions, as a share of a row's length
	blockRows  = 2048 // rows that share a random stream: the unit of parallel work
)

// create writes the files of a set into a fresh directory and renames it into place.
func create(ctx context.Context, dir string, s Shape) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	base, queries, err := Generate(ctx, s)
	if err != nil {
		return err
	}
	truth, err := Exact(ctx, base, queries, s.Dims)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(tmp, "base.f32"), base); err != nil {
		return err
	}
	if err := write(filepath.Join(tmp, "queries.f32"), queries); err != nil {
		return err
	}
	if err := write(filepath.Join(tmp, "truth.i32"), truth); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr == nil {
			return nil // somebody else made the same bytes meanwhile
		}
		return fmt.Errorf("put in place: %w", err)
	}
	return nil
}

// Generate returns the base and the queries of a shape. Queries come from the same cloud but are never in the base.
func Generate(ctx context.Context, s Shape) (base, queries []float32, err error) {
	cloud := newCloud(s)
	base = make([]float32, s.N*s.Dims)
	queries = make([]float32, s.Queries*s.Dims)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	fill := func(rows []float32, stream uint64) {
		for first := 0; first < len(rows)/s.Dims; first += blockRows {
			end := min(first+blockRows, len(rows)/s.Dims)
			g.Go(func() error {
				cloud.fill(rows[first*s.Dims:end*s.Dims], stream+uint64(first))
				return ctx.Err()
			})
		}
	}
	fill(base, 1<<32)
	fill(queries, 1<<48)
	return base, queries, g.Wait()
}

type cloud struct {
	Shape
	basis   []float32 // rank x Dims
	centres []float32 // clusters x rank
}

func newCloud(s Shape) *cloud {
	rng := rand.New(rand.NewPCG(s.Seed, 0))
	c := &cloud{Shape: s, basis: make([]float32, rank*s.Dims), centres: make([]float32, max(s.N/perCluster, 1)*rank)}
	for i := range c.basis {
		c.basis[i] = float32(rng.NormFloat64() / math.Sqrt(float64(s.Dims)))
	}
	for i := range c.centres {
		c.centres[i] = float32(rng.NormFloat64())
	}
	return c
}

func (c *cloud) fill(rows []float32, stream uint64) {
	rng := rand.New(rand.NewPCG(c.Seed, stream))
	var latent [rank]float32
	each := float32(noise * math.Sqrt(rank) / math.Sqrt(float64(c.Dims)))
	for len(rows) > 0 {
		row := rows[:c.Dims]
		rows = rows[c.Dims:]
		centre := c.centres[rng.IntN(len(c.centres)/rank)*rank:]
		for j := range latent {
			latent[j] = centre[j] + spread*float32(rng.NormFloat64())
		}
		for i := range row {
			row[i] = each * float32(rng.NormFloat64())
		}
		for j, l := range latent {
			axis := c.basis[j*c.Dims : (j+1)*c.Dims]
			for i, b := range axis {
				row[i] += l * b
			}
		}
		normalise(row)
	}
}

func normalise(row []float32) {
	var sum float64
	for _, v := range row {
		sum += float64(v) * float64(v)
	}
	scale := float32(1 / math.Sqrt(sum))
	for i := range row {
		row[i] *= scale
	}
}
