package reconcile

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/golden"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// goldenShown misses are spelled out in a message.
const goldenShown = 3

// judgeGolden asks people's own queries: every expected id must be in the top k. An id that the catalogue lacks is said
// and not held against the candidate, unless its entry expects no other: then it tested nothing.
func (p *pass) judgeGolden(ctx context.Context, j *judged) error {
	if p.goldenETag == "" {
		return nil
	}
	data, err := p.loadGolden(ctx)
	if err != nil {
		return err
	}
	queries, err := golden.Parse(data)
	if err != nil {
		j.add(CheckGoldenFile, VerdictHeld, 0, 1, ReasonGoldenInvalid+": "+err.Error())
		return nil
	}
	passed, asked := 0, 0
	var misses []string
	var quality []golden.Quality
	for i, q := range queries {
		if p.erase.mark != "" && namesAny(q.Expect, p.erase.named) {
			continue // what it expects was purged: its words and ids must not be written anew
		}
		asked++
		v, err := p.goldenVector(ctx, q.Text)
		if err != nil {
			return err
		}
		found, err := j.find(i, q, v)
		if err != nil {
			return err
		}
		quality = append(quality, q.Measure(found))
		ok, miss := j.answered(q, found[:min(q.K, len(found))])
		if ok {
			passed++
		}
		if miss != "" {
			misses = append(misses, fmt.Sprintf("entry %d, %q: %s", i+1, q.Text, miss))
		}
	}
	message := fmt.Sprintf("%d of %d golden queries pass", passed, asked)
	if len(queries) == 0 {
		message = "golden.json has no entries: nothing was asked"
	}
	for _, miss := range misses[:min(len(misses), goldenShown)] {
		message += "; " + miss
	}
	if more := len(misses) - goldenShown; more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	value := 1.0
	if asked > 0 {
		value = share(passed, asked)
	}
	j.add(CheckGolden, passIf(passed == asked, VerdictHeld), value, 1, message)
	if asked > 0 {
		p.judgeNDCG(j, golden.Mean(quality).NDCG)
	}
	return nil
}

// judgeNDCG compares the graded quality of the ranking with the floor, and with the served snapshot's where that was
// asked the same queries.
func (p *pass) judgeNDCG(j *judged, value float64) {
	limit := p.cfg.GateMinNDCG
	message := fmt.Sprintf("nDCG@%d of the golden queries", golden.Depth)
	if p.cfg.GateMaxNDCGDrop > 0 && p.pointer != nil && p.pointer.Gate != nil {
		if served, ok := p.pointer.Gate.Check(CheckNDCG); ok && p.pointer.Gate.Golden == p.goldenETag {
			limit = max(limit, served.Value-p.cfg.GateMaxNDCGDrop)
			message += fmt.Sprintf(", %.3f served", served.Value)
		} else {
			message += "; the served snapshot was not asked these"
		}
	}
	j.add(CheckNDCG, passIf(value >= limit, VerdictHeld), value, limit, message)
}

// loadGolden reads the version of golden.json that the verdict will be keyed by, one byte beyond golden.MaxSize at most.
func (p *pass) loadGolden(ctx context.Context) ([]byte, error) {
	body, _, err := p.Objects.Get(ctx, p.Layout.Golden(), store.GetOptions{IfMatch: p.goldenETag})
	if err != nil {
		return nil, fail(Verified, goldenUnreadable, transient, fmt.Errorf("read golden.json: %w", err))
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, golden.MaxSize+1))
	if err != nil {
		return nil, fail(Verified, goldenUnreadable, transient, fmt.Errorf("read golden.json: %w", err))
	}
	return data, nil
}

// finds is how the candidate answers golden queries.
type finds struct {
	find func(i int, q golden.Query, vector []float32) (ids []string, err error) // best first: as many as q asks for, and as are measured
	has  func(id string) bool
}

// wantedOf is how many answers of a query are looked at.
func wantedOf(q golden.Query) int { return max(q.K, golden.Depth) }

// findsIn answers from one index.
func findsIn(x snapshot.Index, docs *documents.Reader) finds {
	return finds{
		find: func(_ int, q golden.Query, vector []float32) ([]string, error) {
			positions, _, err := x.Search(vector, min(wantedOf(q), x.Len()), nil)
			if err != nil {
				return nil, failf(Verified, searchFailed, inputs, "search golden query: %w", err)
			}
			var ids []string
			for _, pos := range positions {
				if pos >= 0 {
					ids = append(ids, docs.ID(int(pos)))
				}
			}
			return ids, nil
		},
		has: func(id string) bool {
			_, there := docs.Find(id)
			return there
		},
	}
}

// answered tells whether what was found passes. miss says what was not found or is not there, "" = nothing.
func (j *judged) answered(q golden.Query, found []string) (ok bool, miss string) {
	var absent, missed []string
	for _, id := range q.Expect {
		if slices.Contains(found, id) {
			continue
		}
		if j.has(id) {
			missed = append(missed, id)
		} else {
			absent = append(absent, id)
		}
	}
	var parts []string
	if len(missed) > 0 {
		parts = append(parts, fmt.Sprintf("lacks %s in its top %d", quoted(missed), q.K))
	}
	if len(absent) > 0 {
		parts = append(parts, "the catalogue has no "+quoted(absent))
	}
	return len(missed) == 0 && len(absent) < len(q.Expect), strings.Join(parts, ", ")
}

// quoted lists a few ids.
func quoted(ids []string) string {
	var out []string
	for _, id := range ids[:min(len(ids), goldenShown)] {
		out = append(out, strconv.Quote(id))
	}
	if more := len(ids) - goldenShown; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}
