package serve

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"
)

// Modes of a search.
const (
	ModeSemantic = "semantic"
	ModeLexical  = "lexical"
	ModeHybrid   = "hybrid"
)

// What to do when the old and the new index do not fit into memory together.
const (
	TightRefuse = "refuse"
	TightDrop   = "drop"
)

// Build says what is running.
type Build struct{ Version, Commit, FAISS string }

// Config of a server. Start from Defaults.
type Config struct {
	ListenAddr     string        // LISTEN_ADDR: the public API
	AdminAddr      string        // ADMIN_ADDR: metrics, status, pprof
	LocalDir       string        // VECTORSTORE_LOCAL_DIR: server/ below it is the last-good cache
	PollInterval   time.Duration // POLL_INTERVAL, jittered by ±10 %
	DrainTime      time.Duration // DRAIN_TIME: served after /ready turned 503
	TrustedProxies int           // TRUSTED_PROXIES: hops of X-Forwarded-For believed
	Cores          int           // searches that compute at a time
	MaxQueue       int           // MAX_QUEUE: searches waiting for a core; beyond it 503
	SwapWhenTight  string        // SWAP_WHEN_TIGHT: refuse or drop
	DefaultMode    string        // DEFAULT_MODE of a text query
	AllowedOrigins []string      // ALLOWED_ORIGINS of CORS
	APIKeys        []string      // API_KEYS: SHA-256 in hex of accepted bearer keys; none = open
	RateLimit      float64       // RATE_LIMIT: requests per second and client; 0 = off
	ReplicaID      string        // of the heartbeat; default host name and process
	Build          Build
	Log            *slog.Logger

	StoreTimeout  time.Duration // the first poll may take this long before the local cache is used
	SearchTimeout time.Duration // of one request; beyond it 504
	EmbedTimeout  time.Duration // of one call to the embedding provider
}

// Defaults returns the documented defaults.
func Defaults() Config {
	return Config{
		ListenAddr:    ":8080",
		AdminAddr:     ":9090",
		LocalDir:      "./vectorstore",
		PollInterval:  2 * time.Second,
		DrainTime:     15 * time.Second,
		Cores:         runtime.GOMAXPROCS(0),
		MaxQueue:      256,
		SwapWhenTight: TightRefuse,
		DefaultMode:   ModeHybrid,
		Log:           slog.Default(),
		StoreTimeout:  5 * time.Second,
		SearchTimeout: 10 * time.Second,
		EmbedTimeout:  8 * time.Second,
	}
}

// Validate returns an error that names the variable at fault.
func (c Config) Validate() error {
	switch {
	case c.ListenAddr == "":
		return badSetting("LISTEN_ADDR", "is empty")
	case c.AdminAddr == "":
		return badSetting("ADMIN_ADDR", "is empty")
	case c.LocalDir == "":
		return badSetting("VECTORSTORE_LOCAL_DIR", "is empty")
	case c.PollInterval < 10*time.Millisecond || c.PollInterval > 24*time.Hour:
		return badSetting("POLL_INTERVAL", "must be 10ms to 24h, is %s", c.PollInterval)
	case c.DrainTime < 0 || c.DrainTime > time.Hour:
		return badSetting("DRAIN_TIME", "must be 0 to 1h, is %s", c.DrainTime)
	case c.TrustedProxies < 0 || c.TrustedProxies > 16:
		return badSetting("TRUSTED_PROXIES", "must be 0 to 16, is %d", c.TrustedProxies)
	case c.MaxQueue < 0 || c.MaxQueue > 1<<20:
		return badSetting("MAX_QUEUE", "must be 0 to %d, is %d", 1<<20, c.MaxQueue)
	case c.SwapWhenTight != TightRefuse && c.SwapWhenTight != TightDrop:
		return badSetting("SWAP_WHEN_TIGHT", "must be refuse or drop, is %q", c.SwapWhenTight)
	case !knownMode(c.DefaultMode):
		return badSetting("DEFAULT_MODE", "must be semantic, lexical or hybrid, is %q", c.DefaultMode)
	case !(c.RateLimit >= 0 && c.RateLimit <= 1e6): // also refuses NaN
		return badSetting("RATE_LIMIT", "must be 0 to 1000000, is %g", c.RateLimit)
	}
	for _, o := range c.AllowedOrigins {
		if err := validOrigin(o); err != nil {
			return badSetting("ALLOWED_ORIGINS", "%q: %w", o, err)
		}
	}
	for i, k := range c.APIKeys {
		// The value may be a key given in plain by mistake: never repeat it.
		if b, err := hex.DecodeString(k); err != nil || len(b) != 32 {
			return badSetting("API_KEYS", "entry %d is not a SHA-256 in hex (64 characters)", i+1)
		}
	}
	return nil
}

func badSetting(name, format string, a ...any) error {
	return fmt.Errorf("%s "+format, append([]any{name}, a...)...)
}

func knownMode(m string) bool { return m == ModeSemantic || m == ModeLexical || m == ModeHybrid }

func validOrigin(o string) error {
	if o == "*" {
		return nil
	}
	u, err := url.Parse(o)
	if err != nil {
		return err
	}
	if u.Scheme == "" || u.Host == "" || strings.TrimSuffix(o, "/") != u.Scheme+"://"+u.Host {
		return fmt.Errorf("want scheme://host[:port]")
	}
	return nil
}

// replicaID names this process among the heartbeats: a host name is not enough where two share one.
func replicaID(configured, random string) string {
	if configured != "" {
		return keySafe(configured)
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "server"
	}
	return keySafe(host) + "-" + random
}

// keySafe keeps what is plain in an object key, at most 100 bytes.
func keySafe(s string) string {
	b := []byte(s)
	for i, c := range b {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' && i > 0) {
			b[i] = '-'
		}
	}
	return string(b[:min(len(b), 100)])
}
