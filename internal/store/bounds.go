package store

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Bounds of what documents say. Whoever can write one of them could otherwise stop everybody who reads it: what is
// outside is not read (ErrCorrupt) and not written (ErrInvalid). Numbers that are only advice, as a heartbeat's
// generation, are not refused but bounded where they are used.
const (
	// MaxGeneration and MaxEpoch are the largest integers that every JSON reader keeps exactly.
	MaxGeneration = 1<<53 - 1
	MaxEpoch      = 1<<53 - 1
	// MinLeaseTTL and MaxLeaseTTL bound how long a silent holder of the lease is waited for, whatever its record says.
	MinLeaseTTL = 5 * time.Second
	MaxLeaseTTL = 5 * time.Minute
	// MaxHeartbeatTTL is the longest that a heartbeat counts for.
	MaxHeartbeatTTL = 24 * time.Hour
	// MaxHeartbeat bounds a heartbeat in bytes: one with the longest of every field takes 3 KiB.
	MaxHeartbeat = 16 << 10

	maxRecords = 1 << 31
	maxDims    = 1 << 16
	maxParam   = 1 << 24 // of an index: lists, probes, neighbours, width of a search
	maxSize    = 1 << 44 // of a file in bytes; 64 of them are far from an overflow
	maxHistory = 5 * HistoryLength
	maxMarks   = 10_000 // of gc.json: 60 bytes each
	maxItems   = 64     // conditions of a status, checks of a gate report
	maxToken   = 128    // names and nonces
	maxLabel   = 512    // models, keys, reasons
	maxText    = 16 << 10
)

// A lineage can have grown, since a promotion that is known, by a burst and so many generations a second.
const (
	plausibleBurst  = 10
	plausiblePerSec = 10
)

// Plausible is the highest generation that a lineage can have reached by now when it was at known, promoted at since.
func Plausible(known int64, since, now time.Time) int64 {
	seconds := max(0, now.Sub(since).Seconds()) // at most 292 years: no overflow
	return min(MaxGeneration, known+plausibleBurst+int64(plausiblePerSec*seconds))
}

// TTL is for how long the record counts when it is seen unchanged.
func (l Lease) TTL() time.Duration { return seconds(l.TTLSeconds, MinLeaseTTL, MaxLeaseTTL) }

// TTL is the age up to which the heartbeat counts.
func (h Heartbeat) TTL() time.Duration { return seconds(h.TTLSeconds, 0, MaxHeartbeatTTL) }

// Grace is for how long what was retired stays, at most a century.
func (r Retention) Grace() time.Duration { return seconds(r.GraceSeconds, 0, 100*365*24*time.Hour) }

// seconds converts what a document says into least..most.
func seconds(s float64, least, most time.Duration) time.Duration {
	return time.Duration(min(max(s, least.Seconds()), most.Seconds()) * float64(time.Second))
}

// rules collects what is wrong with a document: the first.
type rules struct{ err error }

func (r *rules) need(ok bool, format string, args ...any) {
	if r.err == nil && !ok {
		r.err = fmt.Errorf(format, args...)
	}
}

// number wants least ≤ n ≤ most.
func (r *rules) number(name string, n, least, most int64) {
	r.need(least <= n && n <= most, "%s is %d, not %d..%d", name, n, least, most)
}

// text wants at most `most` bytes without control characters.
func (r *rules) text(name, s string, most int) {
	r.need(len(s) <= most, "%s has %d bytes, at most %d", name, len(s), most)
	r.need(strings.IndexFunc(s, unicode.IsControl) < 0, "%s is %.80q, with control characters", name, s)
}

// id wants a snapshot's id, or "" when it may be absent.
func (r *rules) id(name, s string, absent bool) {
	_, err := snapshot.ParseID(s)
	r.need(err == nil || absent && s == "", "%s is %.80q, not a snapshot id", name, s)
}

func (m Manifest) validate() error {
	r := &rules{}
	m.rules(r)
	return r.err
}

// rules are what readers rely on: a safe id, a spec that is the one the digest names, files whose names are safe as
// names of local files, and numbers that can be reckoned with.
func (m Manifest) rules(r *rules) {
	r.id("id", m.ID, false)
	r.number("built_epoch", m.BuiltEpoch, 0, MaxEpoch)
	r.text("builder", m.Builder, maxLabel)
	m.Source.rules(r)
	specRules(r, m.Spec)
	r.need(m.SpecDigest == m.Spec.Digest(), "spec_digest is %.80q, the spec's is %s", m.SpecDigest, m.Spec.Digest())
	indexRules(r, m.Index)
	m.Stats.rules(r)
	r.need(len(m.Files) > 0 && len(m.Files) <= maxFiles, "%d files", len(m.Files))
	seen := make(map[string]bool, len(m.Files))
	for _, f := range m.Files[:min(len(m.Files), maxFiles)] {
		fileRules(r, f)
		r.id("from of "+f.Name, f.From, true)
		r.need(!seen[m.LocalName(f)], "file %q is listed twice", m.LocalName(f))
		seen[m.LocalName(f)] = true
	}
	m.compositionRules(r)
	if m.Gate != nil {
		m.Gate.rules(r)
	}
}

// compositionRules: a full snapshot's files are its own; of a delta snapshot the own file is its delta, and every other is
// the base's or the delta of one that it names.
func (m Manifest) compositionRules(r *rules) {
	r.need(m.Role == "" || m.Role == RoleBase, "role is %.80q", m.Role)
	r.need(m.ContentDigest == "" || isSHA256(m.ContentDigest), "content_digest is %.80q", m.ContentDigest)
	r.need(m.DesiredDigest == "" || isSHA256(m.DesiredDigest), "desired_digest is %.80q", m.DesiredDigest)
	if m.Base == nil {
		r.need(len(m.Deltas) == 0, "%d deltas over no base", len(m.Deltas))
		for _, f := range m.Files {
			r.need(f.From == "" && f.Name != snapshot.FileDelta, "file %q of %.80q in a full snapshot", f.Name, f.From)
		}
		return
	}
	r.need(m.FormatVersion >= FormatDelta, "format_version of a delta snapshot is %d", m.FormatVersion)
	r.need(m.Role == "" && m.ContentDigest != "", "a delta snapshot of role %q, content %q", m.Role, m.ContentDigest)
	r.id("base", m.Base.ID, false)
	r.need(isSHA256(m.Base.ManifestSHA256), "base.manifest_sha256 is %.80q", m.Base.ManifestSHA256)
	r.number("base.records", int64(m.Base.Records), 0, maxRecords)
	r.number("base.vectors", int64(m.Base.Vectors), 0, int64(m.Base.Records))
	n := len(m.Deltas)
	r.need(n > 0 && n <= MaxDeltas && m.Deltas[n-1].ID == m.ID, "%d deltas, the last of which is not the snapshot's own", n)
	if r.err != nil {
		return
	}
	named := make(map[string]DeltaRef, n)
	for _, d := range m.Deltas {
		r.id("delta", d.ID, false)
		r.number("rows of a delta", int64(d.Rows), 0, maxRecords)
		_, twice := named[d.ID]
		r.need(!twice && d.ID != m.Base.ID, "delta %s is named twice", d.ID)
		named[d.ID] = d
	}
	deltas, indexed := 0, false
	for _, f := range m.Files {
		if f.Name != snapshot.FileDelta {
			r.need(f.From == m.Base.ID, "file %q is of %.80q, the base is %s", f.Name, f.From, m.Base.ID)
			indexed = indexed || f.Name == snapshot.FileIndex
			continue
		}
		d, ok := named[cmp.Or(f.From, m.ID)]
		r.need(ok && f.From != m.ID && d.SHA256 == f.SHA256 && d.Size == f.Size, "the delta of %.80q is another than the one that is named", f.From)
		deltas++
	}
	r.need(deltas == n && indexed, "%d files of %d deltas, or a base without an index", deltas, n)
}

func (s Source) rules(r *rules) {
	r.text("source.key", s.Key, 1024)
	r.text("source.etag", s.ETag, maxLabel)
	r.text("source.version_id", s.VersionID, 1024)
	r.need(s.SHA256 == "" || isSHA256(s.SHA256), "source.sha256 is %.80q", s.SHA256)
	r.number("source.records", int64(s.Records), 0, maxRecords)
}

func specRules(r *rules, s snapshot.Spec) {
	r.number("spec.embedding.dims", int64(s.Embedding.Dims), 1, maxDims)
	// Instructions to a model may have several lines.
	r.need(len(s.Embedding.DocumentPrefix) <= maxText && len(s.Embedding.QueryPrefix) <= maxText, "a prefix has more than %d bytes", maxText)
	for name, text := range map[string]string{
		"embedding.provider": s.Embedding.Provider, "embedding.model": s.Embedding.Model,
		"embedding.version": s.Embedding.Version, "metric": s.Metric, "text_template": s.TextTemplate, "index_kind": s.IndexKind,
	} {
		r.text("spec."+name, text, maxLabel)
	}
}

func indexRules(r *rules, p snapshot.IndexParams) {
	r.text("index.kind", p.Kind, maxLabel)
	for name, n := range map[string]int{
		"nlist": p.NList, "nprobe": p.NProbe, "m": p.M, "ef_construction": p.EfConstruction, "ef_search": p.EfSearch,
	} {
		r.number("index."+name, int64(n), 0, maxParam)
	}
}

func (s Stats) rules(r *rules) {
	for name, n := range map[string]int{
		"vectors": s.Vectors, "added": s.Added, "changed": s.Changed, "removed": s.Removed, "unchanged": s.Unchanged,
		"embedded": s.Embedded, "reused": s.Reused, "carried": s.Carried, "changed_since_full": s.ChangedSinceFull,
		"removed_since_full": s.RemovedSinceFull, "moved": s.Moved,
	} {
		r.number("stats."+name, int64(n), 0, maxRecords)
	}
}

func checkFile(f snapshot.File) error {
	r := &rules{}
	fileRules(r, f)
	return r.err
}

func fileRules(r *rules, f snapshot.File) {
	r.need(safeName(f.Name) && f.Name != snapshot.FileManifest && f.Name != snapshot.FileVerdict && f.Name != snapshot.FileSignature, "file name %.80q", f.Name)
	r.number("size of "+f.Name, f.Size, 0, maxSize)
	r.need(isSHA256(f.SHA256), "file %q has sha256 %.80q", f.Name, f.SHA256)
}

func (g GateReport) rules(r *rules) {
	r.text("gate.result", g.Result, maxToken)
	r.text("gate.settings", g.Settings, maxLabel)
	r.text("gate.golden", g.Golden, maxLabel)
	r.id("gate.baseline", g.Baseline, true)
	r.need(len(g.Checks) <= maxItems, "%d checks", len(g.Checks))
}

func (p Pointer) validate() error {
	r := &rules{}
	r.need(p.Kind == KindPointer, "kind is %.80q, not %q", p.Kind, KindPointer)
	r.need(isSHA256(p.ManifestSHA256), "manifest_sha256 is %.80q", p.ManifestSHA256)
	r.need(p.Lineage != "", "lineage is missing")
	Height{Lineage: p.Lineage, Generation: p.Generation}.rules(r)
	r.number("generation", p.Generation, 1, MaxGeneration)
	r.number("epoch", p.Epoch, 0, MaxEpoch)
	r.text("reason", p.Reason, maxLabel)
	r.text("erased", p.Erased, maxToken)
	r.text("nonce", p.Nonce, maxToken)
	r.need(len(p.History) <= maxHistory, "%d entries of history, at most %d", len(p.History), maxHistory)
	for _, h := range p.History[:min(len(p.History), maxHistory)] {
		r.id("history", h.ID, false)
		r.number("generation in the history", h.Generation, 0, MaxGeneration)
		r.text("reason in the history", h.Reason, maxLabel)
	}
	if p.Signature != nil {
		p.Signature.rules(r)
	}
	p.rules(r)
	return r.err
}

func (s Signature) validate() error {
	r := &rules{}
	s.rules(r)
	return r.err
}

func (s Signature) rules(r *rules) {
	r.text("signature.key_id", s.Key, maxToken)
	r.text("signature.algorithm", s.Algorithm, maxToken)
	r.need(len(s.Value) > 0 && len(s.Value) <= maxLabel, "a signature of %d bytes", len(s.Value))
}

func (h Height) rules(r *rules) {
	r.text("lineage", h.Lineage, maxToken)
	r.number("generation", h.Generation, 0, MaxGeneration)
}

func (l Lease) validate() error {
	r := &rules{}
	r.number("epoch", l.Epoch, 0, MaxEpoch)
	r.text("owner", l.Owner, maxToken)
	r.text("host", l.Host, maxLabel)
	r.text("nonce", l.Nonce, maxToken)
	l.Highest.rules(r)
	return r.err
}

func (c Control) validate() error {
	r := &rules{}
	r.text("nonce", c.Nonce, maxToken)
	if c.Suspended != nil {
		c.Suspended.rules(r)
	}
	if c.Pin != nil {
		c.Pin.rules(r)
		r.id("pin", c.Pin.ID, false)
	}
	if q := c.Request; q != nil {
		r.text("request.token", q.Token, maxToken)
		r.text("request.verb", q.Verb, maxToken)
		r.text("request.against", q.Against, maxLabel)
	}
	if c.Erase != nil {
		c.Erase.rules(r)
	}
	r.number("dropins_seq", c.DropInsSeq, 0, MaxGeneration)
	return r.err
}

func (i Intent) rules(r *rules) {
	r.text("by", i.By, maxLabel)
	r.text("reason", i.Reason, maxText)
}

func (g GC) validate() error {
	r := &rules{}
	r.number("epoch", g.Epoch, 0, MaxEpoch)
	marks(r, g.Deleting)
	marks(r, g.Reserved)
	r.need(len(g.Retired) <= maxMarks, "%d retired, at most %d", len(g.Retired), maxMarks)
	for id := range g.Retired {
		r.id("retired", id, false)
	}
	if b := g.Building; b != nil {
		r.id("building", b.ID, false)
		r.number("building.epoch", b.Epoch, 0, MaxEpoch)
		r.need(isSHA256(b.DesiredDigest), "building.desired_digest is %.80q", b.DesiredDigest)
	}
	return r.err
}

func marks(r *rules, all map[string]Mark) {
	r.need(len(all) <= maxMarks, "%d entries, at most %d", len(all), maxMarks)
	for id, m := range all {
		r.id("entry", id, false)
		r.text("by", m.By, maxLabel)
	}
}

func (s Status) validate() error {
	r := &rules{}
	r.number("epoch", s.Epoch, 0, MaxEpoch)
	s.Source.rules(r)
	s.Highest.rules(r)
	r.need(len(s.Conditions) <= maxItems, "%d conditions", len(s.Conditions))
	r.id("held", s.Held, true)
	marks(r, s.Deleting)
	if s.Erasing != nil {
		s.Erasing.rules(r)
	}
	for _, part := range []struct {
		name    string
		present bool
		valid   func() error
	}{
		{"pointer", s.Pointer != nil, func() error { return s.Pointer.validate() }},
		{"control", s.Control != nil, func() error { return s.Control.validate() }},
	} {
		if part.present && r.err == nil {
			err := part.valid()
			r.need(err == nil, "%s: %w", part.name, err)
		}
	}
	return r.err
}

func (h Heartbeat) validate() error {
	r := &rules{}
	r.need(safeName(h.ID), "id is %.80q", h.ID)
	r.id("using", h.Using, true)
	r.id("fetching", h.Fetching, true)
	r.text("lineage", h.Lineage, maxToken)
	r.text("vectorstore_source", h.Source, maxToken)
	r.text("erased", h.Erased, maxToken)
	r.text("version", h.Version, maxLabel)
	if j := h.Rejected; j != nil {
		r.id("rejected.id", j.ID, false)
		r.text("rejected.reason", j.Reason, maxToken)
		r.need(len(j.ManifestSHA256) <= maxToken, "rejected.manifest_sha256 is %.80q", j.ManifestSHA256)
	}
	return r.err
}

func (v Verdict) validate() error {
	r := &rules{}
	r.id("id", v.ID, false)
	r.text("result", v.Result, maxToken)
	r.text("settings", v.Settings, maxLabel)
	r.text("golden", v.Golden, maxLabel)
	r.id("baseline", v.Baseline, true)
	if v.Gate != nil {
		v.Gate.rules(r)
	}
	return r.err
}
