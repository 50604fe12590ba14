package simtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// options of a random schedule; the zero value draws everything from the seed.
type options struct {
	mutate  mutation
	length  time.Duration
	servers bool // real ones, beside the reduced ones
	trace   bool // wanted though nothing broke
	steps   bool // one after the other alone: no bases are made beside the passes, whose steps may fall on the same instant
}

// result of a schedule.
type result struct {
	fails []string
	trace []string
	tally map[string]int
}

// runSchedule plays one random schedule in a bubble of its own.
func runSchedule(t *testing.T, seed uint64, o options) (res result) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		defer w.close()
		w.mutate, w.traced = o.mutate, o.trace
		if o.steps {
			w.cfg.CompactShare = 1
		}
		s := &schedule{w: w, people: w.people(), operator: &operator{w: w, rng: w.rng}}
		s.play(o)
		w.mu.Lock()
		defer w.mu.Unlock()
		res = w.result()
	})
	return res
}

// schedule is one deployment's rough minutes, and the calm after.
type schedule struct {
	w        *world
	people   *people
	operator *operator
	indexers []*proc
	disks    []string
	replicas []*replica
	servers  []*realServer
	takeBack []func() // what a later release wrote
	n        int
}

func (s *schedule) play(o options) {
	w, rng := s.w, s.w.rng
	s.weather()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.people.store(ctx)
	for range 1 + rng.IntN(3) {
		s.addIndexer()
	}
	for range 1 + rng.IntN(2) {
		s.addReplica()
	}
	if o.servers {
		s.addServer()
		s.addServer()
	}
	length := o.length
	if length == 0 {
		length = time.Duration(20+rng.IntN(40)) * time.Second
	}
	for end := time.Now().Add(length); time.Now().Before(end); {
		nap(ctx, 500*time.Millisecond+time.Duration(rng.Int64N(int64(6*time.Second))))
		s.event(ctx)
		w.mu.Lock()
		w.state.purchases()
		bad := len(w.fails) > 0
		w.mu.Unlock()
		if bad {
			break
		}
	}
	s.calm(ctx)
	s.end()
}

func (s *schedule) addIndexer() {
	s.n++
	disk := fmt.Sprintf("disk-%d", s.n)
	if len(s.disks) > 0 && s.w.rng.IntN(2) == 0 {
		disk = s.disks[len(s.disks)-1] // restarted where it was
		s.disks = s.disks[:len(s.disks)-1]
	}
	skew := time.Duration(s.w.rng.IntN(1200)-600) * time.Second
	s.w.tallied("fault: clock skew up to ±10 min")
	if len(s.indexers) > 0 {
		s.w.tallied("fault: another indexer joins")
	}
	s.indexers = append(s.indexers, s.w.startIndexer(fmt.Sprintf("indexer-%d", s.n), disk, skew))
}

func (s *schedule) addReplica() {
	s.n++
	s.replicas = append(s.replicas, s.w.startReplica(fmt.Sprintf("server-%d", s.n)))
}

func (s *schedule) addServer() {
	s.n++
	s.servers = append(s.servers, s.w.startServer(fmt.Sprintf("real-%d", s.n), fmt.Sprintf("cache-%d", s.n%3)))
}

// event is one thing that goes wrong or is asked for.
func (s *schedule) event(ctx context.Context) {
	rng := s.w.rng
	switch rng.IntN(18) {
	case 0, 1, 2, 3, 4:
		s.people.edit(ctx)
	case 16:
		if rng.IntN(2) == 0 {
			s.deploySpec()
		} else {
			s.people.ask(ctx)
		}
	case 17:
		s.laterFormat()
	case 5:
		s.people.revert(ctx)
	case 6, 7, 8:
		if rng.IntN(3) == 0 {
			s.twoOperators(ctx)
		} else {
			s.operator.act(ctx)
		}
	case 9, 10:
		if p := s.anyIndexer(); p != nil {
			s.arm(p)
		}
	case 11:
		if p := s.anyIndexer(); p != nil {
			p.stop(rng.IntN(2) == 0)
			time.AfterFunc(time.Duration(1+rng.IntN(45))*time.Second, p.cont)
		}
	case 12:
		if p := s.anyIndexer(); p != nil && rng.IntN(2) == 0 {
			p.kill() // a deploy: it is asked to stop and releases its lease
			s.w.tallied("fault: indexer replaced by a deploy")
			s.w.interrupted() // its last flush may not make it in time
			s.addIndexer()
		}
	case 13:
		s.addIndexer()
	case 14:
		if n := len(s.servers); n > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(n)
			s.servers[i].crash("server dies")
			s.w.tallied("fault: server dies")
			s.servers = append(s.servers[:i], s.servers[i+1:]...)
			s.addServer()
			break
		}
		r := s.replicas[rng.IntN(len(s.replicas))]
		switch rng.IntN(3) {
		case 0:
			r.crash("server dies")
			s.w.tallied("fault: server dies")
			s.addReplica()
		case 1:
			r.setStuck(true)
			s.w.tallied("fault: server stuck on an old snapshot")
		default:
			r.setStuck(false)
		}
	case 15:
		switch rng.IntN(5) {
		case 0, 1:
			s.losePointer()
		case 2:
			s.loseDocument()
		default:
			s.damage()
		}
	}
	s.reap()
}

// twoOperators give a command each at the same time. What they were told in between binds nobody.
func (s *schedule) twoOperators(ctx context.Context) {
	s.w.tallied("fault: two operators at once")
	s.n++
	other := &operator{w: s.w, rng: rand.New(rand.NewPCG(s.w.seed, uint64(s.n))), name: fmt.Sprintf("other-%d", s.n)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		other.act(ctx)
	}()
	s.operator.act(ctx)
	<-done
}

// arm makes an indexer crash or stop at one of its next calls.
func (s *schedule) arm(p *proc) {
	w, rng := s.w, s.w.rng
	w.mu.Lock()
	defer w.mu.Unlock()
	at := p.calls + rng.IntN(60)
	if rng.IntN(2) == 0 {
		p.crashAt, p.after = at, rng.IntN(2) == 0
		return
	}
	p.stopAt, p.stopFor = at, time.Duration(1+rng.IntN(45))*time.Second
}

func (s *schedule) anyIndexer() *proc {
	if len(s.indexers) == 0 {
		return nil
	}
	return s.indexers[s.w.rng.IntN(len(s.indexers))]
}

// reap forgets indexers that are gone and keeps at least one running.
func (s *schedule) reap() {
	alive := s.indexers[:0]
	for _, p := range s.indexers {
		if !p.isDead() && p.ctx.Err() == nil {
			alive = append(alive, p)
		}
	}
	s.indexers = alive
	if len(s.indexers) == 0 {
		s.addIndexer()
	}
	if len(s.indexers) > 3 {
		s.indexers[0].crash("too many")
	}
}

// damage flips bytes of a file of the served snapshot, as a disk below the store might.
func (s *schedule) damage() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	ptr, ok := decode[store.Pointer](w.mem.Data(w.layout.Pointer()))
	if !ok || ptr.Kind != store.KindPointer || w.rng.IntN(2) == 0 {
		return
	}
	f := ptr.Files[w.rng.IntN(len(ptr.Files))]
	w.state.damaged[ptr.ID], w.state.damaged[cmp.Or(f.From, ptr.ID)] = true, true
	w.note("chaos damages %s of %s", f.Name, cmp.Or(f.From, ptr.ID))
	w.tally["fault: served snapshot damaged"]++
	w.mem.Corrupt(w.layout.FileKey(ptr.Manifest, f), func(b []byte) []byte {
		b[len(b)/2] ^= 0x40
		return b
	})
}

// losePointer overwrites the pointer with a snapshot's manifest, as a careless copy does, or deletes it. What
// status.json remembers is the truth from then on.
func (s *schedule) losePointer() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.state.pointer
	st, ok := decode[store.Status](w.mem.Data(w.layout.Status()))
	if old.ID == "" || !ok || st.Pointer == nil {
		return
	}
	if w.rng.IntN(2) == 0 {
		_ = w.mem.Delete(context.Background(), w.layout.Pointer())
	} else {
		_, _ = w.mem.Put(context.Background(), w.layout.Pointer(), w.mem.Data(w.layout.Manifest(old.ID)), store.PutOptions{})
	}
	w.note("chaos takes the pointer away; the status remembers generation %d of %d", st.Pointer.Generation, old.Generation)
	w.tally["fault: pointer lost"]++
	w.state.pointer = *st.Pointer
	w.state.intent.pin = "" // the pin may have to be repeated
	for g := st.Pointer.Generation + 1; g <= old.Generation; g++ {
		delete(w.state.once, fmt.Sprintf("%s|%d", old.Lineage, g))
	}
}

// loseDocument deletes status.json, control.json, gc.json or lease.json, as people who tidy up do. What operators wanted
// may have to be said again when control.json goes; while the pointer is there, nothing else is lost.
func (s *schedule) loseDocument() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if now, ok := decode[store.Pointer](w.mem.Data(w.layout.Pointer())); !ok || now.Kind != store.KindPointer {
		return
	}
	key := []string{w.layout.Status(), w.layout.Control(), w.layout.GC(), w.layout.Lease()}[w.rng.IntN(4)]
	if key == w.layout.Control() {
		w.state.intent.pin, w.state.intent.suspended = "", false
	}
	w.loseLocked(key)
}

// calm ends all faults, takes back what operators asked for, and waits for everything to converge.
func (s *schedule) calm(ctx context.Context) {
	w := s.w
	w.mu.Lock()
	w.calm = true
	bad := len(w.fails) > 0
	for _, p := range w.procs {
		p.crashAt, p.stopAt = -1, -1
	}
	w.note("calm")
	for _, back := range s.takeBack {
		back()
	}
	w.mu.Unlock()
	if bad {
		return
	}
	for _, p := range s.indexers {
		p.cont()
	}
	for _, r := range s.replicas {
		r.cont()
		r.setStuck(false)
	}
	for _, r := range s.servers {
		r.cont()
	}
	for _, p := range s.indexers { // a deploy comes to its end
		if p.spec != w.spec {
			p.kill()
		}
	}
	s.reap()
	want := s.wanted(ctx)
	p, o := s.operator.command("tidy")
	p.quiet = true
	s.operator.clearPin()
	s.operator.suspended(false)
	for range 10 {
		if o.Unpin(p.ctx) == nil && o.Resume(p.ctx) == nil {
			break
		}
		nap(ctx, time.Second)
	}
	var why string
	for end := time.Now().Add(6 * time.Minute); time.Now().Before(end); nap(ctx, 4*time.Second) {
		s.reap() // a crash may have been under way
		if why = s.unsettled(want); why == "" {
			break
		}
	}
	w.mu.Lock()
	w.tally["check convergence"]++
	w.state.purchases()
	if why != "" {
		w.violate("did not converge: %s", why)
	}
	w.mu.Unlock()
	if why == "" {
		s.dryRun(ctx)
		s.rest(ctx, want)
	}
}

// wanted is the catalogue to converge to: in half of the runs the one that is there, without a fresh edit that would put
// everything in motion once more.
func (s *schedule) wanted(ctx context.Context) string {
	w := s.w
	w.mu.Lock()
	now := digest(w.mem.Data(w.layout.Source))
	stays := w.state.valid[now] && w.rng.IntN(2) == 0
	if stays {
		w.tally["fault: no edit after the faults"]++
	}
	w.mu.Unlock()
	if stays {
		return now
	}
	if w.rng.IntN(2) == 0 {
		s.people.unask(ctx)
	} else {
		_, _ = s.people.o.Put(ctx, w.layout.Golden(), []byte(`[{"query":"vendor","expect":["V-1"],"k":16}]`), store.PutOptions{})
	}
	return s.people.complete(ctx)
}

// unsettled says what is not yet as it should be.
func (s *schedule) unsettled(want string) string {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	ptr, ok := decode[store.Pointer](w.mem.Data(w.layout.Pointer()))
	held := w.held(want)
	if len(w.mem.Data(w.layout.Pointer())) == 0 && held {
		return "" // a first candidate
	}
	if !ok || ptr.Source.SHA256 != want && !held {
		return fmt.Sprintf("the pointer names %s of another catalogue", ptr.ID)
	}
	if ptr.Spec.Embedding.Version != w.cfg.Embedding.Version && !held {
		return fmt.Sprintf("the pointer names %s of another spec", ptr.ID)
	}
	if held && w.state.damaged[ptr.ID] {
		return "" // its catalogue is gone, and what replaces it waits for an operator
	}
	for _, name := range []string{snapshot.FileIndex, snapshot.FilePickle} {
		info, err := w.mem.Head(context.Background(), w.layout.Current(name))
		if err != nil || info.Metadata["snapshot-id"] != baseOf(ptr) {
			return fmt.Sprintf("current/%s is of %q", name, info.Metadata["snapshot-id"])
		}
	}
	for _, r := range s.replicas {
		if r.dead {
			continue
		}
		if id, generation := r.served(); id != ptr.ID || generation != ptr.Generation {
			return fmt.Sprintf("%s serves %s of generation %d, the pointer names %s of %d", r.id, id, generation, ptr.ID, ptr.Generation)
		}
	}
	for _, r := range s.servers {
		if id := r.served(); id != ptr.ID && !r.dead {
			return fmt.Sprintf("%s answers from %s, the pointer names %s", r.name, id, ptr.ID)
		}
	}
	if held {
		w.tally["fault: candidate held to the end"]++
		return ""
	}
	st, _ := decode[store.Status](w.mem.Data(w.layout.Status()))
	for _, c := range st.Conditions {
		if c.Type == reconcile.Ready && c.Status == reconcile.True {
			return ""
		}
	}
	return fmt.Sprintf("status is not ready: %v", st.Conditions)
}

// end kills everything and waits for the goroutines.
func (s *schedule) end() {
	w := s.w
	w.mu.Lock()
	all := slices.SortedFunc(maps.Values(w.procs), func(a, b *proc) int { return strings.Compare(a.name, b.name) })
	w.mu.Unlock()
	for _, p := range all {
		w.mu.Lock()
		p.dead = true
		if p.resume != nil {
			close(p.resume)
			p.resume = nil
		}
		w.mu.Unlock()
		p.kill()
	}
	nap(context.Background(), 2*time.Minute) // last words: releases and flushes that are tried again in vain
	synctest.Wait()
}
