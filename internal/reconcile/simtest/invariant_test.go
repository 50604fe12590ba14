package simtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// invariants are what must hold after every write, whatever happened before it.
type invariants struct {
	w       *world
	writes  int               // effective writes so far
	beats   map[string]int    // heartbeat key → write counter of its last write
	valid   map[string]bool   // sha256 of every valid catalogue that was ever stored
	damaged map[string]bool   // snapshots that chaos damaged
	intent  intent            // what operators were told is in force
	once    map[string]string // lineage|generation → id
	pointer store.Pointer     // as last written
	doomed  map[string]bool   // every id that was ever announced for deletion
	lost    map[string]bool   // documents that somebody deleted
	// By snapshot id: its documents, and the lowest and highest generation it was promoted to.
	order       map[string]int // when it was last promoted
	documents   map[string][]byte
	lowest      map[string]int64
	generations map[string]int64
	terms       int            // leases that were taken so far
	reign       int            // the latest term of a leader that went on to act on an existing pointer
	moves       int            // of the pointer
	copies      map[string]int // old readers' files → the order of the snapshot they are of
	// Purchases: how often texts may be bought again.
	allowance int
}

// intent that was acknowledged to an operator.
type intent struct {
	suspended bool
	pin       string
	busy      int // commands that run
	since     int // write counter when it was acknowledged
}

// acknowledged: what operators were told is in force from now on.
func (s *invariants) acknowledged() {
	s.intent.since = s.writes
	s.writes++ // whoever looks from now on looked later
}

func newInvariants(w *world) invariants {
	return invariants{
		w: w, beats: map[string]int{}, valid: map[string]bool{}, damaged: map[string]bool{}, once: map[string]string{},
		doomed: map[string]bool{}, lost: map[string]bool{}, documents: map[string][]byte{}, order: map[string]int{}, copies: map[string]int{}, lowest: map[string]int64{}, generations: map[string]int64{},
	}
}

// interrupted: a process lost what it had in memory or in flight; that much may be bought again. w.mu is held.
func (s *invariants) interrupted() { s.allowance += 2 * s.w.cfg.EmbedWindow }

// watched applies the writes of one process and checks the invariants after each.
type watched struct {
	store.Objects
	p *proc
}

func (o *watched) Get(ctx context.Context, key string, g store.GetOptions) (io.ReadCloser, store.Info, error) {
	w := o.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if key == w.layout.Control() {
		o.p.looked = w.state.writes
	}
	switch {
	case key == w.layout.GC():
		o.p.gcSeen, o.p.sees = w.state.writes, false // between a pointer and a control.json only who has no lease reads it
	case key == w.layout.Pointer() && o.p.indexer && o.p.term > w.state.reign:
		now, _ := decode[store.Pointer](w.mem.Data(key))
		o.p.sees = now.Kind == store.KindPointer
	case key == w.layout.Control() && o.p.indexer && o.p.sees:
		w.state.reign = max(w.state.reign, o.p.term) // past the fence of the pointer that it saw
	}
	return o.Objects.Get(ctx, key, g)
}

// wrote checks what a write changed. w.mu is held.
func (o *watched) wrote(key string, old, data []byte) {
	w := o.p.w
	w.state.writes++
	w.tally["write"]++
	w.changed(key)
	if o.p.idle {
		w.violate("%s writes %s", o.p.name, key)
	}
	if strings.HasPrefix(key, w.layout.Replicas()) {
		w.state.beats[key] = w.state.writes
	} else {
		name := o.p.name
		w.remember(func() string { return name + " writes " + key + gist(key, data) })
	}
	w.state.written(o.p, key, old, data)
}

// takeLook is when the process last looked at control.json, and uses that up: each deletion needs a look of its own.
// -1: it did not look. w.mu is held.
func (p *proc) takeLook() int {
	looked := p.looked
	p.looked = -1
	return looked
}

// gist is the part of a document worth seeing in a trace.
func gist(key string, data []byte) string {
	var d struct {
		ID         string               `json:"id"`
		Generation int64                `json:"generation"`
		Epoch      int64                `json:"epoch"`
		Released   bool                 `json:"released"`
		Owner      string               `json:"owner"`
		Result     string               `json:"result"`
		Deleting   map[string]any       `json:"deleting"`
		Reserved   map[string]any       `json:"holds"`
		Suspended  any                  `json:"suspended"`
		Pin        *struct{ ID string } `json:"pin"`
	}
	if json.Unmarshal(data, &d) != nil {
		return ""
	}
	switch {
	case strings.HasSuffix(key, "current/manifest.json"):
		return fmt.Sprintf(" id=%s generation=%d epoch=%d", d.ID, d.Generation, d.Epoch)
	case strings.HasSuffix(key, "lease.json"):
		return fmt.Sprintf(" epoch=%d released=%v", d.Epoch, d.Released)
	case strings.HasSuffix(key, "gc.json"):
		return fmt.Sprintf(" epoch=%d deleting=%v holds=%v", d.Epoch, keysOf(d.Deleting), keysOf(d.Reserved))
	case strings.HasSuffix(key, "control.json"):
		return fmt.Sprintf(" suspended=%v pin=%v", d.Suspended != nil, d.Pin)
	case strings.HasSuffix(key, "verdict.json"):
		return " " + d.Result
	}
	return ""
}

func keysOf(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func (s *invariants) written(p *proc, key string, old, data []byte) {
	l := s.w.layout
	if shared(l, key) {
		s.untouched(p, key, old, data)
	}
	switch {
	case key == l.Pointer():
		s.pointerWritten(p, len(old) == 0, data)
	case key == l.Lease():
		s.leaseWritten(p, old, data)
	case key == l.GC():
		s.gcWritten(p, old, data)
	case key == l.Status():
		s.statusWritten(p, old, data)
	case key == l.Current(snapshot.FileIndex), key == l.Current(snapshot.FilePickle):
		s.copied(p, key, data)
	case strings.HasSuffix(key, "/"+snapshot.FileManifest):
		s.w.tally["check manifest"]++
		m, _ := decode[store.Manifest](data)
		if !s.doomed[m.ID] { // a stopped uploader's last request may find its files collected as an orphan's
			s.files(m, "manifest describes")
		}
	case strings.HasSuffix(key, "/"+snapshot.FileDocuments):
		id, _, _ := strings.Cut(strings.TrimPrefix(key, l.Root()), "/")
		s.documents[id] = data
	default:
		s.whole(key)
	}
}

func decode[T any](data []byte) (v T, ok bool) {
	return v, len(data) > 0 && json.Unmarshal(data, &v) == nil
}

// pointerWritten: it names a complete snapshot whose bytes match, epoch and generation never fall, the id changes
// only with the generation, no stale leader's write takes effect, and operators' intent is respected.
func (s *invariants) pointerWritten(p *proc, created bool, data []byte) {
	s.w.tally["check pointer"]++
	next, ok := decode[store.Pointer](data)
	if !ok || next.Kind != store.KindPointer {
		s.w.violate("%s wrote a pointer that is none", p.name)
		return
	}
	s.complete(next)
	if next.Base != nil && s.documents[next.ID] == nil && !s.hurt(next.Manifest) {
		lines, err := s.w.records(next.Manifest)
		if err != nil {
			s.w.violate("%s promoted %s, which is not what its manifest says: %v", p.name, next.ID, err)
		}
		s.documents[next.ID] = lines
	}
	if !s.valid[next.Source.SHA256] {
		s.w.violate("%s promoted %s, built from a catalogue that was never valid", p.name, next.ID)
	}
	if created && p.indexer && p.term < s.reign {
		s.promoted(next)
		s.pointer = next // the one write that nothing fences; the leader's fence follows
		return
	}
	at := fmt.Sprintf("%s|%d", next.Lineage, next.Generation)
	if id, seen := s.once[at]; seen && id != next.ID {
		s.w.violate("generation %d names %s and %s", next.Generation, id, next.ID)
	}
	s.once[at] = next.ID
	if s.generations[next.ID] == 0 {
		s.lowest[next.ID] = next.Generation
	}
	s.promoted(next)
	s.generations[next.ID] = max(s.generations[next.ID], next.Generation)
	prev := s.pointer
	s.pointer = next
	if prev.ID == "" {
		return
	}
	if next.Epoch < prev.Epoch && !created {
		s.w.violate("%s lowered the pointer's epoch from %d to %d", p.name, prev.Epoch, next.Epoch)
	}
	if next.Lineage != prev.Lineage {
		s.w.violate("%s changed the lineage", p.name)
	}
	switch {
	case next.Generation < prev.Generation:
		s.w.violate("%s lowered the generation from %d to %d", p.name, prev.Generation, next.Generation)
	case next.ID != prev.ID && next.Generation == prev.Generation:
		s.w.violate("%s changed the id within generation %d", p.name, prev.Generation)
	}
	switch { // nothing fences a creation
	case created || !p.indexer:
	case prev.Epoch > p.epoch:
		s.w.violate("%s of epoch %d wrote over the pointer, epoch %d leads", p.name, p.epoch, prev.Epoch)
	case s.reign > p.term:
		s.w.violate("%s of epoch %d wrote over the pointer though a later term leads", p.name, p.epoch)
	}
	if p.indexer && next.ID != prev.ID {
		s.judged(p, next)
		s.planned(p, next)
		if s.intent.suspended {
			s.w.violate("%s promoted %s while suspended", p.name, next.ID)
		}
		if s.intent.pin != "" && next.ID != s.intent.pin {
			s.w.violate("%s promoted %s while pinned to %s", p.name, next.ID, s.intent.pin)
		}
	}
}

// judged: a leader promotes nothing by itself that the gate holds.
func (s *invariants) judged(p *proc, next store.Pointer) {
	s.w.tally["check verdict"]++
	v, said := decode[store.Verdict](s.w.mem.Data(s.w.layout.Verdict(next.ID)))
	if !said && next.Gate != nil {
		v.Result = next.Gate.Result
	}
	switch next.Reason {
	case reconcile.ReasonRestored, reconcile.ReasonPin, reconcile.ReasonRollback, reconcile.ReasonOperator:
	default:
		if v.Result != reconcile.VerdictPassed {
			s.w.violate("%s promoted %s (%s), whose verdict is %q", p.name, next.ID, next.Reason, v.Result)
		}
	}
}

// promoted counts moves of the pointer.
func (s *invariants) promoted(next store.Pointer) {
	if s.order[next.ID] == 0 || next.Generation > s.generations[next.ID] {
		s.moves++
		s.order[next.ID] = s.moves
		if next.Base != nil { // its files are what old readers get
			s.order[next.Base.ID] = s.moves
		}
	}
}

// copied: a copy for old readers is of a snapshot that was promoted, and never of an older promotion than the one that it
// replaces.
func (s *invariants) copied(p *proc, key string, data []byte) {
	s.w.tally["check copies"]++
	info, _ := s.w.mem.Head(context.Background(), key)
	id := info.Metadata["snapshot-id"]
	switch {
	case s.order[id] == 0:
		s.w.violate("%s copies %s of %q, which was never promoted", p.name, key, id)
	case s.order[id] < s.copies[key]:
		s.w.violate("%s copies %s of %s over that of a later promotion", p.name, key, id)
	}
	s.copies[key] = s.order[id]
	m, _ := decode[store.Manifest](s.w.mem.Data(s.w.layout.Manifest(id)))
	if f, ok := m.File(snapshot.FilePickle); ok && key == s.w.layout.Current(f.Name) && f.SHA256 != digest(data) && !s.damaged[id] {
		s.w.violate("%s copies %s of %s, whose bytes are others", p.name, key, id)
	}
}

// complete checks the bytes of a snapshot against the manifest that the pointer names.
func (s *invariants) complete(ptr store.Pointer) {
	if s.hurt(ptr.Manifest) {
		return
	}
	l, mem := s.w.layout, s.w.mem
	if got := digest(mem.Data(l.Manifest(ptr.ID))); got != ptr.ManifestSHA256 {
		s.w.violate("pointer names %s, whose manifest is missing or another", ptr.ID)
		return
	}
	m, _ := decode[store.Manifest](mem.Data(l.Manifest(ptr.ID)))
	s.files(m, "pointer names")
}

// hurt: something that the snapshot is made of was damaged.
func (s *invariants) hurt(m store.Manifest) bool {
	return s.damaged[m.ID] || slices.ContainsFunc(m.Needs(), func(id string) bool { return s.damaged[id] })
}

// files checks that everything a manifest describes is stored.
func (s *invariants) files(m store.Manifest, what string) {
	if s.hurt(m) {
		return
	}
	for _, f := range m.Files {
		data := s.w.mem.Data(s.w.layout.FileKey(m, f))
		if int64(len(data)) != f.Size || digest(data) != f.SHA256 {
			s.w.violate("%s %s, whose %s is missing or another", what, m.ID, f.Name)
		}
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// whole checks the served snapshot again when something below it changed.
func (s *invariants) whole(key string) {
	if s.pointer.ID != "" && strings.HasPrefix(key, s.w.layout.Snapshot(s.pointer.ID)) {
		s.complete(s.pointer)
	}
}

func (s *invariants) leaseWritten(p *proc, old, data []byte) {
	s.w.tally["check lease"]++
	next, _ := decode[store.Lease](data)
	p.epoch = next.Epoch
	prev, ok := decode[store.Lease](old)
	if !ok || prev.Owner != next.Owner || prev.Epoch != next.Epoch {
		s.terms++
		p.term = s.terms
	}
	if !ok {
		return
	}
	if next.Epoch < prev.Epoch || (next.Owner != prev.Owner && next.Epoch == prev.Epoch) {
		s.w.violate("%s took the lease at epoch %d after %d", p.name, next.Epoch, prev.Epoch)
	}
	if next.Epoch == prev.Epoch && prev.Released {
		s.w.violate("%s revived a released lease", p.name)
	}
}

func (s *invariants) statusWritten(p *proc, old, data []byte) {
	s.w.tally["check status"]++
	type head struct {
		Epoch int64 `json:"epoch"`
	}
	next, _ := decode[head](data)
	prev, ok := decode[head](old)
	if ok && next.Epoch < prev.Epoch {
		s.w.violate("%s lowered the epoch of the status from %d to %d", p.name, prev.Epoch, next.Epoch)
	}
}

// gcWritten: the epoch never falls, a deletion is never taken back while anything of it is stored, and nothing is
// announced that is current, pinned, held or in a heartbeat that was there when gc.json was read.
func (s *invariants) gcWritten(p *proc, old, data []byte) {
	s.w.tally["check gc"]++
	next, _ := decode[store.GC](data)
	prev, _ := decode[store.GC](old)
	if next.Epoch < prev.Epoch {
		s.w.violate("%s lowered the epoch of gc.json from %d to %d", p.name, prev.Epoch, next.Epoch)
	}
	for id := range prev.Deleting {
		if _, ok := next.Deleting[id]; !ok && len(s.w.mem.Keys(s.w.layout.Snapshot(id))) > 0 {
			s.w.violate("%s took back the deletion of %s", p.name, id)
		}
	}
	for id := range next.Deleting {
		if _, ok := prev.Deleting[id]; !ok {
			s.announced(p, id, prev)
		}
	}
}

func (s *invariants) announced(p *proc, id string, prev store.GC) {
	s.w.tally["check announced deletion"]++
	s.doomed[id] = true
	if s.pointer.ID == id {
		s.w.violate("%s announced the deletion of the served %s", p.name, id)
	}
	if _, reserved := prev.Reserved[id]; reserved {
		s.w.violate("%s announced the deletion of %s, which is reserved", p.name, id)
	}
	if s.intent.pin == id {
		s.w.violate("%s announced the deletion of the pinned %s", p.name, id)
	}
	for _, key := range s.w.mem.Keys(s.w.layout.Replicas()) {
		beat, _ := decode[store.Heartbeat](s.w.mem.Data(key))
		info, err := s.w.mem.Head(context.Background(), key)
		if err != nil || s.beats[key] > p.gcSeen {
			continue // written after the collector began to look
		}
		// A margin for the time between the collector's look and its write.
		if info.Age() > time.Duration(beat.TTLSeconds)*time.Second {
			continue
		}
		if beat.Using == id || beat.Fetching == id {
			s.w.violate("%s announced the deletion of %s, which %s is using (%s) or fetching (%s)", p.name, id, beat.ID, beat.Using, beat.Fetching)
		}
	}
}

// deleting: only what was announced goes, and never what is served or pinned.
func (s *invariants) deleting(p *proc, key string, looked int) {
	s.w.tally["check deletion"]++
	s.forbidden(p, key, looked)
	id, _, found := strings.Cut(strings.TrimPrefix(key, s.w.layout.Root()), "/")
	if _, err := snapshot.ParseID(id); !found || err != nil {
		if !strings.HasPrefix(key, s.w.layout.Ledger()) && !strings.HasPrefix(key, s.w.layout.Replicas()) &&
			!strings.HasPrefix(key, s.w.layout.Probe("")) {
			s.w.violate("%s deletes %s", p.name, key)
		}
		return
	}
	doc, _ := decode[store.GC](s.w.mem.Data(s.w.layout.GC()))
	st, _ := decode[store.Status](s.w.mem.Data(s.w.layout.Status()))
	_, announced := doc.Deleting[id]
	_, remembered := st.Deleting[id]
	switch {
	case !announced && !remembered:
		s.w.violate("%s deletes %s, which was not announced", p.name, key)
	case !remembered && !s.lost[s.w.layout.Status()] || !announced && !s.lost[s.w.layout.GC()]:
		s.w.violate("%s deletes %s, which only one of gc.json (%v) and status.json (%v) says", p.name, key, announced, remembered)
	}
	if key != s.w.layout.Manifest(id) && s.w.mem.Data(s.w.layout.Manifest(id)) != nil {
		s.w.violate("%s deletes %s before its manifest", p.name, key)
	}
	if s.pointer.ID == id {
		s.w.violate("%s deletes %s of the served snapshot", p.name, key)
	}
	if s.intent.pin == id {
		s.w.violate("%s deletes %s of the pinned snapshot", p.name, key)
	}
}

// forbidden: who suspended or pinned, and was told so, finds that nothing is deleted by anybody who looked at
// control.json after that, and nothing at all without a look.
func (s *invariants) forbidden(p *proc, key string, looked int) {
	if s.intent.pin == "" && !s.intent.suspended || strings.HasPrefix(key, s.w.layout.Probe("")) {
		return
	}
	s.w.tally["check intent"]++
	if looked < 0 || looked > s.intent.since {
		s.w.violate("%s deletes %s while suspended (%v) or pinned (%q)", p.name, key, s.intent.suspended, s.intent.pin)
	}
}

// purchases: texts bought again are at most those in flight or not yet flushed when something was interrupted.
func (s *invariants) purchases() {
	s.w.tally["check purchases"]++
	if again := s.w.again(); again > s.allowance {
		s.w.violate("%d texts were bought again, %d were in flight or unflushed at interruptions", again, s.allowance)
	}
}
