package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsretry "github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3Config of NewS3. Region, endpoint and credentials come from the SDK's own chain (AWS_REGION,
// AWS_ENDPOINT_URL_S3, task role, …).
type S3Config struct {
	Bucket  string
	Metrics *Metrics // counts every HTTP attempt, retries included; nil: none

	// SSE is asked for with every object, see CheckSSE. Default "": the bucket's own encryption, and no header, which not
	// every server that speaks S3 takes.
	SSE string

	// PartSize of uploads in bytes: larger files travel in parts. Default 16 MiB, at least 5 MiB (S3's minimum).
	PartSize int64
	// Parallel parts of one upload. Default 4. Parts are read from the file, not held in memory.
	Parallel int
	// VersionsPage is how many versions a listing of them asks for at a time. Default: as many as the store gives, 1,000.
	VersionsPage int32
	// HeaderTimeout bounds one attempt until the headers of its answer, plus a second for every 256 KiB it sends.
	// Default 15 s.
	HeaderTimeout time.Duration
	// IdleTimeout ends a body of which no byte came for so long. Default 15 s.
	IdleTimeout time.Duration
	// Patience ends every request with ErrNoAnswer once the store has answered nothing for so long: for commands, which
	// must end. Default none: a daemon waits for its store.
	Patience time.Duration
	// Load adds to how the SDK finds its settings: a test names its own server and keys here.
	Load []func(*config.LoadOptions) error
}

// Defaults and bounds of S3Config, and of the connection under it.
const (
	defaultPartSize      = 16 << 20
	minPartSize          = 5 << 20
	maxParts             = 10_000
	defaultPartsParallel = 4
	defaultHeaderTimeout = 15 * time.Second
	defaultIdleTimeout   = 15 * time.Second
	dialTimeout          = 5 * time.Second
	// 2 files × 4 parts up, or 4 ranges down, beside polls and heartbeats: all keep their connection.
	idleConnections = 32
	// Reads, listings, deletes and parts: 4 attempts, at most 5 s apart. A write of a whole object is sent once.
	readAttempts   = 4
	readMaxBackoff = 5 * time.Second
)

// S3 is an object store in a bucket of Amazon S3 or of a server that speaks its protocol and honours conditional
// writes (see SelfTest). Objects are written with a SHA-256
// checksum that the server verifies.
type S3 struct {
	client   *s3.Client
	attempts *attemptClient
	cfg      S3Config
}

// NewS3 connects to a bucket. It sends nothing to it yet; credentials are looked for at the first request.
func NewS3(ctx context.Context, cfg S3Config) (*S3, error) {
	if cfg.Bucket == "" {
		return nil, errors.New("open S3 store: no bucket")
	}
	cfg = cfg.withDefaults()
	transport := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = idleConnections
			t.MaxIdleConnsPerHost = idleConnections
			t.TLSHandshakeTimeout = dialTimeout
			t.ReadBufferSize = 128 << 10
			t.WriteBufferSize = 128 << 10
		})
	load := append([]func(*config.LoadOptions) error{
		config.WithHTTPClient(transport), config.WithAppID("vectorstore"),
	}, cfg.Load...)
	base, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("AWS settings: %w", err)
	}
	if !regionName.MatchString(base.Region) {
		if base.Region == "" {
			return nil, errors.New("AWS_REGION: is not set, and a bucket is in a region")
		}
		return nil, fmt.Errorf("AWS_REGION: %.80q is no region's name", base.Region)
	}
	attempts := &attemptClient{next: base.HTTPClient, cfg: cfg, silence: silence{limit: cfg.Patience}}
	if b, ok := base.HTTPClient.(*awshttp.BuildableClient); ok {
		attempts.next = b.Freeze() // a client of our own, whose idle connections can be closed
	}
	s := &S3{cfg: cfg, attempts: attempts}
	s.client = s3.NewFromConfig(base, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil // a custom endpoint rarely has a name per bucket
		o.HTTPClient = attempts
		o.DisableLogOutputChecksumValidationSkipped = true // ranges and multipart objects have none to validate
		o.Retryer = awsretry.NewStandard(func(r *awsretry.StandardOptions) {
			r.MaxAttempts = readAttempts
			r.MaxBackoff = readMaxBackoff
			r.Retryables = append([]awsretry.IsErrorRetryable{awsretry.IsErrorRetryableFunc(givenUp)}, r.Retryables...)
		})
	})
	if endpoint := s.client.Options().BaseEndpoint; endpoint != nil {
		if err := CheckEndpoint(*endpoint); err != nil {
			return nil, fmt.Errorf("AWS_ENDPOINT_URL_S3: %w", err)
		}
	}
	return s, nil
}

// CheckSSE refuses what S3 does not know as server-side encryption. Keys of the customer's own are not supported: every
// reader would need them.
func CheckSSE(sse string) error {
	if sse != "" && !slices.Contains(types.ServerSideEncryption("").Values(), types.ServerSideEncryption(sse)) {
		return fmt.Errorf("%.80q is not AES256, aws:kms or aws:kms:dsse", sse)
	}
	return nil
}

func (c S3Config) withDefaults() S3Config {
	if c.PartSize == 0 {
		c.PartSize = defaultPartSize
	}
	c.PartSize = max(c.PartSize, minPartSize)
	if c.Parallel < 1 {
		c.Parallel = defaultPartsParallel
	}
	if c.HeaderTimeout <= 0 {
		c.HeaderTimeout = defaultHeaderTimeout
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	return c
}

// once switches the SDK's retries off: a conditional write that is repeated unseen meets its own first attempt.
func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// givenUp keeps the SDK from asking a store again that does not answer.
func givenUp(err error) aws.Ternary {
	if errors.Is(err, ErrNoAnswer) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

func (s *S3) observed() bool { return s.cfg.Metrics != nil }

// URL is s3://<bucket>/<key>.
func (s *S3) URL(key string) string { return "s3://" + s.cfg.Bucket + "/" + key }

// Get implements Objects.
func (s *S3) Get(ctx context.Context, key string, o GetOptions) (io.ReadCloser, Info, error) {
	return s.get(ctx, key, "", o)
}

// get reads a version, "" for the latest.
func (s *S3) get(ctx context.Context, key, version string, o GetOptions) (io.ReadCloser, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, s.fail(OpGet, key, err)
	}
	in := &s3.GetObjectInput{
		Bucket:      &s.cfg.Bucket,
		Key:         &key,
		VersionId:   optional(version),
		IfMatch:     optional(o.IfMatch),
		IfNoneMatch: optional(o.IfNoneMatch),
	}
	switch {
	case o.Offset < 0 || o.Length < 0:
		return nil, Info{}, s.fail(OpGet, key, fmt.Errorf("range %d+%d", o.Offset, o.Length))
	case o.Length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", o.Offset, o.Offset+o.Length-1))
	case o.Offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", o.Offset))
	default:
		in.ChecksumMode = types.ChecksumModeEnabled // a checksum is of the whole object
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		err = s.fail(OpGet, key, err)
		if o.Offset == 0 && errors.Is(err, errRange) { // a range of an empty object
			return s.getEmpty(ctx, key)
		}
		return nil, Info{Key: key}, err
	}
	info := s.info(key, out.ResultMetadata, out.ETag, out.VersionId)
	info.LastModified = aws.ToTime(out.LastModified)
	info.Metadata = out.Metadata
	info.Size, err = wholeSize(aws.ToInt64(out.ContentLength), aws.ToString(out.ContentRange))
	if err != nil {
		out.Body.Close()
		return nil, Info{}, s.fail(OpGet, key, err)
	}
	return out.Body, info, nil
}

// getEmpty answers the range of an object that is empty, as S3 does not.
func (s *S3) getEmpty(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	info, err := s.Head(ctx, key)
	if err == nil && info.Size > 0 {
		err = s.fail(OpGet, key, errors.New("the object grew meanwhile"))
	}
	if err != nil {
		return nil, Info{}, err
	}
	return io.NopCloser(bytes.NewReader(nil)), info, nil
}

// wholeSize returns the size of the object from the headers of an answer that may be a range of it.
func wholeSize(length int64, contentRange string) (int64, error) {
	if contentRange == "" {
		return length, nil
	}
	_, total, ok := strings.Cut(contentRange, "/")
	var size int64
	if _, err := fmt.Sscanf(total, "%d", &size); !ok || err != nil {
		return 0, fmt.Errorf("content range %.80q", contentRange)
	}
	return size, nil
}

// Head implements Objects.
func (s *S3) Head(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, s.fail(OpHead, key, err)
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key})
	if err != nil {
		return Info{}, s.fail(OpHead, key, err)
	}
	info := s.info(key, out.ResultMetadata, out.ETag, out.VersionId)
	info.Size = aws.ToInt64(out.ContentLength)
	info.LastModified = aws.ToTime(out.LastModified)
	info.Metadata = out.Metadata
	return info, nil
}

// Delete implements Objects.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return s.fail(OpDelete, key, err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key})
	if err != nil {
		if err = s.fail(OpDelete, key, err); errors.Is(err, ErrNotFound) {
			return nil
		}
	}
	return err
}

// Close closes idle connections. Requests that are under way go on.
func (s *S3) Close() error {
	s.attempts.closeIdle()
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
