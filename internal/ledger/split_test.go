package ledger

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// TestLedgerMergeIntoSeveralSegmentsLosesNothingInACrash: the rows of one input may be spread over two new segments,
// so inputs may only go once the last of them is there.
func TestLedgerMergeIntoSeveralSegmentsLosesNothingInACrash(t *testing.T) {
	const segments, rows = 5, 4 // of 4 rows each, merged into segments of 3: seven of them
	e := snapshot.Embedding{Provider: "p", Model: "m", Dims: 2}
	layout := store.NewLayout("p", "")
	for crash := 1; ; crash++ {
		dir, err := store.NewDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		writes, broke := 0, false
		objects := store.Hooked(dir, func(_ context.Context, op, _ string, call func() error) error {
			if op != store.OpPutFile && op != store.OpPut && op != store.OpDelete {
				return call()
			}
			if writes++; writes < segments+crash {
				return call()
			}
			broke = true
			return store.ErrDenied
		})
		open := func(objects store.Objects, most int) *Ledger {
			g, err := Open(t.Context(), objects, layout, t.TempDir(), e, "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { g.Close() })
			g.most = most
			return g
		}
		g := open(objects, 100)
		for s := range segments {
			var keys []Key
			var vectors []float32
			for r := range rows {
				keys = append(keys, Key{byte(s), byte(r)})
				vectors = append(vectors, float32(s), float32(r))
			}
			if err := g.Flush(t.Context(), keys, vectors, 2); err != nil {
				t.Fatal(err)
			}
		}
		g.most = 3
		keep := func(Key) bool { return true }
		if _, err := g.Compact(t.Context(), keep, CompactOptions{}); (err != nil) != broke {
			t.Fatalf("write %d: broke %v, %v", crash, broke, err)
		}
		for pass := range 4 {
			g := open(dir, 3)
			for i := range segments * rows {
				v := make([]float32, 2)
				s, r := i/rows, i%rows
				ok, err := g.Get(Key{byte(s), byte(r)}, v)
				if !ok || err != nil || !slices.Equal(v, []float32{float32(s), float32(r)}) {
					t.Fatalf("write %d, pass %d: vector %d of segment %d: %v %v %v", crash, pass, r, s, v, ok, err)
				}
			}
			time.Sleep(2 * time.Millisecond) // segments are a moment old before what they replace goes
			if _, err := g.Compact(t.Context(), keep, CompactOptions{Grace: time.Millisecond}); err != nil {
				t.Fatal(err)
			}
		}
		if !broke {
			if crash < 7 {
				t.Fatal(fmt.Sprint("only ", crash, " writes"))
			}
			return
		}
	}
}
