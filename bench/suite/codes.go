package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/report"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// codesRecall is what 8-bit storage is tuned to.
const codesRecall = 0.98

// Codes compares 8-bit storage with floats and with Debian's own, in process, one query at a time.
func (s *Suite) Codes(ctx context.Context, shape dataset.Shape) error {
	set, err := dataset.Open(ctx, s.Cache, shape)
	if err != nil {
		return err
	}
	defer set.Close()
	dir, err := s.scratch("codes-" + shape.Name)
	if err != nil {
		return err
	}
	out := result.Codes{Machine: s.machine(ctx), Data: shape.Label()}
	var open []*vecindex.Index
	for _, kind := range ownKinds(set.N, set.Dims) {
		if kind == snapshot.Flat {
			continue
		}
		row, ix, err := s.codesRow(ctx, set, kind, dir)
		if err != nil {
			return err
		}
		defer ix.Close()
		open = append(open, ix)
		out.Rows = append(out.Rows, row)
		s.logf("%s: recall %.4f, %d MB", row.System, row.Recall, row.Bytes>>20)
	}
	for round := range s.Rounds {
		for i, ix := range open {
			_, qps, err := recall10(ix, set)
			if err != nil {
				return err
			}
			out.Rows[i].QPS = append(out.Rows[i].QPS, qps)
		}
		if err := s.codesPeer(ctx, set, dir, &out); err != nil {
			return err
		}
		for _, r := range out.Rows {
			s.logf("round %d: %-40s %8.0f q/s", round+1, r.System, r.QPS[round])
		}
	}
	return result.Save(s.results(), "codes-"+shape.Name, out)
}

func (s *Suite) codesRow(ctx context.Context, set *dataset.Set, kind, dir string) (result.CodesRow, *vecindex.Index, error) {
	row := result.CodesRow{System: "vectorstore " + kind, Own: true}
	p, err := vecindex.Resolve(kind, set.N, set.Dims)
	if err != nil {
		return row, nil, err
	}
	ix, took, err := buildIndex(ctx, set, p)
	if err != nil {
		return row, nil, err
	}
	path := filepath.Join(dir, kind+".faiss")
	err = ix.WriteFile(path)
	ix.Close()
	if err != nil {
		return row, nil, err
	}
	defer os.Remove(path)
	target := targetRecall
	if strings.Contains(kind, "sq8") {
		target = codesRecall
	}
	built := &result.Built{Seconds: result.Samples{took.Seconds()}}
	if p, built.Curve, err = tune(path, p, set, target); err != nil {
		return row, nil, err
	}
	built.Param = beam(p)
	row.Build = built
	if ix, err = vecindex.Open(path, p); err != nil {
		return row, nil, err
	}
	row.Bytes = ix.SizeBytes()
	row.Recall, _, err = recall10(ix, set)
	return row, ix, err
}

// codesPeer builds, tunes and times Debian's IVF,SQ8; the first round's build is kept as its row.
func (s *Suite) codesPeer(ctx context.Context, set *dataset.Set, dir string, out *result.Codes) error {
	path := filepath.Join(dir, "debian-ivfsq8")
	b, err := s.script(ctx, "", path, nil, python, filepath.Join(s.Repo, "bench/peers/python/build.py"),
		set.Dir, fmt.Sprint(set.Dims), "ivfsq8", path, fmt.Sprint(codesRecall))
	if err != nil {
		return err
	}
	var at result.Point
	for _, pt := range b.Curve {
		if pt.Param == b.Param {
			at = pt
		}
	}
	last := len(out.Rows) - 1
	if out.Rows[last].System != report.DebianCodes {
		out.Rows = append(out.Rows, result.CodesRow{System: report.DebianCodes, Build: &b, Recall: at.Recall, Bytes: b.Bytes})
		last++
	}
	out.Rows[last].QPS = append(out.Rows[last].QPS, at.QPS)
	return nil
}
