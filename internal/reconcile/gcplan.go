package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

	// Of delta snapshots that are stored, and of what is used and was not listed: what else they are made of, or why that
	// could not be read. One that is not there is in neither.
	parts  map[string][]string
	unread map[string]error

	controlGone bool
	unclear     error // why it is not known what replicas use
}

// gcRules are what it decides by beside what was seen.
type gcRules struct {
	layout store.Layout
	retain int
	grace  time.Duration
	points bool            // delta snapshots are kept by when they were current
	held   string          // the candidate that waits for an operator
	erased map[string]bool // snapshots in which a purged record stands, or may
	served *store.Pointer  // as the pass knows it; nil: only a plan is asked for
	by     string          // who deletes
}

// gcPlan is what a collection does with what was seen: nothing, when stop says why; else it moves the pointer's ETag, if
// reservations fall, replaces gc.json, and deletes.
type gcPlan struct {
	stop     gcStop
	unclear  error    // why it is not known what is used
	fence    bool     // a promoter that is only asleep on a stale reservation must fail first
	announce bool     // gc.json changes
	doc      store.GC // to this
	lines    []GCLine // every object, in the order of their deletion
	gone     int      // snapshots that go
	kept     int
}

// gcStop is why nothing is deleted.
type gcStop string

const (
	gcUnclear   gcStop = "what is used is not known" // heartbeats of the dead go all the same, or it would never be
	gcForbidden gcStop = "an operator suspended or pinned"
	// By the word of a pointer that was put back the snapshot that is to be served again would be one that nothing uses.
	gcOlderPointer gcStop = "the pointer is an older one"
)

// plan is pure. The order of what it reads by is readGCView's.
func (v gcView) plan(r gcRules) gcPlan {
	fates := v.fates(r)
	if err := cmp.Or(v.unclear, v.unknownNeeds(fates)); err != nil {
		return gcPlan{stop: gcUnclear, unclear: err, lines: v.heartbeatLines()}
	}
	p := gcPlan{lines: v.lines(r, fates), doc: v.doc}
	for _, f := range fates {
		if f.gone {
			p.gone++
		} else {
			p.kept++
		}
	}
	stale := v.staleReservations(r.grace)
	// Of the reservations in a document that is gone nothing is known: they count as stale.
	p.fence = len(stale) > 0 || v.cond.IfAbsent && p.gone > 0
	p.doc.Deleting, p.doc.Reserved = v.nextDeleting(r, fates), maps.Clone(v.doc.Reserved)
	for _, id := range stale {
		delete(p.doc.Reserved, id)
	}
	p.doc.Retired = maps.Clone(v.doc.Retired)
	maps.DeleteFunc(p.doc.Retired, func(id string, _ store.Served) bool {
		f, stored := fates[id]
		return !stored || f.gone
	})
	p.announce = p.fence || len(p.doc.Retired) < len(v.doc.Retired) || !maps.EqualFunc(p.doc.Deleting, v.doc.Deleting, func(a, b store.Mark) bool { return a == b })
	switch {
	case v.control.Suspended != nil || v.control.Pin != nil:
		p.stop = gcForbidden
	case r.served != nil && (v.pointer.Lineage != r.served.Lineage || v.pointer.Generation < r.served.Generation):
		p.stop = gcOlderPointer
	}
	return p
}

// rememberedGone of what is gone stay in gc.json's deleting for a grace. Nothing is made right by it (a promotion looks at
// the files after its reservation), but people see what became of a snapshot; under steady edits one a second goes.
const rememberedGone = 64

// nextDeleting announces what goes, and forgets what is long gone.
func (v gcView) nextDeleting(r gcRules, fates map[string]fate) map[string]store.Mark {
	next := map[string]store.Mark{}
	var gone []string
	for id, m := range v.doc.Deleting {
		if _, stored := fates[id]; stored {
			next[id] = m
		} else if v.now.Sub(m.At) < max(r.grace, reservedLeast) {
			gone = append(gone, id)
		}
	}
	slices.SortFunc(gone, func(a, b string) int {
		return cmp.Or(v.doc.Deleting[b].At.Compare(v.doc.Deleting[a].At), cmp.Compare(a, b))
	})
	for _, id := range gone[:min(len(gone), rememberedGone)] {
		next[id] = v.doc.Deleting[id]
	}
	for id, f := range fates {
		if _, begun := next[id]; f.gone && !begun {
			next[id] = store.Mark{At: v.now.UTC().Truncate(time.Second), By: r.by}
		}
	}
	return next
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

// readParts reads in their manifests what delta snapshots are made of: those that are listed, and what is used and was
// not listed, because a listing may lag behind writes. known is what was read before, for manifests never change.
func (v *gcView) readParts(ctx context.Context, g gcDoc, r gcRules, known map[string][]string) error {
	listed, wanted := map[string]bool{}, []string{}
	for _, s := range v.found {
		listed[s.ID] = true
		if _, ok := s.Files[snapshot.FileDelta]; ok {
			wanted = append(wanted, s.ID)
		}
	}
	for id := range v.uses(r) {
		if !listed[id] {
			wanted = append(wanted, id)
		}
	}
	v.parts, v.unread = map[string][]string{}, map[string]error{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(manifestsParallel)
	for _, id := range wanted {
		if parts, ok := known[id]; ok {
			mu.Lock()
			v.parts[id] = parts
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			m, _, err := store.ReadManifest(ctx, g.objects, g.layout, id, "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, store.ErrNotFound):
			case errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, snapshot.ErrNewer):
				v.unread[id] = err
			case err != nil:
				return fmt.Errorf("read manifest: %w", err)
			default:
				v.parts[id] = m.Needs()
			}
			return nil
		})
	}
	return group.Wait()
}

// manifestsParallel are read at a time, by a leader that has not read them yet: some hundred in seconds.
const manifestsParallel = 8

// uses maps a snapshot to why it must stay: everything but age.
func (v gcView) uses(r gcRules) map[string]string {
	why := v.usedNow()
	keep := func(id, reason string) {
		if _, ok := why[id]; !ok && id != "" {
			why[id] = reason
		}
	}
	if prev, ok := previous(v.pointer); ok {
		keep(prev.ID, "previous")
	}
	keep(r.held, "held for an operator")
	seen := map[string]bool{v.pointer.ID: true}
	for _, h := range v.pointer.History {
		if !seen[h.ID] && len(seen) < r.retain {
			seen[h.ID] = true
			keep(h.ID, fmt.Sprintf("among the newest %d promoted", r.retain))
		}
	}
	if r.points {
		for id, reason := range v.restorePoints() {
			keep(id, reason)
		}
	}
	return why
}

// usedNow maps a snapshot to who would miss it at once: these stay whatever they hold.
func (v gcView) usedNow() map[string]string {
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
	for _, b := range v.beats {
		if b.err == nil && b.live() {
			keep(b.Using, "used by "+b.ID)
			keep(b.Fetching, "fetched by "+b.ID)
		}
	}
	for id, m := range v.doc.Reserved {
		keep(id, "reserved by "+m.By)
	}
	// A term that is over finishes nothing: the next one takes it over, or leaves it to its age.
	if b := v.doc.Building; b != nil && b.Epoch >= max(v.pointer.Epoch, v.doc.Epoch) {
		keep(b.ID, "a base that is being made")
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

// fate of a snapshot, and why.
type fate struct {
	gone bool
	why  string
	root bool // it is kept for itself, with all that it is made of
}

// fates says of each snapshot whether it goes. What is kept for itself keeps all that it is made of.
func (v gcView) fates(r gcRules) map[string]fate {
	out := v.ownFates(r)
	uses := v.uses(r)
	roots := map[string]bool{}
	for id, f := range out {
		if f.root {
			roots[id] = true
		}
	}
	for id := range uses { // one that a listing lacks may be there
		if _, listed := out[id]; !listed {
			roots[id] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(roots)) {
		for _, need := range v.needs(id) {
			f, stored := out[need]
			_, deleting := v.doc.Deleting[need]
			switch {
			case !stored || !f.gone:
			case !deleting:
				out[need] = fate{why: "needed by " + id}
			case id == v.pointer.ID || v.pinned(id):
				out[need] = fate{why: "marked as deleting, but needed by " + id + ": repair by hand"}
			}
		}
	}
	return out
}

// ownFates are the fates without what others need. Ids that are being deleted already go on.
func (v gcView) ownFates(r gcRules) map[string]fate {
	out := map[string]fate{}
	uses, now := v.uses(r), v.usedNow()
	retired, forgetful := v.retiredAt(), v.forgetful(r.grace)
	keep := func(kept bool, why string) fate { return fate{gone: !kept, why: why, root: kept} }
	for _, s := range v.found {
		age := v.now.Sub(s.Newest)
		at, promoted := retired[s.ID]
		_, deleting := v.doc.Deleting[s.ID]
		what := "never promoted, "
		if !s.HasManifest {
			what = "upload without a manifest, "
		}
		switch {
		case deleting && (s.ID == v.pointer.ID || v.pinned(s.ID)):
			out[s.ID] = keep(true, "marked as deleting, but in use: repair by hand")
		case deleting:
			out[s.ID] = keep(false, "deletion was begun")
		case v.erased(r, s.ID) && now[s.ID] == "":
			out[s.ID] = keep(false, "a purged record stands in it, or may")
		case uses[s.ID] != "":
			out[s.ID] = keep(true, uses[s.ID])
		case promoted:
			out[s.ID] = keep(v.now.Sub(at) < r.grace, "retired "+ago(v.now.Sub(at))+" ago")
		case forgetful && age >= r.grace:
			out[s.ID] = keep(true, "the pointer's history is too short to tell when it was retired")
		default:
			out[s.ID] = keep(age < r.grace, what+ago(age)+" old")
		}
	}
	return out
}

// needs are the other snapshots that id is made of, as far as is known.
func (v gcView) needs(id string) []string {
	if id == v.pointer.ID {
		return v.pointer.Needs() // it says so itself
	}
	return v.parts[id]
}

// erased says whether a purged record stands in a snapshot, or in one that it is made of.
func (v gcView) erased(r gcRules, id string) bool {
	return r.erased[id] || slices.ContainsFunc(v.needs(id), func(need string) bool { return r.erased[need] })
}

// unknownNeeds is why it is not known what some snapshot that is kept is made of: anything might be a part of it.
func (v gcView) unknownNeeds(fates map[string]fate) error {
	for _, id := range slices.Sorted(maps.Keys(v.unread)) {
		if f, listed := fates[id]; (f.root || !listed) && id != v.pointer.ID {
			return fmt.Errorf("what %s is made of: %w; restore its manifest, or delete %s/ by hand when nobody needs it", id, v.unread[id], id)
		}
	}
	return nil
}

func (v gcView) pinned(id string) bool { return v.control.Pin != nil && v.control.Pin.ID == id }

// staleReservations are older than the grace: their owner died, or has to start over.
func (v gcView) staleReservations(grace time.Duration) []string {
	var out []string
	for id, m := range v.doc.Reserved {
		// One of the future was not dated by the store's clock, and would never grow old.
		if age := v.now.Sub(m.At); age >= max(grace, reservedLeast) || age < -reservedLeast {
			out = append(out, id)
		}
	}
	return out
}

// reservedLeast keeps a reservation alive for the few requests between it and the pointer, whatever the grace.
const reservedLeast = time.Minute

// lines are the fates object by object, then what is no snapshot: manifests first, as they are deleted.
func (v gcView) lines(r gcRules, fates map[string]fate) []GCLine {
	var out []GCLine
	for _, s := range v.found {
		for _, name := range deletionOrder(s) {
			out = append(out, GCLine{Delete: fates[s.ID].gone, Key: r.layout.File(s.ID, name), Why: fates[s.ID].why})
		}
	}
	out = append(out, v.heartbeatLines()...)
	for _, i := range v.probes {
		out = append(out, GCLine{i.Age() >= max(r.grace, reservedLeast), i.Key, "self-test of " + ago(i.Age()) + " ago"})
	}
	return out
}

// heartbeatLines: those of replicas that are dead for good go.
func (v gcView) heartbeatLines() []GCLine {
	var out []GCLine
	for _, b := range v.beats {
		out = append(out, GCLine{b.age >= deadReplica, b.key, "heartbeat " + ago(b.age) + " old"})
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
