package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awsretry "github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// slowestSend is the rate in bytes per second below which sending a body counts as stalled.
const slowestSend = 256 << 10

// completeTimeout is what the completion of an upload may take: the store puts the parts together meanwhile, for
// minutes when they are many, and may send nothing.
const completeTimeout = 5 * time.Minute

const opComplete = "complete_upload"

// attemptClient bounds and counts single HTTP attempts below the SDK's retries. The deadline of the caller bounds
// them all together.
type attemptClient struct {
	next    aws.HTTPClient
	cfg     S3Config
	silence silence
}

// errStalled ends an attempt that made no progress; the SDK repeats what may be repeated.
var errStalled error = stalled{}

type stalled struct{}

func (stalled) Error() string   { return "no answer in time" }
func (stalled) Timeout() bool   { return true }
func (stalled) Temporary() bool { return true }

// Do implements aws.HTTPClient.
func (c *attemptClient) Do(req *http.Request) (*http.Response, error) {
	op := opNames[awsmiddleware.GetOperationName(req.Context())]
	start := time.Now()
	patience, err := c.silence.left(start)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	headers, idle := c.cfg.HeaderTimeout, c.cfg.IdleTimeout
	if op == opComplete {
		headers, idle = completeTimeout, completeTimeout
	}
	if op != opComplete { // which takes its time on a store that is well
		headers = min(headers, patience)
	}
	limit := headers + time.Duration(max(req.ContentLength, 0))*time.Second/slowestSend
	timer := time.AfterFunc(limit, func() { cancel(errStalled) })
	res, err := c.next.Do(req.WithContext(ctx))
	timer.Stop()
	took := time.Since(start)
	if err != nil {
		result := codeNone
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		} else if req.Context().Err() != nil {
			result = codeCanceled
		}
		cancel(nil)
		c.cfg.Metrics.observe(op, result, took)
		if result == codeNone {
			err = c.silence.unanswered(start, err)
		}
		return nil, err
	}
	c.cfg.Metrics.observe(op, strconv.Itoa(res.StatusCode), took)
	if res.Body == http.NoBody {
		c.silence.end()
	}
	body := &idleBody{ReadCloser: res.Body, idle: idle, cancel: cancel, silence: &c.silence, since: start}
	body.timer = time.AfterFunc(body.idle, body.stall)
	body.timer.Stop() // it runs only while somebody reads
	res.Body = body
	return res, nil
}

func (c *attemptClient) closeIdle() {
	if next, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

// opNames are the values of the metrics' op label.
var opNames = map[string]string{
	"GetObject":               OpGet,
	"HeadObject":              OpHead,
	"PutObject":               OpPut,
	"DeleteObject":            OpDelete,
	"ListObjectsV2":           OpList,
	"ListObjectVersions":      OpListVersions,
	"CreateMultipartUpload":   "create_upload",
	"UploadPart":              "upload_part",
	"CompleteMultipartUpload": opComplete,
	"AbortMultipartUpload":    "abort_upload",
}

// idleBody ends a body that stops flowing.
type idleBody struct {
	io.ReadCloser
	cancel  context.CancelCauseFunc // of the request
	idle    time.Duration
	timer   *time.Timer
	stalled atomic.Bool
	silence *silence
	since   time.Time // of the request
}

func (b *idleBody) stall() {
	b.stalled.Store(true)
	b.cancel(errStalled)
}

func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if n > 0 || errors.Is(err, io.EOF) {
		b.silence.end()
	}
	if err != nil && !errors.Is(err, io.EOF) && b.stalled.Load() {
		err = b.silence.unanswered(b.since, errStalled)
	}
	return n, err
}

func (b *idleBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// info starts the Info of an answer.
func (s *S3) info(key string, meta middleware.Metadata, etag, version *string) Info {
	return Info{Key: key, ETag: aws.ToString(etag), VersionID: aws.ToString(version), Date: answerDate(meta)}
}

// answerDate is the store's clock in an answer, to the second; ours when it sent none.
func answerDate(meta middleware.Metadata) time.Time {
	if res, ok := awsmiddleware.GetRawResponse(meta).(*smithyhttp.Response); ok {
		if t, err := http.ParseTime(res.Header.Get("Date")); err == nil {
			return t
		}
	}
	return time.Now().UTC().Truncate(time.Second)
}

// errRange: the range begins behind the end of the object.
var errRange = fmt.Errorf("%w: the object is shorter than the range asked for", snapshot.ErrCorrupt)

// s3Error is a failed request as people read it: the operation, the object, the status and the store's own words.
// The SDK's error stays reachable for errors.As; its text, which may hold more than belongs into a log, is not used.
type s3Error struct {
	op, url  string
	sentinel error
	text     string
	cause    error
	repeated bool // by the SDK, as often as it is worth it
}

func (e *s3Error) Error() string { return e.op + " " + e.url + ": " + e.text }

func (e *s3Error) Unwrap() []error {
	if e.sentinel == nil {
		return []error{e.cause}
	}
	return []error{e.sentinel, e.cause}
}

// fail translates an error of the SDK, at the edge, into the sentinels of this package.
func (s *S3) fail(op, key string, err error) error {
	e := &s3Error{op: op, url: s.URL(key), cause: err, repeated: op != OpPut}
	var res *awshttp.ResponseError
	if !errors.As(err, &res) || res.HTTPStatusCode() == 0 { // 0: the SDK wraps a broken connection like an answer
		return e.unanswered(err)
	}
	status, api := res.HTTPStatusCode(), smithy.APIError(&smithy.GenericAPIError{})
	errors.As(err, &api)
	switch {
	case status == http.StatusNotModified:
		e.sentinel = ErrNotModified
	case status == http.StatusNotFound && api.ErrorCode() == "NoSuchBucket":
		e.sentinel, e.text = ErrRefused, "the bucket does not exist"
		return e
	case status == http.StatusNotFound && api.ErrorCode() != "NoSuchUpload": // that one: start the upload again
		e.sentinel = ErrNotFound
	case status == http.StatusPreconditionFailed:
		e.sentinel = ErrConflict
	case status == http.StatusRequestedRangeNotSatisfiable:
		e.sentinel = errRange
	case status == http.StatusForbidden:
		e.sentinel = ErrDenied
	case refused(status, api.ErrorCode()):
		e.sentinel = ErrRefused
	}
	e.text = answerText(e.sentinel, status, api, res.ServiceRequestID())
	if status == http.StatusForbidden && (op == OpGet || op == OpHead) {
		e.text += "; without s3:ListBucket a missing key answers so too"
	}
	return e
}

// transferCodes are the codes of a 400 that speak of how the request arrived, not of what it asked for.
var transferCodes = map[string]bool{"IncompleteBody": true, "BadDigest": true, "XAmzContentSHA256Mismatch": true, "RequestTimeout": true}

// refused tells whether an answer stays as it is: a redirection to another region or endpoint, a request that the store
// does not know or take. What speaks of load, time or the transfer passes.
func refused(status int, code string) bool {
	_, throttled := awsretry.DefaultThrottleErrorCodes[code]
	switch {
	case transferCodes[code], throttled, code == "NoSuchUpload":
		return false
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return false
	}
	return status >= 300 && status < 500 || status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported
}

// unanswered describes an error that came without an answer of the store.
func (e *s3Error) unanswered(err error) error {
	for _, known := range []error{ErrNoAnswer, context.Canceled, context.DeadlineExceeded, errStalled} {
		if errors.Is(err, known) {
			e.text = known.Error()
			return e
		}
	}
	var net *net.OpError // names addresses only
	if errors.As(err, &net) {
		e.text = net.Error()
		return e
	}
	var send *smithyhttp.RequestSendError
	if errors.As(err, &send) {
		err = send.Err
	}
	e.text = err.Error()
	return e
}

// answerText puts the status and the store's words together: `access denied (403 AccessDenied: …; request id …)`.
func answerText(sentinel error, status int, api smithy.APIError, requestID string) string {
	switch {
	case errors.Is(sentinel, ErrNotFound), errors.Is(sentinel, ErrNotModified), errors.Is(sentinel, ErrConflict):
		return sentinel.Error()
	}
	text := strconv.Itoa(status)
	if code := api.ErrorCode(); code != "" {
		text += " " + code
	}
	if message := api.ErrorMessage(); message != "" {
		text += fmt.Sprintf(": %.300s", message)
	}
	if requestID != "" {
		text += "; request id " + requestID
	}
	if sentinel == nil || errors.Is(sentinel, ErrRefused) {
		return text
	}
	return sentinel.Error() + " (" + text + ")"
}
