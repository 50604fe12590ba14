package reconcile_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts an indexer in the bubble and returns how to stop it.
func (r *rig) run() (x *reconcile.Reconciler, stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	x = r.indexer()
	go func() { done <- x.Run(ctx) }()
	return x, func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func TestLoopRunsAtOnceAndFollowsTheCatalogueWithinAResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Second)
		first := r.pointer().ID
		r.catalogue(0, 4, "a")
		time.Sleep(r.cfg.ResyncInterval*11/10 + time.Second)
		if r.pointer().ID == first {
			t.Error("the edit was not promoted within a resync")
		}
	})
}

func TestFailedBuildBacksOffUntilItsInputsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var tries atomic.Int64
		var up atomic.Bool
		r.embed.Before = func(context.Context, []string) error {
			if up.Load() {
				return nil
			}
			tries.Add(1)
			return errors.New("provider is down")
		}
		r.catalogue(0, 3, "a")
		_, stop := r.run()
		defer stop()
		time.Sleep(20 * time.Minute)
		// At 0, 30 s, 90 s, 210 s, 450 s, 930 s and then every 10 min: six or, with jitter, seven.
		if n := tries.Load(); n < 5 || n > 8 {
			t.Errorf("%d tries in 20 minutes", n)
		}
		r.condition(reconcile.Built, reconcile.False, "EmbeddingFailed")
		up.Store(true)
		r.catalogue(0, 4, "a")
		time.Sleep(r.cfg.ResyncInterval*11/10 + time.Second)
		if r.pointer().Source.Records != 4 {
			t.Error("a new catalogue waited for the old one's backoff")
		}
	})
}

func TestBadCatalogueIsParsedOnceAndStillWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.put(r.layout.Source, []byte(`{"vendors": [`))
		x, stop := r.run()
		defer stop()
		time.Sleep(5 * time.Minute)
		if n := strings.Count(r.logs.String(), `"result":"failed"`); n < 5 {
			t.Errorf("%d passes in 5 minutes", n)
		}
		if s := x.Status(); len(s.Conditions) == 0 || s.LastPass.Result != reconcile.ResultFailed {
			t.Errorf("status %+v", s.LastPass)
		}
		r.catalogue(0, 3, "a")
		time.Sleep(r.cfg.ResyncInterval*11/10 + time.Second)
		if r.pointer().Source.Records != 3 {
			t.Error("the repair was not noticed")
		}
	})
}

func TestLongBuildSurvivesRenewalsThatStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 5, "a")
		builds := 0
		r.embed.Before = func(ctx context.Context, _ []string) error {
			builds++
			select {
			case <-time.After(10 * time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		puts := 0 // only the leader's renewals write lease.json
		r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
			err := call()
			if op == store.OpPut && key == r.layout.Lease() {
				if puts++; puts%3 != 1 { // two of three answers are lost
					<-ctx.Done()
					return ctx.Err()
				}
			}
			return err
		})
		_, stop := r.run()
		time.Sleep(11 * time.Minute)
		stop()
		if builds != 1 || r.pointer().Epoch != 1 || puts < 20 {
			t.Errorf("%d builds, epoch %d after %d renewals; nobody else wanted the lease", builds, r.pointer().Epoch, puts)
		}
	})
}

func TestFollowerTakesOverAtOnceAfterARelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		_, stopA := r.run()
		time.Sleep(time.Second)
		r.cfg.Dir = tempDir(t)
		b, stopB := r.run()
		defer stopB()
		time.Sleep(time.Minute)
		if c := b.Status().Conditions; len(c) != 1 || c[0].Type != reconcile.Leader || c[0].Status != reconcile.False {
			t.Errorf("follower says %+v", c)
		}
		stopA()
		time.Sleep(r.cfg.LeaseTTL/3*11/10 + time.Second)
		if p := r.pointer(); p.Epoch != 2 || p.Generation != 1 {
			t.Errorf("epoch %d generation %d after the takeover", p.Epoch, p.Generation)
		}
	})
}

func TestOnceGivesUpWhileAnotherLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.catalogue(0, 3, "a")
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Second)
		r.cfg.Dir = tempDir(t)
		began := time.Now()
		out := r.once()
		r.want(out, reconcile.ResultFollower, reconcile.ExitConflict)
		if took := time.Since(began); took < 2*r.cfg.LeaseTTL || took > 3*r.cfg.LeaseTTL {
			t.Errorf("gave up after %s", took)
		}
	})
}

func TestOutageOfTheStoreIsSatOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var down atomic.Bool
		r.objects = store.Hooked(r.mem, func(ctx context.Context, op, key string, call func() error) error {
			if down.Load() {
				return io.ErrUnexpectedEOF
			}
			return call()
		})
		r.catalogue(0, 3, "a")
		_, stop := r.run()
		time.Sleep(time.Second)
		down.Store(true)
		r.catalogue(0, 5, "a")
		time.Sleep(2 * time.Minute)
		down.Store(false)
		time.Sleep(time.Minute)
		if p := r.pointer(); p.Source.Records != 5 || p.Epoch < 2 {
			t.Errorf("%d records, epoch %d", p.Source.Records, p.Epoch)
		}
		stop()
	})
}

func TestMetricsArePresentFromTheStartAndWellNamed(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	problems, err := testutil.GatherAndLint(r.reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	want := map[string]bool{
		"reconcile_total": true, "reconcile_duration_seconds": true, "reconcile_last_success_timestamp_seconds": true,
		"leader": true, "source_records": true, "embeddings_total": true, "embedding_tokens_total": true,
		"embedding_retries_total": true, "snapshot_vectors": true, "snapshot_bytes": true, "promotions_total": true,
		"gate_held": true, "snapshots_retained": true, "replicas": true,
	}
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		delete(want, strings.TrimPrefix(f.GetName(), "vectorstore_"))
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestConfigNamesTheSettingAtFault(t *testing.T) {
	for variable, change := range map[string]func(*reconcile.Config){
		"RESYNC_INTERVAL":       func(c *reconcile.Config) { c.ResyncInterval = 0 },
		"LEASE_TTL":             func(c *reconcile.Config) { c.LeaseTTL = 4 * time.Second },
		"RETAIN_SNAPSHOTS":      func(c *reconcile.Config) { c.RetainSnapshots = 21 },
		"RETAIN_GRACE":          func(c *reconcile.Config) { c.RetainGrace = -1 },
		"GATE_MAX_REMOVED":      func(c *reconcile.Config) { c.GateMaxRemoved = 1.5 },
		"GATE_MIN_RECALL":       func(c *reconcile.Config) { c.GateMinRecall = -1 },
		"MAX_EMBED_TOKENS":      func(c *reconcile.Config) { c.MaxEmbedTokens = -1 },
		"EMBEDDING_DIMENSIONS":  func(c *reconcile.Config) { c.Embedding.Dims = 0 },
		"INDEX_KIND":            func(c *reconcile.Config) { c.IndexKind = "" },
		"VECTORSTORE_LOCAL_DIR": func(c *reconcile.Config) { c.Dir = "" },
	} {
		r := newRig(t)
		change(&r.cfg)
		if err := r.cfg.Validate(); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func TestStoreThatIgnoresConditionsIsRefused(t *testing.T) {
	r := newRig(t)
	r.objects = careless{r.mem}
	r.catalogue(0, 3, "a")
	if err := r.indexer().Run(t.Context()); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("run: %v", err)
	}
}

// careless drops every condition.
type careless struct{ store.Objects }

func (c careless) Put(ctx context.Context, key string, data []byte, o store.PutOptions) (store.Info, error) {
	return c.Objects.Put(ctx, key, data, store.PutOptions{Metadata: o.Metadata})
}

// slowList hides keys from listings for a while after they were written; the self-test is not shown it.
type slowList struct {
	store.Objects
	lag   time.Duration
	probe string
}

func (s slowList) List(ctx context.Context, prefix string, each func(store.Info) error) error {
	return s.Objects.List(ctx, prefix, func(i store.Info) error {
		if i.Age() < s.lag && !strings.HasPrefix(i.Key, s.probe) {
			return nil
		}
		return each(i)
	})
}

func TestListingThatLagsPromotesOnceAndBuysOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.objects = slowList{r.mem, 90 * time.Second, r.layout.Probe("")}
		r.catalogue(0, 5, "a")
		_, stop := r.run()
		time.Sleep(20 * time.Second)
		r.catalogue(0, 6, "a") // nothing of the first build is listed yet
		time.Sleep(10 * time.Minute)
		stop()
		if p := r.pointer(); p.Generation != 2 || p.Source.Records != 6 {
			t.Errorf("generation %d (%s)", p.Generation, p.Reason)
		}
		if n := r.embed.Bought(); n != 6 {
			t.Errorf("%d texts bought, want 6", n)
		}
	})
}
