package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// adoptable bounds how many of the newest snapshots are looked at for one that fits the current source.
const adoptable = 64

// manifestOf caches an immutable manifest with the digest of its bytes.
type manifestOf struct {
	m   store.Manifest
	sha string
}

// judgeBuilt runs the gate on a fresh build. A failed one is not uploaded; a held one is. One that lacks recall
// because of what it carried over from the served index is built anew first, once.
func (p *pass) judgeBuilt(ctx context.Context) error {
	j, err := p.judgeFresh(ctx)
	if err != nil {
		return err
	}
	if p.files.carried > 0 && lowRecall(j.report) {
		p.log.WarnContext(ctx, "carried index lacks recall, building anew", "snapshot", p.chosen.m.ID, "why", explain(j.report))
		if err := p.lease.check(); err != nil {
			return err
		}
		if err := p.build(ctx); err != nil { // nothing is carried over twice in a pass
			return err
		}
		if j, err = p.judgeFresh(ctx); err != nil {
			return err
		}
	}
	p.chosen.m.Index, p.chosen.m.Curve, p.chosen.m.Gate = j.m.Index, j.m.Curve, j.report
	if j.report.Result == VerdictFailed {
		return failf(Verified, gateFailed, inputs, "gate: %s", explain(j.report))
	}
	return nil
}

func (p *pass) judgeFresh(ctx context.Context) (*judged, error) {
	j := &judged{dir: p.dir, m: p.chosen.m, docs: p.files.docs, removed: p.delta.Removed, fresh: true}
	return j, p.judge(ctx, j)
}

// explain lists the checks that did not pass.
func explain(r *store.GateReport) string {
	var why []string
	for _, c := range r.Checks {
		if c.Result != VerdictPassed {
			why = append(why, strings.TrimSuffix(fmt.Sprintf("%s %s (%.4g, limit %.4g): %s", c.Name, c.Result, c.Value, c.Limit, c.Message), ": "))
		}
	}
	return strings.Join(why, "; ")
}

// readStored reads the newest snapshots that are there and of the current source and spec, complete and signed as they
// must be, with what was last said of them.
func (p *pass) readStored(ctx context.Context) error {
	found, err := store.ListSnapshots(ctx, p.Objects, p.Layout)
	if err != nil {
		return fail(Built, storeUnreadable, transient, err)
	}
	deleting, err := p.deletingNow(ctx)
	if err != nil {
		return err
	}
	p.forgetManifests(found)
	p.stored = nil
	for _, s := range slices.Backward(found[max(0, len(found)-adoptable):]) {
		m, fits, err := p.fits(ctx, s)
		if err != nil {
			return err
		}
		if !fits {
			continue
		}
		one := stored{id: s.ID, manifest: m, deleting: deleting[s.ID]}
		if one.erased, err = p.holdsErased(ctx, m.m); err != nil {
			return fail(Built, storeUnreadable, transient, err)
		}
		if one.verdict, err = p.verdictOf(ctx, s, m.m); errors.Is(err, snapshot.ErrNewer) {
			one.newer = true
		} else if err != nil {
			return err
		}
		p.stored = append(p.stored, one)
	}
	return nil
}

// forgetManifests keeps the cache to what is stored.
func (p *pass) forgetManifests(found []store.SnapshotInfo) {
	keep := make(map[string]manifestOf, len(found))
	for _, s := range found {
		if m, ok := p.manifests[s.ID]; ok {
			keep[s.ID] = m
		}
	}
	p.Reconciler.manifests = keep
}

// fits says whether a stored snapshot is complete and of the current source and spec.
func (p *pass) fits(ctx context.Context, s store.SnapshotInfo) (manifestOf, bool, error) {
	cached, ok := p.manifests[s.ID]
	if !ok {
		m, sha, err := store.ReadManifest(ctx, p.Objects, p.Layout, s.ID, "")
		switch {
		case unreadable(err), errors.Is(err, snapshot.ErrNewer):
			return cached, false, nil
		case err != nil:
			return cached, false, fail(Built, storeUnreadable, transient, err)
		}
		cached = manifestOf{m, sha}
		p.manifests[s.ID] = cached
	}
	if desiredOf(cached.m) != p.source.digest() || cached.m.SpecDigest != p.specDigest {
		return cached, false, nil
	}
	absent, err := absentOf(ctx, p.Objects, p.Layout, cached.m, s.Files)
	if err != nil {
		return cached, false, fail(Built, storeUnreadable, transient, err)
	}
	if absent != "" {
		return cached, false, nil
	}
	switch err := p.trusts(ctx, s.ID, cached.sha); {
	case errors.Is(err, store.ErrUnsigned), unreadable(err):
		p.log.WarnContext(ctx, "snapshot not adopted", "snapshot", s.ID, "error", err)
		return cached, false, nil
	case err != nil:
		return cached, false, fail(Built, storeUnreadable, transient, err)
	}
	return cached, true, nil
}

// serveStored promotes a stored snapshot.
func (p *pass) serveStored(ctx context.Context, s *stored) error {
	p.log.InfoContext(ctx, "snapshot adopted", "snapshot", s.id, "verdict", s.verdict.Result)
	p.sayBuilt(adopted)
	if p.chosen.m.ID != s.id {
		p.chosen = chosen{manifestOf: s.manifest}
	}
	p.source.Records = s.manifest.m.Source.Records
	return p.promote(ctx)
}

// holdJudged ends the pass with a candidate that the gate held.
func holdJudged(id string, report *store.GateReport) error {
	why := "see indexer show " + id
	if report != nil {
		why = explain(report)
	}
	return hold(id, heldReason(report), why)
}

// heldReason tells a gate that held from one that could not ask what it was told to ask.
func heldReason(report *store.GateReport) reason {
	if report != nil && slices.ContainsFunc(report.Checks, func(c store.GateCheck) bool { return c.Name == CheckGoldenFile }) {
		return ReasonGoldenInvalid
	}
	return ReasonGateHeld
}

// verdictOf is what was last said of a snapshot: its verdict.json, else the gate report in its manifest.
func (p *pass) verdictOf(ctx context.Context, s store.SnapshotInfo, m store.Manifest) (store.Verdict, error) {
	if _, ok := s.Files[snapshot.FileVerdict]; ok {
		v, _, err := store.ReadDoc[store.Verdict](ctx, p.Objects, p.Layout.Verdict(s.ID), store.GetOptions{})
		if err == nil {
			return v, nil
		}
		if errors.Is(err, snapshot.ErrNewer) || !noVerdict(err) {
			return v, fail(Verified, verdictUnreadable, transient, err)
		}
	}
	return manifestVerdict(m), nil
}

// noVerdict says whether an error of reading a verdict means that there is none that we understand.
func noVerdict(err error) bool {
	return unreadable(err) || errors.Is(err, snapshot.ErrNewer)
}

// rejudge downloads a stored snapshot and runs the gate on it.
func (p *pass) rejudge(ctx context.Context, s *stored) error {
	v, err := p.judgeStored(ctx, s)
	if err == nil {
		err = p.writeVerdict(ctx, s.id, &v)
	}
	if err == nil && v.Result == VerdictFailed {
		p.log.WarnContext(ctx, "stored snapshot failed the gate", "snapshot", s.id, "why", explain(v.Gate))
	}
	s.verdict = v
	return err
}

func (p *pass) judgeStored(ctx context.Context, s *stored) (store.Verdict, error) {
	var none store.Verdict
	if err := p.openLedger(ctx); err != nil {
		return none, err
	}
	dir := filepath.Join(p.dir, "found")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return none, fail(Verified, noScratch, transient, err)
	}
	err := store.Fetch(ctx, p.Objects, p.Layout, s.manifest.m, dir, store.FetchOptions{})
	switch {
	case unreadable(err):
		return store.Verdict{Result: VerdictCorrupt, Message: err.Error()}, nil
	case err != nil:
		return none, fail(Verified, storeUnreadable, transient, err)
	}
	docs, err := documents.Open(dir)
	if err != nil {
		return store.Verdict{Result: VerdictCorrupt, Message: err.Error()}, nil
	}
	defer docs.Close()
	removed, err := p.removedBy(ctx, s.manifest.m, dir)
	if err != nil {
		return none, err
	}
	j := &judged{dir: dir, m: s.manifest.m, docs: docs, removed: removed}
	if err := p.judge(ctx, j); err != nil {
		return none, err
	}
	p.chosen = chosen{s.manifest, dir}
	return store.Verdict{Result: j.report.Result, Gate: j.report}, nil
}

// removedBy counts the served ids that the snapshot m in dir lacks.
func (p *pass) removedBy(ctx context.Context, m store.Manifest, dir string) (int, error) {
	if p.pointer == nil {
		return 0, nil
	}
	served, err := p.composed(ctx)
	if err != nil {
		return 0, err
	}
	if served == nil {
		return max(0, p.pointer.Source.Records-m.Source.Records), nil
	}
	found, err := documents.OpenIndex(filepath.Join(dir, snapshot.FileOffsets))
	if err != nil {
		return 0, fail(Verified, noScratch, transient, err)
	}
	defer found.Close()
	_, _, removed, _ := difference(served, p.pointer.Source.Records, found)
	return removed, nil
}

// writeVerdict stores what was found out about a snapshot, over what was said before.
func (p *pass) writeVerdict(ctx context.Context, id string, v *store.Verdict) error {
	v.By, v.Settings, v.Golden, v.Baseline = p.cfg.Host, p.cfg.gateSettings(), p.goldenETag, p.baseline()
	if err := p.lease.check(); err != nil {
		return err
	}
	if err := putVerdict(ctx, p.Objects, p.Layout, id, *v, p.now); err != nil {
		return fail(Verified, verdictUnwritable, transient, err)
	}
	return nil
}

// putVerdict replaces <id>/verdict.json, whatever it said.
func putVerdict(ctx context.Context, o store.Objects, l store.Layout, id string, v store.Verdict, now time.Time) error {
	v.FormatVersion, v.ID, v.At = store.FormatVersion, id, now.UTC()
	return contend("verdict", func() error {
		_, info, err := store.ReadDoc[store.Verdict](ctx, o, l.Verdict(id), store.GetOptions{})
		cond := store.PutOptions{IfMatch: info.ETag}
		if errors.Is(err, store.ErrNotFound) {
			cond = store.PutOptions{IfAbsent: true}
		} else if err != nil && (!errors.Is(err, snapshot.ErrCorrupt) || info.ETag == "") {
			return fmt.Errorf("read verdict: %w", err)
		}
		_, err = store.WriteDoc(ctx, o, l.Verdict(id), v, cond)
		return err
	})
}
