package store

import (
	"context"
	"errors"
	"io"
	"time"
)

// The sentinels every implementation of Objects translates its own errors into, at the edge.
var (
	// ErrNotFound: no object under that key.
	ErrNotFound = errors.New("not found")
	// ErrNotModified: a conditional Get whose IfNoneMatch still matches.
	ErrNotModified = errors.New("not modified")
	// ErrConflict: a conditional write (or a Get with IfMatch) met another version. Nothing was written.
	ErrConflict = errors.New("conflict: another version is stored")
	// ErrDeleteMarker: a key answers 404 to GET but refuses IfAbsent: a delete marker hides older versions.
	ErrDeleteMarker = errors.New("deleted: a delete marker hides the object")
	// ErrInvalid: a document with a value that no reader would take. It was not written.
	ErrInvalid = errors.New("invalid document")
	// ErrDenied: the credentials do not allow the operation. Repeating it does not help.
	ErrDenied = errors.New("access denied")
	// ErrRefused: the store answered, and will answer the same however often it is asked: no such bucket, another region,
	// something it does not do.
	ErrRefused = errors.New("refused")
	// ErrNoAnswer: the store has answered nothing for as long as S3Config.Patience says.
	ErrNoAnswer = errors.New("the store does not answer")
	// ErrInvalidKey: a key that no store accepts ("..", empty segments, control characters, too long).
	ErrInvalidKey = errors.New("invalid key")
	// ErrUnusable: the store failed the conditional-write self-test.
	ErrUnusable = errors.New("store does not keep the promises that the protocol needs")
)

// Refusal tells whether err is what the store will say again, so that asking again is of no use: an answer, not an
// outage.
func Refusal(err error) bool {
	for _, target := range []error{ErrRefused, ErrDenied, ErrUnusable, ErrInvalidKey} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// Info describes one stored object.
type Info struct {
	Key          string
	ETag         string // opaque, compared only for equality
	Size         int64
	LastModified time.Time
	Date         time.Time // the store's clock when it answered; ages are Date − LastModified
	VersionID    string
	Metadata     map[string]string // lower-case keys
}

// Age is how old the object is by the store's own clock.
func (i Info) Age() time.Duration { return i.Date.Sub(i.LastModified) }

// GetOptions of a read. The zero value reads the whole object unconditionally.
type GetOptions struct {
	IfNoneMatch string // → ErrNotModified when equal
	IfMatch     string // → ErrConflict when different
	Offset      int64  // first byte wanted
	Length      int64  // bytes wanted; 0 means to the end
}

// PutOptions of a write. At most one of IfAbsent and IfMatch is set.
type PutOptions struct {
	IfAbsent bool   // If-None-Match: *
	IfMatch  string // If-Match: etag
	Metadata map[string]string
}

// MaxPut bounds Put, which holds the whole object in memory; larger ones go through PutFile.
const MaxPut = 16 << 20

// Objects is an object store with conditional writes. Keys are whole ("vectorstore/prod/lease.json").
// A write either takes effect whole or not at all; one that returned neither nil nor ErrConflict may have
// taken effect (the caller re-reads). Put sends its bytes once: retries are the caller's (see WriteDoc).
type Objects interface {
	// Get opens an object. The caller closes Body. Info.Size is the size of the whole object.
	Get(ctx context.Context, key string, o GetOptions) (body io.ReadCloser, info Info, err error)
	Head(ctx context.Context, key string) (Info, error)
	// Put writes a small object (≤ MaxPut bytes) from memory.
	Put(ctx context.Context, key string, data []byte, o PutOptions) (Info, error)
	// PutFile writes an object of any size from a local file.
	PutFile(ctx context.Context, key, path string, o PutOptions) (Info, error)
	// Delete removes a key; a missing key is not an error.
	Delete(ctx context.Context, key string) error
	// List calls each for every key that starts with prefix, in byte order of the keys. Key, Size, LastModified
	// and Date are filled; ETag only where it costs nothing (S3). It stops at the first error of each.
	List(ctx context.Context, prefix string, each func(Info) error) error
	// URL names a key for people: s3://bucket/key or file:///dir/key.
	URL(key string) string
}
