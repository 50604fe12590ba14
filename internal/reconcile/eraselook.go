package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Bounds of what status.json says of an erasure.
const (
	shownLeft    = 20
	shownPeople  = 100
	shownRemoved = 100
	shownReplica = 100
)

// versionsParallel deletions of older versions at a time; an operator is listened to between batches.
const (
	versionsParallel = 8
	versionsBatch    = 500
)

// eraseLook is one look at everything that may hold a purged record: what can go goes, what is left is named. It
// remembers nothing but caches, so a crash in the middle of it costs the next look.
type eraseLook struct {
	*pass
	out      store.Erasing
	left     []string
	people   []store.PeopleFile
	clean    bool // everything of ours that a read finds is free of the records
	versions int
	old      int // versions from before clean_at
	segments int
	found    int // snapshots
	replicas int // that keep no older copy
}

// eraseRest removes what a promotion and the collection leave behind, as far as nobody uses it.
func (p *pass) eraseRest(ctx context.Context) error {
	if p.erase.mark == "" || p.erase.blind != "" || p.pointer == nil || !p.eraseDue() {
		return nil
	}
	p.step("erase", 0)
	w := &eraseLook{pass: p, out: p.erasingSoFar(), clean: true}
	for _, step := range []func(context.Context) error{
		w.snapshots, w.localCopies, w.pointerMarked, w.ledgerErased, w.copiesFollow, w.oldVersions, w.peopleFiles, w.fleet,
	} {
		err := step(ctx)
		if errors.Is(err, errHalted) || errors.Is(err, ErrLeaseLost) {
			return err
		}
		if err != nil {
			return fail(Erased, eraseFailed, transient, fmt.Errorf("erase: %w", err))
		}
	}
	w.prove(ctx)
	p.erasing = &w.out
	return nil
}

// eraseDue says whether this pass looks at everything. What was proven to be gone is looked at again only when something
// turned up: a stored snapshot that holds a record, a record that came back into the catalogue, a segment that nobody
// here wrote.
func (p *pass) eraseDue() bool {
	s := p.status.Erasing
	switch {
	case s == nil, s.Mark != p.erase.mark, p.opts.asked:
		return true
	case s.State == store.ErasureErased:
		return p.erase.dirty != "" || p.erase.read > 0 || p.erase.stray || slices.Contains(slices.Collect(maps.Values(p.erase.within)), true)
	}
	return p.fresh || p.promoted
}

// erasingOpen: the fleet and the store are looked at soon again.
func (p *pass) erasingOpen() bool {
	s := p.status.Erasing
	return p.erase.mark != "" && p.erase.blind == "" && (s == nil || s.Mark != p.erase.mark || s.State == store.ErasureErasing)
}

// erasingSoFar is what status.json says of this erasure, or the beginning.
func (p *pass) erasingSoFar() store.Erasing {
	var out store.Erasing
	if s := p.status.Erasing; s != nil {
		out = *s
	}
	if out.Mark != p.erase.mark {
		// Snapshots that were removed for another set of records stay named: rollback says why they are gone.
		out = store.Erasing{Mark: p.erase.mark, State: store.ErasureErasing, Removed: out.Removed, Unknown: out.Unknown}
	}
	out.From = p.erase.from
	out.Records, out.Since = len(p.erase.asked.Records), p.erase.asked.Since()
	for _, id := range p.erase.removed {
		if !slices.Contains(out.Removed, id) {
			out.Removed = append(out.Removed, id)
		}
	}
	out.Removed = out.Removed[max(0, len(out.Removed)-shownRemoved):]
	out.Deleted += p.erase.deleted
	return out
}

func (w *eraseLook) leaves(format string, args ...any) {
	w.left = append(w.left, fmt.Sprintf(format, args...))
}

// snapshots names the stored ones that hold a record: the served one, until a build without it is promoted, and those
// that somebody uses.
func (w *eraseLook) snapshots(ctx context.Context) error {
	found, err := store.ListSnapshots(ctx, w.Objects, w.Layout)
	if err != nil {
		return err
	}
	within, err := w.erasedAmong(ctx, found)
	if err != nil {
		return err
	}
	w.found = len(found)
	if w.erase.dirty != "" && !w.promoted {
		w.clean = false
		w.leaves("the served snapshot %s: %s", w.pointer.ID, w.erase.dirty)
	}
	for _, s := range found {
		if within[s.ID] && s.ID != w.pointer.ID {
			w.clean = false
			w.leaves("snapshot %s", s.ID)
		}
	}
	return nil
}

// localCopies removes the leader's own copies of what is not served any more.
func (w *eraseLook) localCopies(context.Context) error {
	kept := map[string]bool{}
	for _, f := range w.pointer.Files {
		kept[filepath.Base(w.localSegment(w.pointer.Manifest, f))] = true
	}
	if c := w.open; c != nil && c.sha != w.pointer.ManifestSHA256 {
		w.closeComposition()
	}
	entries, err := os.ReadDir(w.servedDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !kept[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(w.servedDir(), e.Name())))
		}
	}
	return err
}

// pointerMarked says in the pointer that whoever serves it keeps no other copy.
func (w *eraseLook) pointerMarked(ctx context.Context) error {
	if !w.clean || w.pointer.Erased == w.erase.mark {
		return nil
	}
	if err := w.lease.check(); err != nil {
		return err
	}
	next := *w.pointer
	next.Erased, next.Nonce = w.erase.mark, store.NewNonce()
	info, err := store.WriteDoc(ctx, w.Objects, w.Layout.Pointer(), next, store.PutOptions{IfMatch: w.pointerETag})
	if errors.Is(err, store.ErrConflict) {
		w.overtaken, w.clean = true, false
		w.leaves("the pointer was moved meanwhile")
		return nil
	}
	if err != nil {
		return err
	}
	w.pointer, w.pointerETag = &next, info.ETag
	if w.erase.from == "" {
		w.erase.from, w.out.From = next.ID, next.ID
	}
	return nil
}

// ledgerErased leaves in the ledger what the catalogue needs today. The ledger does not know whose text a vector is of.
func (w *eraseLook) ledgerErased(ctx context.Context) error {
	stored, err := w.segmentsStored(ctx)
	if err != nil {
		return err
	}
	w.boughtByUs()
	if !w.strange(stored) {
		w.segments = len(stored)
		return nil
	}
	if err := w.readCatalogue(ctx); err != nil {
		w.clean = false
		w.leaves("the ledger: what the catalogue needs is not known: %v", err)
		return ctx.Err()
	}
	keep := w.keysInUse()
	n, err := w.ledger.Erase(ctx, keep, w.goAhead)
	w.out.Deleted += n
	if errors.Is(err, store.ErrConflict) {
		w.clean = false
		w.leaves("the ledger was changed meanwhile")
		return nil
	}
	if err != nil {
		return err
	}
	w.erased.ledger = map[string]bool{}
	for _, key := range w.ledger.Segments() {
		w.erased.ledger[key] = true
	}
	w.segments = len(w.erased.ledger)
	if n > 0 {
		w.log.InfoContext(ctx, "ledger erased", "deleted", n, "segments", w.segments)
	}
	return nil
}

// segmentsStored are the segments of every embedding space.
func (p *pass) segmentsStored(ctx context.Context) (stored []store.Info, err error) {
	err = p.Objects.List(ctx, p.Layout.Ledger(), func(i store.Info) error {
		if strings.HasSuffix(i.Key, ".seg") {
			stored = append(stored, i)
		}
		return nil
	})
	return stored, err
}

// recheckLedger erases again when, after the proof, a segment turned up that nobody here wrote: a leader of the past may
// have been about to. A leader that does not remember goes by the time of the proof.
func (p *pass) recheckLedger(ctx context.Context) error {
	if !p.erase.proven || p.erase.blind != "" {
		return nil
	}
	stored, err := p.segmentsStored(ctx)
	if err != nil {
		return err
	}
	if proof := p.status.Erasing.Proof; p.erased.ledger == nil && proof != nil {
		p.erased.ledger = map[string]bool{}
		for _, s := range stored {
			p.erased.ledger[s.Key] = s.LastModified.Before(proof.At)
		}
	}
	p.boughtByUs()
	if !p.strange(stored) {
		return nil
	}
	p.erase.stray = true
	w := &eraseLook{pass: p, clean: true}
	return w.ledgerErased(ctx)
}

// strange says whether anything lies in the ledger that this process did not see to hold only what was kept.
func (p *pass) strange(stored []store.Info) bool {
	return p.erased.ledger == nil || slices.ContainsFunc(stored, func(i store.Info) bool { return !p.erased.ledger[i.Key] })
}

// readCatalogue makes sure that the keys of the current catalogue are known.
func (p *pass) readCatalogue(ctx context.Context) error {
	if p.source.err != nil {
		return p.source.err
	}
	if p.files == nil || p.files.docs == nil {
		if err := p.parse(ctx); err != nil {
			return err
		}
	}
	return p.openLedger(ctx)
}

// boughtByUs adds the segments that this pass wrote, none of which holds a purged record: such are not read.
func (p *pass) boughtByUs() {
	if p.erase.mark == "" || p.erased.ledger == nil || p.ledger == nil {
		return
	}
	for _, key := range p.ledger.Written() {
		p.erased.ledger[key] = true
	}
}

// copiesFollow looks at the copies for old readers. With LEGACY_COPIES=off nobody here may touch them.
func (w *eraseLook) copiesFollow(ctx context.Context) error {
	for _, name := range []string{snapshot.FileIndex, snapshot.FilePickle} {
		key := w.Layout.Current(name)
		info, err := w.Objects.Head(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && info.Metadata[metaSnapshot] == w.pointer.ID:
		case err != nil:
			return err
		case w.cfg.LegacyCopies == CopiesOff:
			w.people = append(w.people, store.PeopleFile{Key: key, Current: true, Why: "a copy for old readers that nobody updates; copies are off"})
		default:
			w.clean = false
			w.leaves("the copy %s is not of the served snapshot yet", key)
		}
	}
	return nil
}

// ownPrefixes are where versions of ours may hold something of a record: the rest (lease, gc.json, heartbeats, probes)
// has no words of anybody.
func ownPrefixes(l store.Layout) []string {
	return []string{l.Root() + "2", l.Ledger(), l.Current(""), l.Status(), l.Control()}
}

// ours says whether a version lies under a key that this program writes.
func ours(l store.Layout, key string) bool {
	switch key {
	case l.Pointer(), l.Current(snapshot.FileIndex), l.Current(snapshot.FilePickle), l.Status(), l.Control():
		return true
	case l.Source, l.Golden():
		return false
	}
	if strings.HasPrefix(key, l.Ledger()) {
		return true
	}
	id, _, ok := strings.Cut(strings.TrimPrefix(key, l.Root()), "/")
	_, err := snapshot.ParseID(id)
	return ok && err == nil
}

// oldVersions deletes every older version of ours. The latest ones stay: what they hold was looked at already.
func (w *eraseLook) oldVersions(ctx context.Context) error {
	old, err := w.listOld(ctx)
	if err != nil {
		return fmt.Errorf("list older versions: %w", err)
	}
	for batch := range slices.Chunk(old, versionsBatch) {
		if err := w.goAhead(ctx); err != nil {
			return err
		}
		if err := deleteVersions(ctx, w.Objects, batch); err != nil {
			return fmt.Errorf("delete older versions: %w", err)
		}
		w.out.Deleted += len(batch)
	}
	if len(old) > 0 {
		w.log.InfoContext(ctx, "older versions deleted", "versions", len(old))
		if old, err = w.listOld(ctx); err != nil {
			return fmt.Errorf("list older versions: %w", err)
		}
	}
	for _, v := range old {
		if v.LastModified.Before(w.out.CleanAt) {
			w.old++
		}
	}
	if w.old > 0 {
		w.leaves("%d older versions from before %s", w.old, w.out.CleanAt.Format(time.RFC3339))
	}
	if n := store.DropInterrupted(w.Objects); n > 0 {
		w.leaves("%d writes that were cut off a moment ago", n)
	}
	return w.markers(ctx)
}

// markers removes what the deletions left. Those of documents that others write too mean something, and stay.
func (w *eraseLook) markers(ctx context.Context) error {
	if err := w.goAhead(ctx); err != nil {
		return err
	}
	for _, prefix := range ownPrefixes(w.Layout) {
		_, err := store.DropLoneMarkers(ctx, w.Objects, prefix, func(key string) bool {
			return ours(w.Layout, key) && key != w.Layout.Pointer() && key != w.Layout.Control() && key != w.Layout.Status()
		})
		if err != nil {
			return fmt.Errorf("delete markers: %w", err)
		}
	}
	return nil
}

// listOld lists the versions of ours that no read finds, without the newest delete markers, which hold nothing.
func (w *eraseLook) listOld(ctx context.Context) (old []store.Version, err error) {
	w.versions = 0
	for _, prefix := range ownPrefixes(w.Layout) {
		err := store.ListVersions(ctx, w.Objects, prefix, func(v store.Version) error {
			if !ours(w.Layout, v.Key) {
				return nil
			}
			if w.versions++; !v.Latest {
				old = append(old, v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return old, nil
}

func deleteVersions(ctx context.Context, o store.Objects, all []store.Version) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(versionsParallel)
	for _, v := range all {
		g.Go(func() error { return store.DeleteVersion(ctx, o, v) })
	}
	return g.Wait()
}

// peopleFiles names what people wrote.
func (w *eraseLook) peopleFiles(ctx context.Context) error {
	l := peopleLook{
		objects: w.Objects, layout: w.Layout, rules: w.cfg.Catalogue, limits: w.cfg.Limits, dir: w.dir,
		named: w.erase.named, seen: w.erased.people, budget: peopleBudget,
	}
	found, err := l.find(ctx)
	if err != nil {
		return fmt.Errorf("people's files: %w", err)
	}
	if l.unread > 0 {
		w.leaves("%d versions of people's files are still to be read", l.unread)
	}
	w.people = append(w.people, found...)
	return nil
}

// fleet waits for every replica that is alive to keep no older copy, and names those that were not seen to.
func (w *eraseLook) fleet(context.Context) error {
	confirmed := map[string]bool{}
	missing := map[string]bool{}
	for _, id := range w.out.Unproven {
		missing[id] = true
	}
	for _, r := range w.status.Replicas { // alive when the leader last looked
		missing[r.ID] = true
	}
	for _, r := range w.pass.replicas {
		id := cmp.Or(r.ID, strings.TrimSuffix(r.key[strings.LastIndexByte(r.key, '/')+1:], ".json"))
		missing[id] = true
		switch {
		case r.err == nil && r.Erased == w.erase.mark:
			confirmed[id] = true
			w.replicas++
		case r.err == nil && r.live():
			delete(missing, id)
			w.leaves("replica %s (serves %s) has not said yet that it keeps no older copy", id, cmp.Or(r.Using, "nothing"))
		}
	}
	for id := range confirmed {
		delete(missing, id)
	}
	w.out.Unproven = slices.Sorted(maps.Keys(missing))
	w.out.Unproven = w.out.Unproven[:min(len(w.out.Unproven), shownReplica)]
	return nil
}

// prove decides the state. The proof takes two looks: one that finds everything a read finds free of the records, and
// says so in status.json, and a later one that finds no older version from before either, and no one's file.
func (w *eraseLook) prove(ctx context.Context) {
	e := &w.out
	was := e.State
	e.Left, e.People, e.MorePeople, e.Proof = w.left, w.people, 0, nil
	if n := len(e.Left); n > shownLeft {
		e.Left = append(e.Left[:shownLeft-1:shownLeft-1], fmt.Sprintf("and %d more", n-shownLeft+1))
	}
	if n := len(e.People); n > shownPeople {
		e.People, e.MorePeople = e.People[:shownPeople], n-shownPeople
	}
	ready := w.clean && !e.CleanAt.IsZero()
	switch {
	case !w.clean:
		e.CleanAt = time.Time{}
	case e.CleanAt.IsZero():
		e.CleanAt = w.storeClock(ctx)
	}
	switch {
	case len(w.left) > 0 || !ready:
		e.State = store.ErasureErasing
	case len(w.people) > 0:
		e.State = store.ErasureWaiting
	default:
		e.State = store.ErasureErased
		e.Proof = &store.Proof{
			At: w.now.UTC(), Snapshot: w.pointer.ID, Snapshots: w.found, Segments: w.segments, Versions: w.versions,
			Replicas: w.replicas, Prefixes: append(ownPrefixes(w.Layout), w.Layout.Source, w.Layout.Golden()),
		}
	}
	if was != e.State {
		w.log.InfoContext(ctx, "erasure "+e.State, "records", e.Records, "left", len(w.left), "people_files", len(w.people),
			"unproven_replicas", len(e.Unproven), "deleted", e.Deleted)
	}
}

// storeClock is the store's time now, after all that this pass wrote; as the pass saw it last when it does not say.
func (w *eraseLook) storeClock(ctx context.Context) time.Time {
	if info, err := w.Objects.Head(ctx, w.Layout.Pointer()); err == nil && !info.Date.IsZero() {
		return info.Date.UTC()
	}
	return w.now.UTC()
}

// eraseCondition says how far an erasure is.
func (p *pass) eraseCondition(c *conditions) {
	if p.erase.mark == "" {
		for _, old := range c.prev {
			if old.Type == Erased {
				c.set(Erased, True, ReasonNothingErased, "")
			}
		}
		return
	}
	if p.erase.blind != "" {
		c.set(Erased, False, ReasonEraseKeyMissing, p.erase.blind)
		return
	}
	e := p.erasingSoFar()
	if p.erasing != nil {
		e = *p.erasing
	}
	switch e.State {
	case store.ErasureErased:
		message := fmt.Sprintf("%d records, nothing found at %s", e.Records, proofTime(e))
		if len(e.Unproven) > 0 {
			message += fmt.Sprintf("; unproven, not seen since: %s", strings.Join(e.Unproven, ", "))
		}
		c.set(Erased, True, ReasonProven, message)
	case store.ErasureWaiting:
		c.set(Erased, False, ReasonWaiting, fmt.Sprintf("waiting for people: %s; `indexer purge --people-files` deletes what is not the catalogue", explainPeople(e)))
	default:
		message := fmt.Sprintf("erasing %d records", e.Records)
		switch {
		case p.control.Suspended != nil:
			message += "; it waits for `indexer resume`"
		case p.control.Pin != nil:
			message += "; it waits for `indexer unpin`"
		case len(e.Left) > 0:
			message += ": " + strings.Join(e.Left, "; ")
		}
		c.set(Erased, False, ReasonErasing, message)
	}
}

func proofTime(e store.Erasing) string {
	if e.Proof == nil {
		return "an unknown time"
	}
	return e.Proof.At.Format(time.RFC3339)
}

// explainPeople names the first few files.
func explainPeople(e store.Erasing) string {
	var out []string
	for _, f := range e.People[:min(len(e.People), 3)] {
		one := f.Key
		if f.Version != "" && !f.Current {
			one += " version " + f.Version
		}
		out = append(out, one+" ("+f.Why+")")
	}
	text := strings.Join(out, "; ")
	if more := len(e.People) + e.MorePeople - len(out); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// keptErasing is what status.json says after this pass.
func (p *pass) keptErasing() *store.Erasing {
	switch {
	case p.erasing != nil:
		return p.erasing
	case p.erase.mark == "":
		return nil
	}
	e := p.erasingSoFar()
	return &e
}
