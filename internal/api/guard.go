package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Headers of every answer, in canonical form.
const (
	headerSnapshot = "X-Snapshot-Id"
	headerRequest  = "X-Request-Id"
)

// maxClients bounds the tracked clients: about 200 bytes each. A forgotten one starts with a full burst again.
const maxClients = 10_000

// guarded reports whether keys and the rate limit apply to a path.
func guarded(path string) bool {
	switch path {
	case "/search", "/search/batch", "/mcp", "/snapshot", "/facets":
		return true
	}
	return strings.HasPrefix(path, "/vendors/") || path == "/vendors"
}

// keyring holds the digests of accepted bearer keys.
type keyring [][32]byte

func newKeyring(digests []string) (keyring, error) {
	var k keyring
	for _, d := range digests {
		b, err := hex.DecodeString(d)
		if err != nil || len(b) != 32 {
			return nil, badSetting("API_KEYS", "holds what is not a SHA-256 in hex")
		}
		k = append(k, [32]byte(b))
	}
	return k, nil
}

// accepts compares in constant time, with every key, so that neither a prefix nor which key matched can be timed.
func (k keyring) accepts(key string) bool {
	sum := sha256.Sum256([]byte(key))
	ok := 0
	for i := range k {
		ok |= subtle.ConstantTimeCompare(sum[:], k[i][:])
	}
	return ok == 1
}

// bearer returns the key of an Authorization header.
func bearer(r *http.Request) string {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

// limiter allows each client a rate, with a burst of one second's worth.
type limiter struct {
	rate    rate.Limit
	burst   int
	clients *lru.Cache[netip.Addr, *rate.Limiter]
}

func newLimiter(perSecond float64) *limiter {
	if perSecond <= 0 {
		return nil
	}
	clients, _ := lru.New[netip.Addr, *rate.Limiter](maxClients)
	return &limiter{rate.Limit(perSecond), max(int(math.Ceil(perSecond)), 1), clients}
}

// allow takes a token of the client; wait is the Retry-After in seconds when there is none.
func (l *limiter) allow(client netip.Addr) (ok bool, wait int) {
	c, found := l.clients.Get(client)
	if !found {
		c = rate.NewLimiter(l.rate, l.burst)
		if prev, had, _ := l.clients.PeekOrAdd(client, c); had {
			c = prev
		}
	}
	if c.Allow() {
		return true, 0
	}
	return false, max(int(math.Ceil(1/float64(l.rate))), 1)
}

// clientOf is the address the rate limit counts by. Of X-Forwarded-For only the entries that the given number of
// proxies appended are believed: the client itself can write anything to their left. IPv6 clients own a /64.
func clientOf(r *http.Request, proxies int) netip.Addr {
	addr := remote(r.RemoteAddr)
	if proxies > 0 {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if a := remote(strings.TrimSpace(hops[max(len(hops)-proxies, 0)])); a.IsValid() {
			addr = a
		}
	}
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// remote parses an address with or without a port.
func remote(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(s)
	return a.Unmap()
}

// admit applies the rate limit, first so that it slows down guessing too, and the keys; false when it answered already.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	if s.limit != nil {
		if ok, wait := s.limit.allow(clientOf(r, s.cfg.TrustedProxies)); !ok {
			w.Header().Set("Retry-After", strconv.Itoa(wait))
			s.countRefusal(r, http.StatusTooManyRequests)
			problem(w, http.StatusTooManyRequests, "too many requests from this client")
			return false
		}
	}
	if len(s.keys) > 0 && !s.keys.accepts(bearer(r)) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="vectorstore"`)
		s.countRefusal(r, http.StatusUnauthorized)
		problem(w, http.StatusUnauthorized, "a valid bearer key is required")
		return false
	}
	return true
}

func (s *Server) countRefusal(r *http.Request, code int) {
	switch r.URL.Path {
	case "/search", "/search/batch", "/mcp":
		s.m.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	}
}

// cors answers preflights and marks what an allowed origin may read; true when the request is answered.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(s.cfg.AllowedOrigins) == 0 {
		return r.Method == http.MethodOptions && s.noContent(w)
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	allowed := origin != "" && (slices.Contains(s.cfg.AllowedOrigins, origin) || slices.Contains(s.cfg.AllowedOrigins, "*"))
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", headerSnapshot+", "+headerRequest+", ETag, Retry-After")
	}
	if r.Method != http.MethodOptions {
		return false
	}
	if allowed && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		headers := "Authorization, Content-Type, If-None-Match, " + headerRequest
		if r.URL.Path == "/mcp" {
			headers += ", Mcp-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name"
		}
		h.Set("Access-Control-Allow-Headers", headers)
		h.Set("Access-Control-Max-Age", "600")
	}
	return s.noContent(w)
}

func (s *Server) noContent(w http.ResponseWriter) bool {
	w.WriteHeader(http.StatusNoContent)
	return true
}

// requestID takes over a plausible one from the caller or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get(headerRequest)
	if len(id) > 0 && len(id) <= 64 && strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == "" {
		return id
	}
	return strconv.FormatUint(rand.Uint64()|1<<63, 16)
}
