package simtest

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// rest leaves a deployment that has converged alone: nothing more is built, promoted or bought, and what nothing needs
// any more goes.
func (s *schedule) rest(ctx context.Context, want string) {
	w := s.w
	nap(ctx, time.Minute) // a forced pass may have been under way
	w.mu.Lock()
	before, built, bought := w.state.pointer, len(w.state.documents), w.bought()
	w.mu.Unlock()
	var why string
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); nap(ctx, 10*time.Second) {
		if why = s.garbage(); why == "" {
			break
		}
	}
	unsettled := s.unsettled(want)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally["check collection"]++
	if why != "" {
		w.violate("garbage stays: %s", why)
	}
	if w.state.damaged[before.ID] {
		return // and a replica may find out only now
	}
	w.tally["check rest"]++
	if now := w.state.pointer; now.ID != before.ID || now.Generation != before.Generation {
		w.violate("%s of generation %d was promoted over %s of %d, and nothing had changed", now.ID, now.Generation, before.ID, before.Generation)
	}
	if n := len(w.state.documents) - built; n > 0 {
		w.violate("%d snapshots were built, and nothing had changed", n)
	}
	if n := w.bought() - bought; n > 0 {
		w.violate("%d texts were bought, and nothing had changed", n)
	}
	if unsettled != "" {
		w.violate("did not stay converged: %s", unsettled)
	}
}

// Most objects of a deployment at rest, besides those of its snapshots.
const (
	mostSegments = 40 // only a pass that reads the catalogue merges them
	mostDeleting = 64
	mostRetired  = 720
)

// garbage says what is stored though no rule keeps it.
func (s *schedule) garbage() string {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mem.Data(w.layout.Pointer())) == 0 {
		return "" // while nothing is known to be in use, nothing is deleted
	}
	keep := w.kept()
	segments := map[string]int{}
	for _, key := range w.mem.Keys(w.layout.Root()) {
		id, file, _ := strings.Cut(strings.TrimPrefix(key, w.layout.Root()), "/")
		_, err := snapshot.ParseID(id)
		switch {
		case err == nil && keep[id] == "":
			return fmt.Sprintf("%s of %s", file, id)
		case err == nil && w.mem.Data(w.layout.Manifest(id)) == nil:
			return fmt.Sprintf("%s of %s, which has no manifest", file, id)
		case strings.HasPrefix(key, w.layout.Ledger()):
			segments[path.Dir(key)]++
		case strings.HasPrefix(key, w.layout.Probe("")):
			return key
		}
	}
	for dir, n := range segments {
		if n > mostSegments {
			return fmt.Sprintf("%d segments in %s", n, dir)
		}
	}
	doc, _ := decode[store.GC](w.mem.Data(w.layout.GC()))
	if len(doc.Reserved) > 0 {
		return fmt.Sprintf("reservations %v", doc.Reserved)
	}
	if len(doc.Retired) > mostRetired {
		return fmt.Sprintf("%d retired ids in gc.json", len(doc.Retired))
	}
	if len(doc.Deleting) > mostDeleting {
		return fmt.Sprintf("%d ids in gc.json", len(doc.Deleting))
	}
	return ""
}

// kept maps snapshots to the rule that keeps them. w.mu is held.
func (w *world) kept() map[string]string {
	keep := map[string]string{}
	ptr := w.state.pointer
	keep[ptr.ID] = "current"
	if i := slices.IndexFunc(ptr.History, func(h store.Promotion) bool { return !h.RolledBack && h.ID != ptr.ID }); i >= 0 {
		keep[ptr.History[i].ID] = "previous"
	}
	newest := map[string]bool{ptr.ID: true}
	for _, h := range ptr.History {
		if len(newest) < w.cfg.RetainSnapshots {
			newest[h.ID] = true
			keep[h.ID] = "newest"
		}
	}
	st, _ := decode[store.Status](w.mem.Data(w.layout.Status()))
	keep[st.Held] = "held"
	for _, key := range w.mem.Keys(w.layout.Replicas()) {
		b, _ := decode[store.Heartbeat](w.mem.Data(key))
		info, err := w.mem.Head(context.Background(), key)
		if err == nil && info.Age() <= time.Duration(b.TTLSeconds)*time.Second {
			keep[b.Using], keep[b.Fetching] = "in use", "in use"
		}
	}
	doc, _ := decode[store.GC](w.mem.Data(w.layout.GC()))
	if doc.Building != nil {
		keep[doc.Building.ID] = "made beside the passes"
	}
	for _, h := range ptr.History {
		if m, _ := decode[store.Manifest](w.mem.Data(w.layout.Manifest(h.ID))); m.Base != nil {
			keep[h.ID] = "of its time"
		}
	}
	for id := range doc.Retired { // hours, days and bases of delta snapshots; full ones go by number and age
		if m, _ := decode[store.Manifest](w.mem.Data(w.layout.Manifest(id))); m.Base != nil {
			keep[id] = "of its time"
		}
	}
	for id, why := range maps.Clone(keep) {
		m, _ := decode[store.Manifest](w.mem.Data(w.layout.Manifest(id)))
		for _, need := range m.Needs() {
			if keep[need] == "" {
				keep[need] = "needed by " + id + ", " + why
			}
		}
	}
	return keep
}
