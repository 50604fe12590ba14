package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Checks of a composition that a full snapshot does not need.
const (
	CheckContent          = "content"
	CheckRemovedSinceFull = "removed_since_full"
)

// judgeDelta is the gate in proportion: what the delta brings is looked at whole, as it would be served, and what it is put
// over was judged before.
func (p *pass) judgeDelta(ctx context.Context) error {
	p.step("gate", 0)
	j := &judged{dir: p.dir, m: p.chosen.m, docs: p.files.docs, removed: p.delta.Removed}
	j.report = &store.GateReport{Settings: p.cfg.gateSettings(), Golden: p.goldenETag, Baseline: p.baseline(), At: p.now}
	if err := p.judgeComposition(ctx, j); err != nil {
		return err
	}
	j.fold()
	p.chosen.m.Gate = j.report
	if j.report.Result == VerdictFailed {
		return failf(Verified, gateFailed, inputs, "gate: %s", explain(j.report))
	}
	return nil
}

func (p *pass) judgeComposition(ctx context.Context, j *judged) error {
	ch := p.change
	d, err := delta.Open(filepath.Join(p.dir, snapshot.FileDelta))
	j.add(CheckReopen, passIf(err == nil, VerdictFailed), 0, 0, errText(err))
	if err != nil {
		return nil
	}
	defer d.Close()
	content, records, err := p.contentAfter(d)
	if err != nil {
		return err
	}
	j.add(CheckCounts, passIf(records == ch.records && j.m.Stats.Vectors >= 0 && d.Vectors() == d.Len(), VerdictFailed), float64(records), float64(ch.records),
		fmt.Sprintf("%d records composed, the catalogue has %d", records, ch.records))
	j.add(CheckContent, passIf(content == ch.content, VerdictFailed), 0, 0, "content digest of what is composed against the catalogue's")
	j.add(CheckDims, passIf(d.Len() == 0 || d.Dims() == j.m.Spec.Embedding.Dims, VerdictFailed), float64(d.Dims()), float64(j.m.Spec.Embedding.Dims), "")
	j.fold()
	if j.report.Result == VerdictFailed {
		return nil
	}
	if d.Vectors() > 0 {
		if err := p.judgeTail(ctx, j, d); err != nil {
			return err
		}
	}
	if err := p.judgeRemoved(ctx, j); err != nil {
		return err
	}
	base := j.m.Base.Records
	gone := share(j.m.Stats.RemovedSinceFull, base)
	j.add(CheckRemovedSinceFull, passIf(gone <= p.cfg.GateMaxRemoved, VerdictHeld), gone, p.cfg.GateMaxRemoved,
		fmt.Sprintf("%d of %d ids are gone since the last full build", j.m.Stats.RemovedSinceFull, base))
	next := ch.served.replaced(ch.keep, d)
	next.m = j.m
	a := p.asker(ctx, next)
	defer a.close()
	j.finds = finds{a.find, a.has}
	return p.judgeGolden(ctx, j)
}

// contentAfter reads what the composition with d would hold.
func (p *pass) contentAfter(d *delta.Delta) (snapshot.Content, int, error) {
	c, keep := p.change.served, p.change.keep
	was, err := snapshot.ParseContent(c.m.ContentDigest)
	if err != nil {
		return was, 0, fail(Verified, indexUnreadable, inputs, errors.Join(snapshot.ErrCorrupt, err))
	}
	content, records := c.contentOf(c.replaced(keep, d), keep, was, c.m.Source.Records)
	return content, records, nil
}

// judgeTail checks that sampled rows of the delta are the ledger's vectors and find themselves.
func (p *pass) judgeTail(_ context.Context, j *judged, d *delta.Delta) error {
	x, err := p.Indexes.Open(filepath.Join(p.dir, snapshot.FileIndex), p.files.params)
	if err != nil {
		j.add(CheckReopen, VerdictFailed, 0, 1, err.Error())
		return nil
	}
	defer x.Close()
	dims := x.Dims()
	stored, want := make([]float32, dims), make([]float32, dims)
	wrong, self := 0, 0
	positions := sample(x.Len(), dims)
	for _, pos := range positions {
		if err := x.Vector(pos, stored); err != nil {
			return failf(Verified, indexUnreadable, inputs, "read vector %d: %w", pos, err)
		}
		if ok, err := p.ledger.Get(p.files.keys[pos], want); err == nil && ok && dot(stored, want) < 1-1e-3 {
			wrong++
		}
		_, scores, err := x.Search(stored, 1, nil)
		if err != nil {
			return failf(Verified, searchFailed, inputs, "search delta: %w", err)
		}
		if float64(scores[0]) >= dot(stored, stored)-scoreSlack {
			self++
		}
	}
	n := len(positions)
	j.add(CheckVectors, passIf(wrong == 0 && x.Len() == d.Vectors(), VerdictFailed), float64(wrong), 0, fmt.Sprintf("%d of %d sampled vectors differ from the ledger", wrong, n))
	found := share(self, n)
	j.add(CheckSelfRecall, passIf(found >= p.cfg.GateMinRecall, VerdictHeld), found, p.cfg.GateMinRecall, fmt.Sprintf("%d of %d sampled vectors find themselves", self, n))
	return nil
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
