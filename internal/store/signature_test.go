package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestSignaturesAreThoseOfKnownKeysAndOfTheseBytes(t *testing.T) {
	private, public, err := store.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := store.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	if signer.Public().ID != public.ID {
		t.Errorf("the signer's key is %s, the pair's %s", signer.Public().ID, public.ID)
	}
	read, err := store.ParsePublicKey(" " + public.String() + "\n")
	if err != nil || read.ID != public.ID {
		t.Fatalf("read back as %s: %v", read.ID, err)
	}
	_, other, err := store.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	manifest := []byte(`{"id":"x"}`)
	s, err := signer.Sign(t.Context(), manifest)
	if err != nil {
		t.Fatal(err)
	}
	flipped := s
	flipped.Value = append([]byte{s.Value[0] ^ 1}, s.Value[1:]...)
	renamed := s
	renamed.Key = other.ID
	asECDSA := s
	asECDSA.Algorithm = store.AlgorithmECDSA
	for name, c := range map[string]struct {
		keys  store.Keys
		bytes string
		s     *store.Signature
		ok    bool
	}{
		"its key":                      {store.Keys{read}, `{"id":"x"}`, &s, true},
		"among several":                {store.Keys{other, read}, `{"id":"x"}`, &s, true},
		"no keys":                      {nil, `{"id":"x"}`, nil, true},
		"another key":                  {store.Keys{other}, `{"id":"x"}`, &s, false},
		"no signature":                 {store.Keys{read}, `{"id":"x"}`, nil, false},
		"other bytes":                  {store.Keys{read}, `{"id":"y"}`, &s, false},
		"a bit of it":                  {store.Keys{read}, `{"id":"x"}`, &flipped, false},
		"said to be of another":        {store.Keys{read, other}, `{"id":"x"}`, &renamed, false},
		"said to be another algorithm": {store.Keys{read}, `{"id":"x"}`, &asECDSA, false},
		"nothing":                      {store.Keys{read}, `{"id":"x"}`, &store.Signature{}, false},
	} {
		if err := c.keys.Verify([]byte(c.bytes), c.s); (err == nil) != c.ok || err != nil && !errors.Is(err, store.ErrUnsigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key that stays in KMS is an ECDSA key of P-256, whose signatures are of the digest.
func TestECDSASignaturesVerify(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public, err := store.NewPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	manifest := []byte("bytes")
	sum := sha256.Sum256(manifest)
	value, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	s := store.Signature{Key: public.ID, Algorithm: store.AlgorithmECDSA, Value: value}
	if err := (store.Keys{public}).Verify(manifest, &s); err != nil {
		t.Error(err)
	}
	if err := (store.Keys{public}).Verify([]byte("others"), &s); !errors.Is(err, store.ErrUnsigned) {
		t.Errorf("other bytes: %v", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(p384.Public()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.NewPublicKey(der); err == nil {
		t.Error("a key of another curve was taken")
	}
}

// What is wrong with a private key is said without any of it.
func TestWrongPrivateKeysStaySecret(t *testing.T) {
	private, public, err := store.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{private[:40], private + "=", "s3cr3t s3cr3t", public.String(), strings.ToLower(private)} {
		_, err := store.NewSigner(text)
		if err == nil || strings.Contains(err.Error(), text[:10]) {
			t.Errorf("%v", err)
		}
	}
}
