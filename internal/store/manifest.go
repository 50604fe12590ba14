package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// maxFiles bounds the files of one snapshot, those of its base and deltas included.
const maxFiles = 64

// MarshalManifest returns the bytes of <ts>/manifest.json.
func MarshalManifest(m Manifest) ([]byte, error) { return marshal(m) }

// ManifestDigest is the lower-case hex SHA-256 of a manifest's bytes, as Pointer.ManifestSHA256 holds it.
func ManifestDigest(data []byte) string { return hexDigest(data) }

// File returns the entry of that name: of a delta snapshot the base's, or for FileDelta the own.
func (m Manifest) File(name string) (snapshot.File, bool) {
	for _, f := range m.Files {
		if f.Name == name && (name != snapshot.FileDelta || f.From == "") {
			return f, true
		}
	}
	return snapshot.File{}, false
}

// Own returns the files that are stored under the snapshot's own id.
func (m Manifest) Own() []snapshot.File {
	var own []snapshot.File
	for _, f := range m.Files {
		if f.From == "" {
			own = append(own, f)
		}
	}
	return own
}

// Needs returns the other snapshots that files of this one are stored under: its base first, then its deltas.
func (m Manifest) Needs() []string {
	if m.Base == nil {
		return nil
	}
	ids := []string{m.Base.ID}
	for _, d := range m.Deltas[:len(m.Deltas)-1] {
		ids = append(ids, d.ID)
	}
	return ids
}

// FileKey is where a file that m lists is stored.
func (l Layout) FileKey(m Manifest, f snapshot.File) string {
	return l.File(cmp.Or(f.From, m.ID), f.Name)
}

// LocalName is what a file that m lists is called in a local folder that holds all of them.
func (m Manifest) LocalName(f snapshot.File) string {
	if f.Name == snapshot.FileDelta {
		return cmp.Or(f.From, m.ID) + "." + f.Name
	}
	return f.Name
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
	if _, err := snapshot.ParseID(id); err != nil {
		return Manifest{}, "", fmt.Errorf("read manifest: %w: %w", snapshot.ErrCorrupt, err)
	}
	key := l.Manifest(id)
	data, _, err := ReadBytes(ctx, objects, key, GetOptions{}, MaxDocument)
	if err != nil {
		return Manifest{}, "", err
	}
	digest := ManifestDigest(data)
	if wantSHA256 != "" && digest != wantSHA256 {
		return Manifest{}, digest, fmt.Errorf("read %s: %w: sha256 is %s, the pointer says %.80q", key, snapshot.ErrCorrupt, digest, wantSHA256)
	}
	m, err := ParseManifest(data, id)
	if err != nil {
		return Manifest{}, digest, fmt.Errorf("decode %s: %w", key, err)
	}
	return m, digest, nil
}

// ParseManifest decodes the bytes of <id>/manifest.json: ErrCorrupt, or ErrNewer.
func ParseManifest(data []byte, id string) (Manifest, error) {
	var m Manifest
	if err := decodeDoc(data, &m); err != nil {
		return Manifest{}, err
	}
	if m.ID != id {
		return Manifest{}, fmt.Errorf("%w: it is the manifest of %.80q", snapshot.ErrCorrupt, m.ID)
	}
	return m, nil
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

func lowerHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
