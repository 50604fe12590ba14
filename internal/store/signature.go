package store

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrUnsigned: no known key signed the manifest. Who may write to the bucket is not thereby trusted with what is served.
var ErrUnsigned = errors.New("no known key signed the manifest")

// Signature is <ts>/manifest.sig, written before the manifest, and a copy of it in the pointer. It is of the manifest's
// bytes, which name every file by its SHA-256: so of the whole snapshot.
type Signature struct {
	FormatVersion int              `json:"format_version"`
	Key           string           `json:"key_id"`    // ID of the public key
	Algorithm     string           `json:"algorithm"` // AlgorithmEd25519 or AlgorithmECDSA
	Value         []byte           `json:"value"`
	Unknown       snapshot.Unknown `json:"-"`
}

// Algorithms of signatures: RFC 8032, and FIPS 186 over the SHA-256 of the bytes, ASN.1, for keys that stay in KMS.
const (
	AlgorithmEd25519 = "Ed25519"
	AlgorithmECDSA   = "ECDSA-P256-SHA256"
)

// Signer signs a manifest's bytes.
type Signer interface {
	Sign(ctx context.Context, manifest []byte) (Signature, error)
	Public() PublicKey
}

// PublicKey verifies signatures. Its text is base64 of the PKIX DER form, as openssl writes it between the lines.
type PublicKey struct {
	ID  string // the first 16 hex of the SHA-256 of its DER form
	der []byte
	key crypto.PublicKey
}

func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k.der) }

// NewPublicKey takes Ed25519 and P-256 keys in PKIX DER form.
func NewPublicKey(der []byte) (PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, errors.New("not a public key in PKIX form")
	}
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, errors.New("an ECDSA key must be of the curve P-256")
		}
	default:
		return PublicKey{}, fmt.Errorf("a key of type %T cannot sign manifests: Ed25519 and ECDSA P-256 can", key)
	}
	sum := sha256.Sum256(der)
	return PublicKey{ID: hex.EncodeToString(sum[:8]), der: der, key: key}, nil
}

// ParsePublicKey reads the text of a PublicKey.
func ParsePublicKey(text string) (PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return PublicKey{}, errors.New("not base64 of a public key")
	}
	return NewPublicKey(der)
}

func (k PublicKey) verify(manifest []byte, s Signature) bool {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return s.Algorithm == AlgorithmEd25519 && ed25519.Verify(key, manifest, s.Value)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(manifest)
		return s.Algorithm == AlgorithmECDSA && ecdsa.VerifyASN1(key, sum[:], s.Value)
	}
	return false
}

// Keys are those whose signatures are taken; none takes everything, signed or not.
type Keys []PublicKey

// Verify says which key signed the manifest's bytes: ErrUnsigned when none of them did. Without keys it says nothing.
func (keys Keys) Verify(manifest []byte, s *Signature) error {
	if len(keys) == 0 {
		return nil
	}
	if s == nil {
		return fmt.Errorf("%w: there is no signature", ErrUnsigned)
	}
	for _, k := range keys {
		if k.ID == s.Key {
			if !k.verify(manifest, *s) {
				return fmt.Errorf("%w: the signature is not that of key %s", ErrUnsigned, k.ID)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: key %.32q is none of %s", ErrUnsigned, s.Key, keys)
}

func (keys Keys) String() string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	return strings.Join(ids, ", ")
}

type ed25519Signer struct {
	private ed25519.PrivateKey
	public  PublicKey
}

// NewSigner takes base64 of an Ed25519 private key in PKCS #8 DER form, as GenerateKey returns it.
func NewSigner(text string) (Signer, error) {
	// What is wrong is said without a byte of it: it is a secret.
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("not base64 of a private key (see indexer keygen)")
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("not an Ed25519 private key in PKCS #8 form (see indexer keygen)")
	}
	public, err := publicOf(private)
	return ed25519Signer{private, public}, err
}

func publicOf(private ed25519.PrivateKey) (PublicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return PublicKey{}, fmt.Errorf("encode public key: %w", err)
	}
	return NewPublicKey(der)
}

func (s ed25519Signer) Sign(_ context.Context, manifest []byte) (Signature, error) {
	return Signature{FormatVersion: FormatVersion, Key: s.public.ID, Algorithm: AlgorithmEd25519, Value: ed25519.Sign(s.private, manifest)}, nil
}

func (s ed25519Signer) Public() PublicKey { return s.public }

// GenerateKey makes an Ed25519 pair: the private key as NewSigner takes it, and the public one.
func GenerateKey() (private string, public PublicKey, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", PublicKey{}, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", PublicKey{}, fmt.Errorf("encode private key: %w", err)
	}
	public, err = publicOf(key)
	return base64.StdEncoding.EncodeToString(der), public, err
}

// PutSignature writes <ts>/manifest.sig. The manifest follows: there is none without its signature.
func PutSignature(ctx context.Context, objects Objects, l Layout, id string, s Signature) error {
	if _, err := WriteDoc(ctx, objects, l.Signature(id), s, PutOptions{IfAbsent: true}); err != nil {
		return fmt.Errorf("put signature of %s: %w", id, err)
	}
	return nil
}

// ReadSignature reads <ts>/manifest.sig, nil when the snapshot is not signed in a way that this release knows.
func ReadSignature(ctx context.Context, objects Objects, l Layout, id string) (*Signature, error) {
	s, _, err := ReadDoc[Signature](ctx, objects, l.Signature(id), GetOptions{})
	if errors.Is(err, ErrNotFound) || errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrNewer) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signature of %s: %w", id, err)
	}
	return &s, nil
}

// VerifyManifest reads the manifest of a snapshot and its signature and returns the signature: ErrUnsigned when none of
// keys made it, ErrCorrupt when the manifest's bytes are not those that wantSHA256 names. Without keys the signature is
// only read.
func VerifyManifest(ctx context.Context, objects Objects, l Layout, id, wantSHA256 string, keys Keys) (*Signature, error) {
	s, err := ReadSignature(ctx, objects, l, id)
	if err != nil || len(keys) == 0 {
		return s, err
	}
	data, _, err := ReadBytes(ctx, objects, l.Manifest(id), GetOptions{}, MaxDocument)
	if err != nil {
		return nil, err
	}
	if got := ManifestDigest(data); got != wantSHA256 {
		return nil, fmt.Errorf("read %s: %w: sha256 is %s, not %.80q", l.Manifest(id), snapshot.ErrCorrupt, got, wantSHA256)
	}
	if err := keys.Verify(data, s); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return s, nil
}
