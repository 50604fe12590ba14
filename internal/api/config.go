package api

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// Config of a server. Start from Defaults.
type Config struct {
	follow.Config
	query.Limits

	ListenAddr     string        // LISTEN_ADDR: the public API
	AdminAddr      string        // ADMIN_ADDR: metrics, status, pprof
	DrainTime      time.Duration // DRAIN_TIME: served after /ready turned 503
	TrustedProxies int           // TRUSTED_PROXIES: hops of X-Forwarded-For believed
	DefaultMode    string        // DEFAULT_MODE of a text query
	AllowedOrigins []string      // ALLOWED_ORIGINS of CORS
	APIKeys        []string      // API_KEYS: SHA-256 in hex of accepted bearer keys; none = open
	RateLimit      float64       // RATE_LIMIT: requests per second and client; 0 = off
	AccessLog      string        // ACCESS_LOG: AccessOff, AccessOn or AccessQueries
	// StrictContentType: STRICT_CONTENT_TYPE refuses a body that says it is something else than JSON.
	StrictContentType bool
	Log               *slog.Logger
	Tracer            *tracing.Tracer // nil: nothing is traced

	Version, Commit, FAISS string // of what is running
}

// Defaults returns the documented defaults.
func Defaults() Config {
	return Config{
		Config: follow.Config{
			LocalDir: "./vectorstore", PollInterval: 2 * time.Second, StoreTimeout: 5 * time.Second, SwapWhenTight: follow.TightRefuse,
		},
		Limits: query.Limits{
			Cores: runtime.GOMAXPROCS(0), MaxQueue: 256, SearchTimeout: 10 * time.Second, EmbedTimeout: 8 * time.Second,
		},
		ListenAddr:  ":8080",
		AdminAddr:   ":9090",
		DrainTime:   15 * time.Second,
		DefaultMode: query.Hybrid,
		AccessLog:   AccessOff,
		Log:         slog.Default(),
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
	case c.SwapWhenTight != follow.TightRefuse && c.SwapWhenTight != follow.TightDrop:
		return badSetting("SWAP_WHEN_TIGHT", "must be refuse or drop, is %q", c.SwapWhenTight)
	case !query.KnownMode(c.DefaultMode):
		return badSetting("DEFAULT_MODE", "must be semantic, lexical or hybrid, is %q", c.DefaultMode)
	case c.AccessLog != AccessOff && c.AccessLog != AccessOn && c.AccessLog != AccessQueries:
		return badSetting("ACCESS_LOG", "must be off, on or queries, is %q", c.AccessLog)
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
