package api

import (
	"cmp"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// Values of ACCESS_LOG.
const (
	AccessOff     = "off"
	AccessOn      = "on"
	AccessQueries = "queries" // with the text of each question
)

// accessed is around the public answers: one line for each, with ACCESS_LOG.
func (s *Server) accessed(next http.Handler) http.Handler {
	if s.cfg.AccessLog == AccessOff {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &noted{ResponseWriter: w, start: time.Now(), queries: s.cfg.AccessLog == AccessQueries}
		defer func() {
			attrs := []any{
				"method", r.Method, "path", r.URL.Path, "status", a.status(), "ms", float64(time.Since(a.start).Microseconds()) / 1e3, "bytes", a.bytes,
				"client", clientOf(r, s.cfg.TrustedProxies), "snapshot", w.Header().Get(headerSnapshot),
			}
			if a.query != "" {
				attrs = append(attrs, "query", a.query)
			}
			s.log.Info("request", append(attrs, ids(w, r)...)...)
		}()
		next.ServeHTTP(a, r)
	})
}

// noted is an answer on its way out, and what its line says.
type noted struct {
	http.ResponseWriter
	start   time.Time
	code    int
	bytes   int64
	queries bool
	query   string
}

// status is 200 where the handler did not say, as in net/http.
func (n *noted) status() int {
	if n.code == 0 {
		return http.StatusOK
	}
	return n.code
}

// WriteHeader implements http.ResponseWriter; the first call counts.
func (n *noted) WriteHeader(code int) {
	if n.code == 0 {
		n.code = code
	}
	n.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (n *noted) Write(p []byte) (int, error) {
	n.WriteHeader(n.status())
	w, err := n.ResponseWriter.Write(p)
	n.bytes += int64(w)
	return w, err
}

// Unwrap is for http.ResponseController.
func (n *noted) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// noteQuery keeps the text of a question for the line, where that is wanted.
func noteQuery(w http.ResponseWriter, text string) {
	for {
		switch under := w.(type) {
		case *noted:
			if under.queries {
				under.query = text
			}
			return
		case interface{ Unwrap() http.ResponseWriter }:
			w = under.Unwrap()
		default:
			return
		}
	}
}

// traced is around everything public: the trace of each request that the guards are for, where that is wanted.
func (s *Server) traced(next http.Handler) http.Handler {
	if s.cfg.Tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !guarded(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		r, t := s.cfg.Tracer.Request(r, r.Method+" "+r.URL.Path, start)
		a := &noted{ResponseWriter: w, start: start}
		defer func() {
			if r.Pattern != "" { // which has the place of an id, not the id
				t.Name(r.Pattern)
			}
			t.Set("http.request.method", r.Method)
			t.Set("http.response.status_code", a.status())
			t.Set("vectorstore.snapshot", w.Header().Get(headerSnapshot))
			t.Set("vectorstore.request_id", w.Header().Get(headerRequest))
			failed := ""
			if a.status() >= http.StatusInternalServerError {
				failed = http.StatusText(a.status())
			}
			t.End(failed, time.Now())
		}()
		next.ServeHTTP(a, r)
	})
}

// ids are the request's own and its trace's, for every line about it.
func ids(w http.ResponseWriter, r *http.Request) []any {
	out := []any{"request_id", w.Header().Get(headerRequest)}
	if id := cmp.Or(traceID(r), tracing.Of(r.Context()).ID()); id != "" {
		out = append(out, "trace_id", id)
	}
	return out
}

// traceID is how the caller's trace is known: of traceparent (https://www.w3.org/TR/trace-context/) its trace-id, else the
// Root of X-Amzn-Trace-Id, which a load balancer of AWS adds to every request; "" for neither.
func traceID(r *http.Request) string {
	if p := strings.Split(r.Header.Get("Traceparent"), "-"); len(p) >= 4 && len(p[0]) == 2 && len(p[1]) == 32 && isHex(p[1]) && strings.Trim(p[1], "0") != "" {
		return p[1]
	}
	for field := range strings.SplitSeq(r.Header.Get("X-Amzn-Trace-Id"), ";") {
		if root, ok := strings.CutPrefix(strings.TrimSpace(field), "Root="); ok && len(root) <= 64 && isHex(strings.ReplaceAll(root, "-", "")) {
			return root
		}
	}
	return ""
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// refusalsPause is how often refusals of one kind are logged at most.
const refusalsPause = time.Minute

// refusals are answers with which a server protects itself, 503 and 504: under pressure there are thousands a minute. The
// first is logged at once, the others with their number when a minute is over.
type refusals struct {
	log   *slog.Logger
	mu    sync.Mutex
	since map[int]int // by status: how many since the last line; absent: none for a minute
}

func (f *refusals) note(status int, attrs ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, waits := f.since[status]; waits {
		f.since[status] = n + 1
		return
	}
	if f.since == nil {
		f.since = map[int]int{}
	}
	f.since[status] = 0
	f.log.Warn("searches refused", append([]any{"status", status, "count", 1}, attrs...)...)
	time.AfterFunc(refusalsPause, func() { f.flush(status) })
}

func (f *refusals) flush(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.since[status]
	if n == 0 {
		delete(f.since, status)
		return
	}
	f.since[status] = 0
	f.log.Warn("searches refused", "status", status, "count", n)
	time.AfterFunc(refusalsPause, func() { f.flush(status) })
}
