package simtest

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
)

// TestSameSeedSameRun: a seed plays the same run every time, to the byte of its trace, real servers included. Time is virtual
// and each step has an instant of its own; jitter, faults and ids are drawn from the seed.
func TestSameSeedSameRun(t *testing.T) {
	for name, o := range map[string]options{"": {trace: true, steps: true}, "with real servers": {trace: true, steps: true, servers: true}} {
		seeds := uint64(50)
		if o.servers {
			seeds = 12
		}
		for seed := uint64(1); seed <= seeds; seed++ {
			first, second := playSeed(t, seed, 0, o), playSeed(t, seed, 0, o)
			if o.servers { // those that stop at one instant free what they served in no order
				withinInstants(first.trace)
				withinInstants(second.trace)
			}
			for i := range min(len(first.trace), len(second.trace)) {
				if first.trace[i] != second.trace[i] {
					t.Fatalf("seed %d %s differs at event %d of %d:\n%s\n%s", seed, name, i, len(first.trace), first.trace[i], second.trace[i])
				}
			}
			if len(first.trace) != len(second.trace) || !maps.Equal(first.tally, second.tally) || len(first.trace) < 20 {
				t.Fatalf("seed %d %s: %d events and then %d; %v and then %v", seed, name, len(first.trace), len(second.trace), first.tally, second.tally)
			}
		}
	}
}

// withinInstants puts the events of each instant, which they begin with, in the order of their words.
func withinInstants(trace []string) {
	instant := func(e string) string {
		at, _, _ := strings.Cut(strings.TrimSpace(e), " ")
		return at
	}
	for i := 0; i < len(trace); {
		end := i + 1
		for end < len(trace) && instant(trace[end]) == instant(trace[i]) {
			end++
		}
		slices.Sort(trace[i:end])
		i = end
	}
}

// playSeed plays a seed alone, with ids that are drawn as well, so that it is the same run each time.
func playSeed(t *testing.T, seed, ids uint64, o options) (res result) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // within one instant, a step runs to its end
	t.Run("", func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, ids)
		res = runSchedule(t, seed, o)
	})
	return res
}
