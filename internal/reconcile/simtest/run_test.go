package simtest

import (
	"flag"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "seed that TestReplay plays")
	seedsFlag = flag.Int("sim.seeds", 200, "random schedules")
	fromFlag  = flag.Uint64("sim.from", 1, "first seed of the random schedules")
	realFlag  = flag.Bool("sim.servers", false, "TestReplay plays with real servers")
	traceFlag = flag.Bool("sim.trace", false, "TestReplay prints the whole trace")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // many small worlds, each garbage at once
	goleak.VerifyTestMain(m)
}

func TestReplay(t *testing.T) {
	if *seedFlag == 0 {
		return // nothing was asked for
	}
	r := runSchedule(t, *seedFlag, options{servers: *realFlag})
	if *traceFlag {
		t.Log(strings.Join(r.trace, "\n"))
	}
	report(t, *seedFlag, r)
}

// workers play seeds at a time, each in bubbles of its own.
const workers = 2

// TestRandomSchedules plays deployments whose servers are reduced to their side of the protocol, which is quick.
func TestRandomSchedules(t *testing.T) { playMany(t, *seedsFlag, options{}) }

// TestRandomSchedulesWithServers adds real servers that answer queries all the time.
func TestRandomSchedulesWithServers(t *testing.T) { playMany(t, *seedsFlag/20, options{servers: true}) }

func playMany(t *testing.T, seeds int, o options) {
	var next atomic.Uint64
	var mu sync.Mutex
	tally := map[string]int{}
	began := time.Now()
	t.Run("workers", func(t *testing.T) {
		for i := range workers {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					n := next.Add(1)
					if n > uint64(seeds) {
						return
					}
					seed := *fromFlag + n - 1
					r := runSchedule(t, seed, o)
					report(t, seed, r)
					mu.Lock()
					tally["schedules"]++
					for k, n := range r.tally {
						tally[k] += n
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, k := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%-28s %9d", k, tally[k])
	}
	t.Logf("%d schedules in %s", tally["schedules"], time.Since(began).Round(time.Millisecond))
}
