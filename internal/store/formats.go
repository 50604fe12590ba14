package store

import (
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// FormatVersion is written into every document; what is newer than this binary knows is refused.
const FormatVersion = 1

// FormatDelta is that of the manifests of delta snapshots, of the pointers to them, and of gc.json and lease.json from the
// first delta or drop-in on: releases that know neither do not lead, promote or collect then.
const FormatDelta = 2

// newestFormat is the newest that is read.
const newestFormat = FormatDelta

// KindPointer marks current/manifest.json as a pointer; a snapshot's manifest copied over it lacks it.
const KindPointer = "Pointer"

// Source says which bytes of the catalogue a snapshot was built from.
type Source struct {
	Key       string           `json:"key"`
	ETag      string           `json:"etag"`
	VersionID string           `json:"version_id,omitempty"`
	SHA256    string           `json:"sha256"`
	Records   int              `json:"records"`
	Unknown   snapshot.Unknown `json:"-"`
}

// Stats of a build, against the snapshot that was served when it was made.
type Stats struct {
	Vectors   int `json:"vectors"`
	Added     int `json:"added"`
	Changed   int `json:"changed"`
	Removed   int `json:"removed"`
	Unchanged int `json:"unchanged"`
	Embedded  int `json:"embedded"` // texts bought for this build
	Reused    int `json:"reused"`   // texts found in the ledger
	Tokens    int `json:"tokens"`   // bought
	// Rows taken over from the served index, 0 when it was built anew; and rows inserted or lost since then.
	Carried          int `json:"carried"`
	ChangedSinceFull int `json:"changed_since_full"`
	RemovedSinceFull int `json:"removed_since_full,omitempty"` // of a delta snapshot: ids, or since an operator promoted one
	Moved            int `json:"moved,omitempty"`              // records that stand elsewhere in the catalogue, until the next base
	// When the oldest change, and removal, over the base was made; absent without one.
	OldestChange  time.Time        `json:"oldest_change,omitzero"`
	OldestRemoval time.Time        `json:"oldest_removal,omitzero"`
	BuildSeconds  float64          `json:"build_seconds"`
	Unknown       snapshot.Unknown `json:"-"`
}

// GateCheck is one line of a gate report.
type GateCheck struct {
	Name    string           `json:"name"`   // counts, dims, reopen, self_recall, recall, removed, golden
	Result  string           `json:"result"` // passed, held, failed
	Value   float64          `json:"value"`
	Limit   float64          `json:"limit"`
	Message string           `json:"message,omitempty"`
	Unknown snapshot.Unknown `json:"-"`
}

// GateReport is what the gate said of a candidate. Result: passed, held, failed.
type GateReport struct {
	Result   string           `json:"result"`
	Checks   []GateCheck      `json:"checks"`
	Settings string           `json:"settings"`           // digest of the gate's settings
	Golden   string           `json:"golden,omitempty"`   // ETag of golden.json, "" when there is none
	Baseline string           `json:"baseline,omitempty"` // the snapshot it was judged against
	At       time.Time        `json:"at"`
	Unknown  snapshot.Unknown `json:"-"`
}

// Check finds a check by its name.
func (g *GateReport) Check(name string) (GateCheck, bool) {
	i := slices.IndexFunc(g.Checks, func(c GateCheck) bool { return c.Name == name })
	if i < 0 {
		return GateCheck{}, false
	}
	return g.Checks[i], true
}

// Base is the full snapshot that a delta snapshot goes on from.
type Base struct {
	ID             string           `json:"id"`
	ManifestSHA256 string           `json:"manifest_sha256"`
	Records        int              `json:"records"`
	Vectors        int              `json:"vectors"` // of the first so many records
	Unknown        snapshot.Unknown `json:"-"`
}

// DeltaRef is one of the deltas that lead from the base to a delta snapshot: the object FileDelta of snapshot ID.
type DeltaRef struct {
	ID      string           `json:"id"`
	SHA256  string           `json:"sha256"`
	Size    int64            `json:"size"`
	Rows    int              `json:"rows"` // records and tombstones
	Unknown snapshot.Unknown `json:"-"`
}

// RoleBase is the Manifest.Role of a snapshot that was made to be a base: it is promoted with a delta over it alone.
const RoleBase = "base"

// MaxDeltas bounds Manifest.Deltas.
const MaxDeltas = 16

// Manifest describes one immutable snapshot. Written last: no manifest, no snapshot.
//
// Of a delta snapshot (Base is set, FormatVersion is FormatDelta) it is the one authority on everything that the snapshot
// is made of: Files names the base's, and every delta's, by where they are stored, with size and digest. Index is the
// base's, Stats and Source are of the whole.
type Manifest struct {
	FormatVersion int                  `json:"format_version"`
	ID            string               `json:"id"`
	CreatedAt     time.Time            `json:"created_at"`
	Source        Source               `json:"source"`
	Spec          snapshot.Spec        `json:"spec"`
	SpecDigest    string               `json:"spec_digest"`
	Index         snapshot.IndexParams `json:"index"`
	Files         []snapshot.File      `json:"files"`
	Stats         Stats                `json:"stats"`
	Repairs       []snapshot.Repair    `json:"repairs,omitempty"` // none: the catalogue was clean
	Gate          *GateReport          `json:"gate,omitempty"`
	Curve         *snapshot.Curve      `json:"curve,omitempty"`  // none: scores are not calibrated
	Base          *Base                `json:"base,omitempty"`   // nil: a full snapshot
	Deltas        []DeltaRef           `json:"deltas,omitempty"` // over the base, oldest first; its own is the last
	Role          string               `json:"role,omitempty"`   // RoleBase or none
	// ContentDigest is of the ids and digests of all records, whatever their order (snapshot.Content). Absent in those of
	// older releases.
	ContentDigest string `json:"content_digest,omitempty"`
	// DesiredDigest is of everything that says which records there are: the source, drop-ins, how they are read. Absent in
	// those of older releases, which go by the source's alone.
	DesiredDigest string           `json:"desired_digest,omitempty"`
	BuiltEpoch    int64            `json:"built_epoch"`
	Builder       string           `json:"builder"`
	Unknown       snapshot.Unknown `json:"-"`
}

// Promotion is one entry of the pointer's history: a snapshot that was current once.
type Promotion struct {
	ID         string           `json:"id"`
	Generation int64            `json:"generation"`
	PromotedAt time.Time        `json:"promoted_at"`
	RetiredAt  time.Time        `json:"retired_at"`
	Reason     string           `json:"reason"`                // why it was promoted
	RolledBack bool             `json:"rolled_back,omitempty"` // it was left by a rollback: never "previous" again
	Unknown    snapshot.Unknown `json:"-"`
}

// HistoryLength bounds Pointer.History.
const HistoryLength = 20

// Pointer is current/manifest.json: the one object whose conditional PUT is a promotion.
type Pointer struct {
	Kind string `json:"kind"`
	Manifest
	ManifestSHA256 string           `json:"manifest_sha256"` // of <ts>/manifest.json, which is the authority
	Signature      *Signature       `json:"signature,omitempty"`
	Lineage        string           `json:"lineage"` // UUID set when the pointer was first created
	Generation     int64            `json:"generation"`
	Epoch          int64            `json:"epoch"`
	Owner          string           `json:"owner,omitempty"` // of the lease of that epoch: two share one when lease.json was lost in between
	PromotedAt     time.Time        `json:"promoted_at"`
	Reason         string           `json:"reason"`
	Erased         string           `json:"erased,omitempty"` // Erasure.Mark: whoever serves it keeps no other copy
	Nonce          string           `json:"nonce"`
	History        []Promotion      `json:"history"` // newest first
	Unknown        snapshot.Unknown `json:"-"`
}

// Height is the highest generation of a lineage that was seen in a pointer. It is remembered beside the pointer, so
// that one restored from an earlier day is noticed, and what replicas report can be bounded.
type Height struct {
	Lineage    string           `json:"lineage"`
	Generation int64            `json:"generation"`
	Unknown    snapshot.Unknown `json:"-"`
}

// Lease elects the one indexer that works. It saves work; the pointer's If-Match is what keeps data right.
type Lease struct {
	FormatVersion int     `json:"format_version"`
	Epoch         int64   `json:"epoch"`
	Owner         string  `json:"owner"` // UUID per process
	Host          string  `json:"host,omitempty"`
	TTLSeconds    float64 `json:"ttl_seconds"`
	Released      bool    `json:"released"`
	Highest       Height  `json:"highest,omitzero"` // the pointer's, as the holder last saw it
	// PassedAt is when the holder's last pass ended, by its clock: a sign of life for people. Nothing is decided by it.
	PassedAt time.Time        `json:"passed_at,omitzero"`
	Nonce    string           `json:"nonce"`
	Unknown  snapshot.Unknown `json:"-"`
}

// Intent is who asked for something, and when (informative; nothing is decided by this clock).
type Intent struct {
	ID      string           `json:"id,omitempty"` // the snapshot, for a pin
	By      string           `json:"by"`
	At      time.Time        `json:"at"`
	Reason  string           `json:"reason,omitempty"`
	Unknown snapshot.Unknown `json:"-"`
}

// Request asks the live leader for work; the answer comes back in Status.Handled under the same token.
type Request struct {
	Token   string           `json:"token"`
	Verb    string           `json:"verb"` // reconcile, gc
	Force   bool             `json:"force,omitempty"`
	Against string           `json:"against,omitempty"` // the pointer that it was asked against, see Pointer.Mark
	At      time.Time        `json:"at"`
	Unknown snapshot.Unknown `json:"-"`
}

// Control is the operator's intent.
type Control struct {
	FormatVersion int      `json:"format_version"`
	Suspended     *Intent  `json:"suspended,omitempty"`
	Pin           *Intent  `json:"pin,omitempty"`
	Request       *Request `json:"request,omitempty"`
	Erase         *Erasure `json:"erase,omitempty"`
	// DropInsSeq is raised by whoever wrote or removed a drop-in: a pass lists them when it is another.
	DropInsSeq int64            `json:"dropins_seq,omitempty"`
	Nonce      string           `json:"nonce"`
	Unknown    snapshot.Unknown `json:"-"`
}

// Mark is one entry of gc.json.
type Mark struct {
	At      time.Time        `json:"at"`
	By      string           `json:"by"`
	Unknown snapshot.Unknown `json:"-"`
}

// GC holds what must not be adopted any more (deleting, one-way) and what must not be deleted now (holds).
type GC struct {
	FormatVersion int             `json:"format_version"`
	Epoch         int64           `json:"epoch"`
	Deleting      map[string]Mark `json:"deleting"`
	Reserved      map[string]Mark `json:"holds"`
	// Retired is when snapshots were current that the pointer's history may not remember any more: those that were current
	// for a minute, or at every fifth, or as the last over their base.
	Retired map[string]Served `json:"retired,omitempty"`
	// Building is the base that a compaction makes beside the passes: it stays while its epoch leads.
	Building *Building        `json:"building,omitempty"`
	Nonce    string           `json:"nonce"`
	Unknown  snapshot.Unknown `json:"-"`
}

// Served is when a snapshot was current, the last time.
type Served struct {
	From    time.Time        `json:"from"`
	To      time.Time        `json:"to"`
	Unknown snapshot.Unknown `json:"-"`
}

// Building is a compaction under way.
type Building struct {
	ID            string           `json:"id"`
	Epoch         int64            `json:"epoch"`
	DesiredDigest string           `json:"desired_digest"`
	At            time.Time        `json:"at"`
	Unknown       snapshot.Unknown `json:"-"`
}

// Condition as in Kubernetes. Status: "True", "False", "Unknown".
type Condition struct {
	Type               string           `json:"type"`
	Status             string           `json:"status"`
	Reason             string           `json:"reason"`
	Message            string           `json:"message"`
	LastTransitionTime time.Time        `json:"lastTransitionTime"`
	ObservedGeneration int64            `json:"observedGeneration"`
	Unknown            snapshot.Unknown `json:"-"`
}

// Handled echoes a Request's token with what came of it.
type Handled struct {
	Token    string           `json:"token"`
	Result   string           `json:"result"`
	ExitCode int              `json:"exit_code"`
	Message  string           `json:"message,omitempty"`
	At       time.Time        `json:"at"`
	Unknown  snapshot.Unknown `json:"-"`
}

// Replica is the fleet view of one heartbeat.
type Replica struct {
	Heartbeat
	AgeSeconds float64          `json:"age_seconds"`
	State      string           `json:"state"` // current, behind, ahead
	Unknown    snapshot.Unknown `json:"-"`
}

// Retention is what garbage collection keeps: the newest snapshots ever promoted, and whatever was retired less long ago.
type Retention struct {
	Snapshots    int     `json:"snapshots"`
	GraceSeconds float64 `json:"grace_seconds"`
	Deltas       bool    `json:"deltas,omitempty"` // and delta snapshots to go back to, by when they were current
}

// Status is what the leader last saw and did.
type Status struct {
	FormatVersion int       `json:"format_version"`
	Epoch         int64     `json:"epoch"`
	Owner         string    `json:"owner"`
	Host          string    `json:"host,omitempty"`
	At            time.Time `json:"at"`
	Source        Source    `json:"source"`            // last read
	Pointer       *Pointer  `json:"pointer,omitempty"` // last known good; repairs one that is lost, invalid or older
	Highest       Height    `json:"highest,omitzero"`
	// What operators and the collector had written, for when somebody deletes control.json or gc.json.
	Control    *Control         `json:"control,omitempty"` // without its request
	Deleting   map[string]Mark  `json:"deleting,omitempty"`
	Retention  *Retention       `json:"retention,omitempty"` // by which the leader collects
	Conditions []Condition      `json:"conditions"`
	LastPass   Pass             `json:"last_pass"`
	Held       string           `json:"held,omitempty"` // a candidate waiting for an operator
	Handled    *Handled         `json:"handled,omitempty"`
	Replicas   []Replica        `json:"replicas"`
	Erasing    *Erasing         `json:"erasure,omitempty"`
	Nonce      string           `json:"nonce"`
	Unknown    snapshot.Unknown `json:"-"`
}

// Pass is the outcome of one reconcile pass.
type Pass struct {
	ID         string           `json:"id"`
	Result     string           `json:"result"` // unchanged, promoted, held, failed, follower, suspended, pinned
	Message    string           `json:"message,omitempty"`
	StartedAt  time.Time        `json:"started_at"`
	Seconds    float64          `json:"seconds"`
	RequeueIn  float64          `json:"requeue_in_seconds,omitempty"`
	SnapshotID string           `json:"snapshot,omitempty"`
	Unknown    snapshot.Unknown `json:"-"`
}

// Rejection says which snapshot a replica refused, and why.
type Rejection struct {
	ID             string           `json:"id"`
	ManifestSHA256 string           `json:"manifest_sha256"`
	Reason         string           `json:"reason"` // hash_mismatch, memory, open, embedding, missing, unsigned, …
	Message        string           `json:"message"`
	Since          time.Time        `json:"since"`
	Unknown        snapshot.Unknown `json:"-"`
}

// Heartbeat is replicas/<id>.json, the only thing that a server writes.
type Heartbeat struct {
	FormatVersion int              `json:"format_version"`
	ID            string           `json:"id"`
	Using         string           `json:"using"`
	Fetching      string           `json:"fetching,omitempty"`
	Generation    int64            `json:"generation"`
	Lineage       string           `json:"lineage"`
	Source        string           `json:"vectorstore_source"`
	LoadedAt      time.Time        `json:"loaded_at"`
	Rejected      *Rejection       `json:"rejected,omitempty"`
	Erased        string           `json:"erased,omitempty"` // of the pointer, once no copy but the served one is left here
	TTLSeconds    float64          `json:"ttl_seconds"`
	Version       string           `json:"version"`
	Unknown       snapshot.Unknown `json:"-"`
}

// Verdict is <ts>/verdict.json. Result: passed, held, failed, corrupt.
type Verdict struct {
	FormatVersion int              `json:"format_version"`
	ID            string           `json:"id"`
	Result        string           `json:"result"`
	Settings      string           `json:"settings"`
	Golden        string           `json:"golden,omitempty"`
	Baseline      string           `json:"baseline,omitempty"`
	Gate          *GateReport      `json:"gate,omitempty"`
	Message       string           `json:"message,omitempty"`
	By            string           `json:"by"`
	At            time.Time        `json:"at"`
	Unknown       snapshot.Unknown `json:"-"`
}
