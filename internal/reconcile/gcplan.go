package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// GCLine is what garbage collection does with one object, and why.
type GCLine struct {
	Delete bool
	Key    string
	Why    string
}

// String is the line that `gc --dry-run` prints.
func (l GCLine) String() string {
	verb := "keep"
	if l.Delete {
		verb = "delete"
	}
	return fmt.Sprintf("%s %s (%s)", verb, l.Key, l.Why)
}

// gcView is everything that garbage collection decides by, read in an order that makes the decision safe:
// gc.json first, whose ETag the deletions will be announced with, then pointer, control and heartbeats.
// Whoever starts to use a snapshot after that was there before us in one of them, or changes gc.json first.
type gcView struct {
	doc     store.GC
	cond    store.PutOptions // replaces exactly the gc.json that was read
	pointer store.Pointer
	etag    string
	control store.Control
	beats   []replica
	found   []store.SnapshotInfo
	probes  []store.Info
	now     time.Time
	held    string

	controlGone bool
	unclear     error // why it is not known what replicas use
}

// readGCView fails on anything that cannot be read: what is not understood is not deleted.
func readGCView(ctx context.Context, g gcDoc, known []store.Replica) (gcView, error) {
	o, l := g.objects, g.layout
	var v gcView
	var err error
	if v.doc, v.cond, err = g.read(ctx); err != nil {
		return v, err
	}
	ptr, info, err := store.ReadPointer(ctx, o, l, "")
	if err != nil {
		return v, fmt.Errorf("read pointer: %w", err)
	}
	v.pointer, v.etag, v.now = ptr, info.ETag, info.Date
	v.control, _, err = store.ReadDoc[store.Control](ctx, o, l.Control(), store.GetOptions{})
	if v.controlGone = errors.Is(err, store.ErrNotFound); err != nil && !v.controlGone {
		return v, fmt.Errorf("read control: %w", err)
	}
	if v.beats, err = readHeartbeats(ctx, o, l, known); err != nil {
		return v, err
	}
	for _, b := range v.beats {
		if b.err != nil && v.unclear == nil {
			v.unclear = fmt.Errorf("heartbeat %s: %v", b.key, b.err) // whatever it is, it is advice: its kind decides nothing
		}
	}
	if v.found, err = store.ListSnapshots(ctx, o, l); err != nil {
		return v, err
	}
	err = o.List(ctx, l.Probe(""), func(i store.Info) error {
		v.probes = append(v.probes, i)
		return nil
	})
	return v, err
}

// uses maps a snapshot to why it must stay: everything but age.
func (v gcView) uses(retain int) map[string]string {
	why := map[string]string{}
	keep := func(id, reason string) {
		if _, ok := why[id]; !ok && id != "" {
			why[id] = reason
		}
	}
	keep(v.pointer.ID, "current")
	if pin := v.control.Pin; pin != nil {
		keep(pin.ID, "pinned")
	}
	if prev, ok := previous(v.pointer); ok {
		keep(prev.ID, "previous")
	}
	keep(v.held, "held by the gate")
	for _, b := range v.beats {
		if b.err == nil && b.live() {
			keep(b.Using, "used by "+b.ID)
			keep(b.Fetching, "fetched by "+b.ID)
		}
	}
	for id, m := range v.doc.Holds {
		keep(id, "hold of "+m.By)
	}
	seen := map[string]bool{v.pointer.ID: true}
	for _, h := range v.pointer.History {
		if !seen[h.ID] && len(seen) < retain {
			seen[h.ID] = true
			keep(h.ID, fmt.Sprintf("among the newest %d promoted", retain))
		}
	}
	return why
}

// previous is the newest history entry that was not rolled back from.
func previous(ptr store.Pointer) (store.Promotion, bool) {
	for _, h := range ptr.History {
		if !h.RolledBack && h.ID != ptr.ID {
			return h, true
		}
	}
	return store.Promotion{}, false
}

// decide says of each snapshot whether it goes, and why. Ids that are being deleted already go on.
func (v gcView) decide(retain int, grace time.Duration) (gone, kept map[string]string) {
	gone, kept = map[string]string{}, map[string]string{}
	uses := v.uses(retain)
	retired := map[string]time.Time{}
	for _, h := range v.pointer.History {
		if h.RetiredAt.After(retired[h.ID]) {
			retired[h.ID] = h.RetiredAt
		}
	}
	// A full history whose oldest entry is young has forgotten promotions that are younger than the grace.
	n := len(v.pointer.History)
	forgetful := n >= store.HistoryLength && v.now.Sub(v.pointer.History[n-1].RetiredAt) < grace
	for _, s := range v.found {
		age := v.now.Sub(s.Newest)
		at, promoted := retired[s.ID]
		_, deleting := v.doc.Deleting[s.ID]
		switch {
		case deleting && (s.ID == v.pointer.ID || v.pinned(s.ID)):
			kept[s.ID] = "marked as deleting, but in use: repair by hand"
		case deleting:
			gone[s.ID] = "deletion was begun"
		case uses[s.ID] != "":
			kept[s.ID] = uses[s.ID]
		case promoted && v.now.Sub(at) < grace:
			kept[s.ID] = "retired " + ago(v.now.Sub(at)) + " ago"
		case promoted:
			gone[s.ID] = "retired " + ago(v.now.Sub(at)) + " ago"
		case age < grace && s.HasManifest:
			kept[s.ID] = "never promoted, " + ago(age) + " old"
		case age < grace:
			kept[s.ID] = "upload without a manifest, " + ago(age) + " old"
		case forgetful:
			kept[s.ID] = "the pointer's history is too short to tell when it was retired"
		case s.HasManifest:
			gone[s.ID] = "not promoted for " + ago(age)
		default:
			gone[s.ID] = "upload without a manifest, " + ago(age) + " old"
		}
	}
	return gone, kept
}

func (v gcView) pinned(id string) bool { return v.control.Pin != nil && v.control.Pin.ID == id }

// staleHolds are older than the grace: their owner died, or has to start over.
func (v gcView) staleHolds(grace time.Duration) []string {
	var out []string
	for id, m := range v.doc.Holds {
		// One of the future was not dated by the store's clock, and would never grow old.
		if age := v.now.Sub(m.At); age >= max(grace, holdLeast) || age < -holdLeast {
			out = append(out, id)
		}
	}
	return out
}

// holdLeast keeps a hold alive for the few requests between it and the pointer, whatever the grace.
const holdLeast = time.Minute

// lines renders the decision object by object: manifests first, as they are deleted.
func (v gcView) lines(l store.Layout, retain int, grace time.Duration) []GCLine {
	gone, kept := v.decide(retain, grace)
	var out []GCLine
	for _, s := range v.found {
		why, del := gone[s.ID]
		if !del {
			why = kept[s.ID]
		}
		for _, name := range deletionOrder(s) {
			out = append(out, GCLine{Delete: del, Key: l.File(s.ID, name), Why: why})
		}
	}
	for _, b := range v.beats {
		line := GCLine{Key: b.key, Why: "heartbeat " + ago(b.age) + " old"}
		line.Delete = b.age >= deadReplica
		out = append(out, line)
	}
	for _, i := range v.probes {
		line := GCLine{Key: i.Key, Why: "self-test of " + ago(i.Age()) + " ago"}
		line.Delete = i.Age() >= max(grace, holdLeast)
		out = append(out, line)
	}
	return out
}

// deletionOrder: without its manifest a snapshot is none any more, so that goes first; the verdict goes last.
func deletionOrder(s store.SnapshotInfo) []string {
	rank := func(name string) int {
		switch name {
		case snapshot.FileManifest:
			return 0
		case snapshot.FileVerdict:
			return 2
		}
		return 1
	}
	names := make([]string, 0, len(s.Files))
	for name := range s.Files {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		if a, b := rank(names[i]), rank(names[j]); a != b {
			return a < b
		}
		return names[i] < names[j]
	})
	return names
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
