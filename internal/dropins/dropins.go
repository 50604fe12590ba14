// Package dropins is about files that change single records of a catalogue without the whole of it being written: what one
// holds, and what the source and all of them together say.
//
// A drop-in is a file in any format of a catalogue. A record in it stands for the one of the same id in the source, or is
// a new one; `{"vendor_id":"V-1","_deleted":true}` takes V-1 away, and never V-1~2. Files apply in the order of their
// names, and of two records with an id the later one counts.
//
// Two kinds of people write them. Who puts a file there by hand means it for as long as it is there. What a
// program wrote for them, with the metadata below, says which record of the source it was written against; when the source has another one by
// now, the source is newer and wins, so that nothing that was put once hides the source for ever.
package dropins

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Bounds of what drop-ins may be: they are kept in memory, as they are and as records, some 300 MB at the worst. More
// belongs into the source.
const (
	MaxFiles   = 10_000
	MaxSize    = 16 << 20 // bytes of one
	MaxTotal   = 64 << 20 // bytes of all
	maxRecords = 100_000  // of one
)

// Absent is what a drop-in was written against when the source had no such record.
const Absent = "absent"

// File is a drop-in as it was read.
type File struct {
	Name   string // in the folder; they apply in this order
	SHA256 [32]byte

	// Of what a program wrote; of a file by hand all are empty.
	Against string    // Digest of the source's record then, or Absent
	By      string    // who
	At      time.Time // when

	Entries []Entry
}

// Ours says whether a program wrote the file.
func (f *File) Ours() bool { return f.Against != "" }

// Entry is what a drop-in says about one id.
type Entry struct {
	Record  vendors.Record // of what is taken away the id alone counts
	Deleted bool
}

// Digest is how a record is named in File.Against.
func Digest(rec vendors.Record) string { return hex.EncodeToString(rec.Digest[:]) }

const (
	prefix = "put-"
	suffix = ".json"
)

// NameOf is the name of the file that a program writes for an id.
func NameOf(id string) string {
	h := snapshot.IDHash(id)
	return prefix + hex.EncodeToString(h[:]) + suffix
}

// Ignored says whether a name in the folder is none of a drop-in: a folder's own, or one that begins with a dot, as
// editors and tools name what is not finished.
func Ignored(name string) bool {
	return name == "" || strings.HasSuffix(name, "/") || strings.HasPrefix(path.Base(name), ".")
}

// Keys of the metadata in which a program says what it wrote. A copy of its file by hand has none, and is a file by hand.
const (
	metaAgainst = "against"
	metaBy      = "by"
	metaAt      = "at"
)

// Metadata is stored with a file of ours. Stores take ASCII there.
func (f *File) Metadata() map[string]string {
	by := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, f.By)
	return map[string]string{metaAgainst: f.Against, metaBy: by[:min(len(by), 200)], metaAt: f.At.UTC().Format(time.RFC3339)}
}

// Read reads a drop-in. What is wrong with it is a *vendors.CatalogueError, or said by another error; nothing of it may be
// used then.
func Read(name string, data []byte, meta map[string]string, rules vendors.Rules, lim vendors.Limits) (*File, error) {
	f := &File{Name: name, SHA256: sha256.Sum256(data)}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d MiB: put so much into the source", MaxSize>>20)
	}
	if against := meta[metaAgainst]; name == path.Base(name) && strings.HasPrefix(name, prefix) && isAgainst(against) {
		f.Against, f.By = against, meta[metaBy]
		f.At, _ = time.Parse(time.RFC3339, meta[metaAt])
	}
	lim.File, lim.Records = min(lim.File, MaxTotal), min(lim.Records, maxRecords)
	begin := func() error { f.Entries = nil; return nil }
	_, err := vendors.Read(bytes.NewReader(data), rules, lim, begin, func(rec vendors.Record) error {
		deleted, err := deletes(rec.Raw)
		if err != nil {
			return fmt.Errorf("record %q (line %d): %w", rec.ID, rec.Line, err)
		}
		f.Entries = append(f.Entries, Entry{rec, deleted})
		return nil
	})
	if err == nil && f.Ours() && (len(f.Entries) != 1 || name != NameOf(f.Entries[0].Record.ID)) {
		err = errors.New("put wrote it for another record: give the file a name of your own, or write it by put")
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func isAgainst(s string) bool {
	b, err := hex.DecodeString(s)
	return s == Absent || err == nil && len(b) == sha256.Size
}

// errDeleted says what may stand there.
var errDeleted = errors.New(`"_deleted" must be true or false`)

// deletes says whether a record takes away the one of its id. A cell of a CSV is a string.
func deletes(raw []byte) (bool, error) {
	if !bytes.Contains(raw, []byte(`"_deleted"`)) {
		return false, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return false, err
	}
	switch v := string(members["_deleted"]); strings.ToLower(strings.Trim(v, `"`)) {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, errDeleted
}

// Tombstone is a drop-in that takes an id away. path is the first of RECORD_ID's.
func Tombstone(id, path string) ([]byte, error) {
	var doc any = id
	keys := strings.Split(path, ".")
	for i := len(keys) - 1; i > 0; i-- {
		doc = map[string]any{keys[i]: doc}
	}
	value, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	key, err := json.Marshal(keys[0])
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "{%s:%s,\"_deleted\":true}\n", key, value), nil
}
