package reconcile

import (
	"fmt"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Kinds of events.
const (
	EventPromoted   = "promoted"    // another snapshot is served
	EventRolledBack = "rolled-back" // an operator went back to an earlier one
	EventHeld       = "held"        // a candidate waits for an operator
	EventRepaired   = "repaired"    // something was put right: catalogue, pointer or snapshot
	EventErased     = "erased"      // what was purged is nowhere any more
)

// Event is something that other programs are told.
type Event struct {
	ID      string // the same for the same event, whoever leads by then
	Kind    string
	Subject string // the snapshot, or the key of the catalogue
	Time    time.Time
	Data    any // becomes JSON
}

// served is the Data of a promotion or a rollback.
type served struct {
	Snapshot   string `json:"snapshot"`
	Generation int64  `json:"generation"`
	Vectors    int    `json:"vectors"`
	Reason     string `json:"reason"`
	Previous   string `json:"previous,omitempty"`
	SourceETag string `json:"source_etag"`
}

// waiting is the Data of a candidate that was held.
type waiting struct {
	Snapshot string `json:"snapshot,omitempty"` // none when it was held before it was built
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

// righted is the Data of a repair.
type righted struct {
	What    string `json:"what"`
	Message string `json:"message"`
}

// gone is the Data of an erasure. What was erased is not named.
type gone struct {
	Records int `json:"records"`
	Deleted int `json:"deleted"` // objects and versions
}

// news is what happened between two statuses: whatever a pass missed, of operators and of other leaders, is in it all the
// same. Told before the second is stored, so that a leader that dies in between leaves it to the next one: an event
// may come twice, with one ID.
func news(before, after store.Status) (out []Event) {
	add := func(kind, id, subject string, data any) {
		out = append(out, Event{ID: id + "-" + kind, Kind: kind, Subject: subject, Time: after.At, Data: data})
	}
	if p, was := after.Pointer, before.Pointer; p != nil && (was == nil || was.Lineage != p.Lineage || was.Generation < p.Generation) {
		data := served{Snapshot: p.ID, Generation: p.Generation, Vectors: p.Stats.Vectors, Reason: p.Reason, SourceETag: p.Source.ETag}
		if was != nil {
			data.Previous = was.ID
		}
		id := fmt.Sprintf("%s-%d", p.Lineage, p.Generation)
		switch {
		case p.Reason == ReasonRestored:
			add(EventRepaired, id, p.ID, righted{"pointer", "the pointer was put back to " + p.ID})
		case was != nil && was.ID == p.ID: // a fence
		case p.Reason == ReasonRollback:
			add(EventRolledBack, id, p.ID, data)
		default:
			add(EventPromoted, id, p.ID, data)
			if p.Reason == ReasonBroken {
				add(EventRepaired, id, p.ID, righted{"snapshot", "a damaged snapshot was served; it was built again as " + p.ID})
			}
		}
	}
	if c, was := find(after, Held), find(before, Held); c.Status == True && (was.Status != True || was.Message != c.Message || before.Held != after.Held) {
		subject := after.Held
		if subject == "" {
			subject = after.Source.Key
		}
		add(EventHeld, after.Source.SHA256+"-"+after.Held, subject, waiting{after.Held, c.Reason, c.Message})
	}
	if c, was := find(after, CatalogueClean), find(before, CatalogueClean); c.Status == False && (was.Status != False || was.Message != c.Message) {
		add(EventRepaired, after.Source.SHA256, after.Source.Key, righted{"catalogue", c.Message})
	}
	if e, was := after.Erasing, before.Erasing; e != nil && e.State == store.ErasureErased && (was == nil || was.Mark != e.Mark || was.State != e.State) {
		add(EventErased, e.Mark, after.Source.Key, gone{e.Records, e.Deleted})
	}
	return out
}

// find is a condition of a status, empty when it has none of that type.
func find(s store.Status, kind string) store.Condition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return store.Condition{}
}
