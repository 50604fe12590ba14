package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the requests to a store.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics registers vectorstore_store_requests_total{op,code} and
// vectorstore_store_request_duration_seconds{op}. code is the HTTP status of the answer, or the one that the
// directory store would give; "none" without an answer, "canceled" when the caller gave up.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vectorstore_store_requests_total",
			Help: "Requests to the object store by operation and status.",
		}, []string{"op", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "vectorstore_store_request_duration_seconds",
			Help:    "Duration of requests to the object store, until the first byte of the body for reads.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9), // 1 ms .. 65 s
		}, []string{"op"}),
	}
	reg.MustRegister(m.requests, m.duration)
	for _, op := range []string{OpGet, OpHead, OpPut, OpDelete, OpList} {
		m.requests.WithLabelValues(op, "200")
		m.requests.WithLabelValues(op, codeNone)
		m.duration.WithLabelValues(op)
	}
	return m
}

const (
	codeNone     = "none"
	codeCanceled = "canceled"
)

// observe counts one request. A nil Metrics counts nothing.
func (m *Metrics) observe(op, code string, took time.Duration) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(op, code).Inc()
	m.duration.WithLabelValues(op).Observe(took.Seconds())
}

// Observe returns objects with every call counted. An S3 that has metrics of its own, which also see its retries and
// the parts of an upload, is returned as it is.
func Observe(objects Objects, m *Metrics) Objects {
	if s, ok := objects.(selfObserved); m == nil || ok && s.observed() {
		return objects
	}
	return Hooked(objects, func(ctx context.Context, op, _ string, call func() error) error {
		if op == OpPutFile {
			op = OpPut
		}
		start := time.Now()
		err := call()
		m.observe(op, code(ctx, err), time.Since(start))
		return err
	})
}

// selfObserved is an Objects that counts its own requests.
type selfObserved interface{ observed() bool }

// code is the status that an S3 server would have answered.
func code(ctx context.Context, err error) string {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 200}, {ErrNotModified, 304}, {ErrInvalidKey, 400}, {ErrDenied, 403}, {ErrNotFound, 404}, {ErrConflict, 412},
	} {
		if err == nil && c.err == nil || c.err != nil && errors.Is(err, c.err) {
			return strconv.Itoa(c.code)
		}
	}
	if ctx.Err() != nil {
		return codeCanceled
	}
	return codeNone
}
