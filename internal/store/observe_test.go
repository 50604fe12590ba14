package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// requests gathers vectorstore_store_requests_total as "op code", without the zeros.
func requests(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "vectorstore_store_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v > 0 {
				got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = v
			}
		}
	}
	return got
}

func TestObserveCountsEveryCallByItsOutcome(t *testing.T) {
	reg := prometheus.NewRegistry()
	mem := storetest.NewMem(nil)
	broken := store.Hooked(mem, func(_ context.Context, op, key string, call func() error) error {
		if key == "broken" {
			return errors.New("broken")
		}
		return call()
	})
	o := store.Observe(broken, store.NewMetrics(reg))
	info := put(t, o, "a", "x")
	_, _ = o.Put(t.Context(), "a", nil, store.PutOptions{IfAbsent: true})
	_, _ = o.PutFile(t.Context(), "a", filepath.Join(t.TempDir(), "none"), store.PutOptions{})
	_, _, _ = o.Get(t.Context(), "a", store.GetOptions{IfNoneMatch: info.ETag})
	_, _, _ = o.Get(t.Context(), "none", store.GetOptions{})
	_, _ = o.Head(t.Context(), "broken")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_ = o.List(cancelled, "", func(store.Info) error { return nil })
	_ = o.Delete(t.Context(), "a")
	want := map[string]float64{
		"put 200": 1, "put 412": 1, "put none": 1, "get 304": 1, "get 404": 1, "head none": 1, "list canceled": 1, "delete 200": 1,
	}
	if got := requests(t, reg); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}
