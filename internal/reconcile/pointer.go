package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// A pass begins with the pointer: it is looked at, doubted by what is remembered of it, restored when it is not the one
// that was left here, and fenced when its epoch is not ours. Nothing else happens before it did.

// pointerRounds: each is lost to a write of an operator, a rival or a restoration.
const pointerRounds = 8

// found is what is under the pointer's key.
type found struct {
	pointer *store.Pointer // nil: nothing, or nothing that is a pointer
	etag    string         // "" = nothing
}

func (p *pass) readPointer(ctx context.Context) error {
	if err := p.readStatus(ctx); err != nil {
		return err
	}
	for range pointerRounds {
		f, err := p.findPointer(ctx)
		if err != nil {
			return err
		}
		again := false
		if why := p.memory().doubt(f, p.now); why != "" {
			again, err = p.restore(ctx, f, why)
		}
		if !again && err == nil {
			again, err = p.takePointer(ctx, f)
		}
		if !again || err != nil {
			return err
		}
	}
	return failf(Promoted, fenceFailed, transient, "fence: the pointer kept changing")
}

// findPointer looks at the pointer. Without one status.json alone says which epoch leads, and what we remember of that may
// be of another term.
func (p *pass) findPointer(ctx context.Context) (found, error) {
	ptr, info, err := readPointerIfAny(ctx, p.Objects, p.Layout)
	if !info.Date.IsZero() {
		p.now = info.Date
	}
	f := found{ptr, info.ETag}
	switch {
	case errors.Is(err, snapshot.ErrNewer):
		return f, fail(Promoted, newerFormat, transient, err)
	case err != nil:
		return f, fail(Promoted, pointerUnreadable, transient, err)
	case ptr == nil:
		p.statusRead = false
		return f, p.readStatus(ctx)
	}
	return f, p.lease.yield("the pointer", ptr.Epoch, ptr.Owner)
}

// takePointer goes on with what was found, raising its epoch when it is not ours: the fence write. From then on no
// promotion prepared under an earlier term can succeed.
func (p *pass) takePointer(ctx context.Context, f found) (again bool, err error) {
	if epoch := p.lease.epoch(); f.pointer != nil && (f.pointer.Epoch != epoch || f.pointer.Owner != p.owner) {
		info, err := p.fence(ctx, *f.pointer, f.etag, epoch)
		if errors.Is(err, store.ErrConflict) {
			return true, nil
		}
		if err != nil {
			return false, fail(Promoted, fenceFailed, transient, fmt.Errorf("fence: %w", err))
		}
		f.pointer.Epoch, f.pointer.Owner, f.etag = epoch, p.owner, info.ETag
	}
	if p.pointer, p.pointerETag = f.pointer, f.etag; f.pointer != nil {
		p.lease.saw(heightOf(*f.pointer))
	}
	return false, nil
}

func (p *pass) fence(ctx context.Context, ptr store.Pointer, etag string, epoch int64) (store.Info, error) {
	if err := p.lease.check(); err != nil {
		return store.Info{}, err
	}
	ptr.Owner = p.owner
	return fenceWrite(ctx, p.Objects, p.Layout, ptr, etag, epoch)
}

// fenceWrite rewrites the pointer with nothing changed but epoch, owner and nonce: every If-Match on an ETag read
// before it fails from now on.
func fenceWrite(ctx context.Context, o store.Objects, l store.Layout, ptr store.Pointer, etag string, epoch int64) (store.Info, error) {
	ptr.Epoch = max(ptr.Epoch, epoch)
	ptr.Nonce = store.NewNonce()
	return store.WriteDoc(ctx, o, l.Pointer(), ptr, store.PutOptions{IfMatch: etag})
}

// doubt says why what was found cannot be the pointer that was left here, "" when it can.
func (m memory) doubt(f found, now time.Time) reason {
	var since time.Time
	if m.pointer != nil {
		since = m.pointer.PromotedAt
	}
	switch ptr := f.pointer; {
	case ptr == nil && f.etag == "":
		return pointerDeleted // or there never was one: nothing is remembered then
	case ptr == nil:
		return pointerInvalid
	case m.highest.Lineage == "":
	case ptr.Lineage != m.highest.Lineage:
		if m.highest.Generation < store.MaxGeneration { // a lineage that came to its end is followed by another
			return pointerForeign
		}
	case ptr.Generation < m.highest.Generation:
		return pointerOlder
	case ptr.Generation > store.Plausible(m.highest.Generation, since, now):
		return pointerAhead
	case m.pointer != nil && ptr.Generation == m.pointer.Generation && ptr.ID != m.pointer.ID:
		return pointerEdited
	}
	return ""
}

// restore puts the pointer back into its lineage, above everything that was seen of it: the snapshot that is pinned,
// else the one that was remembered, else the one that was found. It is no promotion, so it is done while pinned and
// suspended too. Unless the pointer was written, and is to be looked at again, nothing of it is whole: what was found is
// gone by until a promotion replaces it.
func (p *pass) restore(ctx context.Context, f found, why reason) (again bool, err error) {
	m := p.memory()
	if m.pointer == nil {
		m.pointer = f.pointer
	}
	if m.pointer == nil {
		return false, nil
	}
	beats, err := readHeartbeats(ctx, p.Objects, p.Layout, p.status.Replicas)
	if err != nil {
		return false, fail(Promoted, why, transient, err)
	}
	// What is not a pointer carries no epoch that would stop a leader of the past.
	if err := p.lease.confirm(ctx); err != nil {
		return false, fail(Promoted, why, transient, err)
	}
	candidates, err := p.restorable(ctx, m.pointer, f.pointer)
	if err != nil {
		return false, err
	}
	for _, c := range candidates {
		next, _, err := p.promotion(c.Manifest, c.ManifestSHA256, ReasonRestored,
			basis{etag: f.etag, memory: m, doomed: p.status.Deleting, beats: beats}).apply(ctx)
		switch {
		case err == nil:
			p.log.WarnContext(ctx, "pointer repaired", "reason", why, "snapshot", next.ID, "generation", next.Generation)
			p.repaired(why, fmt.Sprintf("current/manifest.json was not as it was left; restored to %s, generation %d", next.ID, next.Generation))
			return true, nil
		case errors.Is(err, ErrLeaseLost):
			return false, err
		case errors.Is(err, store.ErrConflict):
			return true, nil // somebody else wrote it
		case errors.Is(err, store.ErrDeleteMarker):
			return false, fail(Promoted, pointerDeleted, transient, fmt.Errorf("%w: %s", err, p.undelete(p.Layout.Pointer())))
		case errors.Is(err, ErrIncomplete), errors.Is(err, ErrDeleting), errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, store.ErrUnsigned):
			p.log.WarnContext(ctx, "pointer cannot be restored to a snapshot", "snapshot", c.ID, "error", err)
		default:
			return false, fail(Promoted, why, transient, fmt.Errorf("restore pointer: %w", err))
		}
	}
	if f.pointer != nil {
		p.repaired(why, "current/manifest.json was not as it was left, and no snapshot of it is whole")
	}
	return false, nil
}

// restorable lists what the pointer may be restored to, best first.
func (p *pass) restorable(ctx context.Context, known, found *store.Pointer) ([]store.Pointer, error) {
	control, _, err := store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{})
	if errors.Is(err, store.ErrNotFound) {
		control, err = controlOf(p.status), nil
	}
	if err != nil {
		return nil, fail(Promoted, controlUnreadable, transient, fmt.Errorf("read control: %w", err))
	}
	var out []store.Pointer
	if control.Pin != nil && control.Pin.ID != known.ID {
		m, sha, err := store.ReadManifest(ctx, p.Objects, p.Layout, control.Pin.ID, "")
		switch {
		case err == nil:
			out = append(out, store.Pointer{Manifest: m, ManifestSHA256: sha})
		case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, snapshot.ErrCorrupt) && !errors.Is(err, snapshot.ErrNewer):
			return nil, fail(Promoted, pointerUnreadable, transient, fmt.Errorf("read the pinned manifest: %w", err))
		}
	}
	out = append(out, *known)
	if found != nil && found.ID != known.ID {
		out = append(out, *found)
	}
	return out, nil
}
