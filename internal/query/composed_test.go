package query_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// placed is a record of a catalogue that is being edited.
type placed struct {
	key uint64
	id  string
	raw string
}

func drawRecord(t *rapid.T, id string) string {
	word := rapid.SampledFrom([]string{"冷凍倉庫", "会計", "生産管理", "契約書", "認証基盤", "クラウド", "翻訳"})
	return fmt.Sprintf(`{"vendor_id":%q,"name":%q,"description":"%sと%s","type":%q,"score":%d}`, id,
		rapid.SampledFrom([]string{"北斗物流", "Sakura Cloud", "青葉システムズ", "みなと翻訳", "社 " + id}).Draw(t, "name"),
		word.Draw(t, "word"), word.Draw(t, "word"), rapid.SampledFrom([]string{"SaaS", "SI", "物流"}).Draw(t, "type"), rapid.IntRange(1, 5).Draw(t, "score"))
}

func raws(all []placed) (out []string) {
	for _, p := range all {
		out = append(out, p.raw)
	}
	return out
}

// TestCompositionsAnswerAsAFullBuildWould puts random deltas over a base, some of which take over others, and asks both the
// composition and a full build of its records.
func TestCompositionsAnswerAsAFullBuildWould(t *testing.T) {
	compositions(t, func() snapshot.Indexes { return new(followtest.Openers) }, snapshottest.WriteFile)
}

// compositions is the same for any exact kind of index.
func compositions(t *testing.T, indexes func() snapshot.Indexes, write func(path string, dims int, rows []float32) error) {
	searcher := query.New(query.Limits{Cores: 2, MaxQueue: 100, SearchTimeout: time.Minute, EmbedTimeout: time.Minute}, prometheus.NewRegistry())
	defer searcher.Close()
	rapid.Check(t, func(rt *rapid.T) {
		w := followtest.New(t)
		w.WriteIndex = write
		tmp := func() string {
			dir, err := os.MkdirTemp(t.TempDir(), "")
			if err != nil {
				rt.Fatal(err)
			}
			return dir
		}
		var all []placed
		next := 0
		for range rapid.IntRange(3, 12).Draw(rt, "records") {
			id := fmt.Sprintf("V-%02d", next)
			all = append(all, placed{uint64(next+1) << 32, id, drawRecord(rt, id)})
			next++
		}
		dir := tmp()
		m := w.Write(dir, raws(all))
		served, err := view.Open(m, dir, indexes(), followtest.Embedder, nil)
		if err != nil {
			rt.Fatal(err)
		}
		base := map[string]bool{}
		for _, p := range all {
			base[p.id] = true
		}
		type state struct {
			m   store.Manifest
			dir string
			all []placed
		}
		states := []state{{m, dir, slices.Clone(all)}}
		var changes []map[string]*placed // of each delta: nil for an id that is gone
		for range rapid.IntRange(1, 4).Draw(rt, "deltas") {
			change := map[string]*placed{}
			for range rapid.IntRange(1, 4).Draw(rt, "edits") {
				at := rapid.IntRange(0, len(all)).Draw(rt, "at")
				switch {
				case at == len(all) || rapid.IntRange(0, 3).Draw(rt, "add") == 0:
					key := uint64(rapid.IntRange(1, 20).Draw(rt, "place"))<<32 + uint64(next)
					p := placed{key, fmt.Sprintf("V-%02d", next), ""}
					p.raw = drawRecord(rt, p.id)
					next++
					all = append(all, p)
					change[p.id] = &p
				case rapid.Bool().Draw(rt, "remove") && len(all) > 1:
					change[all[at].id] = nil
					all = slices.Delete(all, at, at+1)
				default:
					p := all[at]
					p.raw = drawRecord(rt, p.id)
					all[at] = p
					change[p.id] = &p
				}
			}
			slices.SortFunc(all, func(a, b placed) int { return cmp.Compare(a.key, b.key) })
			keep := len(changes)
			if keep > 0 && rapid.Bool().Draw(rt, "merge") {
				keep--
				for id, p := range changes[keep] {
					if _, ok := change[id]; !ok {
						change[id] = p
					}
				}
			}
			changes = append(changes[:keep], change)
			var c followtest.Change
			for id, p := range change {
				switch {
				case p != nil:
					c.Records, c.Keys = append(c.Records, p.raw), append(c.Keys, p.key)
				default:
					c.Gone = append(c.Gone, id)
				}
			}
			delta := tmp()
			m = w.WriteDelta(delta, m, fmt.Sprintf("%064x", 1), keep, c, raws(all))
			for _, f := range m.Files { // as a replica's folder holds them
				from := delta + "/delta"
				if f.From != "" {
					from = dir + "/" + m.LocalName(f)
				}
				if err := os.Link(from, delta+"/"+m.LocalName(f)); err != nil && f.Name != "delta" && f.From == "" {
					rt.Fatal(err)
				} else if err != nil && f.From != "" && !os.IsExist(err) {
					rt.Fatal(err)
				} else if os.IsExist(err) {
					os.Remove(delta + "/" + m.LocalName(f))
					if err := os.Link(from, delta+"/"+m.LocalName(f)); err != nil {
						rt.Fatal(err)
					}
				}
			}
			dir = delta
			near := served
			if rapid.Bool().Draw(rt, "alone") {
				near = nil
			}
			composed, err := view.Open(m, dir, indexes(), followtest.Embedder, near)
			if err != nil {
				rt.Fatal(err)
			}
			if err := served.Close(); err != nil {
				rt.Fatal(err)
			}
			served = composed
			states = append(states, state{m, dir, slices.Clone(all)})
		}
		if back := rapid.SampledFrom(states).Draw(rt, "back to"); back.m.ID != m.ID {
			earlier, err := view.Open(back.m, back.dir, indexes(), followtest.Embedder, served)
			if err != nil {
				rt.Fatal(err)
			}
			if err := served.Close(); err != nil {
				rt.Fatal(err)
			}
			served, all = earlier, back.all
		}
		fresh := tmp()
		full, err := view.Open(w.Write(fresh, raws(all)), fresh, indexes(), followtest.Embedder, nil)
		if err != nil {
			rt.Fatal(err)
		}
		defer full.Close()
		defer served.Close()
		same(rt, searcher, served, full, all)
	})
}

// same asks both views everything.
func same(t *rapid.T, searcher *query.Searcher, composed, full *view.View, all []placed) {
	if composed.Len() != full.Len() || composed.Vectors() != full.Vectors() {
		t.Fatalf("%d records and %d vectors, want %d and %d", composed.Len(), composed.Vectors(), full.Len(), full.Vectors())
	}
	type answer struct {
		IDs    []string
		Scores []float32
		Total  int
		Facets [][]filter.FacetCount
		Found  []conditions.Condition
	}
	ask := func(v *view.View, q query.Query) answer {
		a, err := searcher.Search(context.Background(), v, q)
		if err != nil {
			t.Fatal(err)
		}
		out := answer{Total: a.Total, Facets: a.Facets, Found: a.Found}
		for _, h := range a.Hits {
			d, err := v.Doc(h.Pos)
			if err != nil {
				t.Fatal(err)
			}
			out.IDs, out.Scores = append(out.IDs, d.ID), append(out.Scores, h.Score)
		}
		return out
	}
	saas, err := filter.Parse([]byte(`{"type":"SaaS"}`))
	if err != nil {
		t.Fatal(err)
	}
	other, err := filter.Parse([]byte(`{"score":{"gte":2},"type":{"ne":"SI"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "会計", "冷凍倉庫の会社", "Sakura Cloud", "翻訳 契約", "青葉"} {
		for _, mode := range []string{query.Semantic, query.Lexical, query.Hybrid} {
			for _, f := range []*filter.Filter{nil, &saas, &other} {
				for _, sort := range []*query.Sort{nil, {Field: "score", Descending: true}} {
					q := query.Query{Text: text, Mode: mode, K: 4, Filter: f, Sort: sort, Facets: []string{"type", "score"}}
					if text == "" && f == nil {
						continue
					}
					if d := gocmp.Diff(ask(full, q), ask(composed, q)); d != "" {
						t.Fatalf("%q %s, filter %v, sort %v (-full +composed): %s", text, mode, f != nil, sort, d)
					}
				}
			}
		}
	}
	for _, text := range []string{"SaaSの会社", "SaaS 会計"} { // no text speaks of SaaS: it is a condition or nothing
		q := query.Query{Text: text, Mode: query.Hybrid, K: 4, AutoFilter: true}
		if d := gocmp.Diff(ask(full, q), ask(composed, q)); d != "" {
			t.Fatalf("%q with conditions (-full +composed): %s", text, d)
		}
	}
	for _, p := range all {
		i, ok := composed.Find(p.id)
		j, ok2 := full.Find(p.id)
		if !ok || !ok2 || string(composed.Line(i)) != string(full.Line(j)) {
			t.Fatalf("%s is %s, want %s", p.id, composed.Line(i), full.Line(j))
		}
		q := query.Query{Similar: p.id, K: 3}
		if d := gocmp.Diff(ask(full, q), ask(composed, q)); d != "" {
			t.Fatalf("similar to %s (-full +composed): %s", p.id, d)
		}
	}
	if d := gocmp.Diff(full.Fields(), composed.Fields()); d != "" {
		t.Fatalf("fields (-full +composed): %s", d)
	}
}
