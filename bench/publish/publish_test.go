package publish

import (
	"testing"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

func TestPublishedSnapshotsVerifyAndRaiseTheGeneration(t *testing.T) {
	ctx := t.Context()
	shape := dataset.Shape{Name: "small", N: 500, Dims: 16, Queries: 1, Seed: 3}
	base, _, err := dataset.Generate(ctx, shape)
	if err != nil {
		t.Fatal(err)
	}
	b, err := vecindex.NewBuilder(snapshot.IndexParams{Kind: snapshot.Flat}, shape.Dims, shape.N)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, base); err != nil {
		t.Fatal(err)
	}
	ix, err := b.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	objects, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := store.NewLayout(Prefix, "")
	for generation := int64(1); generation <= 2; generation++ {
		m, err := Snapshot(ctx, objects, ix, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := store.ReadPointer(ctx, objects, l, "")
		if err != nil {
			t.Fatal(err)
		}
		if p.ID != m.ID || p.Generation != generation {
			t.Errorf("pointer says %s, generation %d; want %s, %d", p.ID, p.Generation, m.ID, generation)
		}
		if err := store.VerifySnapshot(ctx, objects, l, p.ID, p.ManifestSHA256, nil); err != nil {
			t.Error(err)
		}
	}
}
