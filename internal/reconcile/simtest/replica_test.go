package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// replica is a query server reduced to what the protocol asks of one: poll, say what is fetched, look again,
// download, verify, swap. It can be stuck: alive, but unable to take anything newer.
type replica struct {
	*proc
	id      string
	etag    string
	serving *store.Pointer
	desired *store.Pointer
	reject  *store.Rejection
	beatDue time.Time
	mu      sync.Mutex
	stuck   bool
}

const (
	pollEvery = 4 * time.Second
	beatTTL   = 60 * time.Second
)

func (w *world) startReplica(name string) *replica {
	r := &replica{proc: w.newProc(name, false), id: name}
	go func() {
		defer close(r.done)
		r.begin()
		for r.ctx.Err() == nil {
			r.tick(r.ctx)
			nap(r.ctx, pollEvery)
		}
	}()
	return r
}

func (r *replica) setStuck(v bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = v
}

// served is the id and generation that this replica answers from.
func (r *replica) served() (string, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == nil {
		return "", 0
	}
	return r.serving.ID, r.serving.Generation
}

func (r *replica) tick(ctx context.Context) {
	o := r.objects()
	r.poll(ctx, o)
	d := r.desired
	if d == nil {
		return
	}
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if r.serving != nil && r.serving.ID == d.ID {
		r.publish(d)
	} else if !stuck || r.serving == nil {
		r.load(ctx, o)
	}
	if time.Now().After(r.beatDue) {
		r.beat(ctx, o, "")
	}
}

func (r *replica) poll(ctx context.Context, o store.Objects) {
	p, info, err := store.ReadPointer(ctx, o, r.w.layout, r.etag)
	if err != nil {
		return
	}
	if r.serving != nil && p.Generation < r.serving.Generation {
		return // an older pointer was put back; ours is newer
	}
	r.etag, r.desired = info.ETag, &p
}

// load fetches what is desired: heartbeat first, then a second look at the pointer. With nothing to serve it loads though
// one of the two failed, as a server does.
func (r *replica) load(ctx context.Context, o store.Objects) {
	if !r.beat(ctx, o, r.desired.ID) && r.serving != nil {
		return
	}
	before := r.desired.ID
	etag := r.etag
	r.etag = ""
	_, info, err := store.ReadPointer(ctx, o, r.w.layout, "")
	switch {
	case err != nil && r.serving != nil:
		r.etag = etag
		return
	case err == nil && info.ETag != etag:
		r.poll(ctx, o)
		if r.desired.ID != before {
			return // the next tick says so first
		}
	}
	r.etag = etag
	d := *r.desired
	err = r.fetch(ctx, o, d)
	switch {
	case err == nil:
		r.reject = nil
		r.publish(&d)
	case errors.Is(err, snapshot.ErrCorrupt):
		r.reject = &store.Rejection{ID: d.ID, ManifestSHA256: d.ManifestSHA256, Reason: reconcile.RejectedHash, Message: err.Error(), Since: time.Now()}
	case errors.Is(err, store.ErrNotFound):
		r.w.mu.Lock()
		if now, _ := decode[store.Pointer](r.w.mem.Data(r.w.layout.Pointer())); now.ID == d.ID && !r.w.state.hurt(now.Manifest) {
			r.w.violate("%s lost the current %s under it: %v", r.id, d.ID, err)
		}
		r.w.mu.Unlock()
	}
	r.beat(ctx, o, "")
}

// fetch downloads, verifies and opens a snapshot, and checks that all of it belongs together.
func (r *replica) fetch(ctx context.Context, o store.Objects, d store.Pointer) error {
	m, _, err := store.ReadManifest(ctx, o, r.w.layout, d.ID, d.ManifestSHA256)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.w.dir, "replica-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := store.Fetch(ctx, o, r.w.layout, m, dir, store.FetchOptions{Parallel: 1}); err != nil {
		return err
	}
	_, n, err := composed(dir, m)
	if err != nil {
		return err
	}
	x, err := snapshottest.Load(filepath.Join(dir, snapshot.FileIndex), false)
	if err != nil {
		return err
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.tally["check swap"]++
	if n != d.Source.Records || m.Base == nil && x.Len() != n || m.Base != nil && x.Len() != m.Base.Vectors {
		r.w.violate("%s would serve a mix: %d vectors, %d documents, %d records", r.id, x.Len(), n, d.Source.Records)
	}
	return nil
}

func (r *replica) publish(d *store.Pointer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving != nil && d.Generation < r.serving.Generation {
		r.w.mu.Lock()
		r.w.violate("%s went back from generation %d to %d", r.id, r.serving.Generation, d.Generation)
		r.w.mu.Unlock()
	}
	r.serving = d
}

func (r *replica) beat(ctx context.Context, o store.Objects, fetching string) bool {
	b := store.Heartbeat{
		FormatVersion: store.FormatVersion, ID: r.id, Fetching: fetching, TTLSeconds: beatTTL.Seconds(), Rejected: r.reject,
	}
	if s := r.serving; s != nil {
		b.Using, b.Generation, b.Lineage = s.ID, s.Generation, s.Lineage
	}
	data, _ := json.Marshal(b)
	_, err := o.Put(ctx, r.w.layout.Replica(r.id), data, store.PutOptions{})
	if err == nil {
		r.beatDue = time.Now().Add(beatTTL / 3)
	}
	return err == nil
}
