package simtest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// duel is a leader in a pass that has something to promote, and what happens to it at a certain call.
type duel struct {
	w      *world
	s      *schedule
	leader *proc
	before int // its calls before the pass
}

// playDuel sets the scene, plays, and returns what broke and how many calls the leader made meanwhile.
func playDuel(t *testing.T, seed uint64, m mutation, play func(d *duel)) (calls int, res result) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		defer w.close()
		w.mutate = m
		d := &duel{w: w, s: &schedule{w: w, people: w.people(), operator: &operator{w: w, rng: w.rng}}}
		d.s.people.store(t.Context())
		d.leader = w.startIndexer("leader", "disk-1", 0)
		d.s.promoted("")
		nap(t.Context(), 2*time.Second)
		w.startIndexer("rival", "disk-2", 0)
		nap(t.Context(), time.Second)
		d.s.people.touchAll(t.Context())
		d.before = d.made()
		play(d)
		calls = d.made() - d.before
		d.s.end()
		w.mu.Lock()
		defer w.mu.Unlock()
		res = w.result()
	})
	return calls, res
}

// made is how many calls the leader has made so far.
func (d *duel) made() int {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	return d.leader.calls
}

// atPromotion stands for the call that promotes, whichever its number.
const atPromotion = -1

// takeover stops the leader at its k-th call for longer than its lease, and puts the catalogue back meanwhile: the
// rival has nothing to promote, so only its fence tells the leader's requests that they are late.
func takeover(k int, frozen bool) func(*duel) {
	return func(d *duel) {
		ctx := d.w.t.Context()
		d.w.mu.Lock()
		d.leader.stopFor, d.leader.freeze = 40*time.Second, &frozen
		if d.leader.stopAt = d.before + k; k == atPromotion {
			d.leader.stopAt, d.leader.stopOn = -1, store.OpPut+" "+d.w.layout.Pointer()
		}
		d.w.mu.Unlock()
		for range 3000 {
			if d.leader.stopped() {
				break
			}
			nap(ctx, 5*time.Millisecond)
		}
		d.s.people.revs = [records]int{}
		d.s.people.store(ctx)
		nap(ctx, 90*time.Second)
	}
}

// suspension lets an operator suspend when the leader makes its k-th call.
func suspension(k int) func(*duel) {
	return func(d *duel) {
		ctx := d.w.t.Context()
		for end := time.Now().Add(20 * time.Second); d.made() <= d.before+k && time.Now().Before(end); {
			nap(ctx, 5*time.Millisecond)
		}
		_, o := d.s.operator.command("suspend")
		if err := o.Suspend(ctx, "now"); err != nil {
			d.w.t.Error(err)
		}
		d.s.operator.suspended(true)
		nap(ctx, 30*time.Second)
	}
}

// aPass counts the calls of the leader from the edit to the end of its pass, renewals and polls included, with some
// to spare: jitter moves the pass among them.
func aPass(t *testing.T) int {
	var n int
	playDuel(t, 7, nil, func(d *duel) {
		d.s.promoted(d.w.state.pointer.ID)
		nap(d.w.t.Context(), time.Second)
		n = d.made() - d.before
	})
	return n + 15
}

// eachCall plays a duel for every call of the pass until an invariant breaks.
func eachCall(t *testing.T, m mutation, play func(k int) func(*duel)) result {
	var res result
	for k, n := atPromotion, aPass(t); k < n && len(res.fails) == 0; k++ {
		_, res = playDuel(t, 7, m, play(k))
		if m == nil {
			seen.add("leader interrupted at every call, with a rival", res)
		}
	}
	return res
}

// TestLeaderAgainstRivalsAndOperators interrupts a leader at every call of a pass: by a stop that lets a rival take
// over, its clock running on or frozen, and by an operator who suspends. Nothing it sends afterwards takes effect.
func TestLeaderAgainstRivalsAndOperators(t *testing.T) {
	for name, play := range map[string]func(k int) func(*duel){
		"stopped, clock running": func(k int) func(*duel) { return takeover(k, false) },
		"stopped, clock frozen":  func(k int) func(*duel) { return takeover(k, true) },
		"operator suspends":      suspension,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if res := eachCall(t, nil, play); len(res.fails) > 0 {
				t.Fatalf("%s\n%s", strings.Join(res.fails, "\n  "), strings.Join(res.trace, "\n"))
			}
		})
	}
}

// byTakeover stops the leader's promotion on its way until a rival has taken over.
func byTakeover(t *testing.T, m mutation) []string {
	// Whether the successor writes the pointer for another reason before the old leader wakes is a matter of jitter.
	for seed := range uint64(200) {
		if _, res := playDuel(t, seed, m, takeover(atPromotion, false)); len(res.fails) > 0 {
			return res.fails
		}
	}
	return nil
}

// byFrozenClock stops the leader's machine at every call of a pass.
func byFrozenClock(t *testing.T, m mutation) []string {
	return eachCall(t, m, func(k int) func(*duel) { return takeover(k, true) }).fails
}

func bySuspension(t *testing.T, m mutation) []string { return eachCall(t, m, suspension).fails }

// byStuckReplica leaves a replica on an old snapshot while newer ones are promoted and the old one grows old.
func byStuckReplica(t *testing.T, m mutation) []string {
	_, res := playDuel(t, 7, m, func(d *duel) {
		ctx := d.w.t.Context()
		r := d.w.startReplica("server")
		nap(ctx, 20*time.Second)
		r.setStuck(true)
		id, _ := r.served()
		last := id
		for range 3 {
			d.s.people.touchAll(ctx)
			last = d.s.promoted(last)
		}
		nap(ctx, 90*time.Second)
		if still, _ := r.served(); still != id || id == "" {
			d.w.t.Error(fmt.Errorf("the replica serves %q, not %q", still, id))
		}
	})
	return res.fails
}

// TestStuckReplicaKeepsItsSnapshot: what a live heartbeat names is not collected.
func TestStuckReplicaKeepsItsSnapshot(t *testing.T) {
	if fails := byStuckReplica(t, nil); len(fails) > 0 {
		t.Error(strings.Join(fails, "\n"))
	}
}
