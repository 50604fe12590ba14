package api

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
)

// raw sends a request and returns the answer as it comes, undecoded.
func (r *replica) raw(method, path, body string, header ...string) (*http.Response, []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	must(r.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	must(r.t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	must(r.t, err)
	return res, data
}

var number = regexp.MustCompile(`[0-9][0-9.]*(e[-+]?[0-9]+)?`)

// timeless is an answer without its numbers, among which are times.
func timeless(data []byte) string { return string(number.ReplaceAll(data, []byte("0"))) }

func TestLongAnswersAreGzippedWhenAskedFor(t *testing.T) {
	r := served(t)
	long := `{"query":"会計","k":5,"filter":{}}`
	for name, c := range map[string]struct {
		method, path, body, accept string
		packed                     bool
	}{
		"a search":             {"POST", "/search", long, "gzip", true},
		"as browsers ask":      {"POST", "/search", long, "gzip, deflate, br, zstd", true},
		"by weight":            {"POST", "/search", long, "br;q=1.0, gzip;q=0.2", true},
		"whatever":             {"POST", "/search", long, "*", true},
		"unasked":              {"POST", "/search", long, "", false},
		"another":              {"POST", "/search", long, "br", false},
		"refused":              {"POST", "/search", long, "gzip;q=0, *", false},
		"everything refused":   {"POST", "/search", long, "*;q=0", false},
		"a short answer":       {"POST", "/search", `{"query":"会計","k":1,"fields":[],"mode":"lexical"}`, "gzip", false},
		"a batch":              {"POST", "/search/batch", `{"queries":[` + long + `]}`, "gzip", true},
		"by its address":       {"GET", "/search?q=x&k=5", "", "gzip", true},
		"a snapshot":           {"GET", "/snapshot", "", "gzip", true},
		"the document":         {"GET", "/openapi.json", "", "gzip", true},
		"the page":             {"GET", "/", "", "gzip", true},
		"its styles":           {"GET", "/assets/page.css", "", "gzip", true},
		"packed already":       {"GET", "/docs/swagger-ui.css", "", "gzip", true},
		"a long problem":       {"POST", "/search", `{"query":"x","filter":{"` + strings.Repeat("あ", 2000) + `":{"near":1}}}`, "gzip", true},
		"a picture":            {"GET", "/docs/favicon-32x32.png", "", "gzip", false},
		"an answer on its own": {"OPTIONS", "/search", "", "gzip", false},
	} {
		t.Run(name, func(t *testing.T) {
			plain, want := r.raw(c.method, c.path, c.body)
			res, data := r.raw(c.method, c.path, c.body, "Accept-Encoding", c.accept)
			// The page and /snapshot tell of polls and swaps: what is compared lies between two that say the same.
			followtest.Eventually(t, "nothing changes meanwhile", func() bool {
				before := want
				if plain, want = r.raw(c.method, c.path, c.body); timeless(before) == timeless(want) {
					return true
				}
				res, data = r.raw(c.method, c.path, c.body, "Accept-Encoding", c.accept)
				return false
			})
			if packed := res.Header.Get("Content-Encoding") == "gzip"; packed != c.packed {
				t.Fatalf("%d, gzipped %v, want %v: %d bytes, %v", res.StatusCode, packed, c.packed, len(data), res.Header)
			}
			if c.method == "GET" && !strings.Contains(fmt.Sprint(res.Header["Vary"]), "Accept-Encoding") {
				t.Errorf("Vary %q", res.Header["Vary"])
			}
			if !c.packed {
				return
			}
			if res.ContentLength >= 0 && res.ContentLength != int64(len(data)) {
				t.Errorf("%d bytes, said to be %d", len(data), res.ContentLength)
			}
			z, err := gzip.NewReader(strings.NewReader(string(data)))
			must(t, err)
			got, err := io.ReadAll(z)
			must(t, err)
			if plain.StatusCode != res.StatusCode || plain.Header.Get("Content-Type") != res.Header.Get("Content-Type") || len(data) >= len(got) {
				t.Errorf("%d %s, %d bytes of %d; plain %d %s", res.StatusCode, res.Header.Get("Content-Type"), len(data), len(got), plain.StatusCode, plain.Header.Get("Content-Type"))
			}
			if diff := cmp.Diff(timeless(want), timeless(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatAClientHasIsNotSentAgain(t *testing.T) {
	r := served(t)
	id := r.follower.ServedID()
	for path, want := range map[string]string{"/vendors/V-001": `"` + id + `"`, "/facets?field=type": `"` + id + `"`, "/snapshot": ""} {
		res, _ := r.raw("GET", path, "")
		tag := res.Header.Get("ETag")
		if len(tag) < 3 || want != "" && tag != want || res.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: ETag %s, want %s; %s", path, tag, want, res.Header.Get("Cache-Control"))
		}
	}
	tag := `"` + id + `"`
	for known, want := range map[string]int{
		tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, "*": 304, `"other"`: 200, id: 200, "": 200,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res, data := r.raw(method, "/vendors/V-001", "", "If-None-Match", known, "Accept-Encoding", "gzip")
			if res.StatusCode != want || (len(data) > 0) != (want == 200 && method == "GET") || res.Header.Get(headerSnapshot) != id {
				t.Errorf("%s, known %s: %d, %d bytes, %v", method, known, res.StatusCode, len(data), res.Header)
			}
		}
	}
	// An ETag of bytes that are gzipped is weak, and comes back as it was given.
	res, _ := r.raw("GET", "/snapshot", "", "Accept-Encoding", "gzip")
	if tag := res.Header.Get("ETag"); !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("gzipped: ETag %s", tag)
	}
	// Errors are never "not modified".
	if res, _ := r.raw("GET", "/vendors/none", "", "If-None-Match", "*"); res.StatusCode != 404 {
		t.Errorf("absent: %d", res.StatusCode)
	}
}

func TestBodiesThatAreNotJSONAreWarnedOfOrRefused(t *testing.T) {
	for _, strict := range []bool{false, true} {
		r := served(t, func(_ *follow.Deps, c *Config) { c.StrictContentType = strict })
		for kind, odd := range map[string]bool{"application/json": false, "Application/JSON; charset=utf-8": false, "application/vnd.api+json": false, "": false, "text/plain": true, "application/x-www-form-urlencoded": true} {
			for path, body := range map[string]string{"/search": `{"query":"x"}`, "/search/batch": `{"queries":[{"query":"x"}]}`} {
				code, h, data := r.do("POST", path, body, "Content-Type", kind)
				switch {
				case strict && odd:
					if code != 415 || h.Get("Content-Type") != "application/problem+json" {
						t.Errorf("%s %q, strict: %d %s", path, kind, code, data)
					}
				case code != 200 || strings.Contains(string(data), `"warnings"`) != odd:
					t.Errorf("%s %q: %d %s", path, kind, code, data)
				}
			}
		}
	}
}
