package reconcile

import (
	"slices"
)

// Records of a composition stand in the order of their keys (package delta). A record keeps its key from snapshot to
// snapshot; what comes new, or moved, gets one between those of its neighbours. No position is ever written down.

// keyStep is how far apart the keys of records are that nothing stands between yet.
const keyStep = 1 << 32

// free marks a record that has no key yet.
const free = 0

// settleOrder gives every record of the catalogue, in order, its key: keys[i] is the one that record i had, or free. Those
// that stand where they stood keep theirs, as many as can; moved are the others, of which the new keys are in place. A
// moved one whose new place has no room between two keys shares one: crowded counts them, whose order is then by chance.
func settleOrder(keys []uint64) (moved []int, crowded int) {
	stays := inOrderAlready(keys)
	for i, k := range keys {
		if k != free && !stays[i] {
			moved = append(moved, i)
			keys[i] = free
		}
	}
	last := uint64(0)
	for i := 0; i < len(keys); {
		if keys[i] != free {
			last = keys[i]
			i++
			continue
		}
		end := i
		for end < len(keys) && keys[end] == free {
			end++
		}
		step := uint64(keyStep)
		if end < len(keys) {
			step = (keys[end] - last) / uint64(end-i+1)
		}
		for ; i < end; i++ {
			if step == 0 {
				crowded++
				keys[i] = max(last, 1)
				continue
			}
			last += step
			keys[i] = last
		}
	}
	return moved, crowded
}

// inOrderAlready marks a longest subsequence without a step down of the keys that are not free.
func inOrderAlready(keys []uint64) []bool {
	stays := make([]bool, len(keys))
	sorted, last := true, uint64(0)
	for i, k := range keys {
		if k == free {
			continue
		}
		sorted = sorted && k >= last
		last, stays[i] = k, true
	}
	if sorted { // as nearly always
		return stays
	}
	clear(stays)
	ends := []int32{}                  // of the subsequences of length 1, 2, …: where the one with the lowest last key ends
	before := make([]int32, len(keys)) // its predecessor
	for i, k := range keys {
		if k == free {
			continue
		}
		at, _ := slices.BinarySearchFunc(ends, k, func(e int32, k uint64) int {
			if keys[e] <= k {
				return -1
			}
			return 1
		})
		before[i] = -1
		if at > 0 {
			before[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, int32(i))
		} else {
			ends[at] = int32(i)
		}
	}
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		stays[i] = true
	}
	return stays
}
