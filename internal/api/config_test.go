package api

import (
	"bytes"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestWrongSettingsNameTheirVariable(t *testing.T) {
	for variable, change := range map[string]func(*Config){
		"LISTEN_ADDR":           func(c *Config) { c.ListenAddr = "" },
		"ADMIN_ADDR":            func(c *Config) { c.AdminAddr = "" },
		"VECTORSTORE_LOCAL_DIR": func(c *Config) { c.LocalDir = "" },
		"POLL_INTERVAL":         func(c *Config) { c.PollInterval = 0 },
		"DRAIN_TIME":            func(c *Config) { c.DrainTime = -time.Second },
		"TRUSTED_PROXIES":       func(c *Config) { c.TrustedProxies = -1 },
		"MAX_QUEUE":             func(c *Config) { c.MaxQueue = -1 },
		"SWAP_WHEN_TIGHT":       func(c *Config) { c.SwapWhenTight = "maybe" },
		"DEFAULT_MODE":          func(c *Config) { c.DefaultMode = "fuzzy" },
		"ALLOWED_ORIGINS":       func(c *Config) { c.AllowedOrigins = []string{"front.example"} },
		"API_KEYS":              func(c *Config) { c.APIKeys = []string{"my-plain-key"} },
		"RATE_LIMIT":            func(c *Config) { c.RateLimit = -1 },
	} {
		c := Defaults()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), variable+" ") || strings.Contains(err.Error(), "my-plain-key") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestMetricsAreTheDocumentedOnes(t *testing.T) {
	reg := served(t).reg
	problems, err := testutil.GatherAndLint(reg)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := reg.Gather()
	must(t, err)
	got := map[string]int{}
	for _, f := range families {
		got[f.GetName()] = len(f.GetMetric())
	}
	for name, series := range map[string]int{
		"snapshot_info": 1, "snapshot_created_timestamp_seconds": 1, "pointer_last_poll_success_timestamp_seconds": 1, "pointer_polls_total": 3,
		"swaps_total": 3, "swap_duration_seconds": 4, "search_requests_total": 11, "search_degraded_total": 1, "search_slow_total": 1, "search_empty_total": 2, "search_duration_seconds": 3, "search_in_flight": 1,
		"query_embedding_cache_total": 2, "index_resident_bytes": 1, "served_lag_seconds": 1, "build_info": 1,
	} {
		if got["vectorstore_"+name] != series {
			t.Errorf("%s has %d series, want %d", name, got["vectorstore_"+name], series)
		}
	}
}

func TestSearchesAreCountedByCode(t *testing.T) {
	r := served(t)
	r.search(`{"query":"会計"}`)
	r.do("POST", "/search", `{"k":0}`)
	count := func(code string) float64 { return testutil.ToFloat64(r.m.requests.WithLabelValues(code)) }
	if count("200") != 1 || count("422") != 1 {
		t.Errorf("200: %v, 422: %v", count("200"), count("422"))
	}
	res, err := http.Get(r.admin + "/metrics")
	must(t, err)
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	must(t, err)
	for _, want := range []string{`vectorstore_snapshot_info{generation="1",id="` + r.follower.ServedID() + `"`, `vectorstore_swaps_total{result="ok"} 1`, `vectorstore_search_duration_seconds_count{stage="total"} 2`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestClientBehindProxies(t *testing.T) {
	for _, c := range []struct {
		forwarded []string
		proxies   int
		want      string
	}{
		{nil, 0, "192.0.2.1"}, {[]string{"203.0.113.9"}, 0, "192.0.2.1"}, {[]string{"203.0.113.9"}, 1, "203.0.113.9"},
		{[]string{"1.1.1.1, 203.0.113.9"}, 1, "203.0.113.9"}, {[]string{"1.1.1.1", "203.0.113.9, 10.0.0.1"}, 2, "203.0.113.9"},
		{[]string{"203.0.113.9"}, 2, "203.0.113.9"}, {[]string{"nonsense"}, 1, "192.0.2.1"}, {nil, 1, "192.0.2.1"},
		{[]string{"2001:db8:1:2:3:4:5:6"}, 1, "2001:db8:1:2::"}, {[]string{"203.0.113.9:1234"}, 1, "203.0.113.9"}, {[]string{"::ffff:203.0.113.9"}, 1, "203.0.113.9"},
	} {
		r := &http.Request{RemoteAddr: "192.0.2.1:5555", Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := clientOf(r, c.proxies); got != netip.MustParseAddr(c.want) {
			t.Errorf("%v behind %d: %v, want %s", c.forwarded, c.proxies, got, c.want)
		}
	}
}

func TestTrackedClientsAreBounded(t *testing.T) {
	l := newLimiter(1)
	for i := range maxClients + 500 {
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if l.clients.Len() != maxClients {
		t.Errorf("%d tracked", l.clients.Len())
	}
}

func TestEveryTextOfThePageExistsInEveryLanguage(t *testing.T) {
	for _, lang := range languages() {
		v := reflect.ValueOf(textOf(lang))
		for i := range v.NumField() {
			if v.Field(i).String() == "" {
				t.Errorf("%s: %s is empty", lang, v.Type().Field(i).Name)
			}
		}
	}
}
