package e2e

import (
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/relevance"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// TestOnePercentChangedBuysAndCostsLittle builds a catalogue through an embedding server of 1,000 texts a second and
// then one in which 1 % changed: exactly those texts are bought, all other rows are carried over from the served index
// (but for flat, which has nothing to carry), and at full size the pass takes a fraction of the full build.
func TestOnePercentChangedBuysAndCostsLittle(t *testing.T) {
	// At CI size a pass is mostly fixed costs, and the machine may be busy with other tests: what is bought and carried
	// counts there.
	const limit = 0.15
	sizes := map[string]int{"flat": 3000, "ivf": 3000, "hnsw": 3000}
	if soak() {
		sizes = map[string]int{"flat": 100_000, "ivf": 100_000, "hnsw": 100_000}
	}
	for kind, n := range sizes {
		t.Run(kind, func(t *testing.T) {
			b := dirBackend(t)
			srv, env := buying(t, b, embedtest.Options{TextsPerSecond: 1000})
			env = with(env, "INDEX_KIND", kind, "EMBEDDING_DIMENSIONS", "256", "VECTORSTORE_LOCAL_DIR", t.TempDir(), "DELTA", "off")
			pass := func(o vendorstest.Options) (bought int, seconds float64) {
				before := srv.Stats().Texts
				b.put(t, b.layout.Source, catalogue(t, o))
				if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
					t.Fatalf("reconcile: exit %d %s", code, stderr)
				}
				return srv.Stats().Texts - before, statusOf(t, b).LastPass.Seconds
			}
			bought, full := pass(vendorstest.Options{N: n, Seed: 5})
			if want := n + len(relevance.OffTopic); bought != want {
				t.Errorf("the full build bought %d texts of %d", bought, want)
			}
			again, incremental := pass(vendorstest.Options{N: n, Seed: 5, Rev: 2, Changed: 0.01})
			p := b.pointer(t)
			t.Logf("%s, %d vendors: full %.1f s, 1 %% changed %.2f s = %.3f of it; %d texts bought for %d changes", kind, n, full, incremental, incremental/full, again, p.Stats.Changed)
			if p.Stats.Changed < n/200 || p.Stats.Changed > n/50 || again != p.Stats.Changed || p.Stats.Embedded != again {
				t.Errorf("%d vendors changed, %d texts were bought, the manifest says %+v", p.Stats.Changed, again, p.Stats)
			}
			carried := 0
			if kind != "flat" {
				carried = n - p.Stats.Changed
			}
			if s := p.Stats; s.Carried != carried || (carried > 0) != (s.ChangedSinceFull == s.Changed) {
				t.Errorf("%d rows were carried over, want %d; the manifest says %+v", s.Carried, carried, s)
			}
			if kind != "flat" && p.Index.EfSearch+p.Index.NProbe == 0 {
				t.Errorf("no ef search in %+v", p.Index)
			}
			if ratio := incremental / full; ratio > limit && soak() {
				t.Errorf("the pass took %.3f of the full build, want at most %v", ratio, limit)
			}
		})
	}
}
