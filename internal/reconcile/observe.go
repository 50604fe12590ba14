package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// source is the catalogue's object as this pass found it.
type source struct {
	store.Source
	path string // the local copy, "" = not downloaded
	err  error  // SourceReady is False: keep serving
}

// readPointer reads the pointer and, when its epoch is not ours, raises it: the fence write. From then on
// no promotion prepared under an earlier term can succeed. Nothing else happens before it did.
func (p *pass) readPointer(ctx context.Context) error {
	if err := p.readStatus(ctx); err != nil {
		return err
	}
	for range 8 { // each round lost to an operator's write or a rival's
		ptr, info, err := store.ReadPointer(ctx, p.Objects, p.Layout, "")
		if !info.Date.IsZero() {
			p.now = info.Date
		}
		switch {
		case errors.Is(err, store.ErrNotFound):
			p.facts.pointer = "NoPointer"
			return p.readStatusAgain(ctx)
		case errors.Is(err, store.ErrPointerInvalid):
			if err := p.readStatusAgain(ctx); err != nil {
				return err
			}
			done, err := p.repairPointer(ctx, info, err)
			if done || err != nil {
				return err
			}
			continue
		case err != nil:
			return fail(Promoted, "PointerUnreadable", transient, fmt.Errorf("read pointer: %w", err))
		}
		epoch := p.lease.epoch()
		if ptr.Epoch > epoch {
			p.lease.drop()
			return fmt.Errorf("%w: the pointer is of epoch %d, ours is %d", ErrLeaseLost, ptr.Epoch, epoch)
		}
		if ptr.Epoch == epoch {
			p.pointer, p.pointerETag = &ptr, info.ETag
			return nil
		}
		if info, err = p.fence(ctx, ptr, info.ETag, epoch); err == nil {
			ptr.Epoch = epoch
			p.pointer, p.pointerETag = &ptr, info.ETag
			return nil
		} else if !errors.Is(err, store.ErrConflict) {
			return fail(Promoted, "FenceFailed", transient, fmt.Errorf("fence: %w", err))
		}
	}
	return failf(Promoted, "FenceFailed", transient, "fence: the pointer kept changing")
}

func (p *pass) fence(ctx context.Context, ptr store.Pointer, etag string, epoch int64) (store.Info, error) {
	if err := p.lease.check(); err != nil {
		return store.Info{}, err
	}
	return fenceWrite(ctx, p.Objects, p.Layout, ptr, etag, epoch)
}

// fenceWrite rewrites the pointer with nothing changed but epoch and nonce: every If-Match on an ETag read
// before it fails from now on.
func fenceWrite(ctx context.Context, o store.Objects, l store.Layout, ptr store.Pointer, etag string, epoch int64) (store.Info, error) {
	ptr.Epoch = max(ptr.Epoch, epoch)
	ptr.Nonce = store.NewNonce()
	return store.WriteDoc(ctx, o, l.Pointer(), ptr, store.PutOptions{IfMatch: etag})
}

// repairPointer puts the last pointer that status.json knows back over one that is not a pointer. done means
// that the pass goes on without a pointer and a promotion replaces the invalid object.
func (p *pass) repairPointer(ctx context.Context, info store.Info, invalid error) (done bool, err error) {
	p.log.WarnContext(ctx, "pointer invalid", "error", invalid)
	p.facts.pointer = "PointerInvalid"
	known := p.status.Pointer
	if known == nil {
		p.pointerETag = info.ETag
		return true, nil
	}
	control, _, err := store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fail(Promoted, "ControlUnreadable", transient, fmt.Errorf("read control: %w", err))
	}
	if control.Suspended != nil {
		return false, failf(Promoted, "PointerInvalid", transient, "suspended: the invalid pointer is left alone: %w", invalid)
	}
	beats, err := readHeartbeats(ctx, p.Objects, p.Layout, p.status.Replicas)
	if err != nil {
		return false, fail(Promoted, "PointerInvalid", transient, err)
	}
	next := *known
	// A replica that saw more than status.json did (a promotion by an operator just before) must not go back.
	if top := highestGeneration(beats, next.Lineage); top > next.Generation {
		next.Generation = top + 1
	}
	// An invalid pointer carries no epoch that would stop a leader of the past.
	if err := p.lease.confirm(ctx); err != nil {
		return false, fail(Promoted, "PointerInvalid", transient, err)
	}
	if err := p.lease.check(); err != nil {
		return false, err
	}
	next.Epoch, next.Nonce = p.lease.epoch(), store.NewNonce()
	_, err = store.WriteDoc(ctx, p.Objects, p.Layout.Pointer(), next, store.PutOptions{IfMatch: info.ETag})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return false, fail(Promoted, "PointerInvalid", transient, fmt.Errorf("repair pointer: %w", err))
	}
	p.log.WarnContext(ctx, "pointer repaired", "snapshot", next.ID, "generation", next.Generation)
	return false, nil
}

// readStatus reads status.json once a term; afterwards we are its only writer.
func (p *pass) readStatus(ctx context.Context) error {
	if p.statusRead {
		return nil
	}
	s, info, err := store.ReadDoc[store.Status](ctx, p.Objects, p.Layout.Status(), store.GetOptions{})
	switch {
	case errors.Is(err, store.ErrNotFound):
		info.ETag = ""
	case errors.Is(err, store.ErrCorrupt) && info.ETag != "":
		p.log.WarnContext(ctx, "status unreadable, it will be written anew", "error", err)
	case err != nil:
		return fail(Ready, "StatusUnreadable", transient, fmt.Errorf("read status: %w", err))
	}
	if epoch := p.lease.epoch(); s.Epoch > epoch {
		p.lease.drop()
		return fmt.Errorf("%w: status is of epoch %d, ours is %d", ErrLeaseLost, s.Epoch, epoch)
	}
	p.Reconciler.status, p.statusETag, p.statusRead = s, info.ETag, true
	return nil
}

// readStatusAgain is for passes without a pointer: status.json alone says then which epoch leads and what the
// pointer was, and what we remember of it may be another term's.
func (p *pass) readStatusAgain(ctx context.Context) error {
	p.statusRead = false
	return p.readStatus(ctx)
}

// readControl reads what operators want. A control document that cannot be read stops the pass: it may say
// "suspended".
func (p *pass) readControl(ctx context.Context) error {
	control, info, err := store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fail(Ready, "ControlUnreadable", transient, fmt.Errorf("read control: %w", err))
	}
	p.act, p.Reconciler.control = control, info.ETag
	if q := control.Request; q != nil && (p.status.Handled == nil || p.status.Handled.Token != q.Token) {
		p.request = q
		p.opts.asked = true
		p.opts.force = p.opts.force || q.Force && p.owed(q)
		p.opts.gcOnly = p.opts.gcOnly || q.Verb == VerbGC
	}
	return nil
}

// owed says whether a forced rebuild was not answered by a promotion since it was asked for. status.json says which
// request was handled, but people may delete it; a request that names no pointer is one of an earlier release.
func (p *pass) owed(q *store.Request) bool {
	if q.Against == "" || q.Against == p.pointer.Mark() {
		return true
	}
	p.message = "not forced: " + p.pointer.Mark() + " was promoted since it was asked for"
	return false
}

// readSource finds out what the catalogue's bytes are, downloading them only when nobody has hashed this
// version before. A missing or unreadable catalogue is a condition, never an empty one.
func (p *pass) readSource(ctx context.Context) error {
	known := p.knownSource()
	path := filepath.Join(p.dir, "source")
	info, sum, err := store.FetchSource(ctx, p.Objects, p.Layout.Source, path, store.GetOptions{IfNoneMatch: known.ETag})
	switch {
	case errors.Is(err, store.ErrNotModified):
		p.source = source{Source: known}
	case errors.Is(err, store.ErrNotFound):
		p.source.err = failf(SourceReady, "SourceMissing", transient, "%s: %w", p.Layout.Source, err)
	case err != nil:
		p.source.err = fail(SourceReady, "SourceUnreadable", transient, fmt.Errorf("read source: %w", stopped(ctx, err)))
	default:
		p.source = source{path: path, Source: store.Source{
			Key: p.Layout.Source, ETag: info.ETag, VersionID: info.VersionID, SHA256: sum,
		}}
	}
	return nil
}

// knownSource is a version of the catalogue whose digest is known, so that 304 tells what it is.
func (p *pass) knownSource() store.Source {
	if s := p.status.Source; s.Key == p.Layout.Source && s.ETag != "" && s.SHA256 != "" {
		return s
	}
	if p.pointer != nil && p.pointer.Source.Key == p.Layout.Source && p.pointer.Source.SHA256 != "" {
		return p.pointer.Source
	}
	return store.Source{}
}

// download makes sure that the catalogue's bytes are here. They may be newer than what was seen before.
func (p *pass) download(ctx context.Context) error {
	if p.source.path != "" {
		return nil
	}
	path := filepath.Join(p.dir, "source")
	info, sum, err := store.FetchSource(ctx, p.Objects, p.Layout.Source, path, store.GetOptions{})
	if err != nil {
		return fail(SourceReady, "SourceUnreadable", transient, fmt.Errorf("read source: %w", err))
	}
	p.source.path = path
	p.source.Source = store.Source{Key: p.Layout.Source, ETag: info.ETag, VersionID: info.VersionID, SHA256: sum}
	return nil
}

// readGolden notes the version of the golden queries; "" = there are none.
func (p *pass) readGolden(ctx context.Context) error {
	info, err := p.Objects.Head(ctx, p.Layout.Golden())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fail(Verified, "GoldenUnreadable", transient, fmt.Errorf("look at golden.json: %w", err))
	}
	p.goldenETag = info.ETag
	return nil
}

// upToDate: the served snapshot was built from this source and spec and is whole.
func (p *pass) upToDate() bool {
	return p.pointer != nil && p.broken == "" &&
		p.pointer.Source.SHA256 == p.source.SHA256 && p.pointer.SpecDigest == p.specDigest
}

// storeNow is the store's clock as last seen in this pass: ages of objects are judged by it.
func (p *pass) storeNow() time.Time { return p.now }
