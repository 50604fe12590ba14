package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestControlExistsFromTheFirstPassOn(t *testing.T) {
	r := newRig(t)
	r.once() // not even a catalogue
	c := r.control()
	if c.Nonce == "" || c.Pin != nil || c.Suspended != nil {
		t.Errorf("control.json is %+v", c)
	}
	r.once()
	if again := r.control(); again.Nonce != c.Nonce {
		t.Error("control.json was written again")
	}
}

// Between two looks around a pass goes by what the last one saw: nothing that was wrong is right because of that.
func TestWhatIsWrongStaysWrongBetweenLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var broken atomic.Bool
		broken.Store(true)
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if broken.Load() && op == store.OpPutFile && key == r.layout.Current(snapshot.FilePickle) {
				return store.ErrDenied
			}
			return call()
		})
		r.catalogue(0, 5, "a")
		_, stop := r.run()
		defer stop()
		for range 40 {
			time.Sleep(r.cfg.ResyncInterval)
			r.condition(reconcile.Ready, reconcile.False, "CopyFailed")
		}
		broken.Store(false)
		time.Sleep(2 * r.cfg.ResyncInterval)
		r.condition(reconcile.Ready, reconcile.True, "Serving")

		// A candidate is held, and the served snapshot is damaged: both go on being said.
		r.embed.Before = func(context.Context, []string) error { return errors.New("provider is down") }
		if err := r.mem.Delete(t.Context(), r.layout.File(r.pointer().ID, snapshot.FileOffsets)); err != nil {
			t.Fatal(err)
		}
		r.catalogue(0, 6, "a")
		time.Sleep(10 * time.Minute)
		for range 40 {
			time.Sleep(r.cfg.ResyncInterval)
			r.condition(reconcile.Verified, reconcile.False, "Corrupt")
		}
	})
}

// A replica that falls silent is gone from the status when its heartbeat's time is over, though nobody says so.
func TestStatusSaysWhatChangesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var written atomic.Int64
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			if op == store.OpPut && key == r.layout.Status() {
				written.Add(1)
			}
			return call()
		})
		r.catalogue(0, 5, "a")
		x, stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		p := r.pointer()
		r.beat(store.Heartbeat{ID: "s1", Using: p.ID, Generation: p.Generation, Lineage: p.Lineage, TTLSeconds: 300})
		time.Sleep(4 * time.Minute)
		if n := len(r.status().Replicas); n != 1 {
			t.Fatalf("%d replicas in the status", n)
		}
		before := written.Load()
		time.Sleep(5 * time.Minute)
		if n := len(r.status().Replicas); n != 0 || written.Load() != before+1 {
			t.Errorf("%d replicas after it fell silent; written %d times, want once", n, written.Load()-before)
		}
		time.Sleep(time.Hour)
		if n := written.Load(); n != before+1 {
			t.Errorf("written %d times in an idle hour", n-before-1)
		}
		if age := time.Since(x.Status().At); age > time.Minute {
			t.Errorf("the process's own view is %s old", age)
		}
		l, err := r.operator().Leadership(t.Context())
		if err != nil || !l.Alive || time.Since(l.PassedAt) > time.Minute {
			t.Errorf("the lease says %+v, %v", l, err)
		}
		if n := strings.Count(r.logs.String(), `"condition changed"`); n > 20 {
			t.Errorf("%d changes of conditions logged", n)
		}
	})
}

// A look around may come less often than heartbeats count for: a replica that goes on beating is never taken for dead in
// between, whatever the resync.
func TestNoReplicaDiesOfNotBeingLookedAt(t *testing.T) {
	for _, resync := range []time.Duration{5 * time.Second, 10 * time.Second, time.Minute} {
		t.Run(resync.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.ResyncInterval = resync
				r.catalogue(0, 5, "a")
				_, stop := r.run()
				defer stop()
				time.Sleep(2 * resync)
				p := r.pointer()
				for i := range 600 { // two and a half hours
					if i%7 == 0 { // a third of its time, and a little
						r.beat(store.Heartbeat{ID: "s1", Using: p.ID, Generation: p.Generation, Lineage: p.Lineage, TTLSeconds: 300})
					}
					time.Sleep(15 * time.Second)
					if i > 60 && len(r.status().Replicas) != 1 {
						t.Fatalf("after %d s the status has no replica", (i+1)*15)
					}
				}
			})
		})
	}
}

// What a pass promoted no server can have followed when it looked at them; one that a later pass finds elsewhere is behind.
func TestServersAreBehindWhatWasThereToFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		said := func() any {
			var line map[string]any
			for l := range strings.Lines(r.logs.String()) {
				var one map[string]any
				if err := json.Unmarshal([]byte(l), &one); err != nil {
					t.Fatal(err)
				}
				if one["msg"] == "reconciled" {
					line = one
				}
			}
			return line["replicas_behind"]
		}
		wants := func(when string, logged any, gauge float64) {
			t.Helper()
			if got := said(); got != logged {
				t.Errorf("%s: replicas_behind %v, want %v", when, got, logged)
			}
			if when == "nothing to follow" {
				return
			}
			want := fmt.Sprintf(`
				# HELP vectorstore_replicas Live replicas by what they serve.
				# TYPE vectorstore_replicas gauge
				vectorstore_replicas{state="behind"} %g
				vectorstore_replicas{state="current"} %g
			`, gauge, 1-gauge)
			if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "vectorstore_replicas"); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		r.beat(store.Heartbeat{ID: "s1"})
		r.once() // no catalogue
		wants("nothing to follow", 0.0, 0)
		r.promoted("a")
		r.seen(1)
		r.once()
		wants("followed", 0.0, 0)
		r.promoted("b")
		wants("just promoted", 0.0, 0)
		r.once()
		wants("not followed", 1.0, 1)
		r.seen(2)
		time.Sleep(time.Minute)
		r.once()
		wants("followed late", 0.0, 0)
	})
}
