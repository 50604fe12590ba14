package wire

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Keys are the public keys whose signatures are trusted.
type Keys struct {
	Manifest string `name:"manifest-keys" env:"MANIFEST_KEYS" placeholder:"KEY,…" help:"Public keys (indexer keygen): only snapshots whose manifest one of them signed are taken. Several while a key is changed. Unset: signatures are not asked for."`
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (k Keys) Validate() error {
	_, err := k.Open()
	return err
}

// Open reads the keys.
func (k Keys) Open() (store.Keys, error) {
	var keys store.Keys
	for _, text := range strings.Split(k.Manifest, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		key, err := store.ParsePublicKey(text)
		if err != nil {
			return nil, SettingError("MANIFEST_KEYS", "key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Signing is how the leader signs manifests.
type Signing struct {
	Key string `name:"signing-key" env:"SIGNING_KEY" placeholder:"KEY" help:"Private key (indexer keygen) that signs every manifest, or awskms://<key id, alias or ARN> of an ECC_NIST_P256 key for signing. Unset: manifests are not signed."`
}

const kmsScheme = "awskms://"

// Validate reports the first wrong setting; the command line's parser calls it.
func (s Signing) Validate() error {
	if id, ok := strings.CutPrefix(s.Key, kmsScheme); ok {
		if id == "" {
			return SettingError("SIGNING_KEY", "%s names no key", kmsScheme)
		}
		return nil
	}
	_, err := s.local()
	return err
}

// Open returns the signer, nil for none. A key in KMS is asked for its public half.
func (s Signing) Open(ctx context.Context) (store.Signer, error) {
	if id, ok := strings.CutPrefix(s.Key, kmsScheme); ok {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, SettingError("SIGNING_KEY", "%w", err)
		}
		return newKMSSigner(ctx, kms.NewFromConfig(cfg), id)
	}
	return s.local()
}

// local is the signer of a key that is given itself.
func (s Signing) local() (store.Signer, error) {
	if s.Key == "" {
		return nil, nil
	}
	signer, err := store.NewSigner(s.Key)
	if err != nil {
		return nil, SettingError("SIGNING_KEY", "%w", err)
	}
	return signer, nil
}

// kmsSigner signs with a key that never leaves KMS (https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html).
type kmsSigner struct {
	client *kms.Client
	id     string
	public store.PublicKey
}

func newKMSSigner(ctx context.Context, client *kms.Client, id string) (store.Signer, error) {
	out, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(id)})
	if err != nil {
		return nil, fmt.Errorf("public key of SIGNING_KEY: %w", err)
	}
	if out.KeyUsage != types.KeyUsageTypeSignVerify || out.KeySpec != types.KeySpecEccNistP256 {
		return nil, SettingError("SIGNING_KEY", "the key in KMS is %s for %s, it must be %s for %s",
			out.KeySpec, out.KeyUsage, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	}
	public, err := store.NewPublicKey(out.PublicKey)
	if err != nil {
		return nil, SettingError("SIGNING_KEY", "the key in KMS: %w", err)
	}
	return kmsSigner{client, id, public}, nil
}

func (s kmsSigner) Sign(ctx context.Context, manifest []byte) (store.Signature, error) {
	sum := sha256.Sum256(manifest)
	out, err := s.client.Sign(ctx, &kms.SignInput{
		KeyId: aws.String(s.id), Message: sum[:], MessageType: types.MessageTypeDigest,
		SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
	})
	if err != nil {
		return store.Signature{}, fmt.Errorf("sign with KMS: %w", err)
	}
	return store.Signature{FormatVersion: store.FormatVersion, Key: s.public.ID, Algorithm: store.AlgorithmECDSA, Value: out.Signature}, nil
}

func (s kmsSigner) Public() store.PublicKey { return s.public }
