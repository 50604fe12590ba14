package serve

import (
	"testing"
)

func TestOldClientGetsTextScoreAndMetadata(t *testing.T) {
	w := newWorld(t)
	p := w.publish(catalogue())
	r := w.start(t)
	r.serving(p.ID)
	a := r.search(`{"query": "冷凍倉庫の温度監視", "k": 5}`)
	if len(a.Results) != 5 || a.Results[0].ID != "V-001" {
		t.Fatalf("got %v", a.ids())
	}
	if got, want := string(a.Results[0].Metadata), catalogue()[0]; got != want {
		t.Errorf("metadata\n%s\nwant\n%s", got, want)
	}
}
