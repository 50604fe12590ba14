package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// ErrErased: the snapshot holds a record that was purged.
var ErrErased = errors.New("it holds a record that was purged")

// Reasons of the condition Erased.
const (
	ReasonErasing         = "Erasing"
	ReasonWaiting         = "WaitingForPeople"
	ReasonProven          = "Proven"
	ReasonNothingErased   = "NothingPurged"
	ReasonEraseKeyMissing = "EraseKeyMissing"
)

// erasure is what a pass knows of the records that were purged.
type erasure struct {
	asked   *store.Erasure
	mark    string                 // "" = there are none
	blind   string                 // why their names mean nothing here, "" = they do
	named   func(id [16]byte) bool // whether it is one of them
	from    string                 // Erasing.From
	proven  bool                   // status.json has the proof of exactly these
	dirty   string                 // why the served snapshot must be replaced, "" = it need not
	within  map[string]bool        // snapshots in which one stands, or may stand
	stray   bool                   // after the proof, vectors turned up that nobody here stored
	read    int                    // records that were left out of the catalogue by this pass
	removed []string               // snapshots that this pass deleted for them
	deleted int                    // objects of these
}

// collected notes an object that was deleted.
func (e *erasure) collected(key string, l store.Layout) {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, l.Root()), "/")
	if !e.within[id] {
		return
	}
	if e.deleted++; !slices.Contains(e.removed, id) {
		e.removed = append(e.removed, id)
	}
}

// lookedAt is a snapshot that was looked at.
type lookedAt struct {
	holds bool // one of the records stands in it, or may
	grown bool // its index took over rows of the one before
}

// erasedMemory is what passes remember of stored things that never change: a cache.
type erasedMemory struct {
	mark      string
	snapshots map[string]lookedAt
	segments  map[string]bool
	people    map[string]bool // versions of people's files, by key and version
	ledger    map[string]bool // segments that hold nothing but what was kept; nil: not looked at
}

// readErasure finds out what was purged and whether the served snapshot holds any of it. Without the key that the names
// are made with nobody can tell, so nothing is built or promoted then: the record might be in the catalogue again.
func (p *pass) readErasure(ctx context.Context) error {
	e := &p.erase
	e.asked, e.mark = p.control.Erase, p.control.Erase.Mark()
	e.named = func([16]byte) bool { return false }
	if e.mark != p.erased.mark {
		p.Reconciler.erased = erasedMemory{mark: e.mark, snapshots: map[string]lookedAt{}, segments: map[string]bool{}, people: map[string]bool{}}
	}
	if e.mark == "" {
		return nil
	}
	e.proven = p.status.Erasing.Proves(e.asked)
	if s := p.status.Erasing; s != nil && s.Mark == e.mark {
		e.from = s.From
	}
	if e.from == "" && p.pointer != nil && p.pointer.Erased == e.mark {
		e.from = p.pointer.ID
	}
	switch {
	case p.EraseKey == nil:
		e.blind = "ERASE_KEY is not set, so it cannot be told whether a record of the catalogue was purged"
		return nil
	case !p.EraseKey.Opens(e.asked):
		e.blind = fmt.Sprintf("ERASE_KEY is %s, and what was purged is named by %s", p.EraseKey.ID(), e.asked.Key)
		return nil
	}
	e.named = e.asked.Matcher(p.EraseKey)
	if p.pointer == nil || p.pointer.Erased == e.mark { // it was looked at when it was marked
		return nil
	}
	holds, err := p.holdsErased(ctx, p.pointer.Manifest)
	if err != nil {
		return fail(Erased, snapshotUnreadable, transient, err)
	}
	switch {
	case holds:
		e.dirty = "it holds a purged record, or may"
	case !e.proven && p.pointer.Stats.Carried > 0:
		e.dirty = "it was built on an index that may have held a purged record"
	}
	return nil
}

// holdsErased says whether a purged record stands in a snapshot, or may: one whose ids cannot be read is not cleared.
func (p *pass) holdsErased(ctx context.Context, m store.Manifest) (bool, error) {
	if p.erase.mark == "" {
		return false, nil
	}
	if p.erase.blind != "" {
		return true, nil
	}
	if holds, known := p.knownErased(m.ID); known {
		return holds, nil
	}
	holds, err := standsIn(ctx, p.Objects, p.Layout, m, p.erase.named, segments{p.dir, p.erased.segments})
	if err != nil {
		return holds, err
	}
	p.erased.snapshots[m.ID] = lookedAt{holds, m.Stats.Carried > 0}
	holds, _ = p.knownErased(m.ID)
	return holds, nil
}

// knownErased is holdsErased of a snapshot that was looked at before.
func (p *pass) knownErased(id string) (holds, known bool) {
	s, known := p.erased.snapshots[id]
	return s.holds || s.grown && id < p.erase.from, known
}

// segments are the parts of snapshots that were looked at: many snapshots are made of the same.
type segments struct {
	dir  string          // scratch, "" for the system's
	seen map[string]bool // whether one of the records stands there, by SHA-256; nil: nothing is remembered
}

// standsIn says whether any record of a snapshot is named, in its base or in any of its deltas, or its ids cannot be told.
// A record that a later delta took away stands there all the same, and a delta that says that it is gone names it.
func standsIn(ctx context.Context, o store.Objects, l store.Layout, m store.Manifest, named func([16]byte) bool, at segments) (bool, error) {
	if _, ok := m.File(snapshot.FileOffsets); !ok {
		return true, nil
	}
	stands := false
	for _, f := range m.Files {
		if f.Name != snapshot.FileOffsets && f.Name != snapshot.FileDelta {
			continue
		}
		holds, known := at.seen[f.SHA256]
		if !known {
			err := store.StreamFile(ctx, o, l, m, f, func(r io.Reader) error {
				visit := func(id [16]byte) { holds = named(id) || holds }
				if f.Name == snapshot.FileDelta {
					return at.deltaIDs(r, visit)
				}
				return documents.ReadIDs(r, visit)
			})
			switch {
			case errors.Is(err, store.ErrNotFound), errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, snapshot.ErrNewer):
				return true, nil // it may be repaired
			case err != nil:
				return true, err
			case at.seen != nil:
				at.seen[f.SHA256] = holds
			}
		}
		stands = stands || holds
	}
	return stands, nil
}

// deltaIDs calls each with every id that a delta names. It is opened as a file, for it may be as large as a tenth of the
// catalogue.
func (at segments) deltaIDs(r io.Reader, each func(id [16]byte)) (err error) {
	f, err := os.CreateTemp(at.dir, "delta-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if _, err := io.Copy(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	d, err := delta.Open(f.Name())
	if err != nil {
		return err
	}
	d.EachID(each)
	return d.Close()
}

// withoutErased leaves ids out of what is said and stored: the names of purged records must not be written anew.
func (p *pass) withoutErased(ids []string) []string {
	if p.erase.mark == "" {
		return ids
	}
	var out []string
	for _, id := range ids {
		if !p.erase.named(snapshot.IDHash(id)) {
			out = append(out, id)
		}
	}
	return out
}

// leftOut takes note of a record of the catalogue that was purged: it is not there for us.
func (p *pass) leftOut(id string) bool {
	if p.erase.mark == "" || !p.erase.named(snapshot.IDHash(id)) {
		return false
	}
	p.erase.read++
	return true
}

// erasedAmong looks at every stored snapshot.
func (p *pass) erasedAmong(ctx context.Context, found []store.SnapshotInfo) (map[string]bool, error) {
	if p.erase.mark == "" || p.erase.blind != "" {
		return nil, nil
	}
	var err error
	p.erase.within, err = erasedIn(ctx, p.Objects, p.Layout, found, !p.erase.proven, p.knownErased, p.holdsErased)
	return p.erase.within, err
}

// erasedIn says of each snapshot whether it holds a purged record, or may; known ones need not be looked at. An upload without
// a manifest may hold anything, so it counts until the proof is there: nobody but a leader of the past can be writing it.
func erasedIn(
	ctx context.Context, o store.Objects, l store.Layout, found []store.SnapshotInfo, uploads bool, known func(id string) (holds, known bool),
	holds func(context.Context, store.Manifest) (bool, error),
) (map[string]bool, error) {
	within := map[string]bool{}
	for _, s := range found {
		if !s.HasManifest {
			within[s.ID] = uploads
			continue
		}
		if held, ok := known(s.ID); ok {
			within[s.ID] = held
			continue
		}
		m, _, err := store.ReadManifest(ctx, o, l, s.ID, "")
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, snapshot.ErrNewer):
			within[s.ID] = true
			continue
		case err == nil:
			within[s.ID], err = holds(ctx, m)
		}
		if err != nil {
			return nil, err
		}
	}
	return within, nil
}

// recallErasure puts back what operators asked to be erased when control.json is of an earlier day than what status.json
// remembers: whoever restores the document must not bring a person's data back by it.
func (p *pass) recallErasure(ctx context.Context, c store.Control, info store.Info) (store.Control, store.Info, error) {
	known := controlOf(p.status).Erase
	if !c.Erase.Plausible(known) {
		return c, info, fmt.Errorf("%w: erase.revision is %d, and %d was seen", snapshot.ErrCorrupt, c.Erase.Revision, known.Revision)
	}
	if !c.Erase.Older(known) {
		return c, info, nil
	}
	if err := p.lease.check(); err != nil {
		return c, info, err
	}
	c.Erase, c.Nonce = known, store.NewNonce()
	info, err := store.WriteDoc(ctx, p.Objects, p.Layout.Control(), c, store.PutOptions{IfMatch: info.ETag})
	if err != nil {
		return c, info, err
	}
	p.log.WarnContext(ctx, "erasure restored", "records", len(known.Records), "revision", known.Revision)
	p.repaired(controlOlder, "control.json did not know what was purged; it was put back from status.json")
	return c, info, nil
}
