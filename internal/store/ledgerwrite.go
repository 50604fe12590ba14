package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// Flush stores a batch: vectors is row-major, len(keys) × dims. When it returns without an error, the batch is an
// object in the store and readable here. Keys that are there already are left out.
func (g *Ledger) Flush(ctx context.Context, keys []LedgerKey, vectors []float32, dims int) error {
	if dims != g.dims || len(vectors) != len(keys)*dims {
		return fmt.Errorf("flush ledger: %d numbers for %d keys of %d dims, the ledger has %d", len(vectors), len(keys), dims, g.dims)
	}
	for i, x := range vectors {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("flush ledger: vector %d holds %v", i/dims, x)
		}
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	rows := g.missing(keys)
	for len(rows) > 0 {
		part := rows[:min(g.most, len(rows))]
		rows = rows[len(part):]
		partKeys := make([]LedgerKey, len(part))
		for i, row := range part {
			partKeys[i] = keys[row]
		}
		s, err := g.write(ctx, nil, partKeys, func(i int) ([]float32, error) {
			return vectors[part[i]*dims:][:dims], nil
		})
		if err != nil {
			return fmt.Errorf("flush ledger: %w", err)
		}
		g.mu.Lock()
		g.add(s)
		g.mu.Unlock()
	}
	return nil
}

// missing returns the positions of keys that are not in the ledger, each key once.
func (g *Ledger) missing(keys []LedgerKey) []int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var rows []int
	seen := make(map[LedgerKey]bool, len(keys))
	for i, key := range keys {
		if _, ok := g.index[[16]byte(key[:16])]; !ok && !seen[key] {
			seen[key] = true
			rows = append(rows, i)
		}
	}
	return rows
}

// write makes one segment: a local file, then the object, then the local copy under its name. After an error the
// object may exist; it holds nothing wrong, and the next OpenLedger finds it.
func (g *Ledger) write(ctx context.Context, inputs []string, keys []LedgerKey, vector func(int) ([]float32, error)) (opened, error) {
	tmp, f, err := writeSegment(g.dir, time.Now(), g.space, g.dims, inputs, keys, vector)
	if err != nil {
		return opened{}, err
	}
	path := filepath.Join(g.dir, f.Name)
	if _, err := WriteFile(ctx, g.objects, g.prefix+f.Name, tmp, f, PutOptions{IfAbsent: true}); err != nil {
		return opened{}, errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return opened{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return opened{}, err
	}
	g.mu.Lock()
	g.written = append(g.written, g.prefix+f.Name)
	g.mu.Unlock()
	s := &segment{name: f.Name, file: file, rows: len(keys), dims: g.dims, inputs: inputs, size: f.Size}
	return opened{s, keys}, nil
}
