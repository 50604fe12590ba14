package embed

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Limits of OpenAI's embeddings API (https://platform.openai.com/docs/api-reference/embeddings/create).
const (
	MaxBatchTexts  = 2048    // inputs a request
	maxBatchTokens = 300_000 // tokens a request
)

// openAIVersion is bumped when this client makes another vector of the same text: other cutting, other normalising.
const openAIVersion = "1"

// OpenAIConfig configures a client of OpenAI or of a server that speaks its API. Zero fields take the defaults named.
type OpenAIConfig struct {
	APIKey Secret // may be empty for servers without keys
	// BaseURL is up to but without /embeddings; default https://api.openai.com/v1. A query api-version=…, or a host below
	// openai.azure.com whose path is not the versionless /openai/v1, means Azure: the path /openai/deployments/<deployment>/
	// is then added.
	BaseURL    string
	Deployment string // Azure only; default: the model's name
	Model      string // default text-embedding-3-small
	Dims       int    // required; sent as dimensions where the server knows it

	Concurrency int           // calls in flight at most, default 4
	BatchTexts  int           // texts a call, default 256, at most 2,048
	TextTokens  int           // the model's limit a text, default 8,192; longer texts are cut
	CallTimeout time.Duration // default 60 s
	MaxTries    int           // default 16 failures of one batch in a row
	MaxStall    time.Duration // default 10 min without any success
	Patience    time.Duration // with an endpoint that cannot be reached; default: MaxTries and MaxStall alone
	RetryBase   time.Duration // first backoff, default 500 ms
	RetryMax    time.Duration // longest backoff, default 30 s

	Transport http.RoundTripper // default: a transport of its own, proxies from the environment
	Observer  Observer
}

// OpenAI is an Embedder over /v1/embeddings.
type OpenAI struct {
	cfg      OpenAIConfig
	client   func(openai.HTTPDoer) *openai.Client // a closure, as the library's configuration holds the key in a string
	http     *http.Client
	endpoint string
	runner   *Runner
	caps     capabilities
}

var _ Embedder = (*OpenAI)(nil)

// DefaultAzureVersion is used for an Azure URL that names no api-version: the newest generally available one.
const DefaultAzureVersion = "2024-10-21"

// NewOpenAI checks cfg and makes a client. It does not call the server.
func NewOpenAI(cfg OpenAIConfig) (*OpenAI, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://api.openai.com/v1"
	}
	if cfg.Model == "" {
		cfg.Model = string(openai.SmallEmbedding3)
	}
	if cfg.Dims < 1 || cfg.Dims > 65536 {
		return nil, fmt.Errorf("%w: %d dimensions", ErrTerminal, cfg.Dims)
	}
	if err := cfg.APIKey.Check(); err != nil {
		return nil, fmt.Errorf("%w: OPENAI_API_KEY %w", ErrTerminal, err)
	}
	o := &OpenAI{cfg: cfg}
	if err := o.address(); err != nil {
		return nil, err
	}
	o.caps.now = o.features()
	o.runner = NewRunner(RunnerConfig{
		Dims: cfg.Dims, Concurrency: cfg.Concurrency, BatchTexts: min(cfg.BatchTexts, MaxBatchTexts), BatchTokens: maxBatchTokens,
		TextTokens: cfg.TextTokens, CallTimeout: cfg.CallTimeout, MaxTries: cfg.MaxTries, MaxStall: cfg.MaxStall, Patience: cfg.Patience,
		RetryBase: cfg.RetryBase, RetryMax: cfg.RetryMax, Observer: cfg.Observer,
	})
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport(o.runner.cfg.Concurrency)
	}
	o.http = &http.Client{
		Transport: transport,
		// A redirected POST loses its body or, worse, sends the key elsewhere; the base URL is to be corrected instead.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return o, nil
}

// address parses the base URL into go-openai's configuration.
func (o *OpenAI) address() error {
	u, err := url.Parse(o.cfg.BaseURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%w: OPENAI_BASE_URL is not an http(s) URL", ErrTerminal)
	}
	if u.User != nil {
		return fmt.Errorf("%w: OPENAI_BASE_URL holds a user or password: it would be written to logs, use OPENAI_API_KEY", ErrTerminal)
	}
	o.endpoint = u.Host
	version := u.Query().Get("api-version")
	path := strings.TrimRight(u.Path, "/")
	azureHost := strings.HasSuffix(u.Hostname(), ".openai.azure.com") || strings.HasSuffix(u.Hostname(), ".cognitiveservices.azure.com")
	if azureHost && version == "" && !strings.HasSuffix(path, "/openai/v1") {
		version = DefaultAzureVersion
	}
	base := u.Scheme + "://" + u.Host + path
	conf := openai.DefaultConfig(o.cfg.APIKey.value())
	conf.BaseURL = base
	if version != "" {
		conf = o.azure(strings.TrimSuffix(base, "/openai"), version)
	}
	o.client = func(doer openai.HTTPDoer) *openai.Client {
		conf := conf
		conf.HTTPClient = doer
		return openai.NewClientWithConfig(conf)
	}
	return nil
}

func (o *OpenAI) azure(base, version string) openai.ClientConfig {
	deployment := o.cfg.Deployment
	if deployment == "" {
		deployment = o.cfg.Model
	}
	conf := openai.DefaultAzureConfig(o.cfg.APIKey.value(), base)
	conf.APIVersion = version
	conf.AzureModelMapperFunc = func(string) string { return url.PathEscape(deployment) }
	return conf
}

func newTransport(concurrency int) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = concurrency + 1 // the queries' one
	// Vectors do not compress: gunzipping 8 kB of base64 costs five times what all the rest of the client does.
	t.DisableCompression = true
	return t
}

// Embedding says what the vectors are.
func (o *OpenAI) Embedding() snapshot.Embedding {
	return snapshot.Embedding{Provider: "openai", Model: o.cfg.Model, Dims: o.cfg.Dims, Version: openAIVersion}
}

// Endpoint is the host of the base URL.
func (o *OpenAI) Endpoint() string { return o.endpoint }

// EstimateTokens is a cautious count for cl100k_base, which all of OpenAI's embedding models use.
func (o *OpenAI) EstimateTokens(text string) int { return estimateTokens(text) }

// Stats returns totals since the client was made.
func (o *OpenAI) Stats() Stats { return o.runner.Stats() }

// Close drops idle connections.
func (o *OpenAI) Close() { o.http.CloseIdleConnections() }

// String names the client without its key, and keeps fmt from walking its fields.
func (o *OpenAI) String() string   { return "openai:" + o.cfg.Model + "@" + o.endpoint }
func (o *OpenAI) GoString() string { return o.String() }

// Embed implements Embedder. A text over the model's limit is cut at a rune boundary and reported to Observer.Cut and
// in Stats. Empty texts are refused, as the provider would.
func (o *OpenAI) Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error {
	for i, t := range texts {
		if t == "" {
			return fmt.Errorf("%w: text %d is empty", ErrTerminal, i)
		}
	}
	return o.runner.Run(ctx, texts, o.call, done)
}

// EmbedQuery implements Embedder: three tries within ctx, no queueing behind a running Embed.
func (o *OpenAI) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return o.runner.Query(ctx, text, o.call)
}
