package follow

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// outage is a store.Hook that makes the store unreachable while down.
type outage struct{ down atomic.Bool }

var errOutage = errors.New("connection refused")

func (o *outage) hook(_ context.Context, _, _ string, call func() error) error {
	if o.down.Load() {
		return errOutage
	}
	return call()
}

func (o *outage) on(d *Deps, _ *Config) { d.Objects = store.Hooked(d.Objects, o.hook) }

func (r *replica) reason() string {
	if q := r.refused(); q != nil {
		return q.Code
	}
	return ""
}

func TestNewGenerationIsServedAndSaysRebuilt(t *testing.T) {
	w := followtest.New(t)
	w.Publish(followtest.Catalogue()[:3])
	r := start(t, w)
	followtest.Eventually(t, "served", r.ready)
	if got := r.health().Source; got != "dir/current" {
		t.Errorf("at start %q", got)
	}
	p := w.Publish(followtest.Catalogue())
	r.serving(p.ID)
	if h := r.health(); h.Source != "rebuilt->dir/current" || h.Generation != 2 || h.Vectors != 5 {
		t.Errorf("after the swap %+v", h)
	}
	followtest.Eventually(t, "both swaps are in the history", func() bool {
		s := r.current().Swaps
		return len(s) == 2 && s[0].ID == p.ID
	})
}

func TestFirstSnapshotEverSaysRebuilt(t *testing.T) {
	w := followtest.New(t)
	r := start(t, w)
	followtest.Eventually(t, "polled", func() bool { return r.current().Answered })
	p := w.Publish(followtest.Catalogue())
	r.serving(p.ID)
	if got := r.health().Source; got != "rebuilt->dir/current" {
		t.Errorf("%q", got)
	}
}

func TestSameSnapshotUnderANewGenerationIsNotLoadedAgain(t *testing.T) {
	w := followtest.New(t)
	m, digest := w.Build(followtest.Catalogue())
	w.Promote(m, digest)
	r := start(t, w)
	r.serving(m.ID)
	w.Promote(m, digest)
	followtest.Eventually(t, "generation 2", func() bool { return r.health().Generation == 2 })
	if n := r.open.Opened.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
}

func TestDamagedSnapshotsAreRefusedAndTakenOnceRepaired(t *testing.T) {
	for _, file := range []string{snapshot.FileIndex, snapshot.FileDocuments, snapshot.FileOffsets, snapshot.FileWords, snapshot.FileFilters, snapshot.FileManifest} {
		t.Run(file, func(t *testing.T) {
			w := followtest.New(t)
			good := w.Publish(followtest.Catalogue()[:3])
			r := start(t, w)
			r.serving(good.ID)
			m, digest := w.Build(followtest.Catalogue())
			w.Damage(w.Layout.File(m.ID, file), followtest.Flip)
			w.Promote(m, digest)
			followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonHash })
			if a := r.search(); a.Snapshot != good.ID {
				t.Errorf("answers from %s", a.Snapshot)
			}
			var refused map[string]any
			data, err := json.Marshal(r.Status().Refused)
			must(t, err)
			must(t, json.Unmarshal(data, &refused))
			if refused["id"] != m.ID || refused["generation"] != 2.0 || !strings.HasPrefix(refused["reason"].(string), ReasonHash) || refused["retry_at"] == nil || refused["since"] == nil {
				t.Errorf("refused %v", refused)
			}
			w.Damage(w.Layout.File(m.ID, file), followtest.Flip)
			r.serving(m.ID)
			if r.refused() != nil {
				t.Error("still refused")
			}
		})
	}
}

func TestRefusalIsReportedInTheHeartbeat(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue()[:3])
	r := start(t, w)
	r.serving(good.ID)
	m, digest := w.Build(followtest.Catalogue())
	w.Damage(w.Layout.File(m.ID, snapshot.FileIndex), func(b []byte) []byte { return b[:len(b)-4] })
	w.Promote(m, digest)
	followtest.Eventually(t, "heartbeat with the rejection", func() bool {
		h, _, err := store.ReadDoc[store.Heartbeat](context.Background(), w.Objects, w.Layout.Replica(r.id), store.GetOptions{})
		return err == nil && h.Using == good.ID && h.Rejected != nil && h.Rejected.ID == m.ID && h.Rejected.ManifestSHA256 == digest && h.Rejected.Reason == ReasonHash
	})
}

func TestHeartbeatAndPointerComeBeforeTheDownload(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	var mu sync.Mutex
	var ops []string
	r := start(t, w, func(d *Deps, _ *Config) {
		d.Objects = store.Hooked(d.Objects, func(_ context.Context, op, key string, call func() error) error {
			mu.Lock()
			ops = append(ops, op+" "+strings.TrimPrefix(key, "vectorstore/prod/"))
			mu.Unlock()
			return call()
		})
	})
	r.serving(p.ID)
	r.close()
	joined := strings.ToLower(strings.Join(ops, "\n"))
	beat := strings.Index(joined, "put replicas/")
	reread := strings.Index(joined[max(beat, 0):], "get current/manifest.json")
	fetch := strings.Index(joined[max(beat, 0):], "get "+strings.ToLower(p.ID)+"/"+snapshot.FileIndex)
	if beat < 0 || reread < 0 || fetch < reread || strings.Contains(joined[:beat], strings.ToLower(p.ID)+"/"+snapshot.FileIndex) {
		t.Errorf("heartbeat at %d, pointer +%d, download +%d in\n%s", beat, reread, fetch, joined)
	}
	if strings.Contains(joined, snapshot.FilePickle) {
		t.Error("index.pkl was read")
	}
}

func TestPointerToNothingKeepsTheOldSnapshot(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue()[:3])
	r := start(t, w)
	r.serving(good.ID)
	m := good.Manifest
	m.ID = snapshot.NewID(time.Now(), w.Newest, "missing")
	w.Promote(m, good.ManifestSHA256)
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonMissing })
	if a := r.search(); a.Snapshot != good.ID {
		t.Errorf("answers from %s", a.Snapshot)
	}
	next := w.Publish(followtest.Catalogue())
	r.serving(next.ID)
}

func TestManifestCopiedOverThePointerIsIgnored(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue())
	r := start(t, w)
	r.serving(good.ID)
	data, err := store.MarshalManifest(good.Manifest)
	must(t, err)
	_, info, err := store.ReadPointer(context.Background(), w.Objects, w.Layout, "")
	must(t, err)
	_, err = w.Objects.Put(context.Background(), w.Layout.Pointer(), data, store.PutOptions{IfMatch: info.ETag})
	must(t, err)
	followtest.Eventually(t, "noticed", func() bool { return strings.Contains(r.current().PollErr, "pointer") })
	if r.ServedID() != good.ID {
		t.Error("no longer served")
	}
}

func TestOlderGenerationIsNotFollowed(t *testing.T) {
	w := followtest.New(t)
	old := w.Publish(followtest.Catalogue()[:3])
	p := w.Publish(followtest.Catalogue())
	r := start(t, w)
	r.serving(p.ID)
	polls := func() time.Time { return r.current().LastPoll }
	w.Put(old)
	for range 3 {
		at := polls()
		followtest.Eventually(t, "another poll", func() bool { return polls().After(at) })
	}
	if r.ServedID() != p.ID || r.health().Generation != 2 {
		t.Errorf("went back to %+v", r.health())
	}
}

func TestNewLineageIsFollowedAfterTwoEqualPolls(t *testing.T) {
	w := followtest.New(t)
	for range 3 {
		w.Publish(followtest.Catalogue()[:2])
	}
	r := start(t, w)
	followtest.Eventually(t, "served", r.ready)
	first := r.ServedID()
	w.Lineage, w.Generation, w.History = "lineage-2", 0, nil
	p := w.Publish(followtest.Catalogue())
	r.serving(p.ID)
	if p.ID == first || r.health().Generation != 1 {
		t.Errorf("%+v", r.health())
	}
	if got := r.health().Source; got != "rebuilt->dir/current" {
		t.Errorf("source %q", got)
	}
	r.close()
	if !strings.Contains(r.log.String(), "pointer of another lineage seen") {
		t.Error("it was not said")
	}
}

func TestAcceptableNeedsTheSamePointerTwice(t *testing.T) {
	f := &Follower{log: slog.New(slog.DiscardHandler)}
	now := time.Now()
	at := func(lineage string, gen int64, nonce string) store.Pointer {
		return store.Pointer{Lineage: lineage, Generation: gen, Nonce: nonce, PromotedAt: now.Add(-time.Minute)}
	}
	f.raise(at("a", 5, "n"))
	for i, c := range []struct {
		p    store.Pointer
		want bool
	}{
		{at("a", 6, "n"), true}, {at("a", 5, "m"), true}, {at("a", 4, "n"), false}, {at("a", 615, "n"), true}, {at("a", 616, "n"), false}, {at("a", store.MaxGeneration, "n"), false}, {at("a", 5, "n"), true},
		{at("b", 1, "x"), false}, {at("b", 1, "y"), false}, {at("b", 1, "y"), true},
		{at("c", 1, "x"), false}, {at("a", 4, "n"), false}, {at("c", 1, "x"), false},
	} {
		if got := f.acceptable(c.p, now); got != c.want {
			t.Errorf("step %d: %v %v", i, c.p.Lineage, got)
		}
	}
}

func TestOutageOfARunningServerIsNotFelt(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	var o outage
	r := start(t, w, o.on)
	r.serving(p.ID)
	o.down.Store(true)
	followtest.Eventually(t, "poll error", func() bool { return r.current().PollErr != "" })
	for range 20 {
		if a := r.search(); a.Snapshot != p.ID {
			t.Fatal(a.Snapshot)
		}
	}
	if h := r.health(); h.Source != "dir/current" {
		t.Errorf("%+v", h)
	}
	next := w.Publish(followtest.Catalogue()[:2])
	o.down.Store(false)
	r.serving(next.ID)
}

func TestUnloadablePointerAtStartFallsBackToHistory(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue()[:3])
	m, digest := w.Build(followtest.Catalogue())
	w.Damage(w.Layout.File(m.ID, snapshot.FileIndex), followtest.Flip)
	w.Promote(m, digest)
	r := start(t, w)
	r.serving(good.ID)
	if h := r.health(); !h.Fallback || h.Source != "dir/previous" {
		t.Errorf("%+v", h)
	}
	followtest.Eventually(t, "the refusal", func() bool { return r.reason() == ReasonHash })
	w.Damage(w.Layout.File(m.ID, snapshot.FileIndex), followtest.Flip)
	r.serving(m.ID)
	if h := r.health(); h.Fallback {
		t.Errorf("%+v", h)
	}
}

func TestSnapshotOfAForeignEmbedderIsRefused(t *testing.T) {
	w := followtest.New(t)
	good := w.Publish(followtest.Catalogue()[:3])
	var refuse atomic.Bool
	r := start(t, w, func(d *Deps, _ *Config) {
		embedder := d.Embedder
		d.Embedder = func(e snapshot.Embedding) (view.Embedder, error) {
			if refuse.Load() {
				return nil, errors.New("no key for provider openai")
			}
			return embedder(e)
		}
	})
	r.serving(good.ID)
	refuse.Store(true)
	w.Publish(followtest.Catalogue())
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonEmbedding })
}

func TestLoadThatWasRolledBackMeanwhileIsNotPublished(t *testing.T) {
	w := followtest.New(t)
	m, digest := w.Build(followtest.Catalogue()[:3])
	w.Promote(m, digest)
	entered, gate := make(chan struct{}, 8), make(chan struct{})
	var hold atomic.Bool
	r := start(t, w, func(d *Deps, _ *Config) {
		open := d.Indexes.Open
		d.Indexes = followtest.Opening(d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			if hold.Load() {
				entered <- struct{}{}
				<-gate
			}
			return open(path, p)
		})
	})
	r.serving(m.ID)
	hold.Store(true)
	bad := w.Publish(followtest.Catalogue())
	<-entered
	w.Promote(m, digest) // the operator takes it back while it is being opened
	followtest.Eventually(t, "the rollback is seen", func() bool { return r.current().Desired.Generation == 3 })
	close(gate)
	followtest.Eventually(t, "the load has ended", func() bool { return r.health().Generation == 3 && r.m.residentBytes() == 4*3*followtest.Dims })
	for _, s := range r.current().Swaps {
		if s.ID == bad.ID {
			t.Error("the snapshot that was taken back was served")
		}
	}
}
