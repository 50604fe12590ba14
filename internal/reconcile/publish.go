package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Why a snapshot was promoted, as the pointer's history tells.
const (
	ReasonFirst    = "first"
	ReasonSource   = "source changed"
	ReasonSpec     = "spec changed"
	ReasonBroken   = "served snapshot damaged"
	ReasonForced   = "forced rebuild"
	ReasonRetried  = "refused texts embedded"
	ReasonAdopted  = "adopted"
	ReasonOperator = "promoted by operator"
	ReasonRollback = "rollback"
	ReasonPin      = "pinned"
	ReasonRestored = "restored"
)

// upload stores the built files, the manifest last, then the verdict.
func (p *pass) upload(ctx context.Context) error {
	if err := p.lease.check(); err != nil {
		return err
	}
	p.step("upload", p.manifest.Size())
	data, err := store.MarshalManifest(p.manifest)
	if err != nil {
		return fail(Built, uploadFailed, transient, err)
	}
	if err := p.sign(ctx, data); err != nil {
		return fail(Built, signingFailed, transient, err)
	}
	var shown int64
	_, err = store.PutSnapshot(ctx, p.Objects, p.Layout, p.dir, p.manifest, func(done, _ int64) {
		p.Progress.Add(done - shown)
		shown = done
	})
	if err != nil {
		return fail(Built, uploadFailed, transient, err)
	}
	p.sha = store.ManifestDigest(data)
	p.log.InfoContext(ctx, "snapshot uploaded", "snapshot", p.manifest.ID, "url", p.Objects.URL(p.Layout.Snapshot(p.manifest.ID)),
		"bytes", p.manifest.Size(), "vectors", p.manifest.Stats.Vectors)
	p.sayBuilt(builtNew)
	report := p.manifest.Gate
	if err := p.writeVerdict(ctx, p.manifest.ID, store.Verdict{Result: report.Result, Gate: report}); err != nil {
		return err
	}
	if report.Result == VerdictHeld {
		return holdJudged(p.manifest.ID, report)
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
	return store.PutSignature(ctx, p.Objects, p.Layout, p.manifest.ID, s)
}

// trusts returns store.ErrUnsigned when keys are set and none of them signed the snapshot.
func (p *pass) trusts(ctx context.Context, id, sha string) error {
	if len(p.Keys) == 0 {
		return nil
	}
	_, err := store.VerifyManifest(ctx, p.Objects, p.Layout, id, sha, p.Keys)
	return err
}

// promote makes the candidate current by one conditional PUT on the ETag that was read first.
func (p *pass) promote(ctx context.Context) error {
	p.step("promote", 0)
	beats, err := readHeartbeats(ctx, p.Objects, p.Layout, p.status.Replicas)
	if err != nil {
		return fail(Promoted, replicasUnreadable, transient, err)
	}
	if err := p.stillWanted(ctx); err != nil {
		return err
	}
	if err := p.lease.check(); err != nil {
		return err
	}
	c := change{
		objects: p.Objects, layout: p.Layout, keys: p.Keys, by: p.owner, ready: p.lease.check,
		manifest: p.manifest, sha: p.sha, pointer: p.pointer, etag: p.pointerETag,
		last: p.status.Pointer, highest: p.memory().highest, doomed: p.status.Deleting, beats: beats, epoch: p.lease.epoch(), reason: p.reason(),
		rollback: p.act.Pin != nil && p.act.Pin.Reason == ReasonRollback,
	}
	next, info, err := c.apply(ctx)
	p.Metrics.promoted(err)
	switch {
	case err == nil:
	case errors.Is(err, ErrLeaseLost):
		return err
	case errors.Is(err, store.ErrConflict):
		p.overtaken = true
		return fail(Promoted, conflict, transient, fmt.Errorf("promote %s: %w", p.manifest.ID, err))
	case errors.Is(err, store.ErrDeleteMarker):
		return fail(Promoted, pointerDeleted, transient, fmt.Errorf("%w: %s", err, p.undelete(p.Layout.Pointer())))
	default:
		delete(p.manifests, p.manifest.ID) // whatever was believed of it
		return fail(Promoted, promoteFailed, transient, fmt.Errorf("promote %s: %w", p.manifest.ID, err))
	}
	p.log.InfoContext(ctx, "promoted to current/", "snapshot", next.ID, "generation", next.Generation, "epoch", next.Epoch, "reason", next.Reason)
	p.pointer, p.pointerETag, p.broken = &next, info.ETag, nil
	p.lease.saw(heightOf(next))
	p.result, p.message = ResultPromoted, next.Reason
	p.promoted = true
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
	if p.act.Suspended != nil || p.act.Pin != nil {
		p.overtaken = true
		return failf(Promoted, conflict, transient, "promote %s: an operator was faster: %w", p.manifest.ID, store.ErrConflict)
	}
	return nil
}

func (p *pass) reason() string {
	switch {
	case p.act.Pin != nil && (p.act.Pin.Reason == ReasonRollback || p.act.Pin.Reason == ReasonOperator):
		return p.act.Pin.Reason
	case p.act.Pin != nil:
		return ReasonPin
	case p.pointer == nil:
		return ReasonFirst
	case p.broken != nil:
		return ReasonBroken
	case p.origin == adopted:
		return ReasonAdopted
	case p.pointer.Source.SHA256 != p.source.SHA256:
		return ReasonSource
	case p.pointer.SpecDigest != p.specDigest:
		return ReasonSpec
	case p.opts.retry:
		return ReasonRetried
	default:
		return ReasonForced
	}
}

// keepPin serves what is pinned when the pointer names something else: an operator who was overruled moved it, or the
// one whose pin stands died before moving it.
func (p *pass) keepPin(ctx context.Context) error {
	pin := p.act.Pin
	if p.pointer == nil || p.pointer.ID == pin.ID {
		return nil
	}
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
	p.manifest, p.sha = m, sha
	return p.promote(ctx)
}

// change is one move of the pointer, by the leader or an operator.
type change struct {
	objects store.Objects
	layout  store.Layout
	by      string
	now     time.Time    // the store's clock
	ready   func() error // asked before every write; nil = always

	manifest store.Manifest
	sha      string
	keys     store.Keys       // of whom one must have signed it; none = it need not be signed
	signed   *store.Signature // found by whole
	pointer  *store.Pointer   // as read, nil = none
	etag     string           // of what is stored under its key, "" = nothing
	last     *store.Pointer   // the last known one, when pointer is nil
	highest  store.Height     // that is remembered
	doomed   map[string]store.Mark
	beats    []replica
	epoch    int64 // of the promoter; 0 keeps the pointer's
	reason   string
	rollback bool // what is current now is being rolled back from
}

// apply refuses a snapshot that is being deleted, holds it against deletion, sees that it is whole, moves the
// pointer and drops the hold. The pointer was read before the hold was set: that order is what lets the
// garbage collector expire a hold by moving the pointer's ETag first.
func (c change) apply(ctx context.Context) (store.Pointer, store.Info, error) {
	g := gcDoc{c.objects, c.layout, c.doomed}
	there, err := c.objects.Head(ctx, c.layout.Manifest(c.manifest.ID))
	if errors.Is(err, store.ErrNotFound) {
		return store.Pointer{}, store.Info{}, fmt.Errorf("%w: %s", ErrIncomplete, snapshot.FileManifest)
	}
	if err != nil {
		return store.Pointer{}, store.Info{}, err
	}
	c.now = there.Date // a long build may lie between the pointer's reading and now
	if err := c.may(); err != nil {
		return store.Pointer{}, store.Info{}, err
	}
	if err := g.hold(ctx, c.manifest.ID, c.by, c.now, c.epoch); err != nil {
		return store.Pointer{}, store.Info{}, fmt.Errorf("hold: %w", err)
	}
	if err := c.whole(ctx); err != nil {
		return store.Pointer{}, store.Info{}, err
	}
	if err := c.may(); err != nil {
		return store.Pointer{}, store.Info{}, err
	}
	next := c.next()
	cond := store.PutOptions{IfMatch: c.etag}
	if c.etag == "" {
		cond = store.PutOptions{IfAbsent: true}
	}
	info, err := store.WriteDoc(ctx, c.objects, c.layout.Pointer(), next, cond)
	if err != nil {
		return store.Pointer{}, store.Info{}, err
	}
	// Best effort: a hold that stays expires after the grace.
	if c.may() == nil {
		_ = g.drop(ctx, c.manifest.ID, c.by, c.epoch)
	}
	return next, info, nil
}

func (c change) may() error {
	if c.ready == nil {
		return nil
	}
	return c.ready()
}

// whole looks at the manifest's bytes and every file once more, after the hold: what passed cannot be deleted
// before the pointer names it.
func (c *change) whole(ctx context.Context) (err error) {
	if _, _, err := store.ReadManifest(ctx, c.objects, c.layout, c.manifest.ID, c.sha); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w: %s", ErrIncomplete, snapshot.FileManifest)
		}
		return err
	}
	if c.signed, err = store.VerifyManifest(ctx, c.objects, c.layout, c.manifest.ID, c.sha, c.keys); err != nil {
		return err
	}
	for _, f := range c.manifest.Files {
		info, err := c.objects.Head(ctx, c.layout.File(c.manifest.ID, f.Name))
		if errors.Is(err, store.ErrNotFound) || (err == nil && info.Size != f.Size) {
			return fmt.Errorf("%w: %s", ErrIncomplete, f.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next composes the new pointer. Its generation is above everything that was seen of the lineage: by the pointer, by what
// is remembered beside it, and by any replica as far as that can be believed. A lineage whose generations are used up is
// followed by another, which servers accept; so no document can bring the count to its end.
func (c change) next() store.Pointer {
	from := c.pointer
	if from == nil {
		from = c.last // the object is gone, its lineage goes on
	}
	next := store.Pointer{
		Kind: store.KindPointer, Manifest: c.manifest, ManifestSHA256: c.sha, Signature: c.signed,
		Epoch: c.epoch, PromotedAt: c.now.UTC(), Reason: c.reason, Nonce: store.NewNonce(),
	}
	top, since := c.highest, time.Time{}
	if from != nil {
		if top = heightOf(*from); top.Lineage == c.highest.Lineage {
			top = higher(top, c.highest)
		}
		since = from.PromotedAt
		next.Epoch = max(from.Epoch, c.epoch)
		next.History = c.history(*from)
	}
	if top.Lineage != "" {
		top.Generation = max(top.Generation, highestGeneration(c.beats, top.Lineage, store.Plausible(top.Generation, since, c.now)))
	}
	if top.Lineage == "" || top.Generation >= store.MaxGeneration {
		top = store.Height{Lineage: uuid.NewString()}
		next.History = slices.Clone(next.History)
		for i := range next.History {
			next.History[i].Generation = 0 // they count in another lineage
		}
	}
	next.Lineage, next.Generation = top.Lineage, top.Generation+1
	return next
}

// history is the next pointer's: what it leaves comes first.
func (c change) history(from store.Pointer) []store.Promotion {
	out := from.History
	if from.ID != c.manifest.ID {
		out = append([]store.Promotion{{
			ID: from.ID, Generation: from.Generation, PromotedAt: from.PromotedAt, RetiredAt: c.now.UTC(),
			Reason: from.Reason, RolledBack: c.rollback,
		}}, out...)
	}
	return out[:min(len(out), store.HistoryLength)]
}
