package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// maxFiles bounds the files of one snapshot.
const maxFiles = 64

// Digest identifies the spec: lower-case hex SHA-256 of its JSON. Equal digests need no rebuild.
func (s Spec) Digest() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and ints only
	}
	return hexDigest(data)
}

// MarshalManifest returns the bytes of <ts>/manifest.json.
func MarshalManifest(m Manifest) ([]byte, error) { return marshal(m) }

// ManifestDigest is the lower-case hex SHA-256 of a manifest's bytes, as Pointer.ManifestSHA256 holds it.
func ManifestDigest(data []byte) string { return hexDigest(data) }

// File returns the entry of that name.
func (m Manifest) File(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// Size is the sum of the files in bytes.
func (m Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// ReadManifest reads the manifest of a snapshot and returns it with the digest of its bytes. Anything but the bytes
// that wantSHA256 names ("" accepts any) or an inconsistent manifest is ErrCorrupt; no manifest is ErrNotFound.
func ReadManifest(ctx context.Context, objects Objects, l Layout, id, wantSHA256 string) (Manifest, string, error) {
	if _, err := ParseSnapshotID(id); err != nil {
		return Manifest{}, "", fmt.Errorf("read manifest: %w: %w", ErrCorrupt, err)
	}
	key := l.Manifest(id)
	data, _, err := readAll(ctx, objects, key, GetOptions{}, MaxDocument)
	if err != nil {
		return Manifest{}, "", err
	}
	digest := ManifestDigest(data)
	if wantSHA256 != "" && digest != wantSHA256 {
		return Manifest{}, digest, fmt.Errorf("read %s: %w: sha256 is %s, the pointer says %.80q", key, ErrCorrupt, digest, wantSHA256)
	}
	var m Manifest
	if err := decodeDoc(data, &m); err != nil {
		return Manifest{}, digest, fmt.Errorf("decode %s: %w", key, err)
	}
	if m.ID != id {
		return Manifest{}, digest, fmt.Errorf("decode %s: %w: it is the manifest of %.80q", key, ErrCorrupt, m.ID)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, digest, fmt.Errorf("decode %s: %w", key, err)
	}
	return m, digest, nil
}

// validate checks what readers rely on: a safe id, a spec that is the one the digest names, and files whose names
// are safe as names of local files.
func (m Manifest) validate() error {
	if _, err := ParseSnapshotID(m.ID); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if got := m.Spec.Digest(); m.SpecDigest != got {
		return fmt.Errorf("%w: spec_digest is %.80q, the spec's is %s", ErrCorrupt, m.SpecDigest, got)
	}
	if m.Spec.Embedding.Dims < 1 {
		return fmt.Errorf("%w: spec.embedding.dims is %d", ErrCorrupt, m.Spec.Embedding.Dims)
	}
	if len(m.Files) == 0 || len(m.Files) > maxFiles {
		return fmt.Errorf("%w: %d files", ErrCorrupt, len(m.Files))
	}
	seen := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		if err := f.validate(); err != nil {
			return err
		}
		if seen[f.Name] {
			return fmt.Errorf("%w: file %q is listed twice", ErrCorrupt, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

func (f File) validate() error {
	switch {
	case !safeName(f.Name), f.Name == FileManifest, f.Name == FileVerdict:
		return fmt.Errorf("%w: file name %.80q", ErrCorrupt, f.Name)
	case f.Size < 0:
		return fmt.Errorf("%w: file %q has size %d", ErrCorrupt, f.Name, f.Size)
	case !isSHA256(f.SHA256):
		return fmt.Errorf("%w: file %q has sha256 %.80q", ErrCorrupt, f.Name, f.SHA256)
	}
	return nil
}

// safeName accepts plain file names: letters, digits, '.', '-' and '_', not starting with a dot.
func safeName(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}) < 0
}

func isSHA256(s string) bool { return len(s) == hex.EncodedLen(sha256.Size) && lowerHex(s) }
