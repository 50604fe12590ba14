package reconcile

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestKeysFollowTheCatalogueAndStayWhereTheyCan(t *testing.T) {
	for name, tt := range map[string]struct {
		had   []uint64
		moved []int
	}{
		"nothing":                 {nil, nil},
		"as they were":            {[]uint64{10, 20, 30}, nil},
		"new at the end":          {[]uint64{10, free, free}, nil},
		"new at the beginning":    {[]uint64{free, free, 10}, nil},
		"new between":             {[]uint64{10, free, 20}, nil},
		"two swapped":             {[]uint64{10, 30, 20, 40}, []int{1}},
		"the last to the front":   {[]uint64{40, 10, 20, 30}, []int{0}},
		"a block moved, and new":  {[]uint64{30, 40, free, 10, 20, 50}, []int{0, 1}},
		"everything new":          {[]uint64{free, free}, nil},
		"the other way round":     {[]uint64{30, 20, 10}, []int{0, 1}},
		"one that was beyond all": {[]uint64{1 << 40, 10, 20}, []int{0}},
	} {
		keys := slices.Clone(tt.had)
		moved, crowded := settleOrder(keys)
		if len(moved) != len(tt.moved) || crowded != 0 {
			t.Errorf("%s: moved %v, want as many as %v; %d crowded", name, moved, tt.moved, crowded)
		}
		checkOrder(t, name, tt.had, keys, moved)
	}
}

func checkOrder(t interface{ Errorf(string, ...any) }, name string, had, keys []uint64, moved []int) {
	last := uint64(0)
	for i, k := range keys {
		if k <= last || k>>63 != 0 {
			t.Errorf("%s: keys %v are not in order", name, keys)
			return
		}
		if had[i] != free && k != had[i] && !slices.Contains(moved, i) {
			t.Errorf("%s: record %d got another key, and is not said to have moved", name, i)
		}
		last = k
	}
}

func TestKeysOfAnyEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys []uint64
		for i := range rapid.IntRange(0, 20).Draw(t, "records") {
			keys = append(keys, uint64(i+1)*keyStep)
		}
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			n := len(keys)
			switch at := rapid.IntRange(0, n).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "edit") {
			case 0:
				keys = slices.Insert(keys, at, free)
			case 1:
				if at < n {
					keys = slices.Delete(keys, at, at+1)
				}
			case 2:
				if at < n {
					k := keys[at]
					keys = slices.Delete(keys, at, at+1)
					keys = slices.Insert(keys, rapid.IntRange(0, n-1).Draw(t, "to"), k)
				}
			}
			had := slices.Clone(keys)
			moved, crowded := settleOrder(keys)
			if crowded > 0 {
				t.Fatalf("%d crowded in %v", crowded, keys)
			}
			if len(moved) > 1 {
				t.Fatalf("one move moves %v", moved)
			}
			checkOrder(t, "edits", had, keys, moved)
		}
	})
}

// Where there is no room, records share a key and are counted; nothing ends or overflows.
func TestCrowdedKeysAreCounted(t *testing.T) {
	keys := []uint64{5, free, free, 6}
	if moved, crowded := settleOrder(keys); len(moved) != 0 || crowded != 2 || !slices.IsSorted(keys) {
		t.Errorf("moved %v, %d crowded: %v", moved, crowded, keys)
	}
	had := slices.Clone(keys)
	if moved, crowded := settleOrder(keys); len(moved) != 0 || crowded != 0 || !slices.Equal(keys, had) {
		t.Errorf("the next pass moves %v of %v", moved, had)
	}
}
