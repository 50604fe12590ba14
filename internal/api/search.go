package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// buffers for bodies and answers. Larger ones than keepBuffer are left to the collector.
const keepBuffer = 256 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keepBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// Requests that may hold a body at a time: 1,024 of 1 MiB, 4 of 16 MiB. Beyond it 503, before the body is read.
const (
	maxSearches = 1024
	maxBatches  = 4
)

// Answers are rendered whole. One may have 64 MiB, and those that are larger than the buffers that are kept may hold
// 128 MiB at a time, and half as much while they are gzipped: with the bodies of four batches, 256 MiB. A search for more is 422, one for which there is no room
// now 503.
const (
	maxAnswer  = 64 << 20
	maxAnswers = 128 << 20
)

// slots counts what is under way: requests, or bytes.
type slots struct {
	most int64
	used atomic.Int64
}

func (s *slots) enter(n int64) bool {
	if s.used.Add(n) > s.most {
		s.used.Add(-n)
		return false
	}
	return true
}

func (s *slots) leave(n int64) { s.used.Add(-n) }

// answerFunc answers a parsed body from one snapshot: render appends the answer, of size bytes at most.
type answerFunc func(ctx context.Context, snap *follow.Snapshot) (size int, render func(b []byte) ([]byte, error), err error)

// handleSearch is POST /search.
func (s *Server) handleSearch(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.handle(w, r, start, &s.searches, maxBody, func(body []byte) (answerFunc, error) {
		q, err := parseSearch(body, s.cfg.DefaultMode)
		noteQuery(w, q.Text)
		return s.answerTo("body", q, contentWarnings(r), start), err
	})
}

// handleSearchURL is GET /search, for people and simple clients. The question is in the address, which no log holds;
// neither shall a cache on the way.
func (s *Server) handleSearchURL(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w.Header().Set("Cache-Control", "no-store")
	s.handle(w, r, start, &s.searches, noBody, func([]byte) (answerFunc, error) {
		q, err := parseURL(r.URL.RawQuery, s.cfg.DefaultMode)
		noteQuery(w, q.Text)
		return s.answerTo("", q, nil, start), err
	})
}

// handleSimilar is GET /vendors/{id}/similar.
func (s *Server) handleSimilar(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.handle(w, r, start, &s.searches, noBody, func([]byte) (answerFunc, error) {
		q, err := parseSimilar(r.PathValue("id"), r.URL.RawQuery)
		return s.answerTo("", q, nil, start), err
	})
}

// answerTo answers one search; at is where a body is at fault, empty for a question without one.
func (s *Server) answerTo(at string, q searchRequest, warnings []string, start time.Time) answerFunc {
	return func(ctx context.Context, snap *follow.Snapshot) (int, func([]byte) ([]byte, error), error) {
		if at != "" {
			if err := fitting(at, &q.Query, snap.View); err != nil {
				return 0, nil, err
			}
		}
		found, err := s.searcher.Search(ctx, snap.View, q.Query)
		if err != nil {
			return 0, nil, err
		}
		p := replyTo(&q, snap.View, found)
		size, err := p.size()
		return size, func(b []byte) ([]byte, error) { return appendAnswer(b, &p, warnings, start) }, err
	}
}

// handleBatch is POST /search/batch.
func (s *Server) handleBatch(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.handle(w, r, start, &s.batches, maxBatchBody, func(body []byte) (answerFunc, error) {
		all, err := parseBatch(body, s.cfg.DefaultMode)
		return func(ctx context.Context, snap *follow.Snapshot) (size int, _ func([]byte) ([]byte, error), err error) {
			qs := make([]query.Query, len(all))
			for i := range all {
				qs[i] = all[i].Query
				if err := fitting(fmt.Sprintf("body.queries[%d]", i), &qs[i], snap.View); err != nil {
					return 0, nil, err
				}
			}
			found, err := s.searcher.Batch(ctx, snap.View, qs)
			if err != nil {
				return 0, nil, err
			}
			replies := make([]reply, len(all))
			for i := range replies {
				replies[i] = replyTo(&all[i], snap.View, found[i])
				n, err := replies[i].size()
				if err != nil {
					return 0, nil, err
				}
				size += n
			}
			return size, func(b []byte) ([]byte, error) {
				return appendBatch(b, snap.View, replies, contentWarnings(r), start)
			}, nil
		}, err
	})
}

// contentWarnings says so when a body claims to be something else than the JSON as which it is read. Clients that say
// nothing, and browsers that send text/plain to spare themselves a preflight, get their answer.
func contentWarnings(r *http.Request) []string {
	given := r.Header.Get("Content-Type")
	if given == "" || given == "application/json" {
		return nil
	}
	kind, _, _ := strings.Cut(given, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind == "application/json" || kind == "text/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json") {
		return nil
	}
	return []string{"the body was read as JSON; send Content-Type: application/json"}
}

// noBody is the limit of a request whose body is of no interest.
const noBody = 0

// handle reads and parses a body and answers it.
func (s *Server) handle(w http.ResponseWriter, r *http.Request, start time.Time, under *slots, limit int64, parse func([]byte) (answerFunc, error)) {
	s.m.inFlight.Inc()
	defer s.m.inFlight.Dec()
	code := http.StatusInternalServerError // unless something else is answered: a panic
	defer func() {
		s.m.requests.WithLabelValues(strconv.Itoa(code)).Inc()
		s.searcher.Metrics().Took(time.Since(start), tracing.Of(r.Context()).ID())
	}()
	if !under.enter(1) {
		code = s.fail(w, r, query.ErrBusy)
		return
	}
	defer under.leave(1)
	out := buffers.Get().(*bytes.Buffer)
	defer putBuffer(out)
	var a rendered
	defer func() { s.answers.leave(a.claimed) }() // after a panic too
	err := s.respond(w, r, limit, parse, out.AvailableBuffer(), &a)
	if a.snapshot != "" {
		w.Header()[headerSnapshot] = []string{a.snapshot}
	}
	if err != nil {
		code = s.fail(w, r, err)
		return
	}
	data := a.data
	*out = *bytes.NewBuffer(data) // keeps what it has grown to for the next answer
	code = http.StatusOK
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(data))}
	_, _ = w.Write(data)
}

// rendered is an answer.
type rendered struct {
	snapshot string // id; "" while there was none to ask
	data     []byte
	claimed  int64 // bytes of Server.answers, to be given back when the answer is written
}

// respond reads a body and renders its answer to a, in b where there is room.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, limit int64, parse func([]byte) (answerFunc, error), b []byte, a *rendered) error {
	body := buffers.Get().(*bytes.Buffer)
	defer putBuffer(body)
	if limit != noBody {
		if s.cfg.StrictContentType && contentWarnings(r) != nil {
			return errNotJSON
		}
		if err := readBody(w, r, limit, body); err != nil {
			return err
		}
	}
	answer, err := parse(body.Bytes())
	if err != nil {
		return err
	}
	return s.answered(r.Context(), answer, b, a)
}

// answered takes one reference and renders the answer to a, in b where there is room.
func (s *Server) answered(ctx context.Context, answer answerFunc, b []byte, a *rendered) error {
	snap := s.follower.Acquire()
	if snap == nil {
		return errNoSnapshot
	}
	defer s.follower.Release(snap)
	a.snapshot = snap.ID()
	size, render, err := answer(ctx, snap)
	if err != nil {
		return err
	}
	if size > maxAnswer {
		return wrong("body", "asks for an answer of %d MiB, the limit is %d: ask for fewer results at a time", size>>20, maxAnswer>>20)
	}
	if size > keepBuffer {
		if !s.answers.enter(int64(size)) {
			return query.ErrBusy
		}
		a.claimed = int64(size)
	}
	t := tracing.Of(ctx)
	rendering := t.Now()
	a.data, err = render(slices.Grow(b, size))
	t.Since("render", rendering)
	return err
}

// readBody reads at most limit bytes; more is a *http.MaxBytesError.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, to *bytes.Buffer) error {
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit}
	}
	if r.ContentLength > 0 {
		to.Grow(int(r.ContentLength) + bytes.MinRead) // read in one go, without growing at the end
	}
	if t, ok := w.(*transfer); ok {
		w = t.ResponseWriter // which closes the connection after a body that is too large
	}
	if _, err := to.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return &bodyError{err}
	}
	return nil
}

// fail answers err and returns its status. Only what is our fault is logged, and pressure once a minute.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) int {
	status, detail, fields := failure(r.Context(), err)
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway:
		s.log.Error("search failed", append([]any{"path", r.URL.Path, "status", status, "error", err}, ids(w, r)...)...)
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		s.refusals.note(status, append([]any{"path", r.URL.Path, "error", err}, ids(w, r)...)...)
	}
	problem(w, status, detail, fields...)
	return status
}
