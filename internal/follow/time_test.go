package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// follows runs a follower alone, without the network, on virtual time for d.
func follows(t *testing.T, w *followtest.World, d time.Duration, hook store.Hook) *Follower {
	t.Helper()
	return followsTelling(t, w, d, slog.DiscardHandler, hook)
}

func followsTelling(t *testing.T, w *followtest.World, d time.Duration, log slog.Handler, hook store.Hook, change ...func(*Config)) *Follower {
	t.Helper()
	deps, cfg := settings(t, w, &followtest.Openers{})
	deps.Objects = store.Hooked(w.Objects, hook)
	cfg.PollInterval, cfg.StoreTimeout = 2*time.Second, 5*time.Second
	for _, c := range change {
		c(&cfg)
	}
	f := New(deps, cfg, "v1.2.3", slog.New(log), prometheus.NewRegistry())
	must(t, f.Open())
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	f.Run(ctx, func(string) {})
	return f
}

func memWorld(t *testing.T) *followtest.World {
	w := followtest.New(t)
	w.Objects = storetest.NewMem(time.Now)
	return w
}

func TestPollsAreJitteredAndHeartbeatsRegular(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.Publish(followtest.Catalogue())
		var polls []time.Time
		var beats atomic.Int64
		s := follows(t, w, time.Hour, func(_ context.Context, op, key string, call func() error) error {
			switch {
			case key == w.Layout.Pointer():
				polls = append(polls, time.Now())
			case strings.HasPrefix(key, w.Layout.Replicas()):
				beats.Add(1)
			}
			return call()
		})
		if n := len(polls); n < 1780 || n > 1820 {
			t.Errorf("%d polls in an hour, want about 1,800", n)
		}
		gaps := map[time.Duration]bool{}
		for i := 3; i < len(polls); i++ {
			gap := polls[i].Sub(polls[i-1])
			gaps[gap.Round(time.Millisecond)] = true
			if gap < 1800*time.Millisecond || gap > 2200*time.Millisecond {
				t.Errorf("polls %v apart", gap)
			}
		}
		if len(gaps) < 100 {
			t.Errorf("only %d different gaps: no jitter", len(gaps))
		}
		// TTL 5 min, a third of it, seen at the polls: every 100 to 102 seconds, and what the load says.
		if n := beats.Load(); n < 33 || n > 40 {
			t.Errorf("%d heartbeats in an hour", n)
		}
		_ = s.Close()
	})
}

// A heartbeat that was not written is tried again long before the last one stops to count.
func TestHeartbeatThatFailedIsRepeatedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.Publish(followtest.Catalogue())
		began := time.Now()
		var beats []time.Duration
		s := follows(t, w, 10*time.Minute, func(_ context.Context, op, key string, call func() error) error {
			if !strings.HasPrefix(key, w.Layout.Replicas()) {
				return call()
			}
			if at := time.Since(began); at > 2*time.Minute {
				beats = append(beats, at)
				if at < 5*time.Minute {
					return store.ErrDenied
				}
			}
			return call()
		})
		if len(beats) < 8 || beats[len(beats)-1] < 5*time.Minute {
			t.Fatalf("tried at %v", beats)
		}
		for i := 1; i < len(beats) && beats[i-1] < 5*time.Minute; i++ {
			if gap := beats[i] - beats[i-1]; gap > 25*time.Second {
				t.Errorf("tried again after %s", gap)
			}
		}
		_ = s.Close()
	})
}

func TestRefusedSnapshotIsTriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		m, digest := w.Build(followtest.Catalogue())
		w.Promote(m, digest)
		var tries []time.Time
		s := follows(t, w, time.Hour, func(_ context.Context, op, key string, call func() error) error {
			if key == w.Layout.File(m.ID, snapshot.FileManifest) {
				tries = append(tries, time.Now())
				return snapshot.ErrCorrupt
			}
			return call()
		})
		if n := len(tries); n < 40 || n > 80 {
			t.Errorf("%d tries in an hour, want about one a minute", n)
		}
		if first, later := tries[1].Sub(tries[0]), tries[len(tries)-1].Sub(tries[len(tries)-2]); first > 25*time.Second || later < 40*time.Second {
			t.Errorf("waits grow from %v to %v", first, later)
		}
		if q := s.refused(); q == nil || q.Code != ReasonHash {
			t.Errorf("%+v", q)
		}
	})
}

func TestStoreThatHangsAtStartIsGivenUpAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.Publish(followtest.Catalogue())
		start := time.Now()
		s := follows(t, w, time.Minute, func(ctx context.Context, _, _ string, call func() error) error {
			if time.Since(start) < 20*time.Second {
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		if v := s.current(); !v.Answered || s.ServedID() == "" {
			t.Errorf("not served once the store answers: %+v", v)
		}
		_ = s.Close()
	})
}

func TestStalledDownloadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		m, digest := w.Build(followtest.Catalogue())
		w.Promote(m, digest)
		hung := 0
		s := follows(t, w, 10*time.Minute, func(ctx context.Context, _, key string, call func() error) error {
			if key == w.Layout.File(m.ID, snapshot.FileIndex) && hung < 2 {
				hung++
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		if s.ServedID() != m.ID || hung != 2 {
			t.Errorf("serving %q after %d hangs", s.ServedID(), hung)
		}
		_ = s.Close()
	})
}

func TestFullDiskIsNamed(t *testing.T) {
	if got := reasonOf(fmt.Errorf("write: %w", unix.ENOSPC)); got != ReasonDisk {
		t.Error(got)
	}
}

func TestAServerSaysOnceAMinuteWhatItWaitsFor(t *testing.T) {
	for _, c := range []struct {
		err        error
		level, msg string
	}{
		{nil, "INFO", "waiting for the first pointer"},
		{store.ErrDenied, "ERROR", "pointer not read"},
		{errors.New("connection refused"), "WARN", "pointer not read"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := memWorld(t)
			var log bytes.Buffer
			followsTelling(t, w, 10*time.Minute, slog.NewTextHandler(&log, nil), func(_ context.Context, _, _ string, call func() error) error {
				if c.err != nil {
					return c.err
				}
				return call()
			})
			want := "level=" + c.level + " msg=\"" + c.msg + "\""
			if n := strings.Count(log.String(), want); n < 9 || n > 11 {
				t.Errorf("%v: %d lines %s in ten minutes, want about 10:\n%.2000s", c.err, n, want, log.String())
			}
		})
	}
}
