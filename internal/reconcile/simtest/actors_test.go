package simtest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// startIndexer runs the real reconciler as a new process. disk names its local disk: a new process on an old disk
// is a restart, on a new one a replacement.
func (w *world) startIndexer(name, disk string, skew time.Duration) *proc {
	p := w.newProc(name, true)
	p.newer = w.newerShare > 0 && w.rng.Float64() < w.newerShare
	p.skew = skew
	w.launch(p, disk)
	return p
}

func (w *world) launch(p *proc, disk string) {
	r := w.reconciler(p, disk)
	p.spec = w.spec
	go func() {
		defer close(p.done)
		p.begin()
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
		Objects: p.objects(), Layout: w.layout, Embedder: w.embedder(), Indexes: snapshottest.Indexes{Kind: "hnsw"},
		Log: p.logger(), Clock: p.clock(),
	}, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
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

// ask writes golden.json: one query that fails without a certain record, or nothing that can be asked.
func (e *people) ask(ctx context.Context) {
	var data []byte
	switch e.rng.IntN(4) {
	case 0:
		e.unask(ctx)
		return
	case 1:
		data = []byte(`[{"query":"vendor"`)
	default:
		data = fmt.Appendf(nil, `[{"query":"vendor","expect":["V-%d"],"k":%d}]`, e.rng.IntN(records), 2*records)
	}
	e.w.tallied("fault: golden queries change")
	if _, err := e.o.Put(ctx, e.w.layout.Golden(), data, store.PutOptions{}); err != nil {
		e.w.t.Error(err)
	}
}

// unask deletes golden.json.
func (e *people) unask(ctx context.Context) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	_ = e.w.mem.Delete(ctx, e.w.layout.Golden())
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
	w    *world
	rng  *rand.Rand
	n    int
	name string // "operator" when empty
}

func (a *operator) command(name string) (*proc, *reconcile.Operator) {
	a.n++
	p := a.w.newProc(fmt.Sprintf("%s-%d-%s", cmp.Or(a.name, "operator"), a.n, name), false)
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
	a.busy(1)
	defer a.busy(-1)
	go func() {
		defer close(done)
		p.begin()
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

// busy counts the commands that run; the intent is nobody's while there are two.
func (a *operator) busy(n int) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.w.state.intent.busy += n; a.w.state.intent.busy > 1 {
		a.w.state.intent.pin, a.w.state.intent.suspended = "", false
	}
}

// clearPin: from the moment an operator starts to change the pin, nobody relies on the old one.
func (a *operator) clearPin() { a.pinned("") }

func (a *operator) pinned(id string) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if id != "" && a.w.state.intent.busy > 1 {
		id = "" // the other may undo it
	}
	a.w.state.intent.pin = id
	a.w.state.acknowledged()
}

func (a *operator) suspended(v bool) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	// Without a pointer there is nothing to fence: a first promotion under way may still land.
	a.w.state.intent.suspended = v && a.w.state.intent.busy <= 1 && a.w.mem.Data(a.w.layout.Pointer()) != nil
	a.w.state.acknowledged()
}

// ids of stored snapshots, as `list` would show them.
func (a *operator) ids() []string {
	var out []string
	for _, key := range a.w.mem.Keys(a.w.layout.Root() + "2") {
		if id, ok := strings.CutSuffix(strings.TrimPrefix(key, a.w.layout.Root()), "/"+snapshot.FileManifest); ok {
			out = append(out, id)
		}
	}
	return out
}
