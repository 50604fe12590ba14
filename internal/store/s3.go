package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsretry "github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
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

// maxEmptyPages in a row: a store may skip over what was deleted, but not for ever.
const maxEmptyPages = 1000

// List implements Objects, 1,000 keys to a request. What is not in a listing counts as absent, and absences decide what
// is damaged and what may be deleted: a listing that is not whole, in order and of the prefix is an error.
func (s *S3) List(ctx context.Context, prefix string, each func(Info) error) error {
	l := listing{prefix: prefix}
	for more := true; more; {
		page, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
			Bucket: &s.cfg.Bucket, Prefix: &prefix, ContinuationToken: optional(l.token),
		})
		if err != nil {
			return s.fail(OpList, prefix, err)
		}
		date := answerDate(page.ResultMetadata)
		for _, obj := range page.Contents {
			key := aws.ToString(obj.Key)
			if err := l.key(key); err != nil {
				return s.fail(OpList, prefix, err)
			}
			if strings.HasSuffix(key, "/") {
				continue // a "folder" that a console made
			}
			info := Info{
				Key:          key,
				ETag:         aws.ToString(obj.ETag),
				Size:         aws.ToInt64(obj.Size),
				LastModified: aws.ToTime(obj.LastModified),
				Date:         date,
			}
			if err := each(info); err != nil {
				return err
			}
		}
		if more, err = l.next(page); err != nil {
			return s.fail(OpList, prefix, err)
		}
	}
	return nil
}

// listing checks that pages make a whole.
type listing struct {
	prefix string
	token  string // of the page to ask for
	last   string // key
	empty  int    // pages in a row without a new key
	fresh  bool   // the page at hand had one
}

// key takes the next key of a page.
func (l *listing) key(key string) error {
	switch {
	case !strings.HasPrefix(key, l.prefix):
		return fmt.Errorf("the listing holds %.200q, which does not begin with the prefix", key)
	case key <= l.last:
		return fmt.Errorf("the listing goes round: %.200q comes after %.200q", key, l.last)
	}
	l.last, l.fresh = key, true
	return nil
}

// next tells whether another page follows the given one.
func (l *listing) next(page *s3.ListObjectsV2Output) (more bool, err error) {
	token := aws.ToString(page.NextContinuationToken)
	if l.empty++; l.fresh {
		l.empty, l.fresh = 0, false
	}
	switch {
	case page.IsTruncated == nil && page.KeyCount == nil && page.Name == nil:
		return false, errors.New("the answer is not a listing")
	case token == "" && aws.ToBool(page.IsTruncated):
		return false, errors.New("the listing is cut short: the store says that there is more, and not how to get it")
	case token == "":
		return false, nil
	case token == l.token:
		return false, errors.New("the listing goes round: the store gives the same continuation token again")
	case l.empty > maxEmptyPages:
		return false, fmt.Errorf("the listing does not end: %d pages without a key", l.empty)
	}
	l.token = token
	return true, nil
}

// Put implements Objects: one request, never repeated by the SDK. A 409 (two conditional writes met) is neither a
// success nor ErrConflict: send the same bytes again.
func (s *S3) Put(ctx context.Context, key string, data []byte, o PutOptions) (Info, error) {
	if len(data) > MaxPut {
		return Info{}, s.fail(OpPut, key, fmt.Errorf("%d bytes, the limit is %d", len(data), MaxPut))
	}
	return s.put(ctx, key, bytes.NewReader(data), int64(len(data)), o)
}

// PutFile implements Objects. A file above PartSize travels in parallel parts that count only when, and if, the
// conditional completion succeeds; on any failure the upload is aborted. Only parts are repeated by the SDK.
func (s *S3) PutFile(ctx context.Context, key, path string, o PutOptions) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	if st.Size() <= s.cfg.PartSize {
		return s.put(ctx, key, io.NewSectionReader(f, 0, st.Size()), st.Size(), o)
	}
	return s.putParts(ctx, key, f, st.Size(), o)
}

func (s *S3) put(ctx context.Context, key string, body io.ReadSeeker, size int64, o PutOptions) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	sum, err := checksum(body)
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:               &s.cfg.Bucket,
		Key:                  &key,
		Body:                 body,
		ContentLength:        &size,
		ChecksumSHA256:       &sum,
		IfMatch:              optional(o.IfMatch),
		IfNoneMatch:          ifNoneMatch(o),
		Metadata:             o.Metadata,
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	}, once)
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	if got := aws.ToString(out.ChecksumSHA256); got != "" && got != sum { // AWS, versitygw and minio tell
		return Info{}, s.fail(OpPut, key, fmt.Errorf("the store computed SHA-256 %s for %s", got, sum))
	}
	info := s.info(key, out.ResultMetadata, out.ETag, out.VersionId)
	info.Size = size
	info.LastModified = info.Date // not in the answer; the same clock, to the second
	info.Metadata = o.Metadata
	return info, nil
}

// putParts uploads f in parts and completes them under the condition of o.
func (s *S3) putParts(ctx context.Context, key string, f io.ReaderAt, size int64, o PutOptions) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	created, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:               &s.cfg.Bucket,
		Key:                  &key,
		ChecksumAlgorithm:    types.ChecksumAlgorithmSha256,
		Metadata:             o.Metadata,
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	})
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	id := created.UploadId
	out, err := s.sendParts(ctx, key, id, f, size, o)
	if err != nil {
		err = s.fail(OpPut, key, err)
		s.abort(ctx, key, id)
		return Info{}, err
	}
	info := s.info(key, out.ResultMetadata, out.ETag, out.VersionId)
	info.Size = size
	info.LastModified = info.Date
	info.Metadata = o.Metadata
	return info, nil
}

func (s *S3) sendParts(ctx context.Context, key string, id *string, f io.ReaderAt, size int64, o PutOptions) (*s3.CompleteMultipartUploadOutput, error) {
	partSize := partSizeFor(size, s.cfg.PartSize)
	done := make([]types.CompletedPart, (size+partSize-1)/partSize)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Parallel)
	for i := range done {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			offset := int64(i) * partSize
			body := io.NewSectionReader(f, offset, min(partSize, size-offset))
			part, err := s.sendPart(gctx, key, id, int32(i+1), body)
			done[i] = part
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &s.cfg.Bucket,
		Key:             &key,
		UploadId:        id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		IfMatch:         optional(o.IfMatch),
		IfNoneMatch:     ifNoneMatch(o),
	}, once)
}

func (s *S3) sendPart(ctx context.Context, key string, id *string, number int32, body *io.SectionReader) (types.CompletedPart, error) {
	sum, err := checksum(body)
	if err != nil {
		return types.CompletedPart{}, err
	}
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &s.cfg.Bucket,
		Key:            &key,
		UploadId:       id,
		PartNumber:     &number,
		Body:           body,
		ContentLength:  aws.Int64(body.Size()),
		ChecksumSHA256: &sum,
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumSHA256: &sum}, nil
}

// partSizeFor raises the part size, in whole MiB, until the file fits S3's 10,000 parts.
func partSizeFor(size, partSize int64) int64 {
	const mib = 1 << 20
	needed := (size + maxParts - 1) / maxParts
	return max(partSize, (needed+mib-1)/mib*mib)
}

// abort drops the parts of an upload that failed. When that fails too, the bucket's lifecycle rule for incomplete
// uploads does it.
func (s *S3) abort(ctx context.Context, key string, id *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &key, UploadId: id})
}

func ifNoneMatch(o PutOptions) *string {
	if o.IfAbsent {
		return aws.String("*")
	}
	return nil
}

// checksum is the base64 SHA-256 of what body holds, as S3's headers carry it. The body is rewound.
func checksum(body io.ReadSeeker) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, body, make([]byte, copyBuffer))
	if _, serr := body.Seek(0, io.SeekStart); err != nil || serr != nil {
		return "", errors.Join(err, serr)
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// ListVersions implements Versioned. Within a page S3 gives versions and delete markers apart, so a key's markers come
// after its versions.
func (s *S3) ListVersions(ctx context.Context, prefix string, each func(Version) error) error {
	in := &s3.ListObjectVersionsInput{Bucket: &s.cfg.Bucket, Prefix: &prefix}
	if s.cfg.VersionsPage > 0 {
		in.MaxKeys = &s.cfg.VersionsPage
	}
	type at struct{ key, id string }
	markers, before := map[at]bool{}, map[at]bool{}
	for {
		page, err := s.client.ListObjectVersions(ctx, in)
		if err != nil {
			return s.fail(OpListVersions, prefix, err)
		}
		these := map[at]bool{}
		for _, v := range versionsOf(page) {
			if !strings.HasPrefix(v.Key, prefix) {
				return s.fail(OpListVersions, prefix, fmt.Errorf("the listing holds %.200q, which does not begin with the prefix", v.Key))
			}
			one := at{v.Key, v.ID}
			these[one] = true
			if before[one] || strings.HasSuffix(v.Key, "/") {
				continue // versitygw begins a page with the end of the last; a "folder" that a console made
			}
			if err := each(v); err != nil {
				return err
			}
		}
		next := at{aws.ToString(page.NextKeyMarker), aws.ToString(page.NextVersionIdMarker)} // MinIO's are no keys
		switch {
		case !aws.ToBool(page.IsTruncated):
			return nil
		case next.key == "":
			return s.fail(OpListVersions, prefix, errors.New("the listing is cut short: the store says that there is more, and not how to get it"))
		case markers[next]:
			return s.fail(OpListVersions, prefix, errors.New("the listing goes round"))
		}
		markers[next], before = true, these
		in.KeyMarker, in.VersionIdMarker = &next.key, optional(next.id)
	}
}

// versionsOf are the versions of a page, then its delete markers.
func versionsOf(page *s3.ListObjectVersionsOutput) []Version {
	out := make([]Version, 0, len(page.Versions)+len(page.DeleteMarkers))
	for _, v := range page.Versions {
		out = append(out, Version{
			Key: aws.ToString(v.Key), ID: aws.ToString(v.VersionId), Latest: aws.ToBool(v.IsLatest),
			Size: aws.ToInt64(v.Size), LastModified: aws.ToTime(v.LastModified),
		})
	}
	for _, m := range page.DeleteMarkers {
		out = append(out, Version{
			Key: aws.ToString(m.Key), ID: aws.ToString(m.VersionId), Latest: aws.ToBool(m.IsLatest), Marker: true,
			LastModified: aws.ToTime(m.LastModified),
		})
	}
	return out
}

// GetVersion implements Versioned.
func (s *S3) GetVersion(ctx context.Context, key, id string, o GetOptions) (io.ReadCloser, Info, error) {
	return s.get(ctx, key, id, o)
}

// DeleteVersion implements Versioned.
func (s *S3) DeleteVersion(ctx context.Context, key, id string) error {
	if err := CheckKey(key); err != nil {
		return s.fail(OpDelete, key, err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key, VersionId: optional(id)})
	if err == nil {
		return nil
	}
	// A version that is gone already: versitygw calls its id invalid. Whoever must know lists again.
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "NoSuchVersion" || api.ErrorCode() == "InvalidArgument") {
		return nil
	}
	if err = s.fail(OpDelete, key, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
