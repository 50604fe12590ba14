package serve

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Words and filters come from the snapshot; where it has none, or some that this release does not know, the replica
// makes them from the records. Nobody sees a difference in the answers.
func TestWordsAndFiltersAreMappedOrMade(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w *world)
		made   int32
	}{
		"mapped":                       {func(*world) {}, 0},
		"of an older release":          {func(w *world) { w.plain = true }, 1},
		"of another version":           {func(w *world) { w.spoil = raiseVersion }, 1},
		"of a release with other ones": {func(w *world) { w.spoil = func(a [][]byte) [][]byte { return a[:2] } }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.change(w)
			p := w.publish(catalogue())
			var made atomic.Int32
			r := w.start(t, func(d *Deps, _ *Config) {
				build := d.BuildLexical
				d.BuildLexical = func(n int, words func(i int) (snapshot.Words, error)) (Lexical, error) {
					made.Add(1)
					return build(n, words)
				}
			})
			r.serving(p.ID)
			if got := made.Load(); got != tt.made {
				t.Errorf("words were indexed %d times, want %d", got, tt.made)
			}
			byWords := r.search(`{"query":"会計","mode":"lexical"}`)
			if len(byWords.Results) == 0 {
				t.Error("nothing found by words")
			}
			filtered := r.search(`{"filter":{"type":["SaaS"]},"k":100}`)
			if len(filtered.Results) == 0 || len(filtered.Results) >= len(catalogue()) {
				t.Errorf("the filter finds %d of %d", len(filtered.Results), len(catalogue()))
			}
		})
	}
}

func raiseVersion(arrays [][]byte) [][]byte {
	out := slices.Clone(arrays)
	out[0] = slices.Clone(out[0])
	out[0][0]++
	return out
}
