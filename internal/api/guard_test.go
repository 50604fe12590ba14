package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestKeysGuardTheAPIOnly(t *testing.T) {
	sum := func(k string) string { h := sha256.Sum256([]byte(k)); return hex.EncodeToString(h[:]) }
	r := served(t, func(_ *follow.Deps, c *Config) { c.APIKeys = []string{sum("old key"), strings.ToUpper(sum("new key"))} })
	for _, path := range []string{"/vendors/V-001", "/snapshot", "/facets?field=type"} {
		if code, h, _ := r.do("GET", path, ""); code != 401 || h.Get("WWW-Authenticate") == "" {
			t.Errorf("%s without a key: %d", path, code)
		}
	}
	for key, want := range map[string]int{"old key": 200, "new key": 200, "": 401, "newkey": 401, sum("old key"): 401} {
		if code, _, _ := r.do("POST", "/search", `{"query":"会計"}`, "Authorization", "Bearer "+key); code != want {
			t.Errorf("key %q: %d, want %d", key, code, want)
		}
	}
	for _, path := range []string{"/health", "/ready", "/docs", "/openapi.json", "/"} {
		if code, _, _ := r.do("GET", path, ""); code != 200 {
			t.Errorf("%s without a key: %d", path, code)
		}
	}
	if code, _, _ := r.do("OPTIONS", "/search", ""); code != 204 {
		t.Errorf("OPTIONS without a key: %d", code)
	}
}

func TestRateLimitCountsClientsBehindTrustedProxies(t *testing.T) {
	r := served(t, func(_ *follow.Deps, c *Config) { c.RateLimit, c.TrustedProxies = 0.001, 1 })
	ask := func(forwarded string) (int, http.Header) {
		code, h, _ := r.do("POST", "/search", `{"query":"会計"}`, "X-Forwarded-For", forwarded)
		return code, h
	}
	if code, _ := ask("203.0.113.7"); code != 200 {
		t.Fatalf("first: %d", code)
	}
	code, h := ask("198.51.100.1, 203.0.113.7") // what the client wrote itself is on the left
	if code != 429 || h.Get("Retry-After") == "" {
		t.Errorf("same client again: %d %v", code, h)
	}
	if code, _ := ask("203.0.113.8"); code != 200 {
		t.Errorf("another client: %d", code)
	}
	if code, _, _ := r.do("GET", "/health", "", "X-Forwarded-For", "203.0.113.7"); code != 200 {
		t.Errorf("health is limited: %d", code)
	}
}

func TestCORSIsForListedOriginsOnly(t *testing.T) {
	r := served(t, func(_ *follow.Deps, c *Config) { c.AllowedOrigins = []string{"https://front.example/"} })
	code, h, _ := r.do("OPTIONS", "/search", "", "Origin", "https://front.example", "Access-Control-Request-Method", "POST")
	if code != 204 || h.Get("Access-Control-Allow-Origin") != "https://front.example" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("preflight: %d %v", code, h)
	}
	_, h, _ = r.do("POST", "/search", `{"query":"x"}`, "Origin", "https://front.example")
	if h.Get("Access-Control-Allow-Origin") != "https://front.example" {
		t.Errorf("answer: %v", h)
	}
	_, h, _ = r.do("POST", "/search", `{"query":"x"}`, "Origin", "https://other.example")
	if h.Get("Access-Control-Allow-Origin") != "" || h.Get("Vary") != "Origin" {
		t.Errorf("foreign origin: %v", h)
	}
}

func TestPanicIs500WithoutAStack(t *testing.T) {
	var boom atomic.Bool
	r := served(t, func(d *follow.Deps, _ *Config) {
		open := d.Indexes.Open
		d.Indexes = followtest.Opening(d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			x, err := open(path, p)
			x.(*followtest.Index).Before = func() {
				if boom.Load() {
					panic("boom")
				}
			}
			return x, err
		})
	})
	boom.Store(true)
	for range 4 { // more than there are cores: a panic must not keep its slot
		code, _, data := r.do("POST", "/search", `{"query":"会計","mode":"semantic"}`)
		if code != 500 || strings.Contains(string(data), "boom") || strings.Contains(string(data), "goroutine") {
			t.Fatalf("%d %s", code, data)
		}
	}
	boom.Store(false)
	r.search(`{"query":"会計","mode":"semantic"}`)
}

func TestRequestIDIsTakenOverWhenPlausible(t *testing.T) {
	r := served(t)
	_, h, _ := r.do("GET", "/health", "", headerRequest, "abc-123")
	if h.Get(headerRequest) != "abc-123" {
		t.Errorf("got %q", h.Get(headerRequest))
	}
	_, h, _ = r.do("GET", "/health", "", headerRequest, "a b<script>")
	if got := h.Get(headerRequest); len(got) != 16 {
		t.Errorf("got %q", got)
	}
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	r := served(t)
	for path, want := range map[string]int{"GET /nothing": 404, "DELETE /search": 405, "GET /search/batch": 405, "DELETE /vendors/V-001": 405, "PUT /": 405, "GET /vendors/": 404} {
		method, p, _ := strings.Cut(path, " ")
		code, h, data := r.do(method, p, "")
		if code != want || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d", path, code, data, want)
		}
		if code == 405 && h.Get("Allow") == "" {
			t.Errorf("%s: no Allow", path)
		}
	}
}
