package simtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

const (
	dims   = 4
	prefix = "p"
)

// world is one simulated deployment inside a synctest bubble.
type world struct {
	t      testing.TB
	seed   uint64
	rng    *rand.Rand // of the schedule itself, used by one goroutine
	mem    *storetest.Mem
	layout store.Layout
	cfg    reconcile.Config
	embed  *recontest.Embedder
	embeds []*recontest.Embedder // of each spec after the first
	dir    string                // local disks of all processes
	start  time.Time
	chaos  chaos
	mutate mutation
	spec   int // how often it changed

	newerShare float64 // of the indexers

	mu     sync.Mutex
	trace  []event // the last ones, for a failing seed
	procs  map[string]*proc
	state  invariants
	fails  []string
	tally  map[string]int // faults injected and checks made, for the table
	calm   bool           // no more faults
	traced bool           // the trace is wanted though nothing broke, with every call

	versions map[string][]version // what was stored under each key of late
}

func newWorld(t testing.TB, seed uint64) *world {
	dir, err := os.MkdirTemp(memoryDir(), "sim")
	if err != nil {
		t.Fatal(err)
	}
	cfg := reconcile.DefaultConfig()
	cfg.Embedding = snapshot.Embedding{Provider: "fake", Model: "hash", Dims: dims, Version: "1"}
	cfg.Builder = "sim"
	cfg.ResyncInterval, cfg.ControlPoll, cfg.LeaseTTL = 10*time.Second, 5*time.Second, 12*time.Second
	cfg.RetainSnapshots, cfg.RetainGrace = 1, 20*time.Second
	cfg.BackoffMin, cfg.BackoffMax = 4*time.Second, 16*time.Second
	cfg.GateMaxRemoved = 1
	cfg.EmbedWindow = 2
	cfg.DeltaFrom = 0 // small changes of its small catalogues are deltas
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), mem: storetest.NewMem(nil),
		layout: store.NewLayout(prefix, ""), cfg: cfg, embed: &recontest.Embedder{Dims: dims}, dir: dir,
		start: time.Now(), procs: map[string]*proc{}, tally: map[string]int{}, versions: map[string][]version{},
	}
	w.state = newInvariants(w)
	return w
}

// memoryDir keeps the many small files of a simulation off the disk where that is possible.
func memoryDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// embedder of the current spec.
func (w *world) embedder() *recontest.Embedder {
	if w.spec == 0 {
		return w.embed
	}
	return w.embeds[w.spec-1]
}

// again is how many texts were bought again with one spec.
func (w *world) again() int {
	n := w.embed.Again()
	for _, e := range w.embeds {
		n += e.Again()
	}
	return n
}

// bought is how many texts were bought.
func (w *world) bought() int {
	n := w.embed.Bought()
	for _, e := range w.embeds {
		n += e.Bought()
	}
	return n
}

func (w *world) close() { os.RemoveAll(w.dir) }

// event is something that happened; it is put into words only when somebody wants to read it.
type event struct {
	at   time.Duration
	text func() string
}

// remember adds an event to the trace. w.mu is held.
func (w *world) remember(text func() string) {
	if len(w.trace) > 4000 {
		w.trace = append(w.trace[:0], w.trace[2000:]...)
	}
	w.trace = append(w.trace, event{time.Since(w.start), text})
}

// note adds an event to the trace. w.mu is held.
func (w *world) note(format string, args ...any) {
	w.remember(func() string { return fmt.Sprintf(format, args...) })
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(format, args...)
}

// result of what was played so far; the trace only when something is broken or asked for. w.mu is held.
func (w *world) result() result {
	r := result{fails: w.fails, tally: w.tally}
	if len(w.fails) > 0 || w.traced {
		for _, e := range w.trace {
			r.trace = append(r.trace, fmt.Sprintf("%8.3fs %s", e.at.Seconds(), e.text()))
		}
	}
	return r
}

// violate records a broken invariant. w.mu is held.
func (w *world) violate(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	w.note("VIOLATION %s", msg)
	w.fails = append(w.fails, msg)
}

// errCrashed is what a dead process would be told, if it could hear.
var errCrashed = errors.New("the process is dead")

// proc is a process: something that talks to the store and can crash, freeze or be cut off.
type proc struct {
	w       *world
	name    string
	indexer bool
	ctx     context.Context
	kill    context.CancelFunc
	skew    time.Duration // of its wall clock
	done    chan struct{} // closed when its goroutine returned

	// Guarded by w.mu.
	calls   int
	perKey  map[string]int
	spreads int
	dead    bool
	resume  chan struct{} // not nil while stopped
	frozen  bool          // its monotonic clock stands still while stopped, as of a suspended machine
	since   time.Time     // when it was stopped
	lag     time.Duration // monotonic time missed
	crashAt int           // call index, -1 = never
	after   bool          // crash after the call took effect
	stopAt  int           // call index at which it is stopped, -1 = never
	stopOn  string        // op and key of the call at which it is stopped, "" = none
	stopFor time.Duration
	freeze  *bool           // the stop at stopAt freezes the clock; nil = drawn
	epoch   int64           // of the lease record it wrote last
	term    int             // the count of that lease
	sees    bool            // a pointer, when it last read it
	gcSeen  int             // write counter when it last read gc.json
	looked  int             // write counter when it last read control.json, -1 after a deletion
	quiet   bool            // no faults for this process
	newer   bool            // of a later release
	spec    int             // that it builds by
	plans   map[string]bool // that its passes decided on
	idle    bool            // it may write nothing
}

func (w *world) newProc(name string, indexer bool) *proc {
	ctx, kill := context.WithCancel(context.Background())
	p := &proc{
		w: w, name: name, indexer: indexer, ctx: ctx, kill: kill, done: make(chan struct{}),
		perKey: map[string]int{}, plans: map[string]bool{}, crashAt: -1, stopAt: -1, looked: -1,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.procs[name] = p
	return p
}

// clock of the process: a wrong wall clock, and a monotonic one that may have stood still.
func (p *proc) clock() reconcile.Clock {
	return reconcile.Clock{
		Now: func() time.Time { return time.Now().Add(p.skew) },
		Elapsed: func() time.Duration {
			p.w.mu.Lock()
			defer p.w.mu.Unlock()
			now := time.Now()
			if p.resume != nil && p.frozen {
				now = p.since
			}
			return now.Sub(p.w.start) - p.lag
		},
		Spread: func() float64 {
			p.w.mu.Lock()
			defer p.w.mu.Unlock()
			p.spreads++
			return p.draw("spread", "", p.spreads).Float64()
		},
	}
}

// objects is the store as this process sees it.
func (p *proc) objects() store.Objects {
	var o store.Objects = &watched{Objects: p.w.mem, p: p}
	if p.newer {
		o = newerRelease(p, o)
	}
	if p.w.mutate != nil {
		o = p.w.mutate(p, o)
	}
	return store.Hooked(o, p.hook)
}

// crash drops everything the process has in memory: it is never heard of again.
func (p *proc) crash(why string) {
	p.w.mu.Lock()
	if !p.dead {
		p.dead = true
		p.w.note("%s crashes: %s", p.name, why)
		p.w.tally["fault: process crash"]++
		p.w.state.interrupted()
		if p.resume != nil {
			close(p.resume)
			p.resume = nil
		}
	}
	p.w.mu.Unlock()
	p.kill()
}

// stop halts the process until cont, as SIGSTOP does, or as suspending the whole machine does when frozen.
func (p *proc) stop(frozen bool) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.stopLocked(frozen)
}

func (p *proc) stopLocked(frozen bool) {
	if p.dead || p.resume != nil {
		return
	}
	p.resume, p.frozen, p.since = make(chan struct{}), frozen, time.Now()
	p.w.note("%s stopped (clock frozen: %v)", p.name, frozen)
	if frozen {
		p.w.tally["fault: machine suspended"]++
	} else {
		p.w.tally["fault: process stopped"]++
	}
	p.w.state.interrupted()
}

func (p *proc) cont() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.resume == nil {
		return
	}
	if p.frozen {
		p.lag += time.Since(p.since)
	}
	close(p.resume)
	p.resume = nil
	p.w.note("%s continues after %s", p.name, time.Since(p.since))
}

// waitRunning blocks while the process is stopped. Those that wake up together go on one after the other.
func (p *proc) waitRunning(r *rand.Rand) {
	for {
		p.w.mu.Lock()
		ch := p.resume
		p.w.mu.Unlock()
		if ch == nil {
			return
		}
		<-ch
		time.Sleep(instant(r))
	}
}

// instant is a wait of less than a millisecond that is nobody else's: whatever happens in a world happens at a time of
// its own, so that no scheduler decides what is first.
func instant(r *rand.Rand) time.Duration { return time.Duration(1 + r.IntN(999_999)) }

// begin waits for the instant at which a new process does its first step.
func (p *proc) begin() {
	p.w.mu.Lock()
	r := p.draw("begin", "", 0)
	p.w.mu.Unlock()
	time.Sleep(instant(r))
}

// draw returns reproducible numbers in 0..1 for the n-th call of this kind: they depend on the seed and on what
// the process did itself, not on how goroutines were scheduled.
func (p *proc) draw(op, key string, n int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s|%s|%d", p.name, op, generic(key), n)
	return rand.New(rand.NewPCG(p.w.seed, h.Sum64()))
}

// generic drops what is random in a key, so that a replay draws the same. Segments of the ledger are named by what they
// hold, and are read at the same time: each draws for itself.
func generic(key string) string {
	parts := strings.Split(key, "/")
	for i, s := range parts {
		if len(s) > 20 && !strings.HasSuffix(s, ".seg") {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "/")
}

// hook stands around every store call of the process.
func (p *proc) hook(ctx context.Context, op, key string, call func() error) error {
	w := p.w
	w.mu.Lock()
	p.perKey[op+generic(key)]++
	r := p.draw(op, key, p.perKey[op+generic(key)])
	w.mu.Unlock()
	if err := nap(ctx, instant(r)); err != nil {
		return err
	}
	p.waitRunning(r)
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return errCrashed
	}
	n := p.calls
	p.calls++
	if w.traced {
		w.note("%s call %d %s %s", p.name, n, op, key)
	}
	crash, after := n == p.crashAt, p.after
	stop, stopFor := n == p.stopAt || p.stopOn == op+" "+key, p.stopFor
	if stop {
		p.stopOn = ""
	}
	c := w.chaos
	if w.calm || p.quiet {
		c = chaos{}
	}
	before, lost, denied := r.Float64() < c.before, r.Float64() < c.after, r.Float64() < c.denied
	delay := time.Millisecond + time.Duration(r.IntN(3_000_000))
	if r.Float64() < c.slow {
		delay = time.Duration(r.Float64() * float64(c.maxDelay))
		w.tally["fault: slow request"]++
		if op == store.OpPutFile && delay > 3*time.Second {
			w.state.interrupted() // too slow for the last flush of a pass that lost its lease
		}
	}
	w.mu.Unlock()

	if crash && !after {
		p.crash(fmt.Sprintf("before call %d: %s %s", n, op, key))
		return errCrashed
	}
	if stop {
		// The request has left the building of checks: it is sent when the process wakes up.
		frozen := r.IntN(2) == 0
		if p.freeze != nil {
			frozen = *p.freeze
		}
		p.stop(frozen)
		time.AfterFunc(stopFor, p.cont)
		p.waitRunning(r) // and is sent at once, before anybody can tell it that it is late
	} else if err := nap(ctx, delay); err != nil {
		return err
	}
	if denied {
		w.count("fault: request denied", op)
		return fmt.Errorf("%s %s: %w: %w", op, key, store.ErrDenied, storetest.ErrInjected)
	}
	if before {
		w.count("fault: request lost", op)
		return fmt.Errorf("%s %s: %w: request lost", op, key, storetest.ErrInjected)
	}
	p.waitRunning(r)
	if p.isDead() {
		return errCrashed
	}
	err := call()
	if crash {
		p.crash(fmt.Sprintf("after call %d: %s %s", n, op, key))
		return errCrashed
	}
	p.waitRunning(r)
	if err == nil && lost {
		w.count("fault: answer lost", op)
		return fmt.Errorf("%s %s: %w: answer lost", op, key, storetest.ErrInjected)
	}
	return err
}

func (p *proc) isDead() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.dead
}

func (w *world) count(kind, op string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally[kind]++
	if op == store.OpPut || op == store.OpPutFile {
		w.state.interrupted() // a flush may have been lost
	}
}

// tallied counts one event.
func (w *world) tallied(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally[what]++
}

func (w *world) interrupted() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.interrupted()
}

func nap(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// logs is a slog.Handler that keeps records in the trace.
type logs struct {
	p     *proc
	attrs []slog.Attr
}

func (p *proc) logger() *slog.Logger { return slog.New(logs{p: p}) }

func (l logs) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelDebug }

func (l logs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logs{l.p, append(slices.Clone(l.attrs), attrs...)}
}

func (l logs) WithGroup(string) slog.Handler { return l }

func (l logs) Handle(_ context.Context, r slog.Record) error {
	r = r.Clone()
	w := l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Level < slog.LevelInfo && !l.p.decided(r) {
		return nil
	}
	w.remember(func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "%s: %s %q", l.p.name, r.Level, r.Message)
		for _, a := range l.attrs {
			fmt.Fprintf(&b, " %s", a)
		}
		r.Attrs(func(a slog.Attr) bool {
			if a.Key != "request_id" { // another one each time
				fmt.Fprintf(&b, " %s", a)
			}
			return true
		})
		return b.String()
	})
	return nil
}
