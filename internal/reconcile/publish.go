package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Why a snapshot was promoted, as the pointer's history tells.
const (
	ReasonFirst    = "first"
	ReasonSource   = "source changed"
	ReasonDropIns  = "drop-ins changed"
	ReasonSpec     = "spec changed"
	ReasonBroken   = "served snapshot damaged"
	ReasonForced   = "forced rebuild"
	ReasonRetried  = "refused texts embedded"
	ReasonAdopted  = "adopted"
	ReasonOperator = "promoted by operator"
	ReasonRollback = "rollback"
	ReasonPin      = "pinned"
	ReasonRestored = "restored"
	ReasonErased   = "purged records left out"
	ReasonFull     = "deltas are off"
)

// upload stores the built files, the manifest last, then the verdict.
func (p *pass) upload(ctx context.Context) error {
	if err := p.lease.check(); err != nil {
		return err
	}
	p.step("upload", p.chosen.m.Size())
	data, err := store.MarshalManifest(p.chosen.m)
	if err != nil {
		return fail(Built, uploadFailed, transient, err)
	}
	if err := p.sign(ctx, data); err != nil {
		return fail(Built, signingFailed, transient, err)
	}
	var shown int64
	_, err = store.PutSnapshot(ctx, p.Objects, p.Layout, p.dir, p.chosen.m, func(done, _ int64) {
		p.Progress.Add(done - shown)
		shown = done
	})
	if err != nil {
		return fail(Built, uploadFailed, transient, err)
	}
	p.chosen.sha = store.ManifestDigest(data)
	p.log.InfoContext(ctx, "snapshot uploaded", "snapshot", p.chosen.m.ID, "url", p.Objects.URL(p.Layout.Snapshot(p.chosen.m.ID)),
		"bytes", p.chosen.m.Size(), "vectors", p.chosen.m.Stats.Vectors)
	p.sayBuilt(builtNew)
	report := p.chosen.m.Gate
	if p.chosen.m.Base != nil && report.Result == VerdictPassed {
		return nil // the manifest says so
	}
	if err := p.writeVerdict(ctx, p.chosen.m.ID, &store.Verdict{Result: report.Result, Gate: report}); err != nil {
		return err
	}
	if report.Result == VerdictHeld {
		return holdJudged(p.chosen.m.ID, report)
	}
	return nil
}

// sign writes the manifest's signature, before the manifest.
func (p *pass) sign(ctx context.Context, manifest []byte) error {
	if p.Signer == nil {
		return nil
	}
	s, err := p.Signer.Sign(ctx, manifest)
	if err != nil {
		return fmt.Errorf("sign the manifest: %w", err)
	}
	return store.PutSignature(ctx, p.Objects, p.Layout, p.chosen.m.ID, s)
}

// trusts returns store.ErrUnsigned when keys are set and none of them signed the snapshot.
func (p *pass) trusts(ctx context.Context, id, sha string) error {
	if len(p.Keys) == 0 {
		return nil
	}
	_, err := store.VerifyManifest(ctx, p.Objects, p.Layout, id, sha, p.Keys)
	return err
}

// promote makes the candidate current by one conditional PUT on the ETag that was read first. A delta goes over a snapshot
// that this term follows, so the generations that replicas reported at the last look around say enough.
func (p *pass) promote(ctx context.Context) error {
	p.step("promote", 0)
	beats := p.replicas
	if p.plan.do != extend {
		var err error
		if beats, err = readHeartbeats(ctx, p.Objects, p.Layout, p.status.Replicas); err != nil {
			return fail(Promoted, replicasUnreadable, transient, err)
		}
	}
	if err := p.stillWanted(ctx); err != nil {
		return err
	}
	if err := p.lease.check(); err != nil {
		return err
	}
	m := p.promotion(p.chosen.m, p.chosen.sha, p.plan.reason, basis{p.pointer, p.pointerETag, p.memory(), p.status.Deleting, beats})
	m.rollback = p.control.Pin != nil && p.control.Pin.Reason == ReasonRollback
	m.erased = p.erase.mark
	next, info, err := m.apply(ctx)
	p.Metrics.promoted(err)
	switch {
	case err == nil:
	case errors.Is(err, ErrLeaseLost):
		return err
	case errors.Is(err, store.ErrConflict):
		p.overtaken = true
		return fail(Promoted, conflict, transient, fmt.Errorf("promote %s: %w", p.chosen.m.ID, err))
	case errors.Is(err, store.ErrDeleteMarker):
		return fail(Promoted, pointerDeleted, transient, fmt.Errorf("%w: %s", err, p.undelete(p.Layout.Pointer())))
	default:
		delete(p.manifests, p.chosen.m.ID) // whatever was believed of it
		return fail(Promoted, promoteFailed, transient, fmt.Errorf("promote %s: %w", p.chosen.m.ID, err))
	}
	p.log.InfoContext(ctx, "promoted to current/", "snapshot", next.ID, "generation", next.Generation, "epoch", next.Epoch, "reason", next.Reason)
	p.pointer, p.pointerETag, p.broken, p.erase.dirty = &next, info.ETag, nil, ""
	p.lease.saw(heightOf(next))
	p.parts[next.ID] = next.Needs()
	if p.erase.from == "" && p.erase.mark != "" {
		p.erase.from = next.ID
	}
	p.result, p.message = ResultPromoted, next.Reason
	p.promoted = true
	if next.Reason == ReasonSource {
		p.Metrics.edited(p.source.at, next.PromotedAt)
	}
	p.lookedPast()
	return p.sayEmbedded(ctx)
}

// stillWanted reads the operator's intent and the lease again when there is no pointer, whose ETag would otherwise
// tell of a change. It leaves the time of one request in which a first promotion can overtake a suspension.
func (p *pass) stillWanted(ctx context.Context) error {
	if p.pointerETag != "" {
		return nil
	}
	if err := p.readControl(ctx); err != nil {
		return err
	}
	if err := p.lease.confirm(ctx); err != nil {
		return fail(Promoted, leaseUnreadable, transient, err)
	}
	if p.control.Suspended != nil || p.control.Pin != nil {
		p.overtaken = true
		return failf(Promoted, conflict, transient, "promote %s: an operator was faster: %w", p.chosen.m.ID, store.ErrConflict)
	}
	return nil
}

// servePin serves what is pinned when the pointer names something else: an operator who was overruled moved it, or the
// one whose pin stands died before moving it.
func (p *pass) servePin(ctx context.Context) error {
	pin := p.control.Pin
	m, sha, err := store.ReadManifest(ctx, p.Objects, p.Layout, pin.ID, "")
	if err != nil {
		return fail(Promoted, pinNotCurrent, transient, fmt.Errorf("serve the pinned %s: %w", pin.ID, err))
	}
	v, err := readIfAny[store.Verdict](ctx, p.Objects, p.Layout.Verdict(pin.ID), "verdict")
	if err != nil {
		return fail(Promoted, pinNotCurrent, transient, err)
	}
	if v.Result == VerdictCorrupt {
		return failf(Promoted, pinNotCurrent, transient, "serve the pinned %s: %w: %s", pin.ID, snapshot.ErrCorrupt, v.Message)
	}
	switch holds, err := p.holdsErased(ctx, m); {
	case err != nil:
		return fail(Promoted, pinNotCurrent, transient, fmt.Errorf("serve the pinned %s: %w", pin.ID, err))
	case p.erase.blind != "":
		return failf(Promoted, pinNotCurrent, transient, "serve the pinned %s: %s", pin.ID, p.erase.blind)
	case holds:
		return failf(Promoted, pinNotCurrent, transient, "serve the pinned %s: %w", pin.ID, ErrErased)
	}
	p.chosen.m, p.chosen.sha = m, sha
	return p.promote(ctx)
}
