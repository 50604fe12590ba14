package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Operator is what people do to the store: read it, and state their intent. It needs no lease. An intent is
// written to control.json first and then enforced by a write of the pointer: a pass that missed the intent
// has read the pointer before it, so its promotion fails. Between operators it is the same: each reads the pointer,
// then control.json, and writes the pointer only while the intent is still its own, on the ETag read before; and
// looks once more afterwards. So whoever is told that it succeeded is served, and whoever was overruled is told so.
type Operator struct {
	Objects store.Objects
	Layout  store.Layout
	Keys    store.Keys // what is promoted must be signed by one of them; none: it need not
	// EraseKey names records that are purged, and tells which snapshots hold one. nil: nothing can be purged.
	EraseKey *store.EraseKey
	By       string        // who asks, for the records
	Poll     time.Duration // of status.json while a request is followed; 0 = 1 s
	Clock    Clock
}

// NewOperator returns an Operator with the system's clock.
func NewOperator(o store.Objects, l store.Layout, by string) *Operator {
	return &Operator{Objects: o, Layout: l, By: by, Poll: time.Second, Clock: SystemClock()}
}

// undoTime is how long a command that failed, or was interrupted, tries to take its pin back.
const undoTime = 10 * time.Second

// Suspend stops builds, promotions and garbage collection. ErrConflict: another operator resumed meanwhile.
func (o *Operator) Suspend(ctx context.Context, reason string) error {
	if _, err := o.control(ctx, func(c *store.Control) error { c.Suspended = o.intent("", reason); return nil }); err != nil {
		return err
	}
	if err := o.enforce(ctx); err != nil {
		return err
	}
	c, err := o.readControl(ctx)
	if err == nil && c.Suspended == nil {
		err = fmt.Errorf("suspend: another operator resumed: %w", store.ErrConflict)
	}
	return err
}

// Resume ends Suspend.
func (o *Operator) Resume(ctx context.Context) error {
	_, err := o.control(ctx, func(c *store.Control) error { c.Suspended = nil; return nil })
	return err
}

// Unpin ends a pin: the next pass serves the current source again.
func (o *Operator) Unpin(ctx context.Context) error {
	_, err := o.control(ctx, func(c *store.Control) error { c.Pin = nil; return nil })
	return err
}

// Pin keeps id served until Unpin, promoting it when it is not current. As of Promote and Rollback, ErrConflict means
// that another operator changed the intent meanwhile, and that theirs stands; after any other failure the pin is what
// it was before.
func (o *Operator) Pin(ctx context.Context, id string) error {
	return o.move(ctx, id, move{pin: true, reason: ReasonPin})
}

// Promote makes id current. ErrHeld: the gate held it and force is not set. A snapshot of another source state
// or spec than the current one is pinned as well, or the next pass would undo it.
func (o *Operator) Promote(ctx context.Context, id string, force bool) error {
	return o.move(ctx, id, move{force: force, reason: ReasonOperator})
}

// Rollback promotes id, or what was served before when id is "", and pins it. It returns the id.
func (o *Operator) Rollback(ctx context.Context, id string) (string, error) {
	if id == "" {
		ptr, _, err := store.ReadPointer(ctx, o.Objects, o.Layout, "")
		if err != nil {
			return "", fmt.Errorf("read pointer: %w", err)
		}
		prev, ok := previous(ptr)
		if !ok {
			return "", fmt.Errorf("roll back: nothing was served before %s: %w", ptr.ID, store.ErrNotFound)
		}
		id = prev.ID
	}
	return id, o.move(ctx, id, move{pin: true, force: true, rollback: true, reason: ReasonRollback})
}

// Past is a snapshot that was current once.
type Past struct {
	ID       string
	From, To time.Time // when
	Base     string    // "" for a full one
	Fetch    int64     // bytes of it that nobody who serves what is current has
}

// CurrentAt returns what was current at a time, as far as it can be gone back to still: the newest snapshot that became
// current then or before, was not rolled back from, and is there. ErrNotFound: there is none.
func (o *Operator) CurrentAt(ctx context.Context, at time.Time) (Past, error) {
	ptr, info, err := store.ReadPointer(ctx, o.Objects, o.Layout, "")
	if err != nil {
		return Past{}, fmt.Errorf("read pointer: %w", err)
	}
	doc, _, err := gcDoc{objects: o.Objects, layout: o.Layout}.read(ctx)
	if err != nil {
		return Past{}, err
	}
	all := servedTimes(ptr, doc.Retired, info.Date)
	for _, s := range servedAt(all, at) {
		if s.id == ptr.ID {
			return Past{}, fmt.Errorf("roll back to %s: %s is current since %s", at.UTC().Format(time.RFC3339), s.id, s.from.UTC().Format(time.RFC3339))
		}
		m, _, err := store.ReadManifest(ctx, o.Objects, o.Layout, s.id, "")
		if unreadable(err) {
			continue
		}
		if err != nil {
			return Past{}, fmt.Errorf("roll back to %s: %w", s.id, err)
		}
		if slices.ContainsFunc(append(m.Needs(), m.ID), func(id string) bool { _, gone := doc.Deleting[id]; return gone }) {
			continue
		}
		out := Past{ID: s.id, From: s.from, To: s.to}
		if m.Base != nil {
			out.Base = m.Base.ID
		}
		had := map[string]bool{}
		for _, f := range ptr.Files {
			had[o.Layout.FileKey(ptr.Manifest, f)] = true
		}
		for _, f := range m.Files {
			if !had[o.Layout.FileKey(m, f)] {
				out.Fetch += f.Size
			}
		}
		return out, nil
	}
	return Past{}, fmt.Errorf("roll back to %s: nothing that was current then is kept, the oldest that is known became current at %s: %w",
		at.UTC().Format(time.RFC3339), all[len(all)-1].from.UTC().Format(time.RFC3339), store.ErrNotFound)
}

// move describes a promotion by an operator.
type move struct {
	pin      bool
	force    bool
	rollback bool
	reason   string
}

// move states the pin, if any, and then moves the pointer, again for as long as others write it.
func (o *Operator) move(ctx context.Context, id string, m move) error {
	manifest, sha, err := store.ReadManifest(ctx, o.Objects, o.Layout, id, "")
	if err != nil {
		return fmt.Errorf("promote %s: %w", id, o.removedFor(ctx, id, err))
	}
	if err := o.mayPromote(ctx, manifest, m.force); err != nil {
		return err
	}
	if _, err := store.VerifyManifest(ctx, o.Objects, o.Layout, id, sha, o.Keys); err != nil {
		return fmt.Errorf("promote %s: %w", id, err)
	}
	if !m.pin {
		if m.pin, err = o.foreign(ctx, manifest); err != nil {
			return err
		}
	}
	// Refused before the pin is written: a pin on it could never be fulfilled.
	doc, _, err := gcDoc{objects: o.Objects, layout: o.Layout}.read(ctx)
	if err != nil {
		return err
	}
	for _, part := range append([]string{id}, manifest.Needs()...) {
		if _, ok := doc.Deleting[part]; ok {
			return fmt.Errorf("promote %s: %w: %s", id, ErrDeleting, part)
		}
	}
	pin := o.intent(id, m.reason)
	// What is purged and the pin stand in one document, so of an erasure and a pin on what it erases only one is ever written.
	before, err := o.control(ctx, func(c *store.Control) error {
		if m.pin = m.pin || c.Pin != nil; m.pin { // there is one pin, and it moves along
			c.Pin = pin
		}
		return o.clears(ctx, *c, manifest)
	})
	if errors.Is(err, ErrErased) || errors.Is(err, ErrNoEraseKey) {
		return err // nothing was written
	}
	if err == nil {
		if err = o.point(ctx, manifest, sha, m); err == nil {
			return o.stands(ctx, id, m.pin)
		}
	}
	if m.pin {
		err = errors.Join(err, o.takeBack(ctx, pin, before.Pin))
	}
	return err
}

// stands says whether the intent behind a promotion of id is still what control.json says.
func (o *Operator) stands(ctx context.Context, id string, pinned bool) error {
	c, err := o.readControl(ctx)
	switch {
	case err != nil:
		return err
	case c.Pin == nil && pinned:
		return fmt.Errorf("promote %s: another operator unpinned: %w", id, store.ErrConflict)
	case c.Pin != nil && c.Pin.ID != id:
		return fmt.Errorf("promote %s: %s pinned %s: %w", id, c.Pin.By, c.Pin.ID, store.ErrConflict)
	}
	return nil
}

// takeBack undoes a pin that could not be fulfilled, unless somebody changed it since: it would stop every pass. The
// pointer is fenced afterwards, because a leader may have seen the pin.
func (o *Operator) takeBack(ctx context.Context, pin, before *store.Intent) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime) // also after Ctrl-C
	defer cancel()
	found := false
	_, err := o.control(ctx, func(c *store.Control) error {
		if found = c.Pin != nil && c.Pin.ID == pin.ID && c.Pin.By == pin.By && c.Pin.At.Equal(pin.At); found {
			c.Pin = before
		}
		return nil
	})
	if err == nil && found {
		err = o.enforce(ctx)
	}
	if err != nil {
		return fmt.Errorf("the pin could not be taken back, see indexer status: %w", err)
	}
	return nil
}

// point moves the pointer to the snapshot, or fences it when it is there already.
func (o *Operator) point(ctx context.Context, manifest store.Manifest, sha string, m move) error {
	for range rounds {
		ptr, info, err := readPointerIfAny(ctx, o.Objects, o.Layout)
		if err = cmp.Or(o.stands(ctx, manifest.ID, m.pin), err); err != nil { // after the pointer, as passes do
			return err
		}
		if now, err := o.readControl(ctx); err != nil {
			return err
		} else if err := o.clears(ctx, now, manifest); err != nil {
			return err
		}
		over := basis{pointer: ptr, etag: info.ETag}
		if over.memory, err = o.remembered(ctx); err != nil {
			return err
		}
		if ptr != nil && ptr.ID == manifest.ID {
			_, err = fenceWrite(ctx, o.Objects, o.Layout, *ptr, info.ETag, 0)
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			return err
		}
		if over.beats, err = readHeartbeats(ctx, o.Objects, o.Layout, nil); err != nil {
			return err
		}
		p := promotion{
			objects: o.Objects, layout: o.Layout, keys: o.Keys, by: o.By + " " + store.NewNonce()[:8],
			manifest: manifest, sha: sha, reason: m.reason, rollback: m.rollback, over: over,
		}
		if _, _, err = p.apply(ctx); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("promote %s: the pointer kept changing: %w", manifest.ID, store.ErrConflict)
}

// remembered is what status.json and lease.json know of the pointer.
func (o *Operator) remembered(ctx context.Context) (memory, error) {
	s, err := o.lastStatus(ctx)
	if err != nil {
		return memory{}, err
	}
	l, err := readIfAny[store.Lease](ctx, o.Objects, o.Layout.Lease(), "lease")
	return recall(s, l.Highest), err
}

// lastStatus is status.json, empty when there is none that can be read.
func (o *Operator) lastStatus(ctx context.Context) (store.Status, error) {
	return readIfAny[store.Status](ctx, o.Objects, o.Layout.Status(), "status")
}

// enforce rewrites the pointer so that a promotion prepared before the intent fails. Without a pointer there is
// nothing to fence: a first promotion that is under way may still land.
func (o *Operator) enforce(ctx context.Context) error {
	return contend("the pointer", func() error {
		ptr, info, err := readPointerIfAny(ctx, o.Objects, o.Layout)
		if ptr == nil || err != nil {
			return err
		}
		_, err = fenceWrite(ctx, o.Objects, o.Layout, *ptr, info.ETag, 0)
		return err
	})
}

// mayPromote refuses what the gate held, unless forced, and what is known to be damaged, always.
func (o *Operator) mayPromote(ctx context.Context, m store.Manifest, force bool) error {
	v, err := o.verdict(ctx, m)
	if err != nil {
		return err
	}
	switch {
	case m.Role == store.RoleBase:
		return fmt.Errorf("promote %s: %w; `indexer list` shows the snapshots over it, `indexer reconcile` puts what changed since over it", m.ID, ErrBase)
	case v.Result == VerdictCorrupt:
		return fmt.Errorf("promote %s: %w: %s", m.ID, snapshot.ErrCorrupt, v.Message)
	case !force && (v.Result == VerdictHeld || v.Result == VerdictFailed):
		why := v.Message
		if v.Gate != nil {
			why = explain(v.Gate)
		}
		return fmt.Errorf("promote %s: %w by the gate: %s; --force overrides", m.ID, ErrHeld, why)
	}
	return nil
}

// verdict is what was last said of a snapshot: its verdict.json, else the gate report in its manifest.
func (o *Operator) verdict(ctx context.Context, m store.Manifest) (store.Verdict, error) {
	v, err := readIfAny[store.Verdict](ctx, o.Objects, o.Layout.Verdict(m.ID), "verdict")
	if err == nil && v.Result == "" {
		v = manifestVerdict(m)
	}
	return v, err
}

// foreign says whether a snapshot was built from another source state or spec than what a pass would build
// now: without a pin that pass would replace it.
func (o *Operator) foreign(ctx context.Context, m store.Manifest) (bool, error) {
	ptr, _, err := readPointerIfAny(ctx, o.Objects, o.Layout)
	if err != nil || ptr != nil && ptr.SpecDigest != m.SpecDigest {
		return err == nil, err
	}
	if ptr != nil && ptr.DesiredDigest != m.DesiredDigest { // of other drop-ins
		return true, nil
	}
	info, err := o.Objects.Head(ctx, o.Layout.Source)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // nothing to build from
	}
	if err != nil {
		return false, fmt.Errorf("look at source: %w", err)
	}
	if info.ETag == m.Source.ETag {
		return false, nil
	}
	// The same bytes may have been written again; the leader has hashed them.
	s, err := o.lastStatus(ctx)
	if err != nil {
		return false, err
	}
	return s.Source.ETag != info.ETag || s.Source.SHA256 != m.Source.SHA256, nil
}

// readControl reads what operators want; nothing when there is no document.
func (o *Operator) readControl(ctx context.Context) (store.Control, error) {
	c, _, err := store.ReadDoc[store.Control](ctx, o.Objects, o.Layout.Control(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return c, fmt.Errorf("read control: %w", err)
	}
	return c, nil
}

// control changes control.json by CAS and returns what it was. A change that changes nothing, or fails, writes nothing.
func (o *Operator) control(ctx context.Context, change func(*store.Control) error) (before store.Control, err error) {
	err = contend("control.json", func() error {
		c, info, err := store.ReadDoc[store.Control](ctx, o.Objects, o.Layout.Control(), store.GetOptions{})
		cond := store.PutOptions{IfMatch: info.ETag}
		if errors.Is(err, store.ErrNotFound) {
			var s store.Status
			cond = store.PutOptions{IfAbsent: true}
			s, err = o.lastStatus(ctx)
			c = controlOf(s) // somebody deleted it: what was wanted there still holds
		}
		if err != nil {
			return fmt.Errorf("read control: %w", err)
		}
		before = c
		if err := change(&c); err != nil || c == before {
			return err
		}
		c.FormatVersion, c.Nonce = store.FormatVersion, store.NewNonce()
		_, err = store.WriteDoc(ctx, o.Objects, o.Layout.Control(), c, cond)
		return err
	})
	return before, err
}

func (o *Operator) intent(id, reason string) *store.Intent {
	return &store.Intent{ID: id, By: o.By, At: o.Clock.Now().UTC(), Reason: reason}
}
