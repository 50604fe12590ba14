package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// earlier is a store as a release sees it that reads formats up to 1 alone: one of format 2 is newer than it knows.
type earlier struct{ store.Objects }

func (e earlier) Get(ctx context.Context, key string, o store.GetOptions) (io.ReadCloser, store.Info, error) {
	body, info, err := e.Objects.Get(ctx, key, o)
	if err != nil || !strings.HasSuffix(key, ".json") {
		return body, info, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	data = bytes.Replace(data, []byte(`"format_version": 2,`), []byte(`"format_version": 9,`), 1)
	return io.NopCloser(bytes.NewReader(data)), info, err
}

// format of a stored document.
func (r *rig) format(key string) int {
	r.t.Helper()
	doc, _, err := store.ReadDoc[struct {
		FormatVersion int `json:"format_version"`
	}](r.t.Context(), r.mem, key, store.GetOptions{})
	must(r.t, err)
	return doc.FormatVersion
}

func (r *rig) wantFormat(n int, what string) {
	r.t.Helper()
	if gc, lease := r.format(r.layout.GC()), r.format(r.layout.Lease()); gc != n || lease != n {
		r.t.Errorf("%s: gc.json is of format %d, lease.json of %d, want %d", what, gc, lease, n)
	}
}

// aDelta publishes a full snapshot and a delta over it, and returns both.
func (r *rig) aDelta() (base, delta string) {
	r.t.Helper()
	all := entriesOf(30)
	writeEntries(r, all)
	r.want(r.once(), reconcile.ResultPromoted, 0)
	base = r.pointer().ID
	all[3].text = "edited"
	writeEntries(r, all)
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if delta = r.pointer().ID; r.pointer().Base == nil {
		r.t.Fatal("no delta was published")
	}
	return base, delta
}

// gc.json is raised, then lease.json, then comes the first delta; whoever writes them keeps the format.
func TestTheFirstDeltaRaisesTheFormats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		var events []string
		see := func(e string) {
			if len(events) == 0 || events[len(events)-1] != e {
				events = append(events, e)
			}
		}
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			err := call()
			switch {
			case op != store.OpPut && op != store.OpPutFile:
			case key == r.layout.GC() && r.format(key) == 2:
				see("gc.json")
			case key == r.layout.Lease() && r.format(key) == 2:
				see("lease.json")
			case strings.HasSuffix(key, "/"+snapshot.FileDelta):
				see("delta")
			}
			return err
		})
		all := entriesOf(30)
		writeEntries(r, all)
		r.want(r.once(), reconcile.ResultPromoted, 0)
		r.wantFormat(1, "a full snapshot alone")
		all[3].text = "edited"
		writeEntries(r, all)
		r.want(r.once(), reconcile.ResultPromoted, 0)
		if want := []string{"gc.json", "lease.json", "delta"}; len(events) < 3 || !slices.Equal(events[:3], want) {
			t.Errorf("the first written are %v, want %v", events, want)
		}
		base := r.pointer().Base.ID
		r.wantFormat(2, "a delta")
		r.gc()
		r.wantFormat(2, "a collection")
		must(t, r.operator().Pin(t.Context(), base))
		must(t, r.operator().Unpin(t.Context()))
		r.wantFormat(2, "an operator's promotion")
		for _, key := range []string{r.layout.GC(), r.layout.Lease()} {
			r.remove(key)
			r.once()
			r.wantFormat(2, key+" was lost")
		}
		x := r.indexer()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- x.Run(ctx) }()
		time.Sleep(10 * r.cfg.LeaseTTL)
		r.wantFormat(2, "renewals")
		cancel()
		must(t, <-done)
		r.wantFormat(2, "a release")
	})
}

// A release that knows no deltas does not lead, promote, hold or collect, whichever of the documents is there.
func TestAnEarlierReleaseWaitsWhileThereAreDeltas(t *testing.T) {
	for name, lost := range map[string][]func(store.Layout) string{
		"all is there":              nil,
		"lease.json is gone":        {store.Layout.Lease},
		"gc.json is gone":           {store.Layout.GC},
		"status.json is gone":       {store.Layout.Status},
		"lease and status are gone": {store.Layout.Lease, store.Layout.Status},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := deltaRig(t)
				base, _ := r.aDelta()
				must(t, r.operator().Pin(t.Context(), base)) // the pointer is of format 1 again
				must(t, r.operator().Unpin(t.Context()))
				r.cfg.Delta, r.cfg.RetainGrace, r.cfg.RetainSnapshots = reconcile.DeltaOff, 0, 1
				for _, key := range lost {
					r.remove(key(r.layout))
				}
				before := r.mem.Keys("")
				pointer := string(r.bytes(r.layout.Pointer()))
				r.objects = earlier{r.mem}
				for what, o := range map[string]reconcile.OnceOptions{"a pass": {Yes: true}, "a collection": {GC: true, Yes: true}} {
					if _, err := r.indexer().Once(t.Context(), o); !errors.Is(err, snapshot.ErrNewer) {
						t.Errorf("%s of an earlier release: %v", what, err)
					}
				}
				for what, act := range map[string]func(*reconcile.Operator) error{
					"promote":  func(o *reconcile.Operator) error { return o.Promote(t.Context(), base, true) },
					"pin":      func(o *reconcile.Operator) error { return o.Pin(t.Context(), base) },
					"rollback": func(o *reconcile.Operator) error { _, err := o.Rollback(t.Context(), base); return err },
				} {
					if err := act(r.operator()); !errors.Is(err, snapshot.ErrNewer) {
						t.Errorf("%s of an earlier release: %v", what, err)
					}
				}
				if got := r.mem.Keys(""); !slices.Equal(got, before) || string(r.bytes(r.layout.Pointer())) != pointer {
					t.Errorf("it wrote: %d objects before, %d after", len(before), len(got))
				}
			})
		})
	}
}

// An earlier release that follows, while deltas are there, waits and says so.
func TestAnEarlierFollowerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		_, delta := r.aDelta()
		r.objects = earlier{r.mem}
		x := r.indexer()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- x.Run(ctx) }()
		time.Sleep(time.Hour)
		if c := x.Status().Conditions; len(c) == 0 || c[0].Type != reconcile.Leader || c[0].Status != reconcile.False {
			t.Errorf("it says %+v", c)
		}
		if id := r.pointer().ID; id != delta {
			t.Errorf("it promoted %s", id)
		}
		cancel()
		must(t, <-done)
		// And a server of it, which reads the pointer alone, finds one that it does not know.
		if _, _, err := store.ReadPointer(t.Context(), earlier{r.mem}, r.layout, ""); !errors.Is(err, snapshot.ErrNewer) {
			t.Errorf("the pointer: %v", err)
		}
	})
}

// DELTA=off goes back: a full build, and once no delta and no drop-in is left an earlier release may work here again.
func TestWithoutDeltasTheFormatsGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		_, delta := r.aDelta()
		r.cfg.Delta, r.cfg.RetainSnapshots, r.cfg.RetainGrace = reconcile.DeltaOff, 1, time.Hour
		r.want(r.once(), reconcile.ResultPromoted, 0)
		if r.pointer().Base != nil {
			t.Fatal("a delta is served")
		}
		writeEntries(r, entriesOf(31))
		r.want(r.once(), reconcile.ResultPromoted, 0) // the delta is not the previous one any more
		r.gc()
		r.wantFormat(2, "a delta is kept")
		time.Sleep(3 * time.Hour)
		dropin := r.layout.DropIns() + "put-1.json"
		r.put(dropin, []byte("{}"))
		for range 3 {
			r.gc()
		}
		if r.stored(delta) {
			t.Fatalf("%s stays", delta)
		}
		r.wantFormat(2, "a drop-in is there")
		r.remove(dropin)
		var lowered []string
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			err := call()
			if op == store.OpPut && (key == r.layout.GC() || key == r.layout.Lease()) && r.format(key) == 1 {
				lowered = append(lowered, key)
			}
			return err
		})
		r.gc()
		r.wantFormat(1, "no delta and no drop-in is there")
		if len(lowered) < 2 || lowered[0] != r.layout.Lease() || lowered[1] != r.layout.GC() {
			t.Errorf("lowered %v, want lease.json first, then gc.json", lowered)
		}
		r.objects = earlier{r.mem}
		writeEntries(r, entriesOf(29))
		r.want(r.once(), reconcile.ResultPromoted, 0)
		// And up again.
		r.objects, r.cfg.Delta = r.mem, reconcile.DeltaAuto
		r.aDelta()
		r.wantFormat(2, "deltas again")
	})
}
