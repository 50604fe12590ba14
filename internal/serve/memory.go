package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
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

// limitGoHeap sets GOMEMLIMIT to what native memory leaves of the limit, unless the operator set it.
func limitGoHeap(limit, native int64) {
	if limit <= 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(max(limit-native-min(memoryMargin, limit/10), minGoHeap))
}
