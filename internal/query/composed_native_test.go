//go:build cgo

package query_test

import (
	"context"
	"errors"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// TestCompositionsOfRealIndexesAnswerAsAFullBuildWould: scores to the last bit, whichever file a vector lies in.
func TestCompositionsOfRealIndexesAnswerAsAFullBuildWould(t *testing.T) {
	compositions(t, func() snapshot.Indexes { return vecindex.FAISS{} }, func(path string, dims int, rows []float32) error {
		params, err := vecindex.Resolve("flat", len(rows)/dims, dims)
		if err != nil {
			return err
		}
		b, err := vecindex.NewBuilder(params, dims, len(rows)/dims)
		if err != nil {
			return err
		}
		defer b.Close()
		if err := b.Add(context.Background(), rows); err != nil {
			return err
		}
		x, err := b.Finish(context.Background())
		if err != nil {
			return err
		}
		return errors.Join(x.WriteFile(path), x.Close())
	})
}
