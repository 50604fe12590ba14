package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// MaxDocument bounds every JSON document in bytes. The largest is status.json: a pointer with 20 history
// entries (~10 KiB) plus ~1 KiB for each of at most some thousand replicas.
const MaxDocument = 4 << 20

// NewNonce returns 32 random hex digits. Every write of a CAS document carries a fresh one, so that equal bytes
// mean the same write, and an ETag made from the content never comes back.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ReadDoc reads the JSON document at key. ErrNotFound, ErrNotModified (o.IfNoneMatch) and ErrConflict (o.IfMatch)
// pass through; bytes that are not such a document, or hold a value outside of its bounds, are ErrCorrupt; one of a
// newer format is ErrNewer.
func ReadDoc[T any](ctx context.Context, objects Objects, key string, o GetOptions) (T, Info, error) {
	var doc T
	data, info, err := ReadBytes(ctx, objects, key, o, MaxDocument)
	if err != nil {
		return doc, info, err
	}
	if err := decodeDoc(data, &doc); err != nil {
		var zero T
		return zero, info, fmt.Errorf("decode %s: %w", key, err)
	}
	return doc, info, nil
}

// decodeDoc decodes exactly one JSON object of a format that this binary knows.
func decodeDoc(data []byte, doc any) error {
	var head struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
	}
	switch {
	case head.FormatVersion > newestFormat:
		return fmt.Errorf("%w: format_version %d, this binary reads up to %d", snapshot.ErrNewer, head.FormatVersion, newestFormat)
	case head.FormatVersion < 1:
		return fmt.Errorf("%w: format_version is missing", snapshot.ErrCorrupt)
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if strict.Decode(doc) != nil { // as a rule all is known, and nothing to be kept
		if err := json.Unmarshal(data, doc); err != nil {
			return fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
		}
		if _, err := keepUnknown(data, reflect.ValueOf(doc)); err != nil {
			return fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
		}
	}
	if v, ok := doc.(validated); ok {
		if err := v.validate(); err != nil {
			return fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
		}
	}
	return nil
}

// validated is a document whose values are bounded: what is outside of them is not read, and never written.
type validated interface{ validate() error }

// ReadBytes reads a whole object of at most limit bytes (ErrCorrupt: it has more), and starts again when the body breaks
// off.
func ReadBytes(ctx context.Context, objects Objects, key string, o GetOptions, limit int64) (data []byte, info Info, err error) {
	err = retry(ctx, key, func() error {
		var body io.ReadCloser
		body, info, err = objects.Get(ctx, key, o)
		if err != nil {
			return err
		}
		defer body.Close()
		if info.Size > limit {
			return fmt.Errorf("read %s: %w: %d bytes, the limit is %d", key, snapshot.ErrCorrupt, info.Size, limit)
		}
		data, err = io.ReadAll(io.LimitReader(body, limit+1))
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if int64(len(data)) != info.Size {
			return fmt.Errorf("read %s: got %d of %d bytes", key, len(data), info.Size)
		}
		return nil
	})
	return data, info, err
}

// WriteDoc marshals doc once and writes it under cond as WriteBytes does. doc carries a nonce from NewNonce that
// no other write used. What ReadDoc would not take is not written: ErrInvalid. Members of doc that this release does
// not know are written as they were read.
func WriteDoc(ctx context.Context, objects Objects, key string, doc any, cond PutOptions) (Info, error) {
	data, err := Encode(doc)
	if err != nil {
		return Info{}, fmt.Errorf("write %s: %w", key, err)
	}
	return WriteBytes(ctx, objects, key, data, cond)
}

// Encode returns the bytes that WriteDoc writes; ErrInvalid when ReadDoc would not take them.
func Encode(doc any) ([]byte, error) {
	if v, ok := doc.(validated); ok {
		if err := v.validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	data, err := marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrInvalid, len(data), MaxDocument)
	}
	return data, nil
}

// WriteBytes writes data under cond and finds out what became of it. After an ambiguous error the same bytes are
// sent again. After a refusal the object is read back: our own bytes (an earlier attempt that took effect, its
// answer lost) are a success, other bytes are ErrConflict. When the key answers 404 but refuses to be created it
// is ErrDeleteMarker. Any other error leaves it open whether the write took effect: forget what you knew of the
// object and read it again.
//
// One case stays undecided even then: our write took effect, its answer was lost, and another writer replaced it
// before we looked. That is ErrConflict, which is true of the present if not of the past.
func WriteBytes(ctx context.Context, objects Objects, key string, data []byte, cond PutOptions) (Info, error) {
	sum := sha256.Sum256(data)
	var info Info
	err := retry(ctx, string(sum[:]), func() (err error) {
		info, err = objects.Put(ctx, key, data, cond)
		if errors.Is(err, ErrConflict) || (cond.IfMatch != "" && errors.Is(err, ErrNotFound)) {
			info, err = settle(ctx, objects, key, data, cond)
		}
		return err
	})
	return info, err
}

// settle decides, after a refused conditional write, whether the object holds our bytes.
func settle(ctx context.Context, objects Objects, key string, data []byte, cond PutOptions) (Info, error) {
	got, info, err := ReadBytes(ctx, objects, key, GetOptions{}, max(MaxDocument, int64(len(data))))
	switch {
	case err == nil && bytes.Equal(got, data):
		return info, nil
	case err == nil, errors.Is(err, snapshot.ErrCorrupt): // ErrCorrupt: too large to be ours
		return Info{}, fmt.Errorf("write %s: %w", key, ErrConflict)
	case errors.Is(err, ErrNotFound) && cond.IfAbsent:
		return Info{}, fmt.Errorf("write %s: %w", key, ErrDeleteMarker)
	case errors.Is(err, ErrNotFound):
		return Info{}, fmt.Errorf("write %s: %w: the object is gone", key, ErrConflict)
	default:
		return Info{}, fmt.Errorf("read back after a refused write: %w", err)
	}
}

// marshal encodes a document for people and programs: indented, <, > and & as they are, one final newline.
// Equal values give equal bytes.
func marshal(doc any) ([]byte, error) {
	data, err := compact(doc)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// compact encodes without whitespace, and with what was unknown when doc was read.
func compact(doc any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return putUnknown(bytes.TrimSuffix(b.Bytes(), []byte("\n")), reflect.ValueOf(doc))
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
