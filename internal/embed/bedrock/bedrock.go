// Package bedrock embeds with Amazon's Titan text embedding models through Amazon Bedrock.
//
// One InvokeModel call takes one text; concurrency, retries, checks and cutting are those of embed.Runner, whose batches
// are here a number of texts asked for one after the other. Credentials and region come from the SDK's usual chain; the
// task role needs bedrock:InvokeModel on the model. The wire format is described at
// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

// The models this package knows. TitanV2 makes vectors of 256, 512 or 1,024 numbers, TitanV1 of 1,536.
const (
	TitanV2 = "amazon.titan-embed-text-v2:0"
	TitanV1 = "amazon.titan-embed-text-v1"
)

// version is bumped when this client makes another vector of the same text.
const version = "1"

// Config configures a client. Zero fields take the defaults named.
type Config struct {
	AWS   aws.Config // region and credentials; required
	Model string     // default TitanV2; an inference profile or ARN that ends in one of the models works too
	Dims  int        // required

	Concurrency int           // calls in flight at most, default 4
	BatchTexts  int           // texts a batch, default and most 16
	CallTimeout time.Duration // for a batch of 16 texts, default 60 s
	MaxTries    int           // default 16 failures of one batch in a row
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
	v1       bool
}

var _ embed.Embedder = (*Bedrock)(nil)

const (
	batchTexts   = 16
	maxTokens    = 8192      // a text, both models
	maxAnswer    = 256 << 10 // 1,536 numbers of 24 characters, seven times over
	errorMessage = 300       // bytes of Amazon's message in an error
)

// New checks cfg and makes a client. It does not call Bedrock.
func New(cfg Config) (*Bedrock, error) {
	if cfg.Model == "" {
		cfg.Model = TitanV2
	}
	b := &Bedrock{cfg: cfg, v1: strings.Contains(cfg.Model, "titan-embed-text-v1")}
	switch {
	case !b.v1 && !strings.Contains(cfg.Model, "titan-embed-text-v2"):
		return nil, fmt.Errorf("%w: EMBEDDING_MODEL %q is not a Titan text embedding model: set %s or %s", embed.ErrTerminal, cfg.Model, TitanV2, TitanV1)
	case b.v1 && cfg.Dims != 1536:
		return nil, fmt.Errorf("%w: %s makes vectors of 1536 numbers: set EMBEDDING_DIMENSIONS=1536", embed.ErrTerminal, cfg.Model)
	case !b.v1 && !slices.Contains([]int{256, 512, 1024}, cfg.Dims):
		return nil, fmt.Errorf("%w: %s makes vectors of 256, 512 or 1024 numbers, not %d: set EMBEDDING_DIMENSIONS", embed.ErrTerminal, cfg.Model, cfg.Dims)
	case cfg.AWS.Region == "":
		return nil, fmt.Errorf("%w: no region for Bedrock: set AWS_REGION", embed.ErrTerminal)
	}
	b.client = bedrockruntime.NewFromConfig(cfg.AWS, func(o *bedrockruntime.Options) {
		o.Retryer = aws.NopRetryer{} // the Runner retries, and knows what is still missing
		b.endpoint = host(o)
	})
	b.runner = embed.NewRunner(embed.RunnerConfig{
		Dims: cfg.Dims, Concurrency: cfg.Concurrency, BatchTexts: min(cmp.Or(max(cfg.BatchTexts, 0), batchTexts), batchTexts), TextTokens: maxTokens, CallTimeout: cfg.CallTimeout,
		MaxTries: cfg.MaxTries, RetryBase: cfg.RetryBase, RetryMax: cfg.RetryMax, Observer: cfg.Observer,
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

// Spec says what the vectors are.
func (b *Bedrock) Spec() embed.Spec {
	return embed.Spec{Provider: "bedrock", Model: b.cfg.Model, Dims: b.cfg.Dims, Version: version}
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
	return b.runner.Run(ctx, texts, b.call, done)
}

// EmbedQuery implements embed.Embedder.
func (b *Bedrock) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return b.runner.Query(ctx, text, b.call)
}

// call asks for one text after the other; those that have arrived before an error are kept.
func (b *Bedrock) call(ctx context.Context, texts []string, put embed.Put) (embed.Receipt, error) {
	var receipt embed.Receipt
	for i, text := range texts {
		answer, err := b.invoke(ctx, text)
		if err != nil {
			return receipt, b.classify(err)
		}
		receipt.Tokens += max(answer.Tokens, 0)
		put(i, answer.Embedding, len(answer.Embedding))
	}
	return receipt, nil
}

type request struct {
	InputText  string `json:"inputText"`
	Dimensions int    `json:"dimensions,omitempty"` // v2
	Normalize  *bool  `json:"normalize,omitempty"`  // v2
}

type answer struct {
	Embedding []float32 `json:"embedding"`
	Tokens    int       `json:"inputTextTokenCount"`
}

func (b *Bedrock) invoke(ctx context.Context, text string) (answer, error) {
	req := request{InputText: text}
	if !b.v1 {
		req.Dimensions, req.Normalize = b.cfg.Dims, aws.Bool(true)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return answer{}, err
	}
	out, err := b.client.InvokeModel(ctx, &bedrockruntime.InvokeModelInput{
		ModelId: &b.cfg.Model, Body: body, Accept: aws.String("application/json"), ContentType: aws.String("application/json"),
	})
	if err != nil {
		return answer{}, err
	}
	var a answer
	if len(out.Body) > maxAnswer {
		return a, fmt.Errorf("an answer of %d bytes", len(out.Body))
	}
	if err := json.Unmarshal(out.Body, &a); err != nil {
		return a, fmt.Errorf("decode answer: %w", err)
	}
	return a, nil
}

// classify turns an SDK error into what it means for the next call. The names are Bedrock's and the common ones of AWS.
func (b *Bedrock) classify(err error) *embed.CallError {
	ce := &embed.CallError{Kind: embed.Transient, Reason: "connection"}
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
