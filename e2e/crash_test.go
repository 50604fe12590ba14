package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func soak() bool { return os.Getenv("VECTORSTORE_SOAK") != "" }

// atRisk is how many texts one crash may cost: in flight or not yet flushed.
const atRisk = 2048

// buying makes the indexer embed through a stand-in that counts what it is sent.
func buying(t *testing.T, b *backend, o embedtest.Options) (*embedtest.Server, map[string]string) {
	t.Helper()
	srv := embedtest.Start(t, o)
	return srv, with(b.env, "EMBEDDING_PROVIDER", "openai", "OPENAI_BASE_URL", srv.URL(), "OPENAI_API_KEY", "sk-test",
		"EMBEDDING_DIMENSIONS", "64", "EMBEDDING_MODEL", "text-embedding-3-small")
}

func catalogue(t *testing.T, o vendorstest.Options) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := vendorstest.Write(&buf, o); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestKilledIndexerConvergesAndBuysLittleTwice(t *testing.T) {
	t.Parallel()
	kills := 5
	if soak() {
		kills = 30
	}
	const n = 20_000
	b := s3Backend(t, s3test.Versitygw)
	srv, env := buying(t, b, embedtest.Options{TextsPerSecond: 5000})
	env = with(env, "LEASE_TTL", "5s", "GATE_MAX_REMOVED", "1")
	data := catalogue(t, vendorstest.Options{N: n, Seed: 1})
	b.put(t, b.layout.Source, data)

	rng := rand.New(rand.NewPCG(1, 2))
	for i := range kills {
		ix := harness.StartIndexer(t, env)
		// A successor waits for the dead owner's lease first; then it works for about six seconds.
		time.Sleep(5*time.Second + time.Duration(rng.Int64N(int64(5*time.Second))))
		ix.Kill()
		t.Logf("kill %d: %d texts bought so far, %d different", i+1, srv.Stats().Texts, srv.Stats().DistinctTexts)
		if _, _, err := store.ReadPointer(t.Context(), b.objects, b.layout, ""); err == nil {
			// It had finished: take the index away from under it by a fresh catalogue.
			data = catalogue(t, vendorstest.Options{N: n, Seed: uint64(i + 10)})
			b.put(t, b.layout.Source, data)
		}
	}
	harness.StartIndexer(t, env)
	sha := store.ManifestDigest(data)
	p := b.awaitPointer(t, "the catalogue is promoted", func(p store.Pointer) bool { return p.Source.SHA256 == sha })
	if p.Source.Records != n {
		t.Errorf("promoted %d records of %d", p.Source.Records, n)
	}
	s := srv.Stats()
	again := s.Texts - s.DistinctTexts
	t.Logf("%d kills: %d texts sent, %d different, %d bought again (at most %d allowed)", kills, s.Texts, s.DistinctTexts, again, kills*atRisk)
	if again > kills*atRisk {
		t.Errorf("%d kills cost %d texts again, more than %d each", kills, again, atRisk)
	}
}

func TestTwoIndexersHaveOneLeaderAndPromoteEachGenerationOnce(t *testing.T) {
	t.Parallel()
	lasts := 15 * time.Second
	if soak() {
		lasts = 2 * time.Minute
	}
	b := s3Backend(t, s3test.Versitygw)
	env := with(b.env, "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, revision(0, 40))
	pair := []*harness.Indexer{harness.StartIndexer(t, env), harness.StartIndexer(t, env)}
	rev := 0
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		rev++
		b.put(t, b.layout.Source, revision(rev, 40))
		for tick := time.Now().Add(time.Second); time.Now().Before(tick); time.Sleep(50 * time.Millisecond) {
			leaders := 0.0
			for _, ix := range pair {
				leaders += max(0, metric(t, ix.Admin, "vectorstore_leader"))
			}
			if leaders > 1 {
				t.Fatal("two leaders at one time")
			}
		}
	}
	sha := store.ManifestDigest(revision(rev, 40))
	b.awaitPointer(t, "the last edit is served", func(p store.Pointer) bool { return p.Source.SHA256 == sha })
	promoted := map[string]int{}
	for _, ix := range pair {
		for _, l := range ix.Lines("promoted to current/") {
			promoted[fmt.Sprint(l["generation"])]++
		}
	}
	for g, times := range promoted {
		if times != 1 {
			t.Errorf("generation %s was promoted %d times", g, times)
		}
	}
	t.Logf("%d edits, %d generations", rev, len(promoted))
	if len(promoted) < rev/3 {
		t.Errorf("%d promotions for %d edits", len(promoted), rev)
	}
}

// TestPausedLeaderStepsDownAndChangesNothing: whatever happens after the pause, in however many terms on a machine
// that has no core to spare, nothing that the first leader's term began is promoted or written any more.
func TestPausedLeaderStepsDownAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := s3Backend(t, s3test.Versitygw)
	srv, env := buying(t, b, embedtest.Options{TextsPerSecond: 1500})
	env = with(env, "LEASE_TTL", "5s", "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, revision(0, 40))
	first := harness.StartIndexer(t, env)
	b.awaitPointer(t, "a first snapshot", func(p store.Pointer) bool { return true })

	// Stop it in the middle of a purchase, with requests under way.
	sent := srv.Stats().Texts
	b.put(t, b.layout.Source, catalogue(t, vendorstest.Options{N: 6000, Seed: 3}))
	harness.Eventually(t, "the leader buys", func() error {
		if srv.Stats().Texts < sent+500 {
			return errors.New("not yet")
		}
		return nil
	})
	first.Signal(syscall.SIGSTOP)
	old := readLease(t, b) // nobody but the first wrote it so far
	second := harness.StartIndexer(t, env)
	b.awaitPointer(t, "the second fenced the pointer", func(p store.Pointer) bool { return p.Epoch > old.Epoch })
	first.Signal(syscall.SIGCONT)

	p := b.awaitPointer(t, "the new catalogue is promoted", func(p store.Pointer) bool { return p.Source.Records == 6000 })
	if p.BuiltEpoch <= old.Epoch || p.Epoch <= old.Epoch {
		t.Errorf("promoted under epoch %d, built under %d; the paused leader's was %d", p.Epoch, p.BuiltEpoch, old.Epoch)
	}
	harness.Eventually(t, "the first knows that its term is over", func() error {
		if len(first.Lines("stepped down")) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	for _, l := range append(first.Lines("promoted to current/"), second.Lines("promoted to current/")...) {
		if l["epoch"] == float64(old.Epoch) && l["generation"] != float64(1) {
			t.Errorf("promoted by the term that was paused: %v", l)
		}
	}
	harness.Eventually(t, "the status is of a later term", func() error {
		status, _, err := store.ReadDoc[store.Status](t.Context(), b.objects, b.layout.Status(), store.GetOptions{})
		if err != nil || status.Epoch <= old.Epoch {
			return fmt.Errorf("epoch %d, %v", status.Epoch, err)
		}
		return nil
	})
	if l := readLease(t, b); l.Epoch <= old.Epoch {
		t.Errorf("lease is %+v, was %+v", l, old)
	}
	second.Signal(syscall.SIGTERM)
	if code := second.Wait(t); code != 0 {
		t.Errorf("the second ended with %d", code)
	}
}

func readLease(t *testing.T, b *backend) store.Lease {
	t.Helper()
	var l store.Lease
	if err := json.Unmarshal(b.get(t, b.layout.Lease()), &l); err != nil {
		t.Fatal(err)
	}
	return l
}
