package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// kmsStub answers GetPublicKey and Sign as KMS does for a key of spec.
func kmsStub(t *testing.T, spec string) *kms.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			KeyID            string `json:"KeyId"`
			Message          []byte
			MessageType      string
			SigningAlgorithm string
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.KeyID != "alias/manifests" {
			t.Errorf("asked for key %q: %v", in.KeyID, err)
		}
		out := map[string]any{"KeyId": "arn:key"}
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.GetPublicKey":
			out["PublicKey"], out["KeySpec"], out["KeyUsage"] = der, spec, "SIGN_VERIFY"
		case "TrentService.Sign":
			if in.MessageType != "DIGEST" || in.SigningAlgorithm != "ECDSA_SHA_256" || len(in.Message) != 32 {
				t.Errorf("signing %d bytes, %s, %s", len(in.Message), in.MessageType, in.SigningAlgorithm)
			}
			out["Signature"], _ = ecdsa.SignASN1(rand.Reader, key, in.Message)
		default:
			t.Errorf("called %s", r.Header.Get("X-Amz-Target"))
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return kms.New(kms.Options{Region: "ap-northeast-1", BaseEndpoint: aws.String(s.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
}

func TestKMSSigns(t *testing.T) {
	signer, err := newKMSSigner(t.Context(), kmsStub(t, "ECC_NIST_P256"), "alias/manifests")
	if err != nil {
		t.Fatal(err)
	}
	manifest := []byte(strings.Repeat("x", 5000)) // more than KMS would sign whole
	s, err := signer.Sign(t.Context(), manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := (store.Keys{signer.Public()}).Verify(manifest, &s); err != nil {
		t.Error(err)
	}
	var coded *Coded
	if _, err := newKMSSigner(t.Context(), kmsStub(t, "RSA_2048"), "alias/manifests"); !errors.As(err, &coded) && (err == nil || !strings.Contains(err.Error(), "SIGNING_KEY")) {
		t.Errorf("a key that cannot sign: %v", err)
	}
}

func TestWrongKeysAreNamed(t *testing.T) {
	private, public, err := store.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for setting, err := range map[string]error{
		"MANIFEST_KEYS": Keys{Manifest: public.String() + ",nonsense"}.Validate(),
		"SIGNING_KEY":   Signing{Key: private[5:]}.Validate(),
		"SIGNING_KEY ":  Signing{Key: "awskms://"}.Validate(),
	} {
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(setting)) || strings.Contains(err.Error(), private[5:20]) {
			t.Errorf("%s: %v", setting, err)
		}
	}
	keys, err := Keys{Manifest: public.String() + ", " + public.String()}.Open()
	if err != nil || len(keys) != 2 {
		t.Errorf("%d keys: %v", len(keys), err)
	}
}
