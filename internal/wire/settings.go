package wire

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Store says where objects live.
type Store struct {
	Bucket    string `name:"s3-bucket" env:"VECTORSTORE_S3_BUCKET" placeholder:"BUCKET" help:"S3 bucket. Unset: the directory store. Region, endpoint and credentials come from the AWS SDK's own settings (AWS_REGION, AWS_ENDPOINT_URL_S3, …)."`
	Prefix    string `name:"s3-prefix" env:"VECTORSTORE_S3_PREFIX" default:"vectorstore/prod" help:"Prefix of every key."`
	Dir       string `name:"store-dir" env:"VECTORSTORE_STORE_DIR" default:"./data/store" help:"Root of the directory store, same key layout as S3."`
	SourceKey string `name:"source-key" env:"VECTORSTORE_SOURCE_KEY" placeholder:"KEY" help:"Key of the catalogue; default <prefix>/vendors.json."`
	LocalDir  string `name:"local-dir" env:"VECTORSTORE_LOCAL_DIR" default:"./vectorstore" help:"Local disk: the server's last-good cache, the indexer's scratch space."`
}

// Layout of the keys under the prefix.
func (s Store) Layout() store.Layout { return store.NewLayout(s.Prefix, s.SourceKey) }

// Open connects to the store, observed by reg. Nothing is sent yet.
func (s Store) Open(ctx context.Context, reg prometheus.Registerer) (store.Objects, error) {
	m := store.NewMetrics(reg)
	if s.Bucket == "" {
		d, err := store.NewDir(s.Dir)
		if err != nil {
			return nil, SettingError("VECTORSTORE_STORE_DIR", "%w", err)
		}
		return store.Observe(d, m), nil
	}
	o, err := store.NewS3(ctx, store.S3Config{Bucket: s.Bucket})
	if err != nil {
		return nil, SettingError("VECTORSTORE_S3_BUCKET", "%w", err)
	}
	return store.Observe(o, m), nil
}

// Kind is how /health names the store: S3 or dir.
func (s Store) Kind() string {
	if s.Bucket == "" {
		return "dir"
	}
	return "S3"
}

// Scratch returns <LocalDir>/<name>, made when missing.
func (s Store) Scratch(name string) (string, error) {
	dir := filepath.Join(s.LocalDir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", SettingError("VECTORSTORE_LOCAL_DIR", "%w", err)
	}
	return dir, nil
}

// Defaults of the embedding settings.
const (
	defaultModel = "text-embedding-3-small"
	defaultDims  = 1536
	localDims    = 512
)

// Provider says what may be called to embed text.
type Provider struct {
	Name    string `name:"embedding-provider" env:"EMBEDDING_PROVIDER" enum:",openai,bedrock,local" default:"" placeholder:"PROVIDER" help:"openai, bedrock or local (in this process, no network); default openai when OPENAI_API_KEY is set, else local."`
	APIKey  string `name:"openai-api-key" env:"OPENAI_API_KEY" placeholder:"KEY" help:"Key of the OpenAI-compatible server; prefer the variable, a flag is visible in ps."`
	BaseURL string `name:"openai-base-url" env:"OPENAI_BASE_URL" placeholder:"URL" help:"Base URL of any OpenAI-compatible server; default OpenAI's."`
}

// Resolved is the provider's name after the default rule.
func (p Provider) Resolved() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.APIKey != "":
		return "openai"
	default:
		return "local"
	}
}

// Validate reports the first wrong setting.
func (p Provider) Validate() error {
	if p.BaseURL != "" {
		u, err := url.Parse(p.BaseURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return SettingError("OPENAI_BASE_URL", "not an http(s) URL")
		}
	}
	if p.Resolved() == "openai" && p.APIKey == "" && p.BaseURL == "" {
		return SettingError("OPENAI_API_KEY", "must be set for EMBEDDING_PROVIDER=openai")
	}
	return nil
}

// Model says what is embedded with; the indexer's choice, part of every snapshot's spec.
type Model struct {
	Model string `name:"embedding-model" env:"EMBEDDING_MODEL" placeholder:"MODEL" help:"Embedding model; default text-embedding-3-small (openai), amazon.titan-embed-text-v2:0 (bedrock). The local provider ignores it."`
	Dims  int    `name:"embedding-dimensions" env:"EMBEDDING_DIMENSIONS" placeholder:"N" help:"Components per vector; default 1536 (openai), 1024 (bedrock), 512 (local)."`
}

// Embedding resolves provider and model to what a snapshot's spec says.
func (m Model) Embedding(p Provider) (store.Embedding, error) {
	if m.Dims < 0 || m.Dims > 8192 {
		return store.Embedding{}, SettingError("EMBEDDING_DIMENSIONS", "must be 1..8192, is %d", m.Dims)
	}
	e := store.Embedding{Provider: p.Resolved(), Model: m.Model, Dims: m.Dims}
	return e, nil
}

// Spec of an embedding as package embed writes it.
func Spec(e store.Embedding) embed.Spec { return embed.Spec(e) }

var _ = fmt.Sprint
