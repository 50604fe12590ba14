package reconcile_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
)

// hears returns what was told since it was asked last: kind, subject and data. Ids are told once.
func (r *rig) hears() func() []string {
	var told []string
	ids := map[string]bool{}
	r.tell = func(e reconcile.Event) {
		if ids[e.ID] {
			r.t.Errorf("%s was told twice", e.ID)
		}
		ids[e.ID] = true
		data, err := json.Marshal(e.Data)
		if err != nil || e.Time.IsZero() {
			r.t.Errorf("%+v: %v", e, err)
		}
		told = append(told, fmt.Sprintf("%s %s %s", e.Kind, e.Subject, data))
	}
	return func() []string {
		out := told
		told = nil
		return out
	}
}

func TestProgramsAreToldWhatHappened(t *testing.T) {
	r := newRig(t)
	since := r.hears()
	heard := func(what string, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, since()); d != "" {
			t.Errorf("%s (-want +told):\n%s", what, d)
		}
	}
	served := func(kind, reason, previous string, vectors int) string {
		p := r.pointer()
		if previous != "" {
			previous = fmt.Sprintf(`,"previous":"%s"`, previous)
		}
		return fmt.Sprintf(`%s %s {"snapshot":"%s","generation":%d,"vectors":%d,"reason":"%s"%s,"source_etag":%s}`,
			kind, p.ID, p.ID, p.Generation, vectors, reason, previous, quoted(p.Source.ETag))
	}

	r.catalogue(0, 10, "a")
	r.once()
	first := r.pointer().ID
	heard("a first snapshot", served("promoted", "first", "", 10))
	r.once() // a process that knows nothing
	heard("nothing new")

	r.catalogue(0, 10, "b")
	r.once()
	heard("another catalogue", served("promoted", "source changed", first, 10))
	second := r.pointer().ID

	if _, err := r.operator().Rollback(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	heard("by the operator, who is no indexer")
	r.once()
	heard("what an operator did", served("rolled-back", "rollback", second, 10))
	if err := r.operator().Unpin(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.once()
	heard("back again", served("promoted", "adopted", first, 10))

	r.catalogue(0, 4, "b")
	r.once()
	held := r.status().Held
	got := since()
	if len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprintf(`held %s {"snapshot":"%s","reason":"GateHeld","message":"`, held, held)) {
		t.Errorf("held: %q", got)
	}
	r.once()
	heard("still held")

	r.put(r.layout.Source, []byte(strings.Replace(repeating, "[", `[{"id":"V-0","name":"甲"},`, 1)))
	r.onceWith(reconcile.OnceOptions{Yes: true, Force: true})
	var kinds []string
	for _, line := range since() {
		kinds = append(kinds, line[:strings.Index(line, " ")])
	}
	if d := cmp.Diff([]string{"held", "repaired"}, kinds); d != "" {
		t.Errorf("a catalogue with repeated ids: %s", d)
	}

	r.remove(r.layout.Pointer())
	r.once()
	heard("a pointer that was deleted", fmt.Sprintf(`repaired %s {"what":"pointer","message":"the pointer was put back to %s"}`, second, second))
}

func quoted(s string) string { b, _ := json.Marshal(s); return string(b) }
