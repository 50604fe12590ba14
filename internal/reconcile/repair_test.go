package reconcile_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const repeating = `[{"id":"V-1","name":"甲"},{"id":"V-1","name":"乙"},{"id":"V-2","name":"丙"},{"id":"V-2","name":"丙"},{"title":"丁"}]`

// repairedMetric is source_repaired of the last process.
func (r *rig) repairedMetric(kind string) float64 {
	r.t.Helper()
	found, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range found {
		for _, m := range f.GetMetric() {
			if f.GetName() == "vectorstore_source_repaired" && m.GetLabel()[0].GetValue() == kind {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func (r *rig) message(kind string) string {
	for _, c := range r.status().Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

func TestWhatIsPutRightIsSaid(t *testing.T) {
	r := newRig(t)
	r.put(r.layout.Source, []byte(`[{"id":"V-0","name":"甲"}]`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.condition(reconcile.CatalogueClean, reconcile.True, "Clean")
	r.put(r.layout.Source, []byte(strings.Replace(repeating, "[", `[{"id":"V-0","name":"甲"},`, 1)))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	want := []snapshot.Repair{
		{Kind: "duplicate_id", Count: 2, IDs: []string{"V-1", "V-2"}, Renamed: 1, Dropped: 1},
		{Kind: "no_id", Count: 1, IDs: []string{"丁"}},
	}
	if d := cmp.Diff(want, r.pointer().Repairs); d != "" {
		t.Errorf("the manifest's repairs differ (-want +got):\n%s", d)
	}
	for _, line := range []string{
		`"level":"WARN","msg":"catalogue repaired","reconcile":`, `"kind":"duplicate_id","count":2,"ids":["V-1","V-2"]`, `"kind":"no_id","count":1,"ids":["丁"]`,
	} {
		if !strings.Contains(r.logs.String(), line) {
			t.Errorf("the log lacks %s", line)
		}
	}
	var old []string // what old readers see
	err := langchain.ReadPickle(bytes.NewReader(r.mem.Data(r.layout.Current(snapshot.FilePickle))), langchain.DefaultLimits(), func(_ int, d langchain.Found) error {
		old = append(old, d.ID)
		return nil
	})
	if err != nil || !slices.Contains(old, "V-1~2") {
		t.Errorf("old readers see %q: %v", old, err)
	}
	// A process that has not read the catalogue itself says the same.
	for _, what := range []string{"built", "up to date"} {
		r.condition(reconcile.CatalogueClean, reconcile.False, "Repaired")
		if m := r.message(reconcile.CatalogueClean); !strings.Contains(m, "V-1, V-2") || !strings.Contains(m, "丁") {
			t.Errorf("%s: the condition says %q", what, m)
		}
		for kind, n := range map[string]float64{"duplicate_id": 2, "no_id": 1, "no_name": 0, "encoding": 0, "float_id": 0} {
			if got := r.repairedMetric(kind); got != n {
				t.Errorf("%s: source_repaired{%s} is %v, want %v", what, kind, got, n)
			}
		}
		r.want(r.once(), reconcile.ResultUnchanged, 0)
	}
	r.put(r.layout.Source, []byte(`[{"id":"V-0","name":"甲"},{"id":"V-1","name":"甲"},{"id":"V-2","name":"丙"}]`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.condition(reconcile.CatalogueClean, reconcile.True, "Clean")
	if got := r.repairedMetric("duplicate_id"); got != 0 {
		t.Errorf("source_repaired{duplicate_id} is still %v", got)
	}
	if problems, err := testutil.GatherAndLint(r.reg, "vectorstore_source_repaired"); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestARefusedCatalogueIsNeitherCleanNorRepaired(t *testing.T) {
	r := newRig(t)
	r.put(r.layout.Source, []byte(repeating))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.cfg.Catalogue.Duplicates = "refuse"
	out := r.once()
	r.want(out, reconcile.ResultFailed, 1)
	if !strings.Contains(out.Err.Error(), `duplicate id "V-1", "V-2"`) {
		t.Errorf("error %q does not name the ids", out.Err)
	}
	r.condition(reconcile.SourceReady, reconcile.False, "CatalogueInvalid")
	r.condition(reconcile.CatalogueClean, reconcile.Unknown, "Refused")
	r.cfg.Catalogue.Duplicates = "suffix"
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	r.condition(reconcile.CatalogueClean, reconcile.False, "Repaired")
}

// Each setting is part of the spec, so a change is a new pass; the texts stay the same, so nothing is bought.
func TestSettingsOfTheCatalogueBuyNothing(t *testing.T) {
	r := newRig(t)
	r.cfg.GateMaxRemoved = 1
	r.put(r.layout.Source, []byte(`[{"id":"V-1","code":"A","name":"甲","label":"い"},{"id":"V-1","code":"B","name":"乙","label":"ろ"},{"id":"V-2","code":"C","name":"丙","label":"は"}]`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	p := r.pointer()
	if s := p.Spec; s.DuplicateIDs+s.RecordID+s.RecordName != "" {
		t.Errorf("defaults are in the spec: %+v", s)
	}
	r.cfg.Catalogue.ID = " vendor_id , id"
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	for _, change := range []struct {
		what    string
		set     func()
		records int
		spec    [3]string
	}{
		{"the last one", func() { r.cfg.Catalogue.Duplicates = "last" }, 2, [3]string{"last"}},
		{"another id", func() { r.cfg.Catalogue.ID = "code" }, 3, [3]string{"last", "code"}},
		{"another name", func() { r.cfg.Catalogue.Name = "label, name" }, 3, [3]string{"last", "code", "label,name"}},
	} {
		change.set()
		bought := r.embed.Bought()
		r.want(r.once(), reconcile.ResultPromoted, 0)
		p = r.pointer()
		if p.Source.Records != change.records || p.Stats.Embedded != 0 || r.embed.Bought() != bought {
			t.Errorf("%s: %d records, %d texts bought, the embedder was asked for %d", change.what, p.Source.Records, p.Stats.Embedded, r.embed.Bought()-bought)
		}
		if got := [3]string{p.Spec.DuplicateIDs, p.Spec.RecordID, p.Spec.RecordName}; got != change.spec {
			t.Errorf("%s: the spec says %q, want %q", change.what, got, change.spec)
		}
		r.want(r.once(), reconcile.ResultUnchanged, 0)
	}
}

// TestIDsLiveThroughReordering: records whose id stands once keep it, and no order of the records costs a text.
func TestIDsLiveThroughReordering(t *testing.T) {
	r := newRig(t)
	r.cfg.GateMaxRemoved = 0
	a, b, c, d := `{"id":"V-1","name":"甲"}`, `{"id":"V-1","name":"乙"}`, `{"id":"V-2","name":"丙"}`, `{"title":"丁"}`
	r.put(r.layout.Source, []byte("["+a+","+b+","+c+","+d+"]"))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	bought := r.embed.Bought()
	for _, in := range []string{"[" + d + "," + c + "," + b + "," + a + "]", d + "\n" + b + "\n" + a + "\n" + c + "\n"} {
		r.put(r.layout.Source, []byte(in))
		r.want(r.once(), reconcile.ResultPromoted, 0) // the gate would hold it if one id were gone
		if p := r.pointer(); p.Stats.Removed != 0 || p.Stats.Added != 0 || r.embed.Bought() != bought {
			t.Errorf("%s: %+v, %d texts bought", in, p.Stats, r.embed.Bought()-bought)
		}
	}
	r.cfg.GateMaxRemoved = 1 // the repair ends V-1~2
	r.put(r.layout.Source, []byte("["+strings.Replace(b, "V-1", "V-9", 1)+","+d+","+c+","+a+"]"))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if p := r.pointer(); p.Stats.Removed != 1 || p.Stats.Added != 1 || p.Stats.Unchanged+p.Stats.Changed != 3 || r.embed.Bought() != bought {
		t.Errorf("repaired: %+v, %d texts bought", p.Stats, r.embed.Bought()-bought)
	}
}
