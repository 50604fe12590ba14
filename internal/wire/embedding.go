package wire

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/embed/bedrock"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Names of the providers.
const (
	providerOpenAI  = "openai"
	providerBedrock = "bedrock"
	providerLocal   = "local"
)

// Provider says what may be called to embed text.
type Provider struct {
	Name    string `name:"embedding-provider" env:"EMBEDDING_PROVIDER" enum:",openai,bedrock,local" default:"" placeholder:"PROVIDER" help:"openai, bedrock or local (in this process, no network); default openai when OPENAI_API_KEY is set, else local."`
	APIKey  string `name:"openai-api-key" env:"OPENAI_API_KEY" placeholder:"KEY" help:"Key of the OpenAI-compatible server. Prefer the variable: a flag is visible to ps."`
	BaseURL string `name:"openai-base-url" env:"OPENAI_BASE_URL" placeholder:"URL" help:"Base URL of any OpenAI-compatible server or Azure; default OpenAI's."`
	Weights string `name:"weights-dir" env:"VECTORSTORE_WEIGHTS_DIR" placeholder:"DIR" help:"Where the weights of the local multilingual model lie, as make weights fetches them; default the folder weights beside this program."`
}

// Resolved is the provider's name after the default rule.
func (p Provider) Resolved() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.APIKey != "":
		return providerOpenAI
	default:
		return providerLocal
	}
}

// weights is where the local model's weights lie.
func (p Provider) weights() string {
	if p.Weights != "" {
		return p.Weights
	}
	program, err := os.Executable()
	if err != nil {
		return "weights"
	}
	if real, err := filepath.EvalSymlinks(program); err == nil {
		program = real
	}
	return filepath.Join(filepath.Dir(program), "weights")
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (p Provider) Validate() error {
	if p.BaseURL != "" {
		u, err := url.Parse(p.BaseURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return SettingError("OPENAI_BASE_URL", "is not an http(s) URL")
		}
	}
	if err := embed.NewSecret(p.APIKey).Check(); err != nil {
		return SettingError("OPENAI_API_KEY", "%w", err)
	}
	if p.Name == providerOpenAI && p.APIKey == "" && p.BaseURL == "" {
		return SettingError("OPENAI_API_KEY", "must be set for EMBEDDING_PROVIDER=openai, or OPENAI_BASE_URL for a server without keys")
	}
	return nil
}

// Model says what the catalogue is embedded with: the indexer's choice, part of every snapshot's spec.
type Model struct {
	Model string `name:"embedding-model" env:"EMBEDDING_MODEL" placeholder:"MODEL" help:"Embedding model; default text-embedding-3-small (openai) or amazon.titan-embed-text-v2:0 (bedrock). local: use-multilingual-v3, or local-ngram-v1 where the store serves it already or the other is not installed."`
	Dims  int    `name:"embedding-dimensions" env:"EMBEDDING_DIMENSIONS" placeholder:"N" help:"Components per vector; default 1536 (openai), the longest that the model makes (bedrock), 512 (local)."`

	DocumentPrefix string `name:"embedding-document-prefix" env:"EMBEDDING_DOCUMENT_PREFIX" placeholder:"TEXT" help:"Put before each text; default what a known model was trained with (e5: \"passage: \"), \"none\" for nothing."`
	QueryPrefix    string `name:"embedding-query-prefix" env:"EMBEDDING_QUERY_PREFIX" placeholder:"TEXT" help:"Put before each query; default what a known model was trained with (e5: \"query: \"), \"none\" for nothing."`
}

// noPrefix is how a setting says that a known model's own prefix is not wanted: an empty variable counts as unset.
const noPrefix = "none"

// prefixes are what goes before texts and queries.
func (m Model) prefixes() (document, query string) {
	document, query = embed.KnownPrefixes(m.Model)
	for _, p := range []struct {
		set string
		to  *string
	}{{m.DocumentPrefix, &document}, {m.QueryPrefix, &query}} {
		switch p.set {
		case "":
		case noPrefix:
			*p.to = ""
		default:
			*p.to = p.set
		}
	}
	return document, query
}

// maxPrefix bounds a prefix: it is sent, and paid for, with every text.
const maxPrefix = 1024

// Validate reports the first wrong setting; the command line's parser calls it.
func (m Model) Validate() error {
	if m.Dims < 0 || m.Dims > 8192 {
		return SettingError("EMBEDDING_DIMENSIONS", "must be 1 to 8192, is %d", m.Dims)
	}
	for variable, prefix := range map[string]string{"EMBEDDING_DOCUMENT_PREFIX": m.DocumentPrefix, "EMBEDDING_QUERY_PREFIX": m.QueryPrefix} {
		if len(prefix) > maxPrefix {
			return SettingError(variable, "must be at most %d bytes, has %d", maxPrefix, len(prefix))
		}
	}
	return nil
}

// Calls shape the calls to a provider.
type Calls struct {
	Concurrency int           // in flight at most; 0 is the provider's default
	Batch       int           // texts a call at most; 0 is the provider's default
	Patience    time.Duration // with a provider that cannot be reached: Daemon or Command
	Observer    embed.Observer
}

// Open returns the embedder that the settings name.
func (p Provider) Open(ctx context.Context, m Model, c Calls) (embed.Embedder, error) {
	e, err := p.open(ctx, m, c)
	if err != nil {
		return nil, err
	}
	document, query := m.prefixes()
	return embed.WithPrefixes(e, document, query), nil
}

// open returns it without prefixes.
func (p Provider) open(ctx context.Context, m Model, c Calls) (embed.Embedder, error) {
	dims := func(byDefault int) int {
		if m.Dims > 0 {
			return m.Dims
		}
		return byDefault
	}
	switch name := p.Resolved(); name {
	case providerLocal:
		return p.local(m)
	case providerOpenAI:
		return embed.NewOpenAI(embed.OpenAIConfig{
			APIKey: embed.NewSecret(p.APIKey), BaseURL: p.BaseURL, Model: m.Model, Dims: dims(1536),
			Concurrency: c.Concurrency, BatchTexts: c.Batch, Patience: c.Patience, Observer: c.Observer,
		})
	case providerBedrock:
		aws, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, SettingError("EMBEDDING_PROVIDER", "bedrock needs AWS settings: %w", err)
		}
		return bedrock.New(bedrock.Config{AWS: aws, Model: m.Model, Dims: dims(bedrock.DefaultDims(m.Model)), Concurrency: c.Concurrency, BatchTexts: c.Batch, Patience: c.Patience, Observer: c.Observer})
	default:
		return nil, SettingError("EMBEDDING_PROVIDER", "must be openai, bedrock or local, is %q", name)
	}
}

// Chooses tells whether the model is to be chosen by what the store serves: in this process, and no setting names one.
func (p Provider) Chooses(m Model) bool {
	return p.Resolved() == providerLocal && m.Model == "" && (m.Dims == 0 || m.Dims == embed.LocalDims)
}

// Choose returns the local embedder for a store that serves this, the zero Embedding for nothing: the multilingual model,
// but local-ngram-v1 where that is served, since a move is a rebuild that people should want, or where nothing is and the
// multilingual model is not installed. why says so, and what to do.
func (p Provider) Choose(m Model, served snapshot.Embedding) (e embed.Embedder, why string) {
	model := embed.SentenceModel
	installed := embed.SentenceInstalled(p.weights())
	switch {
	case served.Provider == providerLocal && served.Model == embed.LocalModel:
		model, why = embed.LocalModel, fmt.Sprintf("%s stays, as the store serves it; EMBEDDING_MODEL=%s finds what means the same in other words, after one rebuild", embed.LocalModel, embed.SentenceModel)
	case served == (snapshot.Embedding{}) && !installed:
		model, why = embed.LocalModel, fmt.Sprintf("%s, which finds only shared words: %s is not installed in %s (make weights, or copy the file)", embed.LocalModel, embed.SentenceModel, p.weights())
	}
	document, query := m.prefixes()
	if model == embed.LocalModel {
		return embed.WithPrefixes(embed.NewLocal(m.Dims), document, query), why
	}
	return embed.WithPrefixes(embed.NewSentence(p.weights()), document, query), why
}

// local returns the embedder of a model that runs in this process.
func (p Provider) local(m Model) (embed.Embedder, error) {
	switch m.Model {
	case "":
		if p.Chooses(m) {
			e, _ := p.Choose(Model{}, snapshot.Embedding{}) // open adds the prefixes
			return e, nil
		}
		return embed.NewLocal(m.Dims), nil
	case embed.LocalModel:
		return embed.NewLocal(m.Dims), nil
	case embed.SentenceModel:
		e := embed.NewSentence(p.weights())
		if has := e.Embedding().Dims; m.Dims != 0 && m.Dims != has {
			return nil, SettingError("EMBEDDING_DIMENSIONS", "%s has %d, not %d", m.Model, has, m.Dims)
		}
		return e, nil
	default:
		return nil, SettingError("EMBEDDING_MODEL", "the local provider does not know %q: it knows %s and %s", m.Model, embed.LocalModel, embed.SentenceModel)
	}
}

// ForSnapshot returns what embeds queries as the snapshot's texts were embedded, whatever this process would choose
// itself. It refuses only what cannot be called from here.
func (p Provider) ForSnapshot(ctx context.Context, e snapshot.Embedding) (embed.Embedder, error) {
	p.Name = e.Provider
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("snapshot needs provider %s: %w", e.Provider, err)
	}
	x, err := p.open(ctx, Model{Model: e.Model, Dims: e.Dims}, Calls{})
	if err != nil {
		return nil, fmt.Errorf("snapshot needs %s %s: %w", e.Provider, e.Model, err)
	}
	if l, ok := x.(*embed.Local); ok {
		if err := l.Ready(); err != nil {
			return nil, fmt.Errorf("snapshot needs %w", err)
		}
	}
	x = embed.WithPrefixes(x, e.DocumentPrefix, e.QueryPrefix)
	if got := x.Embedding(); got != e {
		return nil, fmt.Errorf("snapshot needs %s %s version %s of %d dimensions; this binary has %s version %s of %d",
			e.Provider, e.Model, e.Version, e.Dims, got.Model, got.Version, got.Dims)
	}
	return x, nil
}
