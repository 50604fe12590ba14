package store

import (
	"fmt"
	"strings"
)

// Layout names every object under one prefix P. Source is people's; everything else is ours.
type Layout struct {
	Prefix string // P, without a trailing slash
	Source string // the source object's key
}

// NewLayout returns the layout under prefix; an empty source means <P>/vendors.json.
func NewLayout(prefix, source string) Layout {
	prefix = strings.Trim(prefix, "/")
	l := Layout{Prefix: prefix, Source: source}
	if source == "" {
		l.Source = l.key("vendors.json")
	}
	return l
}

func (l Layout) key(name string) string {
	if l.Prefix == "" {
		return name
	}
	return l.Prefix + "/" + name
}

// Names of a snapshot's files.
const (
	FileIndex     = "index.faiss"
	FilePickle    = "index.pkl"
	FileDocuments = "documents.jsonl"
	FileOffsets   = "documents.idx"
	FileWords     = "words.idx"   // lexical index, of lexical.Version
	FileFilters   = "filters.idx" // attributes, of vendors.AttributesVersion
	FileManifest  = "manifest.json"
	FileVerdict   = "verdict.json"
)

func (l Layout) Pointer() string             { return l.key("current/manifest.json") }
func (l Layout) Current(file string) string  { return l.key("current/" + file) }
func (l Layout) Lease() string               { return l.key("lease.json") }
func (l Layout) Control() string             { return l.key("control.json") }
func (l Layout) GC() string                  { return l.key("gc.json") }
func (l Layout) Status() string              { return l.key("status.json") }
func (l Layout) Golden() string              { return l.key("golden.json") }
func (l Layout) Replicas() string            { return l.key("replicas/") }
func (l Layout) Replica(id string) string    { return l.key("replicas/" + id + ".json") }
func (l Layout) Ledger() string              { return l.key("embeddings/") }
func (l Layout) Probe(id string) string      { return l.key("probe/" + id) }
func (l Layout) Snapshot(id string) string   { return l.key(id + "/") }
func (l Layout) File(id, file string) string { return l.key(id + "/" + file) }
func (l Layout) Manifest(id string) string   { return l.File(id, FileManifest) }
func (l Layout) Verdict(id string) string    { return l.File(id, FileVerdict) }
func (l Layout) Root() string                { return l.key("") }

// CheckKey refuses keys that could name something else in a directory, or that S3 does not take: empty, absolute,
// with empty, "." or ".." segments, control characters or backslashes, segments over 255 bytes, over 1,024 bytes in
// all. A trailing slash is refused too.
func CheckKey(key string) error {
	if key == "" || len(key) > 1024 || strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) >= 0 {
		return fmt.Errorf("%w %.80q", ErrInvalidKey, key)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." || len(segment) > 255 {
			return fmt.Errorf("%w %.80q", ErrInvalidKey, key)
		}
	}
	return nil
}
