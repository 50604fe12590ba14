package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/dropins"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// served are the records of the served snapshot, id by id with their names.
func (r *rig) servedNames() map[string]string {
	r.t.Helper()
	p := r.pointer()
	out := map[string]string{}
	if p.Base != nil {
		r.t.Fatal("want a full snapshot")
	}
	data, _, err := store.ReadBytes(r.t.Context(), r.mem, r.layout.File(p.ID, snapshot.FileDocuments), store.GetOptions{}, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var doc struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		}
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			r.t.Fatal(err)
		}
		out[doc.ID] = doc.Name
	}
	return out
}

func TestDropInsChangeWhatIsServed(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	first := r.pointer()
	if first.DesiredDigest != "" {
		t.Errorf("desired_digest %s without drop-ins", first.DesiredDigest)
	}
	r.put(r.layout.DropIns()+"team.jsonl", []byte(`{"id":"V-001","name":"by hand"}`+"\n"+`{"id":"V-002","_deleted":true}`+"\n"+`{"id":"V-900","name":"new"}`+"\n"))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	p := r.pointer()
	if p.Reason != reconcile.ReasonDropIns || p.Source.Records != 5 || p.DesiredDigest == "" || p.Stats.Added != 1 || p.Stats.Changed != 1 || p.Stats.Removed != 1 {
		t.Errorf("promoted for %q, %d records, digest %q, %+v", p.Reason, p.Source.Records, p.DesiredDigest, p.Stats)
	}
	got := r.servedNames()
	if _, there := got["V-002"]; there || got["V-001"] != "by hand" || got["V-900"] != "new" {
		t.Errorf("served %v", got)
	}
	r.condition(reconcile.Shadowing, reconcile.True, "DropInWins")
	r.condition(reconcile.DropInStale, reconcile.False, "NoneStale")
	gc, _, err := store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
	if err != nil || gc.FormatVersion != store.FormatDelta {
		t.Errorf("gc.json is of format %d: %v", gc.FormatVersion, err)
	}
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	if err := r.mem.Delete(t.Context(), r.layout.DropIns()+"team.jsonl"); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0) // what was built from the source alone is there still
	if p := r.pointer(); p.DesiredDigest != "" || p.ID != first.ID {
		t.Errorf("%s of %q, want %s again", p.ID, p.DesiredDigest, first.ID)
	}
	r.condition(reconcile.SourceReady, reconcile.True, "Read")
}

func TestDropInsAreReadBesideOneSource(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.put(r.layout.DropIns()+"a.json", []byte(`[{"id":"V-001","name":"first"}]`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	before := r.pointer().ID
	for _, what := range []string{"listing", "source"} {
		lists := 0
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			err := call()
			if op == store.OpList && key == r.layout.DropIns() {
				if lists++; lists == 1 && what == "listing" {
					r.put(r.layout.DropIns()+"b.json", []byte(`[{"id":"V-003","name":"b"}]`))
				} else if lists == 1 {
					r.catalogue(0, 5, "b")
				}
			}
			return err
		})
		if what == "listing" { // a change is what brings the second listing about
			r.put(r.layout.DropIns()+"a.json", []byte(`[{"id":"V-001","name":"second"}]`))
		}
		if out := r.once(); !errors.Is(out.Err, store.ErrConflict) || r.pointer().ID != before {
			t.Errorf("%s: %v, served %s", what, out.Err, r.pointer().ID)
		}
		r.objects = r.mem
		r.want(r.once(), reconcile.ResultPromoted, 0)
		before = r.pointer().ID
	}
	if got := r.servedNames(); got["V-001"] != "second" || got["V-003"] != "b" {
		t.Errorf("served %v", got)
	}
}

func TestABadDropInKeepsWhatIsServedOfIt(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	x := r.indexer()
	one := func() reconcile.Outcome { out, _ := x.Once(t.Context(), reconcile.OnceOptions{Yes: true}); return out }
	r.put(r.layout.DropIns()+"a.json", []byte(`[{"id":"V-001","name":"good"}]`))
	r.want(one(), reconcile.ResultPromoted, 0)
	good := r.pointer().ID
	r.put(r.layout.DropIns()+"a.json", []byte(`[{"id":"V-001",`))
	r.want(one(), reconcile.ResultUnchanged, 0)
	r.condition(reconcile.SourceReady, reconcile.False, "DropInInvalid")
	r.put(r.layout.DropIns()+"b.json", []byte(`[{"id":"V-002","name":"other"}]`)) // the rest goes on
	r.want(one(), reconcile.ResultPromoted, 0)
	if got := r.servedNames(); got["V-001"] != "good" || got["V-002"] != "other" {
		t.Errorf("served %v", got)
	}
	last := r.pointer().ID
	// Another process does not know what it said, and changes nothing.
	r.catalogue(0, 5, "b")
	if out := r.once(); out.ExitCode == 0 || r.pointer().ID != last {
		t.Errorf("%v, served %s", out.Err, r.pointer().ID)
	}
	r.condition(reconcile.SourceReady, reconcile.False, "DropInInvalid")
	if m := r.status().Conditions; !strings.Contains(mustJSON(m), "vendors.d/a.json") {
		t.Errorf("it is not named: %s", mustJSON(m))
	}
	if err := r.mem.Delete(t.Context(), r.layout.DropIns()+"a.json"); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if got := r.servedNames(); got["V-001"] != "vendor 1" || got["V-002"] != "other" || good == last {
		t.Errorf("served %v", got)
	}
	r.condition(reconcile.SourceReady, reconcile.True, "Read")
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// What nobody uses is not listed, and what is used once a minute.
func TestHowOftenDropInsAreListed(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	lists := 0
	r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
		if op == store.OpList && key == r.layout.DropIns() {
			lists++
		}
		return call()
	})
	r.once()
	if lists != 1 {
		t.Errorf("%d listings without drop-ins", lists)
	}
	r.put(r.layout.DropIns()+"a.json", []byte(`[{"id":"V-001","name":"x"}]`))
	lists = 0
	r.once()
	if lists != 2 { // and once more, to see that nothing moved
		t.Errorf("%d listings", lists)
	}
}

func TestAPutThatTheSourceOvertook(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	meta := (&dropins.File{Against: dropins.Absent, By: "me", At: time.Now()}).Metadata()
	if _, err := r.mem.Put(t.Context(), r.layout.DropIns()+dropins.NameOf("V-001"), []byte(`{"id":"V-001","name":"old"}`), store.PutOptions{Metadata: meta}); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if got := r.servedNames(); got["V-001"] != "vendor 1" {
		t.Errorf("served %v", got)
	}
	r.condition(reconcile.DropInStale, reconcile.True, "SourceWins")
}

func TestDropInsThatTakeEverythingAway(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 1, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	served := r.pointer().ID
	r.put(r.layout.DropIns()+"a.json", []byte(`{"id":"V-000","_deleted":true}`))
	if out := r.once(); out.ExitCode == 0 || r.pointer().ID != served {
		t.Errorf("%v, served %s", out.Err, r.pointer().ID)
	}
	r.condition(reconcile.SourceReady, reconcile.False, "CatalogueInvalid")
}
