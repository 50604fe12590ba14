package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/taksuehiro/vectorstore/internal/query"
)

// statusGone is how a request whose client left is counted (nginx's convention).
const statusGone = 499

// errNoSnapshot: nothing is served yet.
var errNoSnapshot = errors.New("no snapshot is loaded")

// errNotJSON: STRICT_CONTENT_TYPE refuses the body.
var errNotJSON = errors.New("the body must be JSON: send Content-Type: application/json")

// problem answers with RFC 9457 problem+json.
func problem(w http.ResponseWriter, status int, detail string, fields ...*huma.ErrorDetail) {
	data, err := json.Marshal(huma.ErrorModel{
		Title: http.StatusText(status), Status: status, Detail: detail, Errors: fields,
	})
	if err != nil {
		data = []byte(`{"title":"Internal Server Error","status":500}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	if status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

// bodyError is a body that could not be read to its end.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

func (e *bodyError) failure() (status int, detail string, fields []*huma.ErrorDetail) {
	switch {
	case errors.Is(e.err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "the body did not arrive in time", nil
	case errors.Is(e.err, syscall.ECONNRESET), errors.Is(e.err, net.ErrClosed):
		return gone()
	case errors.Is(e.err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, "the body ends before its declared length", nil
	}
	return http.StatusBadRequest, "the body could not be read: its transfer coding is broken", nil
}

// gone is for a client that left, or closed its own side of the connection: then it reads this.
func gone() (status int, detail string, fields []*huma.ErrorDetail) {
	return statusGone, "the client closed the connection before it was answered", nil
}

// failure is what an error of a search becomes outside.
func failure(ctx context.Context, err error) (status int, detail string, fields []*huma.ErrorDetail) {
	var fe *fieldError
	var tooBig *http.MaxBytesError
	var be *bodyError
	switch {
	case errors.As(err, &fe):
		return http.StatusUnprocessableEntity, "this is not a valid search", []*huma.ErrorDetail{{Message: fe.why, Location: fe.at}}
	case errors.Is(err, errNotJSON):
		return http.StatusUnsupportedMediaType, err.Error(), nil
	case errors.Is(err, query.ErrUnknownRecord):
		return http.StatusNotFound, err.Error(), nil
	case errors.As(err, &tooBig):
		return http.StatusRequestEntityTooLarge, "the body is larger than " + strconv.FormatInt(tooBig.Limit, 10) + " bytes", nil
	case errors.As(err, &be):
		return be.failure()
	case ctx.Err() != nil:
		return gone()
	case errors.Is(err, query.ErrBusy), errors.Is(err, errNoSnapshot):
		return http.StatusServiceUnavailable, err.Error(), nil
	case errors.Is(err, query.ErrDeadline), errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, query.ErrProvider):
		return http.StatusGatewayTimeout, "no answer in time", nil
	case errors.Is(err, query.ErrProvider):
		// Without the provider's words: they are in /snapshot and in the log, and may quote its configuration.
		return http.StatusBadGateway, "the embedding provider failed; searches by vector, lexical ones and recently seen queries still work", nil
	}
	return http.StatusInternalServerError, "internal error", nil
}
