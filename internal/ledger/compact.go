package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CompactOptions of Compact. The zero value replaces at once and keeps unused entries for 30 days.
type CompactOptions struct {
	Grace  time.Duration // replaced segments stay this long: a reader may be about to fetch them
	Expire time.Duration // default 30 days; counted in whole days of the store's clock
	// Before is asked before each deletion; its error ends Compact. nil = go on.
	Before func(context.Context) error
}

func (o CompactOptions) before(ctx context.Context) error {
	if o.Before == nil {
		return nil
	}
	return o.Before(ctx)
}

// CompactReport says what Compact did.
type CompactReport struct {
	Merged  int // segments replaced
	Written int // segments written in their place
	Deleted int // objects removed, replaced earlier or of retired spaces
	Expired int // entries dropped
}

// When segments are rewritten. Segments are merged by size class, each four times the one below, as soon as a class
// holds four: a vector is rewritten at most six times on its way to a full segment, and the folder of 1 M vectors of
// 1,536 dims settles at 93 full segments and at most three of each smaller class.
const (
	tierBase  = 64 << 10
	tierRatio = 4
	tierFull  = 4
	// A segment of at most this many bytes is rewritten for one dead row, a larger one for a quarter of its rows.
	cheapRewrite = 4 << 20
)

// Compact tidies the ledger at the end of a pass. keep tells whether the current source needs an entry; nil: that is not
// known, and nothing is dated or dropped.
//
// It removes what earlier merges replaced a grace ago; it dates the entries that nothing needs, and drops those that
// nothing needed for o.Expire; it merges small segments and replaces damaged ones. A merge writes the new segments
// first; the last of them names everything that they replace, so a crash at any point leaves each vector in the store
// at least once, and the next Compact finds out from the store alone what is left to remove.
func (g *Ledger) Compact(ctx context.Context, keep func(Key) bool, o CompactOptions) (CompactReport, error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if o.Expire <= 0 {
		o.Expire = 30 * 24 * time.Hour
	}
	var report CompactReport
	listing, err := g.list(ctx)
	if err == nil {
		err = g.compact(ctx, keep, o, listing, &report)
	}
	if err == nil {
		err = g.retireOthers(ctx, o, &report)
	}
	if err != nil {
		return report, fmt.Errorf("compact ledger: %w", err)
	}
	return report, nil
}

func (g *Ledger) compact(ctx context.Context, keep func(Key) bool, o CompactOptions, listing contents, report *CompactReport) error {
	if len(listing.segments) == 0 {
		return nil
	}
	if !g.current(listing) {
		return nil // another writer merges; the next Open sees what it made
	}
	if err := g.removeReplaced(ctx, o, listing, report); err != nil {
		return err
	}
	today := listing.day()
	before := maps.Clone(g.unused)
	found, err := g.survey(keep, today, uint32(o.Expire/(24*time.Hour)))
	if err != nil {
		return err
	}
	inputs := g.choose(found, listing)
	if len(inputs) > 0 || len(g.damaged) > 0 {
		if err := g.merge(ctx, inputs, found, report); err != nil {
			return err
		}
	}
	if maps.Equal(before, g.unused) {
		return nil
	}
	return g.writeUnused(ctx)
}

// day is today by the store's clock, in days since 1970.
func (l contents) day() uint32 {
	var newest time.Time
	for _, info := range l.segments {
		if info.Date.After(newest) {
			newest = info.Date
		}
	}
	return uint32(newest.Unix() / (24 * 60 * 60))
}

// current tells whether every segment in use is still in the store.
func (g *Ledger) current(listing contents) bool {
	for _, s := range g.segments {
		if s == nil {
			continue
		}
		if _, ok := listing.segments[s.name]; !ok {
			return false
		}
	}
	return true
}

// removeReplaced deletes the inputs of segments that are a grace old and, being in use, whole.
func (g *Ledger) removeReplaced(ctx context.Context, o CompactOptions, listing contents, report *CompactReport) error {
	for _, s := range g.segments {
		if s == nil || len(s.inputs) == 0 || listing.segments[s.name].Age() < o.Grace {
			continue
		}
		for _, name := range s.inputs {
			if _, ok := listing.segments[name]; !ok {
				continue
			}
			if err := o.before(ctx); err != nil {
				return err
			}
			if err := g.objects.Delete(ctx, g.prefix+name); err != nil {
				return err
			}
			delete(listing.segments, name)
			report.Deleted++
		}
	}
	return nil
}

// liveRow is a row that a rewrite of its segment carries over.
type liveRow struct {
	at  rowAt
	key Key
}

// surveyed is what became of the rows of one segment.
type surveyed struct {
	live    []liveRow
	expired []Key
}

// survey looks at every row: the newest holder of its key is live, unless nothing needed it for expire days. It
// brings g.unused up to date. It holds 40 bytes per vector until Compact returns.
func (g *Ledger) survey(keep func(Key) bool, today, expire uint32) (map[uint32]surveyed, error) {
	found := map[uint32]surveyed{}
	seen := make(map[[16]byte]uint32, len(g.unused))
	for id, s := range g.segments {
		if s == nil {
			continue
		}
		keys, err := s.keys()
		if err != nil {
			return nil, err
		}
		var f surveyed
		for row, key := range keys {
			short, at := [16]byte(key[:16]), rowAt{uint32(id), uint32(row)}
			if g.index[short] != at {
				continue
			}
			if keep != nil && !keep(key) {
				since, ok := g.unused[short]
				if !ok {
					since = today
				}
				if today >= since && today-since >= expire {
					f.expired = append(f.expired, key)
				}
				seen[short] = since
			}
			f.live = append(f.live, liveRow{at, key})
		}
		found[uint32(id)] = f
	}
	if keep != nil {
		g.unused = seen
	}
	return found, nil
}

// choose returns the segments that are to be rewritten, in the order of their names. One whose inputs are still stored is
// what says that these are replaced: it stays until they are gone.
func (g *Ledger) choose(found map[uint32]surveyed, listing contents) []uint32 {
	var chosen []uint32
	classes := map[int][]uint32{}
	for id, f := range found {
		s := g.segments[id]
		if slices.ContainsFunc(s.inputs, func(name string) bool { _, there := listing.segments[name]; return there }) {
			continue
		}
		dead := s.rows - len(f.live) + len(f.expired)
		class := sizeClass(s.size)
		switch {
		case dead > 0 && (s.size <= cheapRewrite || 4*dead >= s.rows):
			chosen = append(chosen, id)
		case class >= 0:
			classes[class] = append(classes[class], id)
		}
	}
	for _, ids := range classes {
		if len(ids) >= tierFull {
			chosen = append(chosen, ids...)
		}
	}
	slices.SortFunc(chosen, func(a, b uint32) int { return strings.Compare(g.segments[a].name, g.segments[b].name) })
	return chosen[:min(len(chosen), maxInputs)]
}

// sizeClass of a segment, -1 for one that is large enough to stay as it is.
func sizeClass(size int64) int {
	if size >= segmentCap/2 {
		return -1
	}
	class := 0
	for limit := int64(tierBase); size >= limit; limit *= tierRatio {
		class++
	}
	return class
}

// merge rewrites the live rows of inputs, and lets the last new segment replace inputs and all damaged segments.
func (g *Ledger) merge(ctx context.Context, inputs []uint32, found map[uint32]surveyed, report *CompactReport) error {
	rows, replaced := g.carryOver(inputs, found)
	var expired []Key
	for _, id := range inputs {
		expired = append(expired, found[id].expired...)
	}
	v, buf := make([]float32, g.dims), make([]byte, 4*g.dims)
	for more := true; more; {
		part := rows[:min(g.most, len(rows))]
		rows = rows[len(part):]
		more = len(rows) > 0
		keys := make([]Key, len(part))
		for i, row := range part {
			keys[i] = row.key
		}
		var names []string
		if !more {
			names = replaced
		}
		s, err := g.write(ctx, names, keys, func(i int) ([]float32, error) {
			at := part[i].at
			return v, g.segments[at.segment].vector(int(at.row), v, buf)
		})
		if err != nil {
			return err
		}
		report.Written++
		g.mu.Lock()
		g.add(s)
		g.mu.Unlock()
	}
	report.Merged += len(replaced)
	report.Expired += len(expired)
	return g.forget(inputs, expired)
}

// carryOver returns the rows that a merge writes, and the names of what it replaces.
func (g *Ledger) carryOver(inputs []uint32, found map[uint32]surveyed) ([]liveRow, []string) {
	var rows []liveRow
	var replaced []string
	for _, id := range inputs {
		gone := make(map[Key]bool, len(found[id].expired))
		for _, key := range found[id].expired {
			gone[key] = true
		}
		for _, row := range found[id].live {
			if !gone[row.key] {
				rows = append(rows, row)
			}
		}
		replaced = append(replaced, g.segments[id].name)
	}
	replaced = slices.AppendSeq(replaced, maps.Keys(g.damaged))
	slices.Sort(replaced)
	return rows, replaced[:min(len(replaced), maxInputs)]
}

// forget lets go of replaced segments and expired entries, and of the local copies.
func (g *Ledger) forget(inputs []uint32, expired []Key) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range expired {
		delete(g.index, [16]byte(key[:16]))
		delete(g.unused, [16]byte(key[:16]))
	}
	var errs []error
	for _, id := range inputs {
		s := g.segments[id]
		g.segments[id] = nil
		errs = append(errs, s.file.Close(), os.Remove(filepath.Join(g.dir, s.name)))
	}
	clear(g.damaged)
	return errors.Join(errs...)
}
