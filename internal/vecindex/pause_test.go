package vecindex

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// onPriority runs f on a thread of its own at that nice value.
func onPriority(t *testing.T, nice int, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// threadTime is the processor time of the calling thread.
func threadTime(t *testing.T) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Error(err)
	}
	return time.Duration(now.Nano())
}

// slept is how often the calling thread gave up its core of its own accord.
func slept(t *testing.T) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Error(err)
	}
	return u.Nvcsw
}

func TestOnlyTheLowestPriorityRests(t *testing.T) {
	for nice, want := range map[int]bool{0: false, 18: false, 19: true} {
		onPriority(t, nice, func() {
			if got := pausesAfterWork(t); got != want {
				t.Errorf("nice %d: slept %v, want %v", nice, got, want)
			}
		})
	}
}

// A program that was started at the lowest priority has nobody to make way for.
func TestAProgramAtTheLowestPriorityDoesNotPause(t *testing.T) {
	inProcess(t, "19", func() {
		onPriority(t, 19, func() {
			if pausesAfterWork(t) {
				t.Error("slept")
			}
		})
	})
}

// A load may happen to run on the first thread, which cannot be raised again and does not end: that does not make the
// program one of the lowest priority.
func TestTheFirstThreadMayBeLowered(t *testing.T) {
	inProcess(t, "0", func() {
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Getpid(), 19); err != nil {
			t.Fatal(err)
		}
		onPriority(t, 19, func() {
			if !pausesAfterWork(t) {
				t.Error("did not sleep")
			}
		})
	})
}

// inProcess runs f, the whole of the test, in a process that was started at that nice value.
func inProcess(t *testing.T, nice string, f func()) {
	t.Helper()
	const inside = "VECINDEX_TEST_NICED"
	if os.Getenv(inside) != "" {
		f()
		return
	}
	c := exec.CommandContext(t.Context(), "nice", "-n", nice, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), inside+"=1")
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
}

// pausesAfterWork works for some time and tells whether Pause slept. The kernel counts any wait, as for a page or a lock of
// the runtime, so what it does most times counts.
func pausesAfterWork(t *testing.T) bool {
	const rounds = 9
	times := 0
	for range rounds {
		for began := threadTime(t); threadTime(t)-began < 2*time.Millisecond; {
		}
		before := slept(t)
		Pause()
		if slept(t) > before {
			times++
		}
	}
	return times > rounds/2
}

// At the lowest priority an index is opened in small portions; a third of the time is asked for, and half is the bound
// here, because short portions are not counted.
func TestOpeningRestsAtTheLowestPriority(t *testing.T) {
	const n, d = 20_000, 256
	rows := make([]float32, n*d)
	for i := range n {
		rows[i*d+rand.IntN(d)] = 1
	}
	params := snapshot.IndexParams{Kind: "flat"}
	b, err := NewBuilder(params, d, n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Add(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	x, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index.faiss")
	if err := x.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	open := func() (share float64) {
		began, worked := time.Now(), threadTime(t)
		y, err := Open(path, params)
		if err != nil {
			t.Error(err)
			return 0
		}
		share = float64(threadTime(t)-worked) / float64(time.Since(began))
		if err := y.Close(); err != nil {
			t.Error(err)
		}
		return share
	}
	onPriority(t, 19, func() {
		if share := open(); share > 0.5 {
			t.Errorf("worked %.2f of the time", share)
		}
	})
	onPriority(t, 0, func() {
		before := slept(t)
		open()
		if n := slept(t) - before; n > 20 {
			t.Errorf("slept %d times at normal priority", n)
		}
	})
}
