package reconcile

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/golden"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// goldenKept answers of a segment to a golden query are remembered: more than is looked at, for some of them die.
const goldenKept = 256

// answers are what segments answer to the golden queries of a version, best first. A segment never changes, so each is
// asked once; the base's index is read only when its answers are not known yet.
type answers struct {
	golden string                // ETag of golden.json
	of     map[string][][]answer // by the snapshot that the segment is stored under, and by query
}

type answer struct {
	row   int
	score float32
}

// asker answers golden queries as a composition would: by what its segments answer, without what has died since.
type asker struct {
	*pass
	ctx  context.Context
	c    *composition
	ids  []string         // of the segments
	open []snapshot.Index // as far as they had to be
}

func (p *pass) asker(ctx context.Context, c *composition) *asker {
	a := &asker{pass: p, ctx: ctx, c: c, ids: []string{c.m.Base.ID}, open: make([]snapshot.Index, 1+len(c.deltas))}
	for _, d := range c.m.Deltas {
		a.ids = append(a.ids, d.ID)
	}
	r := p.Reconciler
	if r.answers.golden != p.goldenETag {
		r.answers = answers{p.goldenETag, map[string][][]answer{}}
	}
	for id := range r.answers.of {
		if !slices.Contains(a.ids, id) {
			delete(r.answers.of, id)
		}
	}
	return a
}

func (a *asker) close() {
	for _, x := range a.open {
		if x != nil {
			if err := x.Close(); err != nil {
				a.log.Warn("index not closed", "error", err)
			}
		}
	}
}

func (a *asker) has(id string) bool {
	_, ok := a.c.find(snapshot.IDHash(id))
	return ok
}

// find returns the ids that query i finds, best first. Ids that it does not name are only known by their hash.
func (a *asker) find(i int, q golden.Query, vector []float32) ([]string, error) {
	type hit struct {
		id  [16]byte
		key uint64
		answer
	}
	named := map[[16]byte]string{}
	for _, id := range q.Expect {
		named[snapshot.IDHash(id)] = id
	}
	for id := range q.Grades {
		named[snapshot.IDHash(id)] = id
	}
	k := wantedOf(q)
	var hits []hit
	for segment := range a.ids {
		for asked := goldenKept; ; asked *= 4 {
			found, err := a.ask(segment, i, asked, vector)
			if err != nil {
				return nil, err
			}
			from := len(hits)
			for _, f := range found {
				id := a.c.ids(segment).IDHash(f.row)
				if at, ok := a.c.find(id); ok && at == (rowAt{segment, f.row}) {
					hits = append(hits, hit{id, a.c.key(at), f})
				}
			}
			if len(hits)-from >= k || len(found) < asked {
				break
			}
			hits = hits[:from]
		}
	}
	slices.SortFunc(hits, func(x, y hit) int {
		return cmp.Or(cmp.Compare(y.score, x.score), cmp.Compare(x.key, y.key))
	})
	var ids []string
	for _, h := range hits[:min(k, len(hits))] {
		ids = append(ids, cmp.Or(named[h.id], hex.EncodeToString(h.id[:])))
	}
	return ids, nil
}

// ask returns the first k rows of a segment for query i, or all it has.
func (a *asker) ask(segment, i, k int, vector []float32) ([]answer, error) {
	known := a.answers.of[a.ids[segment]]
	if i < len(known) && known[i] != nil && (len(known[i]) >= k || len(known[i]) < goldenKept) {
		return known[i], nil
	}
	found := []answer{}
	x, err := a.index(segment)
	if err != nil {
		return nil, err
	}
	if x != nil {
		rows, scores, err := x.Search(vector, min(k, x.Len()), nil)
		if err != nil {
			return nil, failf(Verified, searchFailed, inputs, "search golden query: %w", err)
		}
		for r, row := range rows {
			if row >= 0 {
				found = append(found, answer{int(row), scores[r]})
			}
		}
	}
	for len(known) <= i {
		known = append(known, nil)
	}
	known[i] = found
	a.answers.of[a.ids[segment]] = known
	return found, nil
}

// index opens that of a segment, nil for one without vectors.
func (a *asker) index(segment int) (snapshot.Index, error) {
	if a.open[segment] != nil {
		return a.open[segment], nil
	}
	path, params := filepath.Join(a.dir, fmt.Sprintf("segment-%d.faiss", segment)), a.c.m.Index
	var err error
	if segment == 0 {
		path, err = a.fetchFile(a.ctx, a.c.m, snapshot.FileIndex) // a new base's is not the served one's
	} else {
		d := a.c.deltas[segment-1]
		if d.Vectors() == 0 {
			return nil, nil
		}
		params = d.Params()
		err = os.WriteFile(path, d.Index(), 0o600)
	}
	if err == nil {
		a.open[segment], err = a.Indexes.Open(path, params)
	}
	if err = errors.Join(err, os.Remove(path)); err != nil { // it is open, or of no use
		return nil, fail(Verified, indexUnreadable, transient, fmt.Errorf("open segment %s: %w", a.ids[segment], err))
	}
	return a.open[segment], nil
}
