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
	env = with(env, "LEASE_TTL", "2s", "GATE_MAX_REMOVED", "1")
	data := catalogue(t, vendorstest.Options{N: n, Seed: 1})
	b.put(t, b.layout.Source, data)

	rng := rand.New(rand.NewPCG(1, 2))
	for i := range kills {
		ix := harness.StartIndexer(t, env)
		// A successor waits for the dead owner's lease first; then it works for about six seconds.
		time.Sleep(2*time.Second + time.Duration(rng.Int64N(int64(5*time.Second))))
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

func TestPausedLeaderStepsDownAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := s3Backend(t, s3test.Versitygw)
	srv, env := buying(t, b, embedtest.Options{TextsPerSecond: 1500})
	env = with(env, "LEASE_TTL", "2s", "GATE_MAX_REMOVED", "1")
	b.put(t, b.layout.Source, revision(0, 40))
	first := harness.StartIndexer(t, env)
	b.awaitPointer(t, "a first snapshot", func(p store.Pointer) bool { return true })
	before := readLease(t, b)

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
	second := harness.StartIndexer(t, env)
	taken := harnessLease(t, b, "the second takes over", func(l store.Lease) bool { return l.Epoch > before.Epoch })
	b.awaitPointer(t, "the second fenced the pointer", func(p store.Pointer) bool { return p.Epoch == taken.Epoch })
	first.Signal(syscall.SIGCONT)

	p := b.awaitPointer(t, "the second promotes", func(p store.Pointer) bool { return p.Source.Records == 6000 })
	if p.Epoch != taken.Epoch || p.BuiltEpoch != taken.Epoch {
		t.Errorf("promoted under epoch %d, built under %d; the leader's is %d", p.Epoch, p.BuiltEpoch, taken.Epoch)
	}
	harness.Eventually(t, "the first knows that it does not lead", func() error {
		if v := metric(t, first.Admin, "vectorstore_leader"); v != 0 {
			return fmt.Errorf("vectorstore_leader is %v", v)
		}
		return nil
	})
	if l := readLease(t, b); l.Epoch != taken.Epoch || l.Owner != taken.Owner {
		t.Errorf("lease is %+v, was taken as %+v", l, taken)
	}
	harness.Eventually(t, "the status is the second's", func() error {
		status, _, err := store.ReadDoc[store.Status](t.Context(), b.objects, b.layout.Status(), store.GetOptions{})
		if err != nil || status.Epoch != taken.Epoch || status.Owner != taken.Owner {
			return fmt.Errorf("epoch %d, owner %s, %v", status.Epoch, status.Owner, err)
		}
		return nil
	})
	if gc, _, err := store.ReadDoc[store.GC](t.Context(), b.objects, b.layout.GC(), store.GetOptions{}); err == nil && gc.Epoch > taken.Epoch {
		t.Errorf("gc.json is of epoch %d", gc.Epoch)
	}
	if n := len(first.Lines("promoted to current/")); n != 1 {
		t.Errorf("the paused leader promoted %d times, want only the first snapshot", n)
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

func harnessLease(t *testing.T, b *backend, what string, ok func(store.Lease) bool) store.Lease {
	t.Helper()
	var l store.Lease
	harness.Eventually(t, what, func() error {
		if l = readLease(t, b); !ok(l) {
			return fmt.Errorf("lease is %+v", l)
		}
		return nil
	})
	return l
}
