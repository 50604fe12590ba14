package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// errDeadline is the cause of a request's context once SearchTimeout has passed.
var errDeadline = errors.New("the deadline passed")

// statusGone is how a request whose client left is counted (nginx's convention); nobody receives it.
const statusGone = 499

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

// failure is what an error of a search becomes outside.
func failure(r *http.Request, err error) (status int, detail string, fields []*huma.ErrorDetail) {
	var fe *fieldError
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &fe):
		return http.StatusUnprocessableEntity, "this is not a valid search", []*huma.ErrorDetail{{Message: fe.why, Location: fe.at}}
	case errors.As(err, &tooBig):
		return http.StatusRequestEntityTooLarge, "the body is larger than " + strconv.FormatInt(tooBig.Limit, 10) + " bytes", nil
	case errors.Is(err, errBusy), errors.Is(err, errNoSnapshot):
		return http.StatusServiceUnavailable, err.Error(), nil
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		return statusGone, "the client left", nil
	case errors.Is(err, errDeadline), errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errProvider):
		return http.StatusGatewayTimeout, "no answer in time", nil
	case errors.Is(err, errProvider):
		// Without the provider's words: they are in /snapshot and in the log, and may quote its configuration.
		return http.StatusBadGateway, "the embedding provider failed; searches by vector, lexical ones and recently seen queries still work", nil
	}
	return http.StatusInternalServerError, "internal error", nil
}
