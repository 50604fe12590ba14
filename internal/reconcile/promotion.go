package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// promotion is one move of the pointer, by the leader or an operator: to a snapshot, over what was seen.
type promotion struct {
	objects store.Objects
	layout  store.Layout
	keys    store.Keys   // of whom one must have signed the snapshot; none = it need not be signed
	by      string       // who promotes
	epoch   int64        // and in which term; 0 keeps the pointer's
	ready   func() error // asked before every write; nil = always

	manifest store.Manifest
	sha      string // of the manifest's bytes
	reason   string
	rollback bool   // what is current now is being rolled back from
	erased   string // Erasure.Mark when it is known that the snapshot holds none of it
	over     basis
}

// basis is what a promotion was decided by: the pointer, read before anything else, and what is known beside it.
type basis struct {
	pointer *store.Pointer // nil = none
	etag    string         // of what is stored under its key, "" = nothing
	memory  memory
	doomed  map[string]store.Mark // what is being deleted as a leader remembers it, should gc.json be gone
	beats   []replica
}

// promotion by this pass.
func (p *pass) promotion(m store.Manifest, sha, reason string, over basis) promotion {
	return promotion{
		objects: p.Objects, layout: p.Layout, keys: p.Keys, by: p.owner, epoch: p.lease.epoch(), ready: p.lease.check,
		manifest: m, sha: sha, reason: reason, over: over,
	}
}

// apply reserves the snapshot and all that it is made of against deletion, sees that it is whole, moves the pointer and
// gives the reservation back. The pointer was read before the reservation: that order is what lets the garbage collector
// end a stale one by moving the pointer's ETag first.
func (m promotion) apply(ctx context.Context) (store.Pointer, store.Info, error) {
	var none store.Pointer
	if m.manifest.Role == store.RoleBase {
		return none, store.Info{}, ErrBase
	}
	g := gcDoc{m.objects, m.layout, m.over.doomed}
	there, err := m.objects.Head(ctx, m.layout.Manifest(m.manifest.ID))
	if errors.Is(err, store.ErrNotFound) {
		return none, store.Info{}, fmt.Errorf("%w: %s", ErrIncomplete, snapshot.FileManifest)
	}
	if err = cmp.Or(err, m.may()); err != nil {
		return none, store.Info{}, err
	}
	now := there.Date // the store's: a long build may lie between the pointer's reading and now
	all := reservation{ids: append([]string{m.manifest.ID}, m.manifest.Needs()...), by: m.by, epoch: m.epoch, also: func(doc *store.GC) { m.retire(doc, now) }}
	if err := g.reserve(ctx, all, now); err != nil {
		return none, store.Info{}, fmt.Errorf("reserve: %w", err)
	}
	signed, err := m.whole(ctx)
	if err = cmp.Or(err, m.may()); err != nil {
		return none, store.Info{}, err
	}
	next := m.next(now, signed)
	cond := store.PutOptions{IfMatch: m.over.etag}
	if m.over.etag == "" {
		cond = store.PutOptions{IfAbsent: true}
	}
	info, err := store.WriteDoc(ctx, m.objects, m.layout.Pointer(), next, cond)
	if err != nil {
		return none, store.Info{}, err
	}
	// Best effort: a reservation that stays expires after the grace.
	if m.may() == nil {
		_ = g.release(ctx, all)
	}
	return next, info, nil
}

func (m promotion) may() error {
	if m.ready == nil {
		return nil
	}
	return m.ready()
}

// whole looks at the manifest's bytes and every file once more, after the reservation: what passed cannot be deleted
// before the pointer names it.
func (m promotion) whole(ctx context.Context) (*store.Signature, error) {
	if _, _, err := store.ReadManifest(ctx, m.objects, m.layout, m.manifest.ID, m.sha); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("%w: %s", ErrIncomplete, snapshot.FileManifest)
		}
		return nil, err
	}
	signed, err := store.VerifyManifest(ctx, m.objects, m.layout, m.manifest.ID, m.sha, m.keys)
	if err != nil {
		return nil, err
	}
	if err := m.baseTrusted(ctx); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headsParallel)
	for _, f := range m.manifest.Files {
		key := m.layout.FileKey(m.manifest, f)
		if m.servedAlready(key, f) {
			continue
		}
		g.Go(func() error {
			info, err := m.objects.Head(ctx, key)
			if errors.Is(err, store.ErrNotFound) || (err == nil && info.Size != f.Size) {
				return fmt.Errorf("%w: %s", ErrIncomplete, key)
			}
			return err
		})
	}
	return signed, g.Wait()
}

// baseTrusted returns store.ErrUnsigned when keys are set and none of them signed the base. The delta snapshot's own signature
// covers the base's files, but whoever makes the first delta over a base vouches for it. Once it is served it was looked at.
func (m promotion) baseTrusted(ctx context.Context) error {
	base, from := m.manifest.Base, m.over.pointer
	if base == nil || len(m.keys) == 0 || from != nil && from.Base != nil && from.Base.ID == base.ID && from.Base.ManifestSHA256 == base.ManifestSHA256 {
		return nil
	}
	if _, err := store.VerifyManifest(ctx, m.objects, m.layout, base.ID, base.ManifestSHA256, m.keys); err != nil {
		return fmt.Errorf("base %s: %w", base.ID, err)
	}
	return nil
}

// headsParallel files of a snapshot are looked at at a time.
const headsParallel = 8

// servedAlready says whether a file of a delta snapshot need not be looked at, for the leader's pointer names it too: see
// the package's comment on compositions.
func (m promotion) servedAlready(key string, f snapshot.File) bool {
	from := m.over.pointer
	if m.epoch == 0 || m.manifest.Base == nil || from == nil {
		return false
	}
	return slices.ContainsFunc(from.Files, func(g snapshot.File) bool {
		return g.SHA256 == f.SHA256 && g.Size == f.Size && m.layout.FileKey(from.Manifest, g) == key
	})
}

// next composes the new pointer. Its generation is above everything that was seen of the lineage: by the pointer, by what
// is remembered beside it, and by any replica as far as that can be believed. A lineage whose generations are used up is
// followed by another, which servers accept; so no document can bring the count to its end.
func (m promotion) next(now time.Time, signed *store.Signature) store.Pointer {
	from := m.over.pointer
	if from == nil {
		from = m.over.memory.pointer // the object is gone, its lineage goes on
	}
	next := store.Pointer{
		Kind: store.KindPointer, Manifest: m.manifest, ManifestSHA256: m.sha, Signature: signed,
		Epoch: m.epoch, PromotedAt: now.UTC(), Reason: m.reason, Nonce: store.NewNonce(), Erased: m.erased,
	}
	top, since := m.over.memory.highest, time.Time{}
	if from != nil {
		if top = heightOf(*from); top.Lineage == m.over.memory.highest.Lineage {
			top = higher(top, m.over.memory.highest)
		}
		since = from.PromotedAt
		next.Epoch, next.History = max(from.Epoch, m.epoch), m.history(*from, now)
	}
	if top.Lineage != "" {
		top.Generation = max(top.Generation, highestGeneration(m.over.beats, top.Lineage, store.Plausible(top.Generation, since, now)))
	}
	if top.Lineage == "" || top.Generation >= store.MaxGeneration {
		top = store.Height{Lineage: uuid.NewString()}
		next.History = slices.Clone(next.History)
		for i := range next.History {
			next.History[i].Generation = 0 // they count in another lineage
		}
	}
	next.Lineage, next.Generation = top.Lineage, top.Generation+1
	switch {
	case m.epoch != 0 && next.Epoch == m.epoch:
		next.Owner = m.by
	case from != nil:
		next.Owner = from.Owner // an operator's move is of nobody's term
	}
	return next
}

// history is the next pointer's: what it leaves comes first.
func (m promotion) history(from store.Pointer, now time.Time) []store.Promotion {
	out := from.History
	if from.ID != m.manifest.ID {
		out = append([]store.Promotion{{
			ID: from.ID, Generation: from.Generation, PromotedAt: from.PromotedAt, RetiredAt: now.UTC(),
			Reason: from.Reason, RolledBack: m.rollback,
		}}, out...)
	}
	return out[:min(len(out), store.HistoryLength)]
}
