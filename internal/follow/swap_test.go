package follow

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
)

func TestSnapshotThatDoesNotFitIsRefused(t *testing.T) {
	w := followtest.New(t)
	old := w.Publish(followtest.Catalogue()[:3])
	var limit, used atomic.Int64
	limit.Store(1 << 30)
	r := start(t, w, func(d *Deps, _ *Config) { d.MemoryLimit, d.MemoryUsed = limit.Load, used.Load })
	r.serving(old.ID)
	limit.Store(100 << 10)
	used.Store(90 << 10)
	next := w.Publish(followtest.Catalogue())
	followtest.Eventually(t, "refused", func() bool { return r.reason() == ReasonMemory })
	r.search()
	limit.Store(1 << 30)
	r.serving(next.ID)
}

func TestSnapshotThatDoesNotFitReplacesTheOldWhenAsked(t *testing.T) {
	w := followtest.New(t)
	old := w.Publish(followtest.Versioned(0, 60))
	var r *replica
	const limit = 256 << 10 // two indexes of 120 KiB do not fit, one does
	r = start(t, w, func(d *Deps, c *Config) {
		c.SwapWhenTight = TightDrop
		d.MemoryLimit = func() int64 { return limit }
		d.MemoryUsed = func() int64 { return 24<<10 + r.m.residentBytes() }
	})
	_ = old
	followtest.Eventually(t, "served", r.ready)
	next := w.Publish(followtest.Versioned(1, 60))
	r.serving(next.ID)
	r.close()
	if !strings.Contains(r.log.String(), "served snapshot dropped to make room") {
		t.Error("it was not dropped: the test shows nothing")
	}
}

func TestRoomIsMadeOnlyOnceTheLastReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		h := &holder{free: func(*Snapshot) { freed++ }}
		h.publish(&Snapshot{})
		reader := h.Acquire()
		h.publish(nil)
		done := false
		go func() {
			h.wait()
			done = true
		}()
		synctest.Wait()
		if done || freed != 0 {
			t.Error("freed under a reader")
		}
		h.Release(reader)
		synctest.Wait()
		if !done || freed != 1 {
			t.Errorf("done %v, freed %d times", done, freed)
		}
	})
}

func TestLoadingBesideAServedSnapshotRestsAtTheLowestPriority(t *testing.T) {
	w := followtest.New(t)
	first := w.Promote(w.Build(followtest.Versioned(0, 40)))
	var mu sync.Mutex
	priorities := map[int]int{} // nice value: calls
	r := start(t, w, func(d *Deps, _ *Config) {
		d.Pause = func() {
			raw, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			priorities[20-raw]++ // the system call's answer is 20 less the nice value
		}
	})
	r.serving(first.ID)
	mu.Lock()
	if len(priorities) != 1 || priorities[0] == 0 {
		t.Errorf("the first load worked at %v", priorities)
	}
	clear(priorities)
	mu.Unlock()
	r.serving(w.Promote(w.Build(followtest.Versioned(1, 40))).ID)
	mu.Lock()
	defer mu.Unlock()
	if len(priorities) != 1 || priorities[19] == 0 {
		t.Errorf("the second worked at %v", priorities)
	}
}
