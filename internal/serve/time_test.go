package serve

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

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// follows runs a follower alone, without the network, on virtual time for d.
func follows(t *testing.T, w *world, d time.Duration, hook store.Hook) *Server {
	t.Helper()
	return followsTelling(t, w, d, slog.DiscardHandler, hook)
}

func followsTelling(t *testing.T, w *world, d time.Duration, log slog.Handler, hook store.Hook) *Server {
	t.Helper()
	cfg := Defaults()
	cfg.LocalDir, cfg.Log = t.TempDir(), slog.New(log)
	o := &openers{}
	reg := prometheus.NewRegistry()
	s, err := New(Deps{
		Objects: store.Hooked(w.objects, hook), Layout: w.layout, Indexes: o,
		Embedder:   func(snapshot.Embedding) (Embedder, error) { return gramEmbedder, nil },
		Registerer: reg, Gatherer: reg,
	}, cfg)
	must(t, err)
	c, err := openCache(cfg.LocalDir, "test")
	must(t, err)
	defer c.close()
	s.follow.cache, s.follow.loader.cache, s.follow.served = c, c, func(string) {}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	s.follow.start(ctx)
	s.follow.run(ctx)
	return s
}

func memWorld(t *testing.T) *world {
	w := newWorld(t)
	w.objects = storetest.NewMem(time.Now)
	return w
}

func TestPollsAreJitteredAndHeartbeatsRegular(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.publish(catalogue())
		var polls []time.Time
		var beats atomic.Int64
		s := follows(t, w, time.Hour, func(_ context.Context, op, key string, call func() error) error {
			switch {
			case key == w.layout.Pointer():
				polls = append(polls, time.Now())
			case strings.HasPrefix(key, w.layout.Replicas()):
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
		s.holder.publish(nil)
		s.holder.wait()
	})
}

// A heartbeat that was not written is tried again long before the last one stops to count.
func TestHeartbeatThatFailedIsRepeatedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.publish(catalogue())
		began := time.Now()
		var beats []time.Duration
		s := follows(t, w, 10*time.Minute, func(_ context.Context, op, key string, call func() error) error {
			if !strings.HasPrefix(key, w.layout.Replicas()) {
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
		s.holder.publish(nil)
		s.holder.wait()
	})
}

func TestRefusedSnapshotIsTriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		m, digest := w.build(catalogue())
		w.promote(m, digest)
		var tries []time.Time
		s := follows(t, w, time.Hour, func(_ context.Context, op, key string, call func() error) error {
			if key == w.layout.File(m.ID, snapshot.FileManifest) {
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
		if q := s.follow.refused(); q == nil || q.code != reasonHash {
			t.Errorf("%+v", q)
		}
	})
}

func TestStoreThatHangsAtStartIsGivenUpAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		w.publish(catalogue())
		start := time.Now()
		s := follows(t, w, time.Minute, func(ctx context.Context, _, _ string, call func() error) error {
			if time.Since(start) < 20*time.Second {
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		if v := s.follow.view(); !v.answered || s.holder.id() == "" {
			t.Errorf("not served once the store answers: %+v", v)
		}
		s.holder.publish(nil)
		s.holder.wait()
	})
}

func TestStalledDownloadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memWorld(t)
		m, digest := w.build(catalogue())
		w.promote(m, digest)
		hung := 0
		s := follows(t, w, 10*time.Minute, func(ctx context.Context, _, key string, call func() error) error {
			if key == w.layout.File(m.ID, snapshot.FileIndex) && hung < 2 {
				hung++
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		if s.holder.id() != m.ID || hung != 2 {
			t.Errorf("serving %q after %d hangs", s.holder.id(), hung)
		}
		s.holder.publish(nil)
		s.holder.wait()
	})
}

func TestFullDiskIsNamed(t *testing.T) {
	if got := reasonOf(fmt.Errorf("write: %w", unix.ENOSPC)); got != reasonDisk {
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
