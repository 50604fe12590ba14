package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/store"
)

func testListOrder(t *testing.T, o store.Objects) {
	want := []string{"p/list/a-b", "p/list/a.x", "p/list/a/b", "p/list/a/c/d", "p/list/a0", "p/list/b", "p/list/日本"}
	for _, key := range []string{want[3], want[6], want[0], want[4], want[2], want[5], want[1], "p/list2", "p/lisa"} {
		mustPut(t, o, key, []byte(key), store.PutOptions{})
	}
	if got := list(t, o, "p/list/"); !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if got, want := list(t, o, "p/list/a"), want[:5]; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if got, want := list(t, o, "p/list/a/c"), want[3:4]; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	for _, prefix := range []string{"p/list/none", "p/list/b/", "nowhere/"} {
		if got := list(t, o, prefix); len(got) != 0 {
			t.Errorf("listed %q under %q", got, prefix)
		}
	}
	err := o.List(t.Context(), "p/list/b", func(info store.Info) error {
		if info.Size != int64(len("p/list/b")) || info.LastModified.IsZero() || info.Date.IsZero() {
			t.Errorf("listed %+v", info)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testListPages(t *testing.T, o store.Objects) {
	const n = 1003
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				if _, err := o.Put(t.Context(), fmt.Sprintf("p/pages/%05d", i), nil, store.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := list(t, o, "p/pages/")
	if len(got) != n || !slices.IsSorted(got) || got[n-1] != fmt.Sprintf("p/pages/%05d", n-1) {
		t.Errorf("listed %d keys, want %d in order", len(got), n)
	}
}

func testListStops(t *testing.T, o store.Objects) {
	for _, key := range []string{"p/stop/a", "p/stop/b"} {
		mustPut(t, o, key, nil, store.PutOptions{})
	}
	enough, calls := errors.New("enough"), 0
	err := o.List(t.Context(), "p/stop/", func(store.Info) error { calls++; return enough })
	wantErr(t, "list", err, enough)
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
}
