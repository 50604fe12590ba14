package simtest

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	seedFlag   = flag.Uint64("sim.seed", 0, "seed that TestReplay plays")
	realFlag   = flag.Bool("sim.servers", false, "TestReplay plays with real servers")
	traceFlag  = flag.Bool("sim.trace", false, "TestReplay prints the whole trace")
	triesFlag  = flag.Int("sim.tries", 20, "how often TestReplay plays, with other ids each time: the random schedules do not draw theirs from the seed")
	fromFlag   = flag.Uint64("sim.from", 1, "first seed of the random schedules")
	seedsFlag  = flag.Int("sim.seeds", 0, "random schedules; 0 is 800, and 5,000 with VECTORSTORE_SOAK=1")
	reportFlag = flag.String("sim.report", "", "file to write the table of faults, invariants and runs to")
)

// soakSeeds are played with VECTORSTORE_SOAK=1; VECTORSTORE_SOAK_TIME is how long to play instead.
const soakSeeds = 5000

func TestMain(m *testing.M) {
	flag.Parse()
	if *seedsFlag == 0 {
		if *seedsFlag = 800; os.Getenv("VECTORSTORE_SOAK") != "" {
			*seedsFlag = soakSeeds
		}
	}
	debug.SetGCPercent(800) // many small worlds, each garbage at once
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if *reportFlag != "" {
			if err := seen.write(*reportFlag); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		os.Exit(code)
	}))
}

// TestReplay plays one seed again; the failing test prints how.
func TestReplay(t *testing.T) {
	if *seedFlag == 0 {
		return // nothing was asked for
	}
	for try := range *triesFlag {
		r := playSeed(t, *seedFlag, uint64(try), options{servers: *realFlag, trace: *traceFlag})
		if *traceFlag {
			t.Log(strings.Join(r.trace, "\n"))
		}
		if report(t, *seedFlag, *realFlag, r); t.Failed() {
			return
		}
	}
}

// TestRandomSchedules plays deployments whose servers are reduced to their side of the protocol, which is quick.
func TestRandomSchedules(t *testing.T) { playMany(t, "random schedules", *seedsFlag, options{}) }

// TestRandomSchedulesWithServers adds real servers that answer queries all the time.
func TestRandomSchedulesWithServers(t *testing.T) {
	playMany(t, "random schedules with real servers", *seedsFlag/50, options{servers: true})
}

// workers play seeds at a time, each in bubbles of its own.
const workers = 2

func playMany(t *testing.T, name string, seeds int, o options) {
	began, limit := time.Now(), soak()
	var next atomic.Uint64
	t.Run("workers", func(t *testing.T) {
		for i := range workers {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					n := next.Add(1)
					if limit == 0 && n > uint64(seeds) || limit > 0 && time.Since(began) > limit {
						return
					}
					seed := *fromFlag + n - 1
					r := runSchedule(t, seed, o)
					report(t, seed, o.servers, r)
					seen.add(name, r)
				}
			})
		}
	})
	t.Logf("%s: %d in %s", name, seen.runs(name), time.Since(began).Round(time.Millisecond))
}

// soak is how long to play, 0 = a fixed number of schedules.
func soak() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("VECTORSTORE_SOAK_TIME"))
	return d
}

func report(t *testing.T, seed uint64, servers bool, r result) {
	t.Helper()
	if len(r.fails) == 0 {
		return
	}
	tail := r.trace[max(0, len(r.trace)-150):]
	t.Errorf("seed %d: %s\nreplay: go test ./internal/reconcile/simtest -run TestReplay -sim.seed=%d -sim.servers=%v\n%s",
		seed, strings.Join(r.fails, "\n  "), seed, servers, strings.Join(tail, "\n"))
}
