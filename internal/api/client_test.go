package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// TestCountsAreTakenAsClientsSendThem: the catalogue has five records, which the default answers all.
func TestCountsAreTakenAsClientsSendThem(t *testing.T) {
	r := served(t)
	for fields, want := range map[string]int{
		``: 5, `"k":2`: 2, `"size":2`: 2, `"top_k":2`: 2, `"k":0`: 5, `"k":null`: 5, `"size":0`: 5, `"top_k":null`: 5, `"k":-0`: 5, `"k":0.0`: 5,
		`"k":2.0`: 2, `"k":2e0`: 2, `"k":0.2e1`: 2, `"size":20e-1`: 2,
		`"top_k":1,"size":2,"k":3`: 3, `"top_k":1,"size":2`: 2, `"k":0,"size":2`: 2, `"k":null,"size":0,"top_k":1`: 1, `"k":1,"k":4`: 4, `"k":100`: 5,
	} {
		body := strings.Replace(`{"query":"会計","filter":{},"mode":"semantic",`+fields+`}`, ",}", "}", 1)
		if a := r.search(body); len(a.Results) != want {
			t.Errorf("%s: %d results, want %d", body, len(a.Results), want)
		}
		code, _, data := r.do("POST", "/search/batch", `{"queries":[`+body+`]}`)
		var all struct{ Results []answer }
		must(t, json.Unmarshal(data, &all))
		if code != 200 || len(all.Results[0].Results) != want {
			t.Errorf("%s in a batch: %d, %s", body, code, data)
		}
	}
}

func TestGetSearchAnswersLikePost(t *testing.T) {
	r := served(t)
	get := func(query string) (int, answer, string) {
		t.Helper()
		code, h, data := r.do("GET", "/search"+query, "")
		var a answer
		if code == 200 {
			must(t, json.Unmarshal(data, &a))
			if h.Get(headerSnapshot) != a.Snapshot || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: headers %v", query, h)
			}
		}
		return code, a, string(data)
	}
	question := url.QueryEscape("会計のSaaS")
	for query, body := range map[string]string{
		"?q=" + question:                             `{"query":"会計のSaaS"}`,
		"?q=" + question + "&k=2":                    `{"query":"会計のSaaS","k":2}`,
		"?q=" + question + "&size=2&use_mmr=true":    `{"query":"会計のSaaS","size":2}`,
		"?top_k=002&q=" + question:                   `{"query":"会計のSaaS","top_k":2}`,
		"?q=" + question + "&k=&size=3":              `{"query":"会計のSaaS","size":3}`,
		"?q=" + question + "&k=0&size=&top_k=&mode=": `{"query":"会計のSaaS"}`,
		"?q=" + question + "&mode=lexical&k=1":       `{"query":"会計のSaaS","mode":"lexical","k":1}`,
	} {
		code, a, text := get(query)
		if want := r.search(body); code != 200 || strings.Join(a.ids(), " ") != strings.Join(want.ids(), " ") {
			t.Errorf("%s: %d %s, want %v", query, code, text, want.ids())
		}
	}
	for query, location := range map[string]string{
		"": "query.q", "?q=": "query.q", "?q=+%E3%80%80": "query.q", "?q=%FF": "query.q", "?q=%zz": "query", "?q=x;k=3": "query",
		"?q=" + strings.Repeat("a", maxQuery+1): "query.q",
		"?q=x&k=101":                            "query.k", "?q=x&k=-1": "query.k", "?q=x&k=5.0": "query.k", "?q=x&k=%2B5": "query.k", "?q=x&size=a": "query.size",
		"?q=x&top_k=99999999999999999999": "query.top_k", "?q=x&k=3&size=a": "query.size", "?q=x&mode=fuzzy": "query.mode",
	} {
		if code, _, text := get(query); code != 422 || !strings.Contains(text, `"`+location+`"`) {
			t.Errorf("%.40s: %d %s, want location %s", query, code, text, location)
		}
	}
	if code, h, data := r.do("HEAD", "/search?q=x", ""); code != 200 || len(data) > 0 || h.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v %q", code, h, data)
	}
	if code, h, _ := r.do("PUT", "/search", ""); code != 405 || h.Get("Allow") != "GET, POST" {
		t.Errorf("PUT: %d, allowed %q", code, h.Get("Allow"))
	}
}

func TestGetSearchIsGuardedAndCountedAndNotLogged(t *testing.T) {
	const secret = "himitsu"
	r := served(t, func(_ *follow.Deps, c *Config) { c.APIKeys, c.RateLimit = []string{strings.Repeat("0", 64)}, 0.001 })
	for _, want := range []int{401, 429} {
		if code, _, _ := r.do("GET", "/search?q="+secret, ""); code != want {
			t.Errorf("%d, want %d", code, want)
		}
	}
	open := served(t, func(d *follow.Deps, _ *Config) {
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) {
			return followtest.EmbedFunc(func(context.Context, string) ([]float32, error) { return nil, errors.New("provider is down") }), nil
		}
	})
	if code, _, _ := open.do("GET", "/search?mode=semantic&q="+secret, ""); code != 502 {
		t.Errorf("a failing provider: %d", code)
	}
	r.close()
	open.close()
	for r, code := range map[*replica]string{r: "401", open: "502"} {
		if testutil.ToFloat64(r.m.requests.WithLabelValues(code)) == 0 {
			t.Errorf("%s is not counted", code)
		}
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("a query is in the log: %s", r.log.String())
		}
	}
}

func TestABodyOfAnotherTypeIsReadWithAWarning(t *testing.T) {
	r := served(t)
	for kind, warned := range map[string]bool{
		"application/json": false, "Application/JSON; charset=UTF-8": false, "application/vnd.api+json": false, "text/json": false, "": false,
		"text/plain;charset=UTF-8": true, "application/x-www-form-urlencoded": true, "multipart/form-data; boundary=x": true, "json": true,
	} {
		for path, body := range map[string]string{"/search": `{"query":"会計"}`, "/search/batch": `{"queries":[{"query":"会計"}]}`} {
			code, _, data := r.do("POST", path, body, "Content-Type", kind)
			var a struct{ Warnings []string }
			must(t, json.Unmarshal(data, &a))
			if code != 200 || len(a.Warnings) > 0 != warned {
				t.Errorf("%s as %q: %d, warnings %q", path, kind, code, a.Warnings)
			}
		}
	}
}
