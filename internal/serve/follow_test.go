package serve

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
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

// damage rewrites a stored file in place, behind the store's back.
func (w *world) damage(t *testing.T, key string, change func([]byte) []byte) {
	t.Helper()
	path := strings.TrimPrefix(w.objects.URL(key), "file://")
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path+".new", change(slices.Clone(data)), 0o600))
	must(t, os.Rename(path+".new", path))
}

func flip(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }

func (r *replica) reason() string {
	if q := r.follow.refused(); q != nil {
		return q.code
	}
	return ""
}

func TestNewGenerationIsServedAndSaysRebuilt(t *testing.T) {
	w := newWorld(t)
	w.publish(catalogue()[:3])
	r := w.start(t)
	eventually(t, "served", r.ready)
	if got := r.health().Source; got != "dir/current" {
		t.Errorf("at start %q", got)
	}
	p := w.publish(catalogue())
	r.serving(p.ID)
	if h := r.health(); h.Source != "rebuilt->dir/current" || h.Generation != 2 || h.Vectors != 5 {
		t.Errorf("after the swap %+v", h)
	}
	eventually(t, "both swaps are in the history", func() bool {
		s := r.follow.view().swaps
		return len(s) == 2 && s[0].ID == p.ID
	})
}

func TestFirstSnapshotEverSaysRebuilt(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	eventually(t, "polled", func() bool { return r.follow.view().answered })
	p := w.publish(catalogue())
	r.serving(p.ID)
	if got := r.health().Source; got != "rebuilt->dir/current" {
		t.Errorf("%q", got)
	}
}

func TestSameSnapshotUnderANewGenerationIsNotLoadedAgain(t *testing.T) {
	w := newWorld(t)
	m, digest := w.build(catalogue())
	w.promote(m, digest)
	r := w.start(t)
	r.serving(m.ID)
	w.promote(m, digest)
	eventually(t, "generation 2", func() bool { return r.health().Generation == 2 })
	if n := r.open.open.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
}

func TestDamagedSnapshotsAreRefusedAndTakenOnceRepaired(t *testing.T) {
	for _, file := range []string{snapshot.FileIndex, snapshot.FileDocuments, snapshot.FileOffsets, snapshot.FileWords, snapshot.FileFilters, snapshot.FileManifest} {
		t.Run(file, func(t *testing.T) {
			w := newWorld(t)
			good := w.publish(catalogue()[:3])
			r := w.start(t)
			r.serving(good.ID)
			m, digest := w.build(catalogue())
			w.damage(t, w.layout.File(m.ID, file), flip)
			w.promote(m, digest)
			eventually(t, "refused", func() bool { return r.reason() == reasonHash })
			if a := r.search(`{"query":"会計"}`); a.Snapshot != good.ID {
				t.Errorf("answers from %s", a.Snapshot)
			}
			body := getJSON[map[string]any](r, "/snapshot")
			refused, _ := body["refused"].(map[string]any)
			if refused["id"] != m.ID || refused["generation"] != 2.0 || !strings.HasPrefix(refused["reason"].(string), reasonHash) || refused["retry_at"] == nil || refused["since"] == nil {
				t.Errorf("refused %v", refused)
			}
			w.damage(t, w.layout.File(m.ID, file), flip)
			r.serving(m.ID)
			if r.follow.refused() != nil {
				t.Error("still refused")
			}
		})
	}
}

func TestRefusalIsReportedInTheHeartbeat(t *testing.T) {
	w := newWorld(t)
	good := w.publish(catalogue()[:3])
	r := w.start(t)
	r.serving(good.ID)
	m, digest := w.build(catalogue())
	w.damage(t, w.layout.File(m.ID, snapshot.FileIndex), func(b []byte) []byte { return b[:len(b)-4] })
	w.promote(m, digest)
	eventually(t, "heartbeat with the rejection", func() bool {
		h, _, err := store.ReadDoc[store.Heartbeat](context.Background(), w.objects, w.layout.Replica(r.follow.id), store.GetOptions{})
		return err == nil && h.Using == good.ID && h.Rejected != nil && h.Rejected.ID == m.ID && h.Rejected.ManifestSHA256 == digest && h.Rejected.Reason == reasonHash
	})
}

func TestHeartbeatAndPointerComeBeforeTheDownload(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	var mu sync.Mutex
	var ops []string
	r := w.start(t, func(d *Deps, _ *Config) {
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
	w := newWorld(t)
	good := w.publish(catalogue()[:3])
	r := w.start(t)
	r.serving(good.ID)
	m := good.Manifest
	m.ID = snapshot.NewID(time.Now(), w.newest, "missing")
	w.promote(m, good.ManifestSHA256)
	eventually(t, "refused", func() bool { return r.reason() == reasonMissing })
	if a := r.search(`{"query":"会計"}`); a.Snapshot != good.ID {
		t.Errorf("answers from %s", a.Snapshot)
	}
	next := w.publish(catalogue())
	r.serving(next.ID)
}

func TestManifestCopiedOverThePointerIsIgnored(t *testing.T) {
	w := newWorld(t)
	good := w.publish(catalogue())
	r := w.start(t)
	r.serving(good.ID)
	data, err := store.MarshalManifest(good.Manifest)
	must(t, err)
	_, info, err := store.ReadPointer(context.Background(), w.objects, w.layout, "")
	must(t, err)
	_, err = w.objects.Put(context.Background(), w.layout.Pointer(), data, store.PutOptions{IfMatch: info.ETag})
	must(t, err)
	eventually(t, "noticed", func() bool { return strings.Contains(r.follow.view().pollErr, "pointer") })
	if r.holder.id() != good.ID {
		t.Error("no longer served")
	}
}

func TestOlderGenerationIsNotFollowed(t *testing.T) {
	w := newWorld(t)
	old := w.publish(catalogue()[:3])
	p := w.publish(catalogue())
	r := w.start(t)
	r.serving(p.ID)
	polls := func() time.Time { return r.follow.view().lastPoll }
	w.put(old)
	for range 3 {
		at := polls()
		eventually(t, "another poll", func() bool { return polls().After(at) })
	}
	if r.holder.id() != p.ID || r.health().Generation != 2 {
		t.Errorf("went back to %+v", r.health())
	}
}

func TestNewLineageIsFollowedAfterTwoEqualPolls(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.publish(catalogue()[:2])
	}
	r := w.start(t)
	eventually(t, "served", r.ready)
	first := r.holder.id()
	w.lineage, w.gen, w.history = "lineage-2", 0, nil
	p := w.publish(catalogue())
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
	f := &follower{log: slog.New(slog.DiscardHandler)}
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
	w := newWorld(t)
	p := w.publish(catalogue())
	var o outage
	r := w.start(t, o.on)
	r.serving(p.ID)
	o.down.Store(true)
	eventually(t, "poll error", func() bool { return r.follow.view().pollErr != "" })
	for range 20 {
		if a := r.search(`{"query":"会計"}`); a.Snapshot != p.ID {
			t.Fatal(a.Snapshot)
		}
	}
	if h := r.health(); h.Source != "dir/current" {
		t.Errorf("%+v", h)
	}
	next := w.publish(catalogue()[:2])
	o.down.Store(false)
	r.serving(next.ID)
}

func TestUnloadablePointerAtStartFallsBackToHistory(t *testing.T) {
	w := newWorld(t)
	good := w.publish(catalogue()[:3])
	m, digest := w.build(catalogue())
	w.damage(t, w.layout.File(m.ID, snapshot.FileIndex), flip)
	w.promote(m, digest)
	r := w.start(t)
	r.serving(good.ID)
	if h := r.health(); !h.Fallback || h.Source != "dir/previous" {
		t.Errorf("%+v", h)
	}
	eventually(t, "the refusal", func() bool { return r.reason() == reasonHash })
	w.damage(t, w.layout.File(m.ID, snapshot.FileIndex), flip)
	r.serving(m.ID)
	if h := r.health(); h.Fallback {
		t.Errorf("%+v", h)
	}
}

func TestSnapshotOfAForeignEmbedderIsRefused(t *testing.T) {
	w := newWorld(t)
	good := w.publish(catalogue()[:3])
	var refuse atomic.Bool
	r := w.start(t, func(d *Deps, _ *Config) {
		embedder := d.Embedder
		d.Embedder = func(e snapshot.Embedding) (Embedder, error) {
			if refuse.Load() {
				return nil, errors.New("no key for provider openai")
			}
			return embedder(e)
		}
	})
	r.serving(good.ID)
	refuse.Store(true)
	w.publish(catalogue())
	eventually(t, "refused", func() bool { return r.reason() == reasonEmbedding })
}

func TestStatusIsJSON(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	r := w.start(t)
	r.serving(p.ID)
	res, err := http.Get(r.admin + "/status")
	must(t, err)
	defer res.Body.Close()
	var b statusBody
	must(t, json.NewDecoder(res.Body).Decode(&b))
	if !b.Ready || b.Desired != p.ID || b.Snapshot == nil || b.Snapshot.ID != p.ID {
		t.Errorf("%+v", b)
	}
}

func TestLoadThatWasRolledBackMeanwhileIsNotPublished(t *testing.T) {
	w := newWorld(t)
	m, digest := w.build(catalogue()[:3])
	w.promote(m, digest)
	entered, gate := make(chan struct{}, 8), make(chan struct{})
	var hold atomic.Bool
	r := w.start(t, func(d *Deps, _ *Config) {
		open := d.Indexes.Open
		d.Indexes = opening{d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			if hold.Load() {
				entered <- struct{}{}
				<-gate
			}
			return open(path, p)
		}}
	})
	r.serving(m.ID)
	hold.Store(true)
	bad := w.publish(catalogue())
	<-entered
	w.promote(m, digest) // the operator takes it back while it is being opened
	eventually(t, "the rollback is seen", func() bool { return r.follow.view().desired.Generation == 3 })
	close(gate)
	eventually(t, "the load has ended", func() bool { return r.health().Generation == 3 && r.m.residentBytes() == 4*3*testDims })
	for _, s := range r.follow.view().swaps {
		if s.ID == bad.ID {
			t.Error("the snapshot that was taken back was served")
		}
	}
}
