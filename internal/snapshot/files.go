package snapshot

import (
	"errors"
	"fmt"
)

// Names of a snapshot's files.
const (
	FileIndex     = "index.faiss"
	FilePickle    = "index.pkl"
	FileDocuments = "documents.jsonl"
	FileOffsets   = "documents.idx"
	FileWords     = "words.idx"   // lexical index, of lexical.Version
	FileFilters   = "filters.idx" // attributes, of filter.Version
	FileManifest  = "manifest.json"
	FileVerdict   = "verdict.json"
	FileSignature = "manifest.sig"
	// FileUnembedded is in a snapshot of which some records have no vector. Those are its last records, in catalogue
	// order; the row of every other record in the index is its position.
	FileUnembedded = "unembedded.json"
	// FileDelta holds what a delta snapshot changes: see package delta.
	FileDelta = "delta"
)

var (
	// ErrCorrupt: bytes that do not match their declared digest, size or format.
	ErrCorrupt = errors.New("corrupt")
	// ErrNewer: a document of a format that a newer binary wrote.
	ErrNewer = errors.New("written by a newer version of this program")
)

// File of a snapshot; SHA256 is lower-case hex.
type File struct {
	Name    string  `json:"name"`
	Size    int64   `json:"size"`
	SHA256  string  `json:"sha256"`
	From    string  `json:"from,omitempty"` // the snapshot that it is stored under; absent: the one whose manifest lists it
	Unknown Unknown `json:"-"`
}

// Check compares what was read with what the manifest promises: ErrCorrupt when it is something else.
func (f File) Check(size int64, sum string) error {
	switch {
	case size != f.Size:
		return fmt.Errorf("%w: %s has %d bytes, the manifest says %d", ErrCorrupt, f.Name, size, f.Size)
	case sum != f.SHA256:
		return fmt.Errorf("%w: %s has sha256 %s, the manifest says %s", ErrCorrupt, f.Name, sum, f.SHA256)
	}
	return nil
}
