// Package embedtest is a stand-in for OpenAI's embeddings API and its relatives, for tests and demonstrations without
// a network, a key or a bill.
//
// It speaks POST /v1/embeddings as documented at https://platform.openai.com/docs/api-reference/embeddings: real vectors
// from the local embedder, token counts, limits, error shapes, x-ratelimit headers. On request it misbehaves like the
// real ones do (Faults) and counts every text it was sent and every text whose answer it destroyed, so that a test can
// tell work that was lost by the network from work that was wasted by the client.
package embedtest

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

// Options shape a Server. The zero value is a faithful OpenAI that accepts any key and any model, at once.
type Options struct {
	Key    string   // the only accepted bearer or api-key; "" accepts all
	Models []string // known models; empty knows all
	Dims   int      // native length of a vector, default 1536; the dimensions parameter may ask for less

	// Vector computes a text's vector; default is the local embedder. It must be safe for concurrent use.
	Vector func(text string, dst []float32)

	Latency        time.Duration // of every answer
	TextsPerSecond float64       // throughput of the model: answers wait for those before them; 0 = unlimited

	Limit      Limit // beyond it 429
	MaxBatch   int   // texts a request, default 2,048
	MaxTokens  int   // tokens a request, default 300,000
	TextTokens int   // tokens a text, default 8,192

	Compat Compat
	Faults Faults
	Seed   uint64
}

// Server is an http.Handler.
type Server struct {
	opts    Options
	started time.Time

	mu     sync.Mutex
	rng    *rand.Rand
	free   time.Time // when the model has worked off what it was given
	bucket []bucket
	stats  Stats
	seen   map[uint64]struct{} // texts answered intact
	seed   maphash.Seed

	local sync.Map // dims → *embed.Local
	http  *httptest.Server
}

// Stats count since the start. GET /stats answers them as JSON.
type Stats struct {
	Requests       int            `json:"requests"`
	Texts          int            `json:"texts"`           // sent to us, with repetitions
	Tokens         int            `json:"tokens"`          // of the texts that were embedded: what would be billed
	AnsweredTexts  int            `json:"answered_texts"`  // whose vector went out intact
	DestroyedTexts int            `json:"destroyed_texts"` // whose vector did not: refused, dropped, cut off, spoilt
	DistinctTexts  int            `json:"distinct_texts"`  // different ones among the answered
	RefusedTexts   int            `json:"refused_texts"`   // of the destroyed: refused before any work (429, 5xx)
	Throttled      int            `json:"throttled"`       // requests refused by Limit
	Faults         map[string]int `json:"faults"`          // requests per injected fault
}

// New makes a Server to mount anywhere.
func New(opts Options) *Server {
	setDefault(&opts.Dims, 1536)
	setDefault(&opts.MaxBatch, 2048)
	setDefault(&opts.MaxTokens, 300_000)
	setDefault(&opts.TextTokens, 8192)
	s := &Server{
		opts: opts, started: time.Now(), rng: rand.New(rand.NewPCG(opts.Seed, 1)),
		seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(), bucket: opts.Limit.buckets(time.Now()),
	}
	s.stats.Faults = map[string]int{}
	return s
}

func setDefault(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// Start serves on a free port of the loopback interface until the test ends.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := New(opts)
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// URL is the base URL of a started Server, for OPENAI_BASE_URL.
func (s *Server) URL() string { return s.http.URL + "/v1" }

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.DistinctTexts = len(s.seen)
	out.Faults = map[string]int{}
	for k, v := range s.stats.Faults {
		out.Faults[k] = v
	}
	return out
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/stats"):
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Stats())
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/models"):
		s.models(w)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/embeddings"):
		s.embeddings(w, r)
	default:
		s.fail(w, problem{404, "invalid_request_error", "unknown_url", fmt.Sprintf("Unknown request URL: %s %s.", r.Method, r.URL.Path)})
	}
}

func (s *Server) models(w http.ResponseWriter) {
	type model struct {
		ID     string `json:"id"`
		Object string `json:"object"`
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: []model{}}
	for _, id := range s.opts.Models {
		list.Data = append(list.Data, model{ID: id, Object: "model"})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// request is the body of POST /v1/embeddings.
type request struct {
	Input          json.RawMessage `json:"input"`
	Model          string          `json:"model"`
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`

	texts  []string
	tokens []int
	total  int
	dims   int
}

const maxBody = 64 << 20

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return // the client went away
	}
	var req request
	p := s.parse(r, body, &req)
	s.count(&req)
	if p != nil {
		s.fail(w, *p)
		return
	}
	if wait, ok := s.admit(&req); !ok {
		s.lost(len(req.texts), len(req.texts))
		s.throttle(w, wait)
		return
	}
	f := s.draw()
	if f.refuse(s, w, &req) {
		return
	}
	s.bill(req.total)
	if !s.work(r.Context(), len(req.texts)) {
		s.lost(len(req.texts), 0)
		return
	}
	s.answer(w, r, &req, f)
}

func (s *Server) count(req *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
	s.stats.Texts += len(req.texts)
}

func (s *Server) bill(tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Tokens += tokens
}

func (s *Server) lost(texts, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.DestroyedTexts += texts
	s.stats.RefusedTexts += refused
}

func (s *Server) delivered(texts []string, intact func(i int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range texts {
		if !intact(i) {
			s.stats.DestroyedTexts++
			continue
		}
		s.stats.AnsweredTexts++
		s.seen[maphash.String(s.seed, t)] = struct{}{}
	}
}

// parse reads and checks a request like OpenAI does, in the same order; texts are filled in as far as they are known.
func (s *Server) parse(r *http.Request, body []byte, req *request) *problem {
	jsonErr := json.Unmarshal(body, req)
	inputProblem := req.readInput()
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if k := r.Header.Get("Api-Key"); k != "" {
		key = k
	}
	switch {
	case s.opts.Key != "" && subtle.ConstantTimeCompare([]byte(key), []byte(s.opts.Key)) != 1:
		return &problem{401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: " + key + ". You can find your API key at https://platform.openai.com/account/api-keys."}
	case jsonErr != nil:
		return &problem{400, "invalid_request_error", "", "We could not parse the JSON body of your request."}
	case !s.knows(req.Model):
		return &problem{404, "invalid_request_error", "model_not_found", fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", req.Model)}
	case inputProblem != "":
		return &problem{400, "invalid_request_error", "", inputProblem}
	}
	if p := s.opts.Compat.check(req); p != nil {
		return p
	}
	if p := s.dims(req); p != nil {
		return p
	}
	return s.size(req)
}

func (s *Server) knows(model string) bool {
	if model == "" {
		return false
	}
	for _, m := range s.opts.Models {
		if m == model {
			return true
		}
	}
	return len(s.opts.Models) == 0
}

// readInput takes a string or an array of strings. Token arrays, which the real API also takes, are not needed here.
// It returns what is wrong, in the API's words.
func (req *request) readInput() string {
	var one string
	if json.Unmarshal(req.Input, &one) == nil {
		req.texts = []string{one}
	} else if err := json.Unmarshal(req.Input, &req.texts); err != nil || len(req.texts) == 0 {
		req.texts = nil
		return "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
	}
	for _, t := range req.texts {
		if t == "" {
			return "'$.input' is invalid: an input is an empty string."
		}
		n := Tokens(t)
		req.tokens = append(req.tokens, n)
		req.total += n
	}
	return ""
}

func (s *Server) dims(req *request) *problem {
	req.dims = s.opts.Dims
	if req.Dimensions == nil || s.opts.Compat.IgnoreDimensions {
		return nil
	}
	if *req.Dimensions < 1 || *req.Dimensions > s.opts.Dims {
		return &problem{400, "invalid_request_error", "", fmt.Sprintf("Invalid value for 'dimensions' = %d. Must be between 1 and %d.", *req.Dimensions, s.opts.Dims)}
	}
	req.dims = *req.Dimensions
	return nil
}

func (s *Server) size(req *request) *problem {
	if n := len(req.texts); n > s.opts.MaxBatch {
		return s.opts.Compat.batchTooLarge(n, s.opts.MaxBatch)
	}
	for _, n := range req.tokens {
		if n > s.opts.TextTokens {
			return s.opts.Compat.textTooLong(n, s.opts.TextTokens)
		}
	}
	if req.total > s.opts.MaxTokens {
		return &problem{400, "max_tokens_per_request", "max_tokens_per_request",
			fmt.Sprintf("Requested %d tokens, max %d tokens per request", req.total, s.opts.MaxTokens)}
	}
	return nil
}

// work takes the time that the model needs.
func (s *Server) work(ctx context.Context, texts int) bool {
	wait := s.opts.Latency
	if s.opts.TextsPerSecond > 0 {
		s.mu.Lock()
		now := time.Now()
		if s.free.Before(now) {
			s.free = now
		}
		s.free = s.free.Add(time.Duration(float64(texts) / s.opts.TextsPerSecond * float64(time.Second)))
		wait = max(wait, s.free.Sub(now))
		s.mu.Unlock()
	}
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// vector is the text's vector as the stand-in sends it. Unit length is not promised by every provider, so it is not
// kept here either.
func (s *Server) vector(ctx context.Context, text string, dst []float32) {
	if s.opts.Vector != nil {
		s.opts.Vector(text, dst)
		return
	}
	l, ok := s.local.Load(len(dst))
	if !ok {
		l, _ = s.local.LoadOrStore(len(dst), embed.NewLocal(len(dst)))
	}
	v, err := l.(*embed.Local).EmbedQuery(ctx, text)
	if err != nil {
		clear(dst)
		return
	}
	copy(dst, v)
}
