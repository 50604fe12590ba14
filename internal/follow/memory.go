package follow

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	rtmetrics "runtime/metrics"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryMargin is left free below the limit: stacks, sockets, page tables and what a garbage collection cycle lets
// the heap grow by before GOMEMLIMIT bites.
const memoryMargin = 48 << 20

// minGoHeap is the least GOMEMLIMIT ever set: below it the collector would spin instead of answering.
const minGoHeap = 64 << 20

// systemLimit is the memory this process may use: the smallest cgroup limit (v2 memory.max, v1
// memory.limit_in_bytes), else the machine's memory. 0 when unknown.
func systemLimit() int64 {
	n, err := memlimit.FromCgroup()
	if err != nil {
		n, err = memlimit.FromSystem()
	}
	if err != nil || n > 1<<62 {
		return 0
	}
	return int64(n)
}

// residentAnonymous is this process's memory that cannot be dropped under pressure: heaps of Go and C, not the mapped
// documents.
func residentAnonymous() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		f := bytes.Fields(sc.Bytes())
		if len(f) >= 2 && string(f[0]) == "RssAnon:" {
			kib, _ := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// tightError says that a snapshot does not fit into memory.
type tightError struct{ need, used, limit int64 }

func (e *tightError) Error() string {
	return fmt.Sprintf("needs %d MiB more, %d of %d MiB are in use", e.need>>20, e.used>>20, e.limit>>20)
}

// fits returns a *tightError when need more bytes would pass the limit. A limit of 0 is none.
func fits(need, used, limit int64) error {
	if limit > 0 && used+need+min(memoryMargin, limit/10) > limit {
		return &tightError{need, used, limit}
	}
	return nil
}

// goGarbage is how much garbage the Go heap may hold at least before it is collected. By Go's own measure, as much as
// is alive, a replica's heap of a few MB would be collected dozens of times a second under load.
const goGarbage = 32 << 20

// collector sets GOGC by what is alive, unless the operator set it. Not for concurrent use.
type collector struct{ percent int }

// adjust is called from time to time.
func (c *collector) adjust() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []rtmetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	rtmetrics.Read(live)
	if p := gcPercent(live[0].Value.Uint64()); p != c.percent {
		debug.SetGCPercent(p)
		c.percent = p
	}
}

// gcPercent lets goGarbage or as much as is alive be collected at a time, whichever is more. In steps: each change
// stops the program for a moment.
func gcPercent(live uint64) int {
	const step = 4 << 20 // also Go's smallest heap at 100 %
	return int(max(100, goGarbage*100/(max(live+step-1, step)/step*step)))
}

// limitGoHeap sets GOMEMLIMIT to what native memory leaves of the limit, unless the operator set it.
func limitGoHeap(limit, native int64) {
	if limit <= 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(max(limit-native-min(memoryMargin, limit/10), minGoHeap))
}
