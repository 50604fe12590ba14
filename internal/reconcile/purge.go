package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

var (
	// ErrNoEraseKey: records were purged, and without the key nobody can tell whether a snapshot holds one.
	ErrNoEraseKey = errors.New("ERASE_KEY is not set")
	// ErrNotPurged: a record that is to be lifted was not purged.
	ErrNotPurged = errors.New("not purged")
	// ErrStillThere: the catalogue still holds the record.
	ErrStillThere = errors.New("the catalogue still holds it")
	// ErrUnknownRecord: nothing that is stored holds the record.
	ErrUnknownRecord = errors.New("nothing here holds it")
)

// PurgeOptions of Purge.
type PurgeOptions struct {
	PeopleFiles bool // delete the versions of people's files that hold a purged record
	Unknown     bool // though nothing that is stored is seen to hold the record
}

// PurgeReport is what Purge did, and what it leaves to people.
type PurgeReport struct {
	Purged    int                `json:"purged"`  // records that this call added
	Records   int                `json:"records"` // all that are to be gone
	Deleted   []store.PeopleFile `json:"deleted_people_files"`
	Waiting   []store.PeopleFile `json:"people_files"` // that hold one and stay
	Suspended string             `json:"suspended,omitempty"`
}

// Purge asks for records to be gone for good: it states the intent, fences the pointer as every intent does, and deletes
// what people wrote when it is told to. The leader does the rest (eraseRest). Without ids it only looks after the files.
// Refused before anything is written: a record that the catalogue still holds (ErrStillThere), that the pinned snapshot
// holds (ErrErased), that nothing holds (ErrUnknownRecord).
func (o *Operator) Purge(ctx context.Context, ids []string, opts PurgeOptions) (PurgeReport, error) {
	if o.EraseKey == nil {
		return PurgeReport{}, ErrNoEraseKey
	}
	c, err := o.readControl(ctx)
	if err != nil {
		return PurgeReport{}, err
	}
	asked, added, err := o.withRecords(c.Erase, ids)
	if err != nil {
		return PurgeReport{}, err
	}
	report := PurgeReport{Purged: added, Records: len(asked.Records)}
	look, err := o.peopleLook(ctx, asked)
	if err != nil {
		return report, err
	}
	people, err := look.find(ctx)
	if err != nil {
		return report, fmt.Errorf("look for it in people's files: %w", err)
	}
	if len(ids) > 0 {
		if err := o.mayPurge(ctx, ids, c.Erase, people, opts); err != nil {
			return report, err
		}
		erased, err := o.state(ctx, ids)
		if err != nil {
			return report, err
		}
		report.Records = len(erased.Records)
	}
	if c.Suspended != nil {
		report.Suspended = c.Suspended.By
	}
	if opts.PeopleFiles {
		report.Deleted, err = o.deletePeople(ctx, people)
		people = slices.DeleteFunc(people, func(f store.PeopleFile) bool { return slices.Contains(report.Deleted, f) })
	}
	report.Waiting = people
	return report, err
}

// withRecords is e with ids in it.
func (o *Operator) withRecords(e *store.Erasure, ids []string) (*store.Erasure, int, error) {
	if !o.EraseKey.Opens(e) {
		return nil, 0, fmt.Errorf("ERASE_KEY is %s, and what was purged is named by %s: give this command that key", o.EraseKey.ID(), e.Key)
	}
	next := &store.Erasure{}
	if e != nil {
		*next = *e
	}
	next.Key, next.Records = o.EraseKey.ID(), slices.Clone(next.Records)
	added := 0
	for _, id := range ids {
		if id == "" {
			return nil, 0, errors.New("an id is empty")
		}
		name := o.EraseKey.Name(id)
		if !slices.ContainsFunc(next.Records, func(r store.Erased) bool { return r.Name == name }) {
			next.Records = append(next.Records, store.Erased{Name: name, By: o.By, At: o.Clock.Now().UTC()})
			added++
		}
	}
	if len(next.Records) > store.MaxErased {
		return nil, 0, fmt.Errorf("%d records would be purged, at most %d can be: `indexer purge --lift` those that may come back", len(next.Records), store.MaxErased)
	}
	if added > 0 {
		next.Revision++
	}
	return next, added, nil
}

// peopleLook reads people's files by the rules of the served snapshot.
func (o *Operator) peopleLook(ctx context.Context, asked *store.Erasure) (peopleLook, error) {
	rules := vendors.DefaultRules()
	ptr, _, err := store.ReadPointer(ctx, o.Objects, o.Layout, "")
	switch {
	case err == nil:
		rules = rulesOf(ptr.Spec)
	case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrPointerInvalid):
		return peopleLook{}, fmt.Errorf("read pointer: %w", err)
	}
	return peopleLook{
		objects: o.Objects, layout: o.Layout, rules: rules, limits: vendors.DefaultLimits(),
		named: asked.Matcher(o.EraseKey), seen: map[string]bool{}, budget: 1 << 62,
	}, nil
}

// rulesOf are the rules by which a snapshot's catalogue was read.
func rulesOf(s snapshot.Spec) vendors.Rules {
	r := vendors.DefaultRules()
	for _, set := range []struct {
		to   *string
		from string
	}{{&r.Duplicates, s.DuplicateIDs}, {&r.ID, s.RecordID}, {&r.Name, s.RecordName}} {
		if set.from != "" {
			*set.to = set.from
		}
	}
	return r
}

// mayPurge refuses what could not come to an end, and what is likely a slip of the pen.
func (o *Operator) mayPurge(ctx context.Context, ids []string, before *store.Erasure, people []store.PeopleFile, opts PurgeOptions) error {
	asked, _, err := o.withRecords(nil, ids)
	if err != nil {
		return err
	}
	found := map[[16]byte]bool{}
	named := asked.Matcher(o.EraseKey)
	look, err := o.peopleLook(ctx, asked)
	if err != nil {
		return err
	}
	look.named = func(id [16]byte) bool {
		if !named(id) {
			return false
		}
		found[id] = true
		return true
	}
	for _, f := range people {
		if f.Key != o.Layout.Source || !f.Current {
			continue
		}
		why, err := look.catalogue(ctx, store.Version{Key: f.Key, ID: f.Version})
		if err != nil {
			return err
		}
		if why != "" && len(found) == 0 {
			return fmt.Errorf("%s: %s; repair the catalogue first", o.Objects.URL(f.Key), why)
		}
		if why != "" {
			return fmt.Errorf("purge %s: %w: take it out of %s first", quoted(those(ids, found)), ErrStillThere, o.Objects.URL(f.Key))
		}
	}
	if opts.Unknown {
		return nil
	}
	known := before.Matcher(o.EraseKey) // asked for already, so it may be gone
	if err := o.seen(ctx, look, found); err != nil {
		return err
	}
	var unknown []string
	for _, id := range ids {
		if hash := snapshot.IDHash(id); !found[hash] && !known(hash) {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("purge %s: %w: no snapshot, no version of the catalogue; is it spelt so? --yes purges it all the same", quoted(unknown), ErrUnknownRecord)
	}
	return nil
}

func those(ids []string, found map[[16]byte]bool) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !found[snapshot.IDHash(id)] })
}

// seen notes which records stand in a snapshot or in people's files.
func (o *Operator) seen(ctx context.Context, look peopleLook, found map[[16]byte]bool) error {
	snapshots, err := store.ListSnapshots(ctx, o.Objects, o.Layout)
	if err != nil {
		return err
	}
	at := segments{seen: map[string]bool{}}
	for _, s := range snapshots {
		m, _, err := store.ReadManifest(ctx, o.Objects, o.Layout, s.ID, "")
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, snapshot.ErrNewer):
			continue
		case err != nil:
			return err
		}
		if _, err := standsIn(ctx, o.Objects, o.Layout, m, look.named, at); err != nil {
			return err
		}
	}
	_, err = look.find(ctx)
	return err
}

// state writes the intent and fences the pointer. A pin on a snapshot that holds one of the records would keep the
// erasure waiting for ever, so it is refused; and control.json is what both change, so that only one of them succeeds.
func (o *Operator) state(ctx context.Context, ids []string) (*store.Erasure, error) {
	var next *store.Erasure
	_, err := o.control(ctx, func(c *store.Control) error {
		known, err := o.erasureOf(ctx, *c)
		if err != nil {
			return err
		}
		var added int
		if next, added, err = o.withRecords(known, ids); err != nil || added == 0 {
			return err
		}
		c.Erase = next
		return o.pinAllows(ctx, *c, next)
	})
	if err != nil {
		return nil, err
	}
	return next, o.enforce(ctx)
}

func (o *Operator) pinAllows(ctx context.Context, c store.Control, next *store.Erasure) error {
	if c.Pin == nil {
		return nil
	}
	m, _, err := store.ReadManifest(ctx, o.Objects, o.Layout, c.Pin.ID, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	holds := m.Stats.Carried > 0
	if err == nil && !holds {
		holds, err = standsIn(ctx, o.Objects, o.Layout, m, next.Matcher(o.EraseKey), segments{})
	}
	if err != nil {
		return fmt.Errorf("read the pinned %s: %w", c.Pin.ID, err)
	}
	if holds {
		return fmt.Errorf("purge: %s is pinned by %s, and %w, or would be: `indexer unpin` first", c.Pin.ID, c.Pin.By, ErrErased)
	}
	return nil
}

// erasureOf is what c asks to be erased, or what the leader remembers when that is later: c is of an earlier day then.
func (o *Operator) erasureOf(ctx context.Context, c store.Control) (*store.Erasure, error) {
	s, err := o.lastStatus(ctx)
	if known := controlOf(s).Erase; c.Erase.Older(known) {
		return known, err
	}
	return c.Erase, err
}

// Lift lets records come back, and with them the snapshots and older versions that hold them, if any are left.
func (o *Operator) Lift(ctx context.Context, ids []string) (int, error) {
	if o.EraseKey == nil {
		return 0, ErrNoEraseKey
	}
	left := 0
	_, err := o.control(ctx, func(c *store.Control) error {
		known, err := o.erasureOf(ctx, *c)
		if err != nil {
			return err
		}
		if !o.EraseKey.Opens(known) {
			return fmt.Errorf("ERASE_KEY is %s, and what was purged is named by %s: give this command that key", o.EraseKey.ID(), known.Key)
		}
		if c.Erase, err = o.without(known, ids); err == nil {
			left = len(c.Erase.Records)
		}
		return err
	})
	return left, err
}

func (o *Operator) without(e *store.Erasure, ids []string) (*store.Erasure, error) {
	next := &store.Erasure{}
	if e != nil {
		*next = *e
	}
	next.Records = slices.Clone(next.Records)
	var unknown []string
	for _, id := range ids {
		name := o.EraseKey.Name(id)
		i := slices.IndexFunc(next.Records, func(r store.Erased) bool { return r.Name == name })
		if i < 0 {
			unknown = append(unknown, id)
			continue
		}
		next.Records = slices.Delete(next.Records, i, i+1)
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("lift %s: %w", quoted(unknown), ErrNotPurged)
	}
	next.Revision++
	return next, nil
}

// deletePeople deletes versions of people's files. The catalogue as it is now stays, whatever stands in it. A golden.json
// that goes is hidden behind a delete marker first, so that no older one comes back in its place.
func (o *Operator) deletePeople(ctx context.Context, people []store.PeopleFile) (deleted []store.PeopleFile, err error) {
	for _, f := range people {
		if f.Current && f.Key == o.Layout.Source {
			continue
		}
		if f.Current {
			if err := o.Objects.Delete(ctx, f.Key); err != nil {
				return deleted, fmt.Errorf("delete %s: %w", f.Key, err)
			}
		}
		if f.Version != "" {
			if err := store.DeleteVersion(ctx, o.Objects, store.Version{Key: f.Key, ID: f.Version}); err != nil {
				return deleted, fmt.Errorf("delete version %s of %s: %w", f.Version, f.Key, err)
			}
		}
		deleted = append(deleted, f)
	}
	_, err = store.DropLoneMarkers(ctx, o.Objects, o.Layout.Golden(), func(key string) bool { return key == o.Layout.Golden() })
	return deleted, err
}

// clears returns ErrErased for a snapshot that holds what c asks to be gone. Once the leader has proven that nothing
// stored does, nobody needs the key to tell.
func (o *Operator) clears(ctx context.Context, c store.Control, m store.Manifest) error {
	if c.Erase.Mark() == "" {
		return nil
	}
	s, err := o.lastStatus(ctx)
	if err != nil {
		return err
	}
	if s.Erasing.Proves(c.Erase) {
		return nil
	}
	if o.EraseKey == nil || !o.EraseKey.Opens(c.Erase) {
		return fmt.Errorf("promote %s: %w, or to another key than the purged records are named by: it cannot be told whether the snapshot holds one", m.ID, ErrNoEraseKey)
	}
	holds, err := standsIn(ctx, o.Objects, o.Layout, m, c.Erase.Matcher(o.EraseKey), segments{})
	if err != nil {
		return err
	}
	if holds || s.Erasing.Grown(c.Erase, m) {
		return fmt.Errorf("promote %s: %w, or may: `indexer purge --lift` lets it come back", m.ID, ErrErased)
	}
	return nil
}

// removedFor says of a snapshot that is not there whether it went because of what it held.
func (o *Operator) removedFor(ctx context.Context, id string, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if s, serr := o.lastStatus(ctx); serr == nil && s.Erasing != nil && slices.Contains(s.Erasing.Removed, id) {
		return fmt.Errorf("it is gone for good: %w: %w", ErrErased, err)
	}
	return err
}
