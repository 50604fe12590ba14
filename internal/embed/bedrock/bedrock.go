// Package bedrock embeds through Amazon Bedrock, with Amazon's Titan text embedding models and Cohere's Embed v3 and v4.
//
// Concurrency, retries, checks and cutting are those of embed.Runner. Credentials and region come from the SDK's usual
// chain; the task role needs bedrock:InvokeModel on the model. What differs from model to model is a family.
package bedrock

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// The models this package knows, and the lengths of their vectors: families.
const (
	TitanV2          = "amazon.titan-embed-text-v2:0"
	TitanV1          = "amazon.titan-embed-text-v1"
	CohereV4         = "cohere.embed-v4:0"
	CohereV3         = "cohere.embed-multilingual-v3"
	CohereV3English  = "cohere.embed-english-v3"
	defaultModelName = TitanV2
)

// family is what is special about some of the models.
type family struct {
	name   string // in the model's id, an inference profile's or an ARN
	dims   []int  // lengths of vectors
	texts  int    // a call of the Runner
	tokens int    // a text; longer ones are cut here
	runes  int    // a text, 0 = no limit
	call   func(b *Bedrock, ctx context.Context, texts []string, query bool, put embed.Put) (embed.Receipt, error)
}

var families = []family{
	{TitanV1, []int{1536}, 16, 8192, 0, (*Bedrock).titan},
	{"amazon.titan-embed-text-v2", []int{256, 512, 1024}, 16, 8192, 0, (*Bedrock).titan},
	{"cohere.embed-v4", []int{256, 512, 1024, 1536}, cohereTexts, 128_000, 0, (*Bedrock).cohere},
	{CohereV3, []int{1024}, cohereTexts, 8192, cohereV3Runes, (*Bedrock).cohere},
	{CohereV3English, []int{1024}, cohereTexts, 8192, cohereV3Runes, (*Bedrock).cohere},
}

// familyOf finds the family that a model's id names.
func familyOf(model string) (family, error) {
	for _, f := range families {
		if strings.Contains(model, f.name) {
			return f, nil
		}
	}
	return family{}, fmt.Errorf("%w: EMBEDDING_MODEL %q is not known: set %s, %s, %s, %s or %s", embed.ErrTerminal, model, TitanV2, TitanV1, CohereV4, CohereV3, CohereV3English)
}

// DefaultDims is the length of a model's vectors unless another is asked for: the longest.
func DefaultDims(model string) int {
	f, err := familyOf(cmp.Or(model, defaultModelName))
	if err != nil {
		return 0
	}
	return slices.Max(f.dims)
}

// version is bumped when this client makes another vector of the same text.
const version = "1"

// Config configures a client. Zero fields take the defaults named.
type Config struct {
	AWS   aws.Config // region and credentials; required
	Model string     // default TitanV2; an inference profile or ARN that ends in one of the models works too
	Dims  int        // required

	Concurrency int           // calls in flight at most, default 4
	BatchTexts  int           // texts a batch, default and most what the model takes: 96 of Cohere's, 16 calls of Titan's
	CallTimeout time.Duration // for a batch, default 60 s
	MaxTries    int           // default 16 failures of one batch in a row
	Patience    time.Duration // with an endpoint that cannot be reached; default: MaxTries alone
	RetryBase   time.Duration // first backoff, default 500 ms
	RetryMax    time.Duration // longest backoff, default 30 s
	Observer    embed.Observer
}

// Bedrock is an embed.Embedder.
type Bedrock struct {
	cfg      Config
	client   *bedrockruntime.Client
	endpoint string
	runner   *embed.Runner
	family   family
}

var _ embed.Embedder = (*Bedrock)(nil)

const (
	maxAnswer    = 64 << 10 // and as much for each text: 1,536 numbers of 24 characters are 36 KiB
	errorMessage = 300      // bytes of Amazon's message in an error
)

// New checks cfg and makes a client. It does not call Bedrock.
func New(cfg Config) (*Bedrock, error) {
	if cfg.Model == "" {
		cfg.Model = defaultModelName
	}
	f, err := familyOf(cfg.Model)
	if err != nil {
		return nil, err
	}
	b := &Bedrock{cfg: cfg, family: f}
	switch {
	case !slices.Contains(f.dims, cfg.Dims):
		return nil, fmt.Errorf("%w: %s makes vectors of %v numbers, not %d: set EMBEDDING_DIMENSIONS", embed.ErrTerminal, cfg.Model, f.dims, cfg.Dims)
	case cfg.AWS.Region == "":
		return nil, fmt.Errorf("%w: no region for Bedrock: set AWS_REGION", embed.ErrTerminal)
	}
	b.client = bedrockruntime.NewFromConfig(cfg.AWS, func(o *bedrockruntime.Options) {
		o.Retryer = aws.NopRetryer{} // the Runner retries, and knows what is still missing
		b.endpoint = host(o)
	})
	b.runner = embed.NewRunner(embed.RunnerConfig{
		Dims: cfg.Dims, Concurrency: cfg.Concurrency, BatchTexts: min(cmp.Or(max(cfg.BatchTexts, 0), f.texts), f.texts),
		TextTokens: f.tokens, TextRunes: f.runes, CallTimeout: cfg.CallTimeout,
		MaxTries: cfg.MaxTries, Patience: cfg.Patience, RetryBase: cfg.RetryBase, RetryMax: cfg.RetryMax, Observer: cfg.Observer,
	})
	return b, nil
}

func host(o *bedrockruntime.Options) string {
	if o.BaseEndpoint != nil {
		if u, err := url.Parse(*o.BaseEndpoint); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return "bedrock-runtime." + o.Region + ".amazonaws.com"
}

// Embedding says what the vectors are.
func (b *Bedrock) Embedding() snapshot.Embedding {
	return snapshot.Embedding{Provider: "bedrock", Model: b.cfg.Model, Dims: b.cfg.Dims, Version: version}
}

// Endpoint is the host that is asked, which names the region.
func (b *Bedrock) Endpoint() string { return b.endpoint }

// EstimateTokens is a cautious guess; Titan's tokenizer is not published.
func (b *Bedrock) EstimateTokens(text string) int { return b.runner.EstimateTokens(text) }

// Stats returns totals since the client was made.
func (b *Bedrock) Stats() embed.Stats { return b.runner.Stats() }

// Embed implements embed.Embedder.
func (b *Bedrock) Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error {
	for i, t := range texts {
		if t == "" {
			return fmt.Errorf("%w: text %d is empty", embed.ErrTerminal, i)
		}
	}
	return b.runner.Run(ctx, texts, b.call(false), done)
}

// EmbedQuery implements embed.Embedder.
func (b *Bedrock) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return b.runner.Query(ctx, text, b.call(true))
}

// call makes the family's call for documents or for a query.
func (b *Bedrock) call(query bool) embed.Call {
	return func(ctx context.Context, texts []string, put embed.Put) (embed.Receipt, error) {
		return b.family.call(b, ctx, texts, query, put)
	}
}

// invoke sends request and decodes into answer what comes back. tokens is what a header counts, 0 without one.
func (b *Bedrock) invoke(ctx context.Context, texts int, request, answer any) (tokens int, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	out, err := b.client.InvokeModel(ctx, &bedrockruntime.InvokeModelInput{
		ModelId: &b.cfg.Model, Body: body, Accept: aws.String("application/json"), ContentType: aws.String("application/json"),
	})
	if err != nil {
		return 0, b.classify(err)
	}
	if len(out.Body) > maxAnswer*(1+texts) {
		return 0, b.classify(fmt.Errorf("an answer of %d bytes", len(out.Body)))
	}
	if err := json.Unmarshal(out.Body, answer); err != nil {
		return 0, b.classify(fmt.Errorf("decode answer: %w", err))
	}
	if raw, ok := middleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response); ok {
		tokens, _ = strconv.Atoi(raw.Header.Get("X-Amzn-Bedrock-Input-Token-Count"))
	}
	return max(tokens, 0), nil
}

// classify turns an SDK error into what it means for the next call. The names are Bedrock's and the common ones of AWS.
func (b *Bedrock) classify(err error) *embed.CallError {
	ce := &embed.CallError{Kind: embed.Transient, Reason: "connection", Unreached: embed.Unreached(err)}
	code, message := "", err.Error()
	var api smithy.APIError
	if errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
		ce.Reason = code
	}
	var res *awshttp.ResponseError
	status := 0
	if errors.As(err, &res) {
		status = res.HTTPStatusCode()
	}
	if len(message) > errorMessage {
		message = strings.ToValidUTF8(message[:errorMessage], "") + "…"
	}
	var hint string
	ce.Kind, hint = b.kindOf(code, status)
	ce.Status = status
	lower := strings.ToLower(message)
	ce.Long = strings.Contains(lower, "too many input tokens") || strings.Contains(lower, "maxlength")
	if hint != "" {
		hint = " (" + hint + ")"
	}
	ce.Err = &answered{text: fmt.Sprintf("%s: %s: %s%s", b.endpoint, ce.Reason, message, hint), err: err}
	return ce
}

func (b *Bedrock) kindOf(code string, status int) (kind embed.Kind, hint string) {
	switch {
	case code == "ThrottlingException" || code == "TooManyRequestsException":
		return embed.Throttled, ""
	case code == "ServiceUnavailableException" || code == "ModelNotReadyException" || status == http.StatusServiceUnavailable:
		return embed.Overloaded, ""
	case code == "AccessDeniedException":
		return embed.Terminal, "allow bedrock:InvokeModel on the model to the task role, and turn on access to " + b.cfg.Model + " in this region's Bedrock console"
	case code == "ResourceNotFoundException":
		return embed.Terminal, "the region has no model " + b.cfg.Model + ": set EMBEDDING_MODEL or AWS_REGION"
	case code == "UnrecognizedClientException" || code == "InvalidSignatureException" || code == "IncompleteSignature":
		return embed.Terminal, "the AWS credentials are refused: check the task role or the AWS_* variables"
	case code == "ServiceQuotaExceededException":
		return embed.Terminal, "raise the account's Bedrock quota"
	case status == http.StatusTooManyRequests:
		return embed.Throttled, ""
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound:
		return embed.Terminal, ""
	case status == http.StatusRequestTimeout || status == 0:
		return embed.Transient, ""
	case code == "ValidationException":
		return embed.Refused, "check EMBEDDING_MODEL and EMBEDDING_DIMENSIONS"
	}
	return embed.Refused, ""
}

// answered shows the words that matter and keeps the SDK's error for errors.As.
type answered struct {
	text string
	err  error
}

func (a *answered) Error() string { return a.text }
func (a *answered) Unwrap() error { return a.err }
