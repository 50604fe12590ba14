package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// States of a listed snapshot.
const (
	StateCurrent    = "current"
	StatePrevious   = "previous"
	StatePinned     = "pinned"
	StateHeld       = "held"
	StateRetained   = "retained"
	StateCorrupt    = "corrupt"
	StateIncomplete = "incomplete"
	StateDeleting   = "deleting"
)

// Kinds of a listed snapshot.
const (
	KindFull  = "full"
	KindBase  = "base"  // full, made to be gone on from and not served by itself
	KindDelta = "delta" // over a base
)

// SnapshotRow is one line of `list`.
type SnapshotRow struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Vectors   int       `json:"vectors"`
	State     string    `json:"state"`
	Bytes     int64     `json:"bytes"`
	Source    string    `json:"source_sha256,omitempty"`
	Index     string    `json:"index,omitempty"`
	Kind      string    `json:"kind,omitempty"`
	Base      string    `json:"base,omitempty"`   // of a delta snapshot
	Rows      int       `json:"rows,omitempty"`   // records that its own delta changes or removes
	Reason    string    `json:"reason,omitempty"` // why it is held, or why it was promoted
}

// SnapshotDetail is what `show` tells.
type SnapshotDetail struct {
	store.Manifest
	State          string         `json:"state"`
	ManifestSHA256 string         `json:"manifest_sha256"`
	URL            string         `json:"url"`
	Verdict        *store.Verdict `json:"verdict,omitempty"`
}

// RecordChange is one record that two snapshots have in common with different content.
type RecordChange struct {
	ID     string   `json:"id"`
	Fields []string `json:"fields"`
}

// Diff is what `diff` tells: ids in catalogue order.
type Diff struct {
	From    string         `json:"from"`
	To      string         `json:"to"`
	Added   []string       `json:"added"`
	Removed []string       `json:"removed"`
	Changed []RecordChange `json:"changed"`
}

// overview is what the states of snapshots follow from.
type overview struct {
	pointer *store.Pointer
	control store.Control
	status  store.Status
	gc      store.GC
}

func (o *Operator) overview(ctx context.Context) (overview, error) {
	var v overview
	var err error
	if v.pointer, _, err = readPointerIfAny(ctx, o.Objects, o.Layout); err != nil {
		return v, err
	}
	if v.control, err = o.readControl(ctx); err != nil {
		return v, err
	}
	v.status, _, err = store.ReadDoc[store.Status](ctx, o.Objects, o.Layout.Status(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return v, fmt.Errorf("read status: %w", err)
	}
	v.gc, _, err = gcDoc{o.Objects, o.Layout, v.status.Deleting}.read(ctx)
	return v, err
}

// state of a snapshot; verdict is "" when nothing is known of it.
func (v overview) state(id, verdict string) string {
	_, deleting := v.gc.Deleting[id]
	switch {
	case v.pointer != nil && v.pointer.ID == id:
		return StateCurrent
	case deleting:
		return StateDeleting
	case v.control.Pin != nil && v.control.Pin.ID == id:
		return StatePinned
	case verdict == VerdictCorrupt:
		return StateCorrupt
	case v.status.Held == id:
		return StateHeld
	}
	if v.pointer != nil {
		if prev, ok := previous(*v.pointer); ok && prev.ID == id {
			return StatePrevious
		}
	}
	if verdict == VerdictHeld && !v.promoted(id) {
		return StateHeld
	}
	return StateRetained
}

func (v overview) promoted(id string) bool {
	if v.pointer == nil {
		return false
	}
	for _, h := range v.pointer.History {
		if h.ID == id {
			return true
		}
	}
	return false
}

// Leadership is what lease.json says of the indexer that leads.
type Leadership struct {
	Host       string    `json:"host"`
	Epoch      int64     `json:"epoch"`
	Alive      bool      `json:"alive"`       // not released, and renewed within its TTL
	AgeSeconds float64   `json:"age_seconds"` // since the last renewal, by the store's clock
	PassedAt   time.Time `json:"passed_at,omitzero"`
}

// Leadership looks at the lease once. status.json is written when it changes; the lease says whether somebody works.
func (o *Operator) Leadership(ctx context.Context) (Leadership, error) {
	l, info, err := store.ReadDoc[store.Lease](ctx, o.Objects, o.Layout.Lease(), store.GetOptions{})
	if unreadable(err) {
		return Leadership{}, nil
	}
	if err != nil {
		return Leadership{}, fmt.Errorf("read lease: %w", err)
	}
	return Leadership{
		Host: l.Host, Epoch: l.Epoch, Alive: !l.Released && info.Age() < l.TTL(), AgeSeconds: info.Age().Seconds(), PassedAt: l.PassedAt,
	}, nil
}

// Status is what the leader last stored. ErrNotFound: no indexer has run yet.
func (o *Operator) Status(ctx context.Context) (store.Status, error) {
	s, _, err := store.ReadDoc[store.Status](ctx, o.Objects, o.Layout.Status(), store.GetOptions{})
	return s, err
}

// List returns every snapshot, newest first.
func (o *Operator) List(ctx context.Context) ([]SnapshotRow, error) {
	v, err := o.overview(ctx)
	if err != nil {
		return nil, err
	}
	found, err := store.ListSnapshots(ctx, o.Objects, o.Layout)
	if err != nil {
		return nil, err
	}
	rows := make([]SnapshotRow, 0, len(found))
	for _, s := range found {
		row, err := o.row(ctx, v, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].ID > rows[j].ID })
	return rows, nil
}

func (o *Operator) row(ctx context.Context, v overview, s store.SnapshotInfo) (SnapshotRow, error) {
	row := SnapshotRow{ID: s.ID, State: StateIncomplete}
	row.CreatedAt, _ = snapshot.ParseID(s.ID)
	for _, f := range s.Files {
		row.Bytes += f.Size
	}
	if !s.HasManifest {
		if _, ok := v.gc.Deleting[s.ID]; ok {
			row.State = StateDeleting
		}
		return row, nil
	}
	m, _, err := store.ReadManifest(ctx, o.Objects, o.Layout, s.ID, "")
	switch {
	case errors.Is(err, store.ErrNotFound):
		return row, nil
	case errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, snapshot.ErrNewer):
		row.State, row.Reason = StateCorrupt, err.Error()
		return row, nil
	case err != nil:
		return row, err
	}
	row.CreatedAt, row.Vectors, row.Source, row.Index = m.CreatedAt, m.Stats.Vectors, m.Source.SHA256, m.Index.Kind
	switch row.Kind = KindFull; {
	case m.Base != nil:
		row.Kind, row.Base, row.Rows = KindDelta, m.Base.ID, m.Deltas[len(m.Deltas)-1].Rows
	case m.Role == store.RoleBase:
		row.Kind = KindBase
	}
	verdict := manifestVerdict(m)
	if _, ok := s.Files[snapshot.FileVerdict]; ok {
		if verdict, err = o.verdict(ctx, m); err != nil {
			return row, err
		}
	}
	row.State = v.state(s.ID, verdict.Result)
	switch {
	case row.State == StateHeld && verdict.Gate != nil:
		row.Reason = explain(verdict.Gate)
	case row.State == StateCorrupt:
		row.Reason = verdict.Message
	case row.State == StateCurrent:
		row.Reason = v.pointer.Reason
	}
	return row, nil
}

func manifestVerdict(m store.Manifest) store.Verdict {
	if m.Gate == nil {
		return store.Verdict{}
	}
	g := m.Gate
	return store.Verdict{ID: m.ID, Result: g.Result, Settings: g.Settings, Golden: g.Golden, Baseline: g.Baseline, Gate: g}
}

// Show tells everything about one snapshot.
func (o *Operator) Show(ctx context.Context, id string) (SnapshotDetail, error) {
	v, err := o.overview(ctx)
	if err != nil {
		return SnapshotDetail{}, err
	}
	m, sha, err := store.ReadManifest(ctx, o.Objects, o.Layout, id, "")
	if err != nil {
		return SnapshotDetail{}, fmt.Errorf("show %s: %w", id, err)
	}
	d := SnapshotDetail{Manifest: m, ManifestSHA256: sha, URL: o.Objects.URL(o.Layout.Snapshot(id))}
	verdict, err := o.verdict(ctx, m)
	if err != nil {
		return d, err
	}
	if verdict.Result != "" {
		d.Verdict = &verdict
	}
	d.State = v.state(id, verdict.Result)
	return d, nil
}

// Verify reads a snapshot again, every byte, and records the verdict when it is bad (ErrCorrupt, or ErrNotFound
// for a missing file), or when it contradicts an earlier "corrupt". It returns the signature, nil when there is none;
// with keys, one that none of them made is ErrUnsigned.
func (o *Operator) Verify(ctx context.Context, id string, progress store.Progress) (*store.Signature, error) {
	sha, err := o.rehash(ctx, id, progress)
	if err != nil {
		return nil, err
	}
	return store.VerifyManifest(ctx, o.Objects, o.Layout, id, sha, o.Keys)
}

// rehash is Verify without the signature; it returns the digest of the manifest's bytes.
func (o *Operator) rehash(ctx context.Context, id string, progress store.Progress) (string, error) {
	m, sha, err := store.ReadManifest(ctx, o.Objects, o.Layout, id, "")
	if errors.Is(err, store.ErrNotFound) {
		return sha, fmt.Errorf("verify %s: %w", id, err)
	}
	if err == nil {
		want := ""
		if ptr, _, perr := store.ReadPointer(ctx, o.Objects, o.Layout, ""); perr == nil && ptr.ID == id {
			want = ptr.ManifestSHA256
		}
		if want != "" && want != sha {
			err = fmt.Errorf("%w: the pointer names another manifest", snapshot.ErrCorrupt)
		} else {
			err = store.VerifySnapshot(ctx, o.Objects, o.Layout, id, sha, progress)
		}
	}
	switch {
	case unreadable(err):
		v := store.Verdict{Result: VerdictCorrupt, Message: err.Error(), By: o.By}
		return sha, errors.Join(fmt.Errorf("verify %s: %w", id, err), putVerdict(ctx, o.Objects, o.Layout, id, v, o.Clock.Now()))
	case err != nil:
		return sha, fmt.Errorf("verify %s: %w", id, err)
	}
	old, err := o.verdict(ctx, m)
	if err != nil || old.Result != VerdictCorrupt {
		return sha, err
	}
	back := manifestVerdict(m)
	back.By = o.By
	return sha, putVerdict(ctx, o.Objects, o.Layout, id, back, o.Clock.Now())
}

// Diff compares the documents of two snapshots, downloading them below dir.
func (o *Operator) Diff(ctx context.Context, from, to, dir string) (Diff, error) {
	d := Diff{From: from, To: to, Added: []string{}, Removed: []string{}, Changed: []RecordChange{}}
	a, err := o.records(ctx, from, dir)
	if err != nil {
		return d, err
	}
	defer a.Close()
	b, err := o.records(ctx, to, dir)
	if err != nil {
		return d, err
	}
	defer b.Close()
	for _, id := range b.ids() {
		was, ok, err := a.find(id)
		if err != nil {
			return d, err
		}
		if !ok {
			d.Added = append(d.Added, id)
			continue
		}
		is, _, err := b.find(id)
		if err != nil {
			return d, err
		}
		if string(was) == string(is) {
			continue
		}
		fields, err := vendors.Changed(was, is)
		if err != nil {
			return d, fmt.Errorf("compare %s: %w", id, err)
		}
		d.Changed = append(d.Changed, RecordChange{ID: id, Fields: fields})
	}
	for _, id := range a.ids() {
		if _, ok, err := b.find(id); err != nil {
			return d, err
		} else if !ok {
			d.Removed = append(d.Removed, id)
		}
	}
	return d, nil
}

// records are those of a snapshot, whatever it is made of: the newest of its deltas that names an id decides, then its base.
type records struct {
	base    *documents.Reader
	deltas  []*delta.Delta // oldest first
	vectors int            // of the base
}

// find returns what is stored of a record.
func (r *records) find(id string) (metadata []byte, ok bool, err error) {
	hash := snapshot.IDHash(id)
	for _, d := range slices.Backward(r.deltas) {
		if row, named := d.Names(hash); named {
			if row < 0 {
				return nil, false, nil
			}
			metadata, err = d.Documents().Metadata(row)
			return metadata, true, err
		}
	}
	row, ok := r.base.Find(id)
	if !ok {
		return nil, false, nil
	}
	metadata, err = r.base.Metadata(row)
	return metadata, true, err
}

// ids in the order of the catalogue.
func (r *records) ids() []string {
	type placed struct {
		key uint64
		id  string
	}
	var all []placed
	add := func(docs *documents.Reader, newer []*delta.Delta, key func(row int) uint64) {
		for row := range docs.Len() {
			hash := docs.Index().IDHash(row)
			dead := slices.ContainsFunc(newer, func(d *delta.Delta) bool { _, named := d.Names(hash); return named })
			if id := docs.ID(row); id != "" && !dead {
				all = append(all, placed{key(row), id})
			}
		}
	}
	add(r.base, r.deltas, func(row int) uint64 { return delta.BaseKey(row, r.vectors) })
	for i, d := range r.deltas {
		add(d.Documents(), r.deltas[i+1:], d.Key)
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.key, b.key) })
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = p.id
	}
	return out
}

// Close lets go of the files.
func (r *records) Close() error {
	err := r.base.Close()
	for _, d := range r.deltas {
		err = errors.Join(err, d.Close())
	}
	return err
}

// records fetches and opens the records of a snapshot below dir.
func (o *Operator) records(ctx context.Context, id, dir string) (_ *records, err error) {
	m, _, err := store.ReadManifest(ctx, o.Objects, o.Layout, id, "")
	if err != nil {
		return nil, fmt.Errorf("diff %s: %w", id, err)
	}
	wanted := m
	wanted.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f snapshot.File) bool {
		return f.Name != snapshot.FileDocuments && f.Name != snapshot.FileOffsets && f.Name != snapshot.FileDelta
	})
	for _, name := range []string{snapshot.FileDocuments, snapshot.FileOffsets} {
		if _, ok := wanted.File(name); !ok {
			return nil, fmt.Errorf("diff %s: %w: no %s", id, snapshot.ErrCorrupt, name)
		}
	}
	sub, err := os.MkdirTemp(dir, "diff-*")
	if err != nil {
		return nil, err
	}
	if err := store.Fetch(ctx, o.Objects, o.Layout, wanted, sub, store.FetchOptions{}); err != nil {
		return nil, err
	}
	base, err := documents.Open(sub)
	if err != nil {
		return nil, err
	}
	out := &records{base: base, vectors: m.Stats.Vectors}
	if m.Base != nil {
		out.vectors = m.Base.Vectors
	}
	for _, d := range m.Deltas {
		opened, err := delta.Open(filepath.Join(sub, d.ID+"."+snapshot.FileDelta))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the delta of %s: %w", d.ID, err), out.Close())
		}
		out.deltas = append(out.deltas, opened)
	}
	return out, nil
}

// GCPlan tells what garbage collection would do with each object now.
func (o *Operator) GCPlan(ctx context.Context, retain int, grace time.Duration) ([]GCLine, error) {
	s, err := o.Status(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read status: %w", err)
	}
	g := gcDoc{o.Objects, o.Layout, s.Deleting}
	v, err := readGCView(ctx, g, s.Replicas)
	if err != nil {
		return nil, err
	}
	if v.controlGone {
		v.control = controlOf(s)
	}
	points := s.Retention == nil || s.Retention.Deltas
	rules := gcRules{layout: o.Layout, retain: retain, grace: grace, points: points, held: s.Held, by: o.By}
	if asked := v.control.Erase; asked.Mark() != "" && o.EraseKey != nil && o.EraseKey.Opens(asked) {
		named, seen := asked.Matcher(o.EraseKey), segments{seen: map[string]bool{}}
		rules.erased, err = erasedIn(ctx, o.Objects, o.Layout, v.found, !s.Erasing.Proves(asked), func(string) (bool, bool) { return false, false }, func(ctx context.Context, m store.Manifest) (bool, error) {
			holds, err := standsIn(ctx, o.Objects, o.Layout, m, named, seen)
			return holds || s.Erasing.Grown(asked, m), err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := v.readParts(ctx, g, rules, nil); err != nil {
		return nil, err
	}
	plan := v.plan(rules)
	return plan.lines, plan.unclear
}
