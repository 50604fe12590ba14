package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// startIndexer runs the real reconciler as a new process. disk names its local disk: a new process on an old disk
// is a restart, on a new one a replacement.
func (w *world) startIndexer(name, disk string, skew time.Duration) *proc {
	p := w.newProc(name, true)
	p.skew = skew
	w.launch(p, disk)
	return p
}

func (w *world) launch(p *proc, disk string) {
	r := w.reconciler(p, disk)
	go func() {
		defer close(p.done)
		if err := r.Run(p.ctx); err != nil {
			w.mu.Lock()
			w.violate("%s gave up: %v", p.name, err)
			w.mu.Unlock()
		}
	}()
}

func (w *world) reconciler(p *proc, disk string) *reconcile.Reconciler {
	cfg := w.cfg
	cfg.Host, cfg.Dir = p.name, filepath.Join(w.dir, disk)
	r, err := reconcile.New(reconcile.Deps{
		Objects: p.objects(), Layout: w.layout, Embedder: w.embed, Indexes: recontest.Indexes{},
		Log: p.logger(), Clock: p.clock(),
	}, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

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
	target  string
}

const (
	pollEvery = 4 * time.Second
	beatTTL   = 60 * time.Second
)

func (w *world) startReplica(name string) *replica {
	r := &replica{proc: w.newProc(name, false), id: name}
	go func() {
		defer close(r.done)
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

// load fetches what is desired: heartbeat first, then a second look at the pointer.
func (r *replica) load(ctx context.Context, o store.Objects) {
	if !r.beat(ctx, o, r.desired.ID) {
		return
	}
	before := r.desired.ID
	etag := r.etag
	r.etag = ""
	if _, info, err := store.ReadPointer(ctx, o, r.w.layout, ""); err != nil {
		r.etag = etag
		return
	} else if info.ETag != etag {
		r.poll(ctx, o)
		if r.desired.ID != before {
			return // the next tick says so first
		}
	}
	r.etag = etag
	d := *r.desired
	err := r.fetch(ctx, o, d)
	switch {
	case err == nil:
		r.reject = nil
		r.publish(&d)
	case errors.Is(err, store.ErrCorrupt):
		r.reject = &store.Rejection{ID: d.ID, ManifestSHA256: d.ManifestSHA256, Reason: reconcile.RejectedHash, Message: err.Error(), Since: time.Now()}
	case errors.Is(err, store.ErrNotFound):
		r.w.mu.Lock()
		if now, _ := decode[store.Pointer](r.w.mem.Data(r.w.layout.Pointer())); now.ID == d.ID && !r.w.state.damaged[d.ID] {
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
	docs, err := store.OpenDocs(dir)
	if err != nil {
		return err
	}
	defer docs.Close()
	x, err := recontest.Load(filepath.Join(dir, store.FileIndex), false)
	if err != nil {
		return err
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.tally["check swap"]++
	if x.Len() != docs.Len() || x.Len() != d.Source.Records {
		r.w.violate("%s would serve a mix: %d vectors, %d documents, %d records", r.id, x.Len(), docs.Len(), d.Source.Records)
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

// people write the catalogue.
type people struct {
	w    *world
	o    store.Objects
	rng  *rand.Rand
	rev  int
	revs [records]int
	gone [records]bool
}

// records of the catalogue at its largest.
const records = 8

func (w *world) people() *people {
	p := w.newProc("people", false)
	p.quiet = true
	return &people{w: w, o: p.objects(), rng: w.rng}
}

// edit changes a few records, and now and then writes something that is no catalogue.
func (e *people) edit(ctx context.Context) {
	switch e.rng.IntN(10) {
	case 0:
		e.write(ctx, []byte(`{"vendors":[{"id":"V-1","name":"cut of`))
		e.w.tallied("fault: catalogue cut off")
		return
	case 1:
		e.w.mu.Lock()
		_ = e.w.mem.Delete(ctx, e.w.layout.Source)
		e.w.note("people delete the catalogue")
		e.w.tally["fault: catalogue deleted"]++
		e.w.mu.Unlock()
		return
	}
	e.rev++
	for range 1 + e.rng.IntN(3) {
		i := e.rng.IntN(records)
		if e.rng.IntN(4) == 0 {
			e.gone[i] = !e.gone[i]
		} else {
			e.revs[i] = e.rev
		}
	}
	e.store(ctx)
}

// revert writes a state that was there before.
func (e *people) revert(ctx context.Context) {
	for i := range e.revs {
		e.revs[i] = max(0, e.revs[i]-1)
	}
	e.store(ctx)
}

// complete writes a catalogue of every record that was ever there.
func (e *people) complete(ctx context.Context) string {
	e.rev++
	e.gone = [records]bool{}
	e.revs[0] = e.rev
	return e.store(ctx)
}

func (e *people) store(ctx context.Context) string {
	var b strings.Builder
	n := 0
	for i, rev := range e.revs {
		if e.gone[i] {
			continue
		}
		if n++; n > 1 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"id":"V-%d","name":"vendor %d revision %d"}`, i, i, rev)
	}
	if n == 0 {
		return ""
	}
	data := []byte(`{"vendors":[` + b.String() + `]}`)
	e.w.mu.Lock()
	e.w.state.valid[digest(data)] = true
	e.w.mu.Unlock()
	e.write(ctx, data)
	return digest(data)
}

func (e *people) write(ctx context.Context, data []byte) {
	if _, err := e.o.Put(ctx, e.w.layout.Source, data, store.PutOptions{}); err != nil {
		e.w.t.Error(err)
	}
}

// operator is a person at the command line: each command is a process of its own.
type operator struct {
	w   *world
	rng *rand.Rand
	n   int
}

func (a *operator) command(name string) (*proc, *reconcile.Operator) {
	a.n++
	p := a.w.newProc(fmt.Sprintf("operator-%d-%s", a.n, name), false)
	o := reconcile.NewOperator(p.objects(), a.w.layout, p.name)
	o.Clock = p.clock()
	return p, o
}

// act runs one random command to its end, its crash or its timeout.
func (a *operator) act(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	ids := a.ids()
	pick := ""
	if len(ids) > 0 {
		pick = ids[a.rng.IntN(len(ids))]
	}
	kind := a.rng.IntN(9)
	a.w.tallied("fault: operator interferes")
	p, o := a.command([]string{"rollback", "rollback", "pin", "unpin", "suspend", "resume", "promote", "request", "unpin"}[kind])
	if a.rng.IntN(3) == 0 {
		a.upset(p)
	}
	context.AfterFunc(ctx, p.kill)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(p, o, kind, pick)
	}()
	<-done
}

// upset stops or kills the command in the middle.
func (a *operator) upset(p *proc) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if a.rng.IntN(2) == 0 {
		p.crashAt, p.after = a.rng.IntN(25), a.rng.IntN(2) == 0
		return
	}
	p.stopAt, p.stopFor = a.rng.IntN(25), time.Duration(5+a.rng.IntN(60))*time.Second
}

func (a *operator) run(p *proc, o *reconcile.Operator, kind int, pick string) {
	var err error
	switch kind {
	case 0, 1:
		id := pick
		if kind == 0 {
			id = ""
		}
		a.clearPin()
		var got string
		if got, err = o.Rollback(p.ctx, id); err == nil {
			a.pinned(got)
		}
	case 2:
		a.clearPin()
		if err = o.Pin(p.ctx, pick); err == nil {
			a.pinned(pick)
		}
	case 3, 8:
		a.clearPin()
		err = o.Unpin(p.ctx)
	case 4:
		if err = o.Suspend(p.ctx, "test"); err == nil {
			a.suspended(true)
		}
	case 5:
		a.suspended(false)
		err = o.Resume(p.ctx)
	case 6:
		a.clearPin()
		err = o.Promote(p.ctx, pick, true)
	case 7:
		_, err = o.Request(p.ctx, reconcile.VerbReconcile, a.rng.IntN(2) == 0)
	}
	a.w.say("%s: %v", p.name, err)
}

// clearPin: from the moment an operator starts to change the pin, nobody relies on the old one.
func (a *operator) clearPin() { a.pinned("") }

func (a *operator) pinned(id string) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.w.state.intent.pin = id
}

func (a *operator) suspended(v bool) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	// Without a pointer there is nothing to fence: a first promotion under way may still land.
	a.w.state.intent.suspended = v && a.w.mem.Data(a.w.layout.Pointer()) != nil
}

// ids of stored snapshots, as `list` would show them.
func (a *operator) ids() []string {
	var out []string
	for _, key := range a.w.mem.Keys(a.w.layout.Root() + "2") {
		if id, ok := strings.CutSuffix(strings.TrimPrefix(key, a.w.layout.Root()), "/"+store.FileManifest); ok {
			out = append(out, id)
		}
	}
	return out
}
