package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/golden"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
	"github.com/taksuehiro/vectorstore/internal/view"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type evalCmd struct {
	Provider wire.Provider `embed:""`
	Queries  string        `name:"queries" placeholder:"FILE" help:"JSON Lines or CSV (columns query, expect, note) in place of the store's golden.json; - is standard input, as JSON Lines."`
	Snapshot string        `name:"snapshot" placeholder:"ID" help:"Snapshot, as listed; default: the served one."`
	Against  string        `name:"against" placeholder:"ID" help:"A second snapshot to compare with."`
	Output   output        `embed:""`
}

// evaluation is how well a snapshot answers.
type evaluation struct {
	Snapshot string                    `json:"snapshot"`
	Model    string                    `json:"model"`
	Modes    map[string]golden.Quality `json:"modes"`
	Groups   map[string]golden.Quality `json:"groups,omitempty"` // by note, hybrid
	Worst    []answered                `json:"worst,omitempty"`  // hybrid
	Against  *evaluation               `json:"against,omitempty"`
}

// answered is a question and what became of it.
type answered struct {
	Query  string   `json:"query"`
	NDCG   float64  `json:"ndcg@10"`
	Expect []string `json:"expect"`
	Found  []string `json:"found"` // ids, best first
}

// worstShown questions are listed, and groups of as many notes: more notes are no groups.
const worstShown = 10

var modes = [...]string{query.Hybrid, query.Semantic, query.Lexical}

// Run asks every query of one or two snapshots as the servers would, without people's synonyms.
func (c evalCmd) Run(a *app) error {
	o, err := a.operator()
	if err != nil {
		return err
	}
	queries, err := c.queries(a.ctx, o.Objects, o.Layout)
	if err != nil {
		return err
	}
	dir, release, err := a.scratch("eval")
	if err != nil {
		return err
	}
	defer release()
	x := evaluator{a: a, objects: o.Objects, layout: o.Layout, provider: c.Provider, dir: dir, queries: queries}
	out, err := x.evaluate(c.Snapshot)
	if err != nil {
		return a.unknown(err, c.Snapshot)
	}
	if c.Against != "" {
		if out.Against, err = x.evaluate(c.Against); err != nil {
			return a.unknown(err, c.Against)
		}
	}
	return c.Output.print(a.stdout, out, func(w io.Writer) { printEvaluation(w, out) })
}

// queries reads the file that was named, or golden.json.
func (c evalCmd) queries(ctx context.Context, objects store.Objects, l store.Layout) ([]golden.Query, error) {
	if c.Queries == "" {
		body, _, err := objects.Get(ctx, l.Golden(), store.GetOptions{})
		if errors.Is(err, store.ErrNotFound) {
			return nil, usage(fmt.Errorf("there is no %s: write one, or give --queries", l.Golden()))
		}
		if err != nil {
			return nil, err
		}
		defer body.Close()
		data, err := io.ReadAll(io.LimitReader(body, golden.MaxSize+1))
		if err != nil {
			return nil, err
		}
		queries, err := golden.Parse(data)
		if err == nil && len(queries) == 0 {
			err = errors.New("golden.json has no entries")
		}
		return queries, err
	}
	in := io.Reader(os.Stdin)
	if c.Queries != "-" {
		f, err := os.Open(c.Queries)
		if err != nil {
			return nil, usage(err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, golden.MaxSize+1))
	if err != nil {
		return nil, err
	}
	parse := golden.ParseLines
	switch strings.ToLower(filepath.Ext(c.Queries)) {
	case ".csv":
		parse = golden.ParseCSV
	case ".json":
		parse = golden.Parse
	}
	queries, err := parse(data)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", c.Queries, err))
	}
	return queries, nil
}

// evaluator asks the same queries of several snapshots.
type evaluator struct {
	a        *app
	objects  store.Objects
	layout   store.Layout
	provider wire.Provider
	dir      string
	queries  []golden.Query
}

// evaluate asks a snapshot; "" is the served one.
func (x evaluator) evaluate(id string) (*evaluation, error) {
	ctx, sum := x.a.ctx, ""
	if id == "" {
		p, _, err := store.ReadPointer(ctx, x.objects, x.layout, "")
		if err != nil {
			return nil, err
		}
		id, sum = p.ID, p.ManifestSHA256
	}
	m, _, err := store.ReadManifest(ctx, x.objects, x.layout, id, sum)
	if err != nil {
		return nil, err
	}
	embedder, err := x.provider.ForSnapshot(ctx, m.Spec.Embedding)
	if err != nil {
		return nil, usage(err)
	}
	dir, err := os.MkdirTemp(x.dir, "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := store.Fetch(ctx, x.objects, x.layout, m, dir, store.FetchOptions{}); err != nil {
		return nil, err
	}
	v, err := view.Open(m, dir, vecindex.FAISS{}, embedder, nil)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	s := query.New(query.Limits{Cores: vecindex.Cores(), MaxQueue: 1, SearchTimeout: time.Minute, EmbedTimeout: time.Minute}, prometheus.NewRegistry())
	defer s.Close()
	out := &evaluation{Snapshot: id, Model: m.Spec.Embedding.Model, Modes: map[string]golden.Quality{}}
	groups := map[string][]golden.Quality{}
	for _, mode := range modes {
		all := make([]golden.Quality, len(x.queries))
		for i, q := range x.queries {
			found, err := ask(ctx, s, v, q.Text, mode)
			if err != nil {
				return nil, fmt.Errorf("ask %q: %w", q.Text, err)
			}
			all[i] = q.Measure(found)
			if mode == query.Hybrid {
				groups[q.Note] = append(groups[q.Note], all[i])
				out.Worst = append(out.Worst, answered{q.Text, all[i].NDCG, q.Expect, found})
			}
		}
		out.Modes[mode] = golden.Mean(all)
	}
	slices.SortStableFunc(out.Worst, func(a, b answered) int { return cmp.Compare(a.NDCG, b.NDCG) })
	out.Worst = out.Worst[:min(worstShown, len(out.Worst))]
	if delete(groups, ""); len(groups) > 1 && 2*len(groups) <= len(x.queries) {
		out.Groups = map[string]golden.Quality{}
		for note, all := range groups {
			out.Groups[note] = golden.Mean(all)
		}
	}
	return out, nil
}

// ask returns the ids of the first ten.
func ask(ctx context.Context, s *query.Searcher, v *view.View, text, mode string) ([]string, error) {
	found, err := s.Search(ctx, v, query.Query{Text: text, Mode: mode, K: golden.Depth, AutoFilter: true})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found.Hits))
	for i, h := range found.Hits {
		d, err := v.Doc(h.Pos)
		if err != nil {
			return nil, err
		}
		ids[i] = d.ID
	}
	return ids, nil
}

func printEvaluation(w io.Writer, e *evaluation) {
	sides := []*evaluation{e}
	if e.Against != nil {
		sides = append(sides, e.Against)
	}
	for _, s := range sides {
		row(w, "SNAPSHOT", s.Snapshot, s.Model)
	}
	fmt.Fprintln(w)
	row(w, "MODE", "SNAPSHOT", "QUERIES", "HIT@1", "HIT@3", "HIT@5", "RECALL@10", "MRR", "NDCG@10")
	for _, mode := range modes {
		for _, s := range sides {
			row(w, qualityRow(mode, s.Snapshot, s.Modes[mode])...)
		}
	}
	if len(e.Groups) > 0 {
		fmt.Fprintln(w)
		row(w, "GROUP", "SNAPSHOT", "QUERIES", "HIT@1", "HIT@3", "HIT@5", "RECALL@10", "MRR", "NDCG@10")
		notes := make([]string, 0, len(e.Groups))
		for note := range e.Groups {
			notes = append(notes, note)
		}
		slices.Sort(notes)
		for _, note := range notes {
			for _, s := range sides {
				row(w, qualityRow(note, s.Snapshot, s.Groups[note])...)
			}
		}
	}
	for _, s := range sides {
		fmt.Fprintln(w)
		row(w, "WORST OF "+s.Snapshot, "NDCG@10", "EXPECTED", "FOUND FIRST")
		for _, q := range s.Worst {
			row(w, q.Query, fmt.Sprintf("%.2f", q.NDCG), some(q.Expect), some(q.Found))
		}
	}
}

func qualityRow(what, id string, q golden.Quality) []any {
	out := []any{what, id, q.Queries}
	for _, x := range []float64{q.Hit1, q.Hit3, q.Hit5, q.Recall, q.MRR, q.NDCG} {
		out = append(out, fmt.Sprintf("%.2f", x))
	}
	return out
}

// some of the ids, where a line has room for three.
func some(ids []string) string {
	if len(ids) > 3 {
		return strings.Join(ids[:3], " ") + " …"
	}
	return strings.Join(ids, " ")
}
