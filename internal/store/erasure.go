package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Bounds of an Erasure. Every pass reads control.json, which holds it: 1,000 records make some 200 KB.
const (
	MaxErased         = 1000
	maxErasedRevision = 1 << 20
	// erasedAhead is how many changes ahead of what status.json remembers a revision can be: whatever is above was not
	// counted up, and remembered it could never be overtaken again.
	erasedAhead = 1000
)

// Erasure is what operators asked to be gone for good, and not to come back before it is lifted. The store must not
// say of whom it speaks: a record stands in it as an HMAC of its id, under a key that is kept elsewhere.
type Erasure struct {
	// Revision is one more with every purge and every lift. An older document that was put back is known by it.
	Revision int64            `json:"revision"`
	Key      string           `json:"key_id"` // EraseKey.ID of the key that the names are made with
	Records  []Erased         `json:"records"`
	Unknown  snapshot.Unknown `json:"-"`
}

// Erased is one record of an Erasure.
type Erased struct {
	Name    string           `json:"name"` // EraseKey.Name of its id
	By      string           `json:"by"`
	At      time.Time        `json:"at"` // informative
	Unknown snapshot.Unknown `json:"-"`
}

// Mark identifies the set of records: what was seen to be gone is gone for this set only. "" for none.
func (e *Erasure) Mark() string {
	if e == nil || len(e.Records) == 0 {
		return ""
	}
	names := make([]string, len(e.Records))
	for i, r := range e.Records {
		names[i] = r.Name
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(e.Key + " " + strings.Join(names, " ")))
	return hex.EncodeToString(sum[:8])
}

// Since is when the newest record was asked for.
func (e *Erasure) Since() time.Time {
	var at time.Time
	for _, r := range e.Records {
		if r.At.After(at) {
			at = r.At
		}
	}
	return at
}

// Older says whether e was put back over the one that is remembered.
func (e *Erasure) Older(remembered *Erasure) bool {
	return remembered != nil && (e == nil || e.Revision < remembered.Revision)
}

// Plausible says whether e can have followed the one that is remembered.
func (e *Erasure) Plausible(remembered *Erasure) bool {
	return e == nil || remembered == nil || e.Revision <= remembered.Revision+erasedAhead
}

func (e Erasure) rules(r *rules) {
	r.number("erase.revision", e.Revision, 0, maxErasedRevision)
	r.text("erase.key_id", e.Key, maxToken)
	r.need(len(e.Records) <= MaxErased, "%d records to erase, at most %d", len(e.Records), MaxErased)
	for _, one := range e.Records[:min(len(e.Records), MaxErased)] {
		r.need(len(one.Name) == 2*nameLen && lowerHex(one.Name), "the name of a record to erase is %.80q", one.Name)
		r.text("erase.by", one.By, maxLabel)
	}
}

// nameLen is the length of a name in bytes: half an HMAC-SHA256, which nobody can guess or find a second id for.
const nameLen = 16

// minEraseKey is the least length of a key: 32 characters of hex are 128 bits.
const minEraseKey = 32

// EraseKey makes the names of erased records. Whoever has it can tell whether an id was erased, by trying; it is kept
// outside of the store. Safe for concurrent use.
type EraseKey struct{ secret []byte }

// NewEraseKey takes any text of at least 32 bytes. What it says never holds the text.
func NewEraseKey(text string) (*EraseKey, error) {
	text = strings.TrimSpace(text)
	if len(text) < minEraseKey {
		return nil, fmt.Errorf("has %d characters, at least %d are needed; `indexer keygen` makes one", len(text), minEraseKey)
	}
	if len(text) > maxLabel {
		return nil, errors.New("is longer than 512 characters")
	}
	return &EraseKey{[]byte(text)}, nil
}

// ID tells keys apart.
func (k *EraseKey) ID() string {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte("vectorstore erase key"))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

func (k *EraseKey) String() string   { return "erase key " + k.ID() }
func (k *EraseKey) GoString() string { return k.String() }

// Name of a record in an Erasure: an HMAC of the digest by which documents.idx knows its id.
func (k *EraseKey) Name(id string) string {
	n := newNamer(k).name(snapshot.IDHash(id))
	return hex.EncodeToString(n[:])
}

// Opens says whether e's names are made with k.
func (k *EraseKey) Opens(e *Erasure) bool {
	return e == nil || len(e.Records) == 0 || k != nil && e.Key == k.ID()
}

// Matcher returns a function that tells whether a record, by its snapshot.IDHash, is one of e's. It is for one goroutine. A
// million of them take a second.
func (e *Erasure) Matcher(k *EraseKey) func(id [16]byte) bool {
	if e.Mark() == "" {
		return func([16]byte) bool { return false }
	}
	names := make(map[[nameLen]byte]bool, len(e.Records))
	for _, r := range e.Records {
		var n [nameLen]byte
		if _, err := hex.Decode(n[:], []byte(r.Name)); err == nil {
			names[n] = true
		}
	}
	namer := newNamer(k)
	return func(id [16]byte) bool { return names[namer.name(id)] }
}

type namer struct {
	mac hash.Hash
	sum []byte
}

func newNamer(k *EraseKey) *namer { return &namer{mac: hmac.New(sha256.New, k.secret)} }

func (n *namer) name(id [16]byte) [nameLen]byte {
	n.mac.Reset()
	n.mac.Write(id[:])
	n.sum = n.mac.Sum(n.sum[:0])
	return [nameLen]byte(n.sum)
}

// States of an Erasing.
const (
	ErasureErasing = "erasing"            // something of ours is left, or was not looked at yet
	ErasureWaiting = "waiting for people" // only what people wrote is left
	ErasureErased  = "erased"             // a listing of everything, older versions included, found nothing
)

// Erasing is how far what an Erasure asks for is gone, as the leader last saw it.
type Erasing struct {
	Mark    string    `json:"mark"` // of the Erasure that it is about
	State   string    `json:"state"`
	Records int       `json:"records"`
	Since   time.Time `json:"since"`
	// From is the first snapshot that was promoted with it: an index that grew over earlier ones may go back to one that
	// held a record.
	From string `json:"from,omitempty"`
	// CleanAt: by the store's clock, when everything of ours that a read finds was free of the records. Older versions
	// from before must go.
	CleanAt time.Time `json:"clean_at,omitzero"`

	Left       []string     `json:"left,omitempty"`         // of ours, in words: the first twenty
	People     []PeopleFile `json:"people_files,omitempty"` // the first hundred
	MorePeople int          `json:"more_people_files,omitempty"`
	// Replicas that were not seen to drop their older copies, and are not alive.
	Unproven []string `json:"unproven_replicas,omitempty"`

	Removed []string         `json:"removed,omitempty"` // snapshots that held one: the newest hundred
	Deleted int              `json:"deleted"`           // objects and versions, as far as was counted
	Proof   *Proof           `json:"proof,omitempty"`
	Unknown snapshot.Unknown `json:"-"`
}

// Grown says whether the index of a snapshot may go back to one that held a record that was asked for.
func (e *Erasing) Grown(asked *Erasure, m Manifest) bool {
	return e != nil && e.Mark == asked.Mark() && m.Stats.Carried > 0 && m.ID < e.From
}

// Proves says whether everything that is asked for was found to be gone.
func (e *Erasing) Proves(asked *Erasure) bool {
	return e != nil && e.Mark == asked.Mark() && e.State == ErasureErased
}

// PeopleFile is a version of an object that people wrote and that holds an erased record.
type PeopleFile struct {
	Key     string           `json:"key"`
	Version string           `json:"version,omitempty"`
	Current bool             `json:"current"`
	Why     string           `json:"why"`
	Unknown snapshot.Unknown `json:"-"`
}

// Proof is what was looked at when nothing was found: counts and keys, no content.
type Proof struct {
	At        time.Time        `json:"at"`
	Snapshot  string           `json:"snapshot"` // served without them
	Snapshots int              `json:"snapshots"`
	Segments  int              `json:"segments"` // of the ledger
	Versions  int              `json:"versions"` // looked at
	Replicas  int              `json:"replicas"` // that dropped their older copies
	Prefixes  []string         `json:"prefixes"` // that were listed
	Unknown   snapshot.Unknown `json:"-"`
}

func (e Erasing) rules(r *rules) {
	r.text("erasure.mark", e.Mark, maxToken)
	r.text("erasure.state", e.State, maxToken)
	r.id("erasure.from", e.From, true)
	for name, n := range map[string]int{
		"left": len(e.Left), "people": len(e.People), "unproven_replicas": len(e.Unproven), "removed": len(e.Removed),
	} {
		r.need(n <= MaxErased, "erasure.%s has %d entries", name, n)
	}
}
