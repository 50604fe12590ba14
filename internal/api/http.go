package api

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/taksuehiro/vectorstore/internal/follow"
)

// routes of the public API and their methods; GET includes HEAD.
func routes() map[string]string {
	return map[string]string{
		"/search": "GET, POST", "/search/batch": "POST", "/vendors/{id}": "GET", "/vendors/{id}/similar": "GET", "/facets": "GET", "/snapshot": "GET", "/mcp": "POST",
		"/health": "GET", "/ready": "GET", "/docs": "GET", "/openapi.json": "GET", "/openapi.yaml": "GET",
		"/": "GET, POST", "/panel": "GET",
	}
}

// publicHandler is the API and the page.
func (s *Server) publicHandler() http.Handler {
	mux := http.NewServeMux()
	s.registerAPI(mux)
	s.registerDocs(mux)
	mux.HandleFunc("POST /mcp", s.handleMCP)
	mux.HandleFunc("GET /{$}", s.handlePage)
	mux.HandleFunc("POST /{$}", s.handlePage)
	mux.HandleFunc("GET /panel", s.handlePanel)
	mux.HandleFunc("GET /assets/", s.handleAsset)
	mux.HandleFunc("/", s.notFound)
	return s.traced(s.accessed(s.wrap(func(w http.ResponseWriter, r *http.Request) {
		if s.cors(w, r) {
			return
		}
		t := s.transferOf(w, r)
		if t != nil {
			w = t
		}
		if !guarded(r.URL.Path) || s.admit(w, r) {
			mux.ServeHTTP(w, r)
		}
		if t != nil {
			t.end()
		}
	})))
}

// adminHandler is for operators and scrapers; it is never behind the load balancer.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	// Of the two formats OpenMetrics alone has exemplars.
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{EnableOpenMetrics: s.cfg.Tracer != nil}))
	mux.HandleFunc("GET /status", s.handleStatus)
	s.registerProbes(mux)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/", s.notFound)
	return s.wrap(mux.ServeHTTP)
}

// wrap is around every answer: ids, the end of keep-alive while draining, and panics.
func (s *Server) wrap(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h[headerRequest] = []string{requestID(r)}
		h[headerSnapshot] = []string{s.servedID()}
		h["X-Content-Type-Options"] = []string{"nosniff"}
		if s.draining.Load() {
			h["Connection"] = []string{"close"} // the proxy's next request takes a connection elsewhere
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("handler panicked", append([]any{"path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack())}, ids(w, r)...)...)
			problem(w, http.StatusInternalServerError, "internal error") // nothing if the answer had begun
		}()
		next(w, r)
	})
}

// servedID is the X-Snapshot-Id of answers that read no snapshot.
func (s *Server) servedID() string {
	if id := s.follower.ServedID(); id != "" {
		return id
	}
	return follow.SourceNone
}

// notFound answers what no route took: 405 when the path is known.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/vendors/"); ok && rest != "" {
		path = "/vendors/{id}"
		if id, below, ok := strings.Cut(rest, "/"); ok && id != "" {
			path += "/" + below
		}
	}
	allow, known := routes()[path]
	if !known || slices.Contains(strings.Split(allow, ", "), r.Method) {
		problem(w, http.StatusNotFound, "no such resource")
		return
	}
	w.Header().Set("Allow", allow)
	problem(w, http.StatusMethodNotAllowed, "allowed: "+allow)
}
