package suite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/load"
	"github.com/taksuehiro/vectorstore/bench/proc"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// openRate of the open-loop measurement, requests per second: what the slowest graph server still carries.
const openRate = 500

// The times of one measurement of one contestant.
const (
	warmOne, measureOne   = 200 * time.Millisecond, 1200 * time.Millisecond
	warmMany, measureMany = 300 * time.Millisecond, 2000 * time.Millisecond
	measureOpen           = 2 * time.Second
)

// contestant is one row: a server and how it is asked. Rows of the same server share its process.
type contestant struct {
	name   string
	family string // graph, flat, floor
	own    bool
	server *server
	encode func([]float32) []byte
}

// server is built, then started once for all rounds.
type server struct {
	name  string
	build func(context.Context) (result.Built, error) // nil: nothing to build
	start func(b result.Built, port int) proc.Command

	built result.Built
	proc  *proc.Proc
	addr  string
}

// contestants of a data set.
func (s *Suite) contestants(set *dataset.Set, dir string) []contestant {
	own := func(kind string) *server {
		return &server{name: "own-" + kind, build: s.ownBuild(set, dir, kind), start: s.ownServer}
	}
	faiss := func(kind string, fast bool, app string) *server {
		return &server{name: fmt.Sprintf("%s-%s-%t", app, kind, fast), build: s.faissBuild(set, dir, kind, fast), start: s.uvicorn(app, fast)}
	}
	node := func(library string) *server {
		return &server{name: library, build: s.nodeBuild(set, dir, library), start: s.node(library, set.Dims)}
	}
	ownGraph, ownFlat := own("hnsw"), own("flat")
	all := []contestant{
		{"floor: Go net/http, body not decoded, no search", "floor", false, &server{name: "floor", start: s.floor()}, jsonBody},
		{"floor: Go net/http + encoding/json, no search", "floor", false, &server{name: "floor-decode", start: s.floor("decode")}, jsonBody},
		{label("hnsw", "base64"), "graph", true, ownGraph, base64Body},
		{label("hnsw", "JSON"), "graph", true, ownGraph, jsonBody},
		{"usearch bf16, node cluster 2", "graph", false, node("usearch"), jsonBody},
		{"hnswlib, node cluster 2", "graph", false, node("hnswlib"), jsonBody},
		{"python FAISS HNSW + AVX2, Starlette + ujson, 2 workers", "graph", false, faiss("hnsw", true, "starlette_app"), jsonBody},
		{"Debian's python FAISS HNSW, FastAPI, 2 workers", "graph", false, faiss("hnsw", false, "fastapi_app"), jsonBody},
		{label("flat", "base64"), "flat", true, ownFlat, base64Body},
		{label("flat", "JSON"), "flat", true, ownFlat, jsonBody},
		{"python FAISS flat + AVX2, Starlette + ujson, 2 workers", "flat", false, faiss("flat", true, "starlette_app"), jsonBody},
		{"Debian's python FAISS flat, FastAPI, 2 workers", "flat", false, faiss("flat", false, "fastapi_app"), jsonBody},
		{"chromem-go 0.7.0, Go net/http", "flat", false, &server{name: "chromem", start: s.chromem(set)}, jsonBody},
	}
	if s.Against != "" {
		for _, one := range slices.Clone(all) {
			if one.own {
				one.name, one.server = one.name+", the other build", s.other(one.server)
				all = append(all, one)
			}
		}
	}
	return slices.DeleteFunc(all, func(c contestant) bool { return !s.Systems.MatchString(c.name) })
}

// other is the server of the second folder on the index of one of the first.
func (s *Suite) other(of *server) *server {
	second := *s
	second.Bin = s.Against
	return &server{name: of.name + "-other", start: func(_ result.Built, port int) proc.Command {
		c := second.ownServer(of.built, port)
		c.Env = append(c.Env, "VECTORSTORE_LOCAL_DIR="+of.built.Path+"-other") // the later one counts
		return c
	}}
}

// Contest measures all contestants on one data set and saves the table.
func (s *Suite) Contest(ctx context.Context, shape dataset.Shape) error {
	set, err := dataset.Open(ctx, s.Cache, shape)
	if err != nil {
		return err
	}
	defer set.Close()
	dir, err := s.scratch(shape.Name)
	if err != nil {
		return err
	}
	all := s.contestants(set, dir)
	if err := s.buildAll(ctx, servers(all)); err != nil {
		return err
	}
	defer func() {
		for _, sv := range servers(all) {
			if sv.proc != nil {
				sv.proc.Stop()
			}
		}
	}()
	for _, sv := range servers(all) {
		if err := s.startServer(ctx, sv, dir); err != nil {
			return err
		}
	}
	c := result.Contest{Machine: s.machine(ctx), Data: shape.Label(), Clients: manyClients, Rounds: s.Rounds, OpenRate: openRate}
	for _, one := range all {
		row, err := s.check(ctx, one, set)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", one.name, err, one.server.proc.Tail())
		}
		c.Rows = append(c.Rows, row)
	}
	whole, err := flat(ctx, set, 0, set.N)
	if err != nil {
		return err
	}
	defer whole.Close()
	if err := s.rounds(ctx, all, set, whole, &c); err != nil {
		return err
	}
	for _, r := range c.Rows {
		s.logf("%-60s p50 %.3f ms, %8.0f q/s, %.0f us", r.System, 1000*r.One.Median(), r.Many.Median(), 1e6*r.CPU.Median())
	}
	if s.Against != "" || s.Systems.String() != "" {
		return nil // not what the report shows
	}
	return result.Save(s.results(), "contest-"+shape.Name, c)
}

// servers of the contestants, each once, in order.
func servers(all []contestant) []*server {
	var out []*server
	seen := map[*server]bool{}
	for _, c := range all {
		if !seen[c.server] {
			seen[c.server] = true
			out = append(out, c.server)
		}
	}
	return out
}

// buildAll builds every index Builds times, interleaved; the last one is served.
func (s *Suite) buildAll(ctx context.Context, all []*server) error {
	for round := range max(s.Builds, 1) {
		for _, sv := range all {
			if sv.build == nil {
				continue
			}
			b, err := sv.build(ctx)
			if err != nil {
				return fmt.Errorf("build %s: %w", sv.name, err)
			}
			b.Seconds = append(sv.built.Seconds, b.Seconds...)
			sv.built = b
			s.logf("built %s, round %d: %.2f s, parameter %d", sv.name, round+1, b.Seconds[len(b.Seconds)-1], b.Param)
		}
	}
	return nil
}

func (s *Suite) startServer(ctx context.Context, sv *server, dir string) error {
	port, err := proc.FreePort()
	if err != nil {
		return err
	}
	command := sv.start(sv.built, port)
	command.Log = filepath.Join(dir, sv.name+".log")
	if sv.proc, err = proc.Start(command); err != nil {
		return err
	}
	sv.addr = fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	took, err := sv.proc.Ready(ctx, "http://"+sv.addr+"/ready")
	if err != nil {
		return fmt.Errorf("start %s: %w", sv.name, err)
	}
	s.logf("started %s in %.2f s", sv.name, took.Seconds())
	return nil
}

// checkQueries bounds the queries that an exhaustive server is checked with.
const checkQueries = 100

// check asks a contestant everything once over many connections, so that all workers are warm, and takes its recall.
func (s *Suite) check(ctx context.Context, c contestant, set *dataset.Set) (result.Row, error) {
	row := result.Row{System: c.name, Family: c.family, Own: c.own}
	if c.server.build != nil {
		row.Build = &c.server.built
	}
	t := requests(set, c.server.addr, c.encode)
	if c.family == "flat" {
		t.Requests = t.Requests[:min(len(t.Requests), checkQueries)]
	}
	hits := 0
	err := load.Each(ctx, t, manyClients, func(i, status int, body []byte) error {
		if status != 200 {
			return fmt.Errorf("status %d: %.200s", status, body)
		}
		if c.family == "floor" {
			return nil
		}
		ids, err := positions(body)
		if err != nil {
			return err
		}
		if len(ids) != dataset.K {
			return fmt.Errorf("%d results", len(ids))
		}
		hits += set.Hits(i, ids)
		return nil
	})
	if err != nil {
		return row, err
	}
	row.Asked = len(t.Requests)
	row.Recall = float64(hits) / float64(row.Asked*dataset.K)
	cost, err := c.server.proc.Cost()
	if err != nil {
		return row, err
	}
	row.Memory = cost.PSS
	if c.family == "floor" {
		row.Recall = 0
	}
	s.logf("%-60s recall %.4f, %d MB", c.name, row.Recall, row.Memory>>20)
	if c.family == "flat" && row.Recall < 0.999 {
		return row, errors.New("an exhaustive search missed neighbours")
	}
	return row, nil
}

// rounds measures everybody in turn, Rounds times, and before our flat server the search without HTTP: one query split
// over the cores, which the server cannot beat.
func (s *Suite) rounds(ctx context.Context, all []contestant, set *dataset.Set, whole *vecindex.Index, out *result.Contest) error {
	rows := out.Rows
	targets := make([]load.Target, len(all))
	for i, c := range all {
		targets[i] = requests(set, c.server.addr, c.encode)
	}
	for round := range s.Rounds {
		for i, c := range all {
			if c.name == label("flat", "JSON") {
				seconds, err := sustained(whole, set, s.duration(warmOne), s.duration(measureOne))
				if err != nil {
					return err
				}
				out.ScanSplit = append(out.ScanSplit, seconds)
				s.logf("round %d: %-60s p50 %.3f ms", round+1, "split scan, in process", 1000*seconds)
			}
			if err := s.round(ctx, c.server.proc, targets[i], &rows[i]); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			r := rows[i]
			s.logf("round %d: %-60s p50 %.3f ms, %8.0f q/s, %.0f us", round+1, c.name, 1000*r.One[round], r.Many[round], 1e6*r.CPU.Median())
		}
	}
	return nil
}

func (s *Suite) round(ctx context.Context, server *proc.Proc, t load.Target, row *result.Row) error {
	one, err := load.Closed(ctx, t, 1, s.duration(warmOne), s.duration(measureOne))
	if err != nil {
		return err
	}
	if _, err := load.Closed(ctx, t, manyClients, 0, s.duration(warmMany)); err != nil {
		return err
	}
	before, err := server.Cost()
	if err != nil {
		return err
	}
	many, err := load.Closed(ctx, t, manyClients, 0, s.duration(measureMany))
	if err != nil {
		return err
	}
	after, err := server.Cost()
	if err != nil {
		return err
	}
	if many.Requests > 0 {
		row.CPU = append(row.CPU, (after.CPU-before.CPU).Seconds()/float64(many.Requests))
	}
	row.One = append(row.One, one.Quantile(0.5).Seconds())
	row.Many = append(row.Many, many.Rate())
	row.Failed += one.Failed + many.Failed
	failure := errors.Join(one.Error, many.Error)
	if row.Family == "graph" {
		open, err := load.Open(ctx, t, openRate, 2*manyClients, s.duration(measureOpen))
		if err != nil {
			return err
		}
		row.OpenP50 = append(row.OpenP50, open.Quantile(0.5).Seconds())
		row.OpenP99 = append(row.OpenP99, open.Quantile(0.99).Seconds())
		row.OpenP999 = append(row.OpenP999, open.Quantile(0.999).Seconds())
		row.Failed += open.Failed
		failure = errors.Join(failure, open.Error)
	}
	if row.Failed > 0 {
		s.logf("%d requests failed: %v", row.Failed, failure)
	}
	return nil
}
