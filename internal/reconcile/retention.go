package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Under steady edits a snapshot is current for a second, and the pointer's history reaches back for twenty. So gc.json
// remembers those that people may want to go back to: what was current for a minute, or at every fifth, or last over its base.
// Every promotion takes them over from the history before one falls out of it, in the write that reserves the snapshot. Of
// what neither remembers it is known that it was current for less than a minute: it goes by its own age.
//
// Of delta snapshots collection keeps, besides the newest few: what was current at each full hour of the last day, at each
// midnight (UTC) of the last week, and the newest over each of the last two bases. With them stay their bases, which are as
// large as the catalogue; full snapshots that nothing is made of go by their number and age alone, as ever.

const (
	rememberedFrom = time.Minute     // current for as long as that
	rememberedAt   = 5 * time.Minute // or at a multiple of that
	// maxRetired of 120 bytes each are remembered: what was current for a minute each over half a day.
	maxRetired  = 720
	hourlyFor   = 24
	dailyFor    = 7
	basesServed = 2
)

// span is when a snapshot was current.
type span struct {
	id       string
	from, to time.Time
}

// outlasts says whether a time as current is remembered beyond the pointer's history.
func outlasts(from, to time.Time) bool {
	return to.Sub(from) >= rememberedFrom || crosses(rememberedAt, from, to)
}

func crosses(every time.Duration, from, to time.Time) bool {
	return !from.Truncate(every).Equal(to.Truncate(every))
}

// retire remembers in gc.json what the history may forget next. What is current now is no part of the history yet, but as
// the last over its base it would not be known for that later.
func (m promotion) retire(doc *store.GC, now time.Time) {
	from := m.over.pointer
	if from == nil {
		return
	}
	if doc.Retired == nil {
		doc.Retired = map[string]store.Served{}
	}
	note := func(id string, since, to time.Time) {
		if doc.Retired[id].To.Before(to) {
			doc.Retired[id] = store.Served{From: since.UTC().Truncate(time.Second), To: to.UTC().Truncate(time.Second)}
		}
	}
	for _, h := range from.History {
		if !h.RolledBack && outlasts(h.PromotedAt, h.RetiredAt) {
			note(h.ID, h.PromotedAt, h.RetiredAt)
		}
	}
	if was, is := baseID(from.Manifest), baseID(m.manifest); was != is && !m.rollback {
		note(from.ID, from.PromotedAt, now)
	}
	for len(doc.Retired) > maxRetired { // the oldest, those at a full hour last
		hour := func(id string) int {
			if crosses(time.Hour, doc.Retired[id].From, doc.Retired[id].To) {
				return 1
			}
			return 0
		}
		delete(doc.Retired, slices.MinFunc(slices.Collect(maps.Keys(doc.Retired)), func(a, b string) int {
			return cmp.Or(cmp.Compare(hour(a), hour(b)), doc.Retired[a].To.Compare(doc.Retired[b].To), cmp.Compare(a, b))
		}))
	}
}

// baseID is that of a snapshot's base: its own for a full one.
func baseID(m store.Manifest) string {
	if m.Base != nil {
		return m.Base.ID
	}
	return m.ID
}

// servedTimes are all the times that are known, the newest first, and the current one. What was rolled back from is not
// something to go back to.
func servedTimes(ptr store.Pointer, retired map[string]store.Served, now time.Time) []span {
	out := []span{{ptr.ID, ptr.PromotedAt, now}}
	bad := map[string]bool{}
	for _, h := range ptr.History {
		if bad[h.ID] = bad[h.ID] || h.RolledBack; !h.RolledBack {
			out = append(out, span{h.ID, h.PromotedAt, h.RetiredAt})
		}
	}
	for id, s := range retired {
		if !bad[id] {
			out = append(out, span{id, s.From, s.To})
		}
	}
	slices.SortStableFunc(out, func(a, b span) int { return cmp.Or(b.from.Compare(a.from), cmp.Compare(b.id, a.id)) })
	return out
}

// servedAt are the times that began at t or before, the newest first.
func servedAt(all []span, t time.Time) []span {
	for i, s := range all {
		if !s.from.After(t) {
			return all[i:]
		}
	}
	return nil
}

// restorePoints maps delta snapshots to why people may want to go back to them.
func (v gcView) restorePoints() map[string]string {
	why := map[string]string{}
	all := servedTimes(v.pointer, v.doc.Retired, v.now)
	all = slices.DeleteFunc(all, func(s span) bool { return len(v.needs(s.id)) == 0 })
	at := func(t time.Time) {
		if found := servedAt(all, t); len(found) > 0 && why[found[0].id] == "" {
			why[found[0].id] = "current at " + t.UTC().Format("2006-01-02 15:04")
		}
	}
	for i := range dailyFor + 1 {
		at(v.now.Truncate(24 * time.Hour).Add(-time.Duration(i) * 24 * time.Hour))
	}
	for i := range hourlyFor + 1 {
		at(v.now.Truncate(time.Hour).Add(-time.Duration(i) * time.Hour))
	}
	bases := map[string]bool{}
	for _, s := range all {
		base := v.needs(s.id)[0]
		if len(bases) < basesServed && !bases[base] {
			bases[base] = true
			if why[s.id] == "" {
				why[s.id] = "the newest over " + base
			}
		}
	}
	return why
}

// retiredAt maps snapshots to when they were current last.
func (v gcView) retiredAt() map[string]time.Time {
	at := map[string]time.Time{}
	for id, s := range v.doc.Retired {
		at[id] = s.To
	}
	for _, h := range v.pointer.History {
		if h.RetiredAt.After(at[h.ID]) {
			at[h.ID] = h.RetiredAt
		}
	}
	return at
}

// forgetful says whether the history has forgotten what gc.json does not remember either: it is full of young entries, and
// some of them should have been remembered by the promotion after. An earlier release promoted then.
func (v gcView) forgetful(grace time.Duration) bool {
	n := len(v.pointer.History)
	if n < store.HistoryLength || v.now.Sub(v.pointer.History[n-1].RetiredAt) >= grace {
		return false
	}
	stored := map[string]bool{}
	for _, s := range v.found {
		stored[s.ID] = true
	}
	return slices.ContainsFunc(v.pointer.History[1:], func(h store.Promotion) bool {
		_, remembered := v.doc.Retired[h.ID]
		return stored[h.ID] && !remembered && !h.RolledBack && outlasts(h.PromotedAt, h.RetiredAt)
	})
}
