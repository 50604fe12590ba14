package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// TestOldFrontEndsGetTheirAnswers replays what web pages of services on LangChain send, from an origin of their own as a
// browser would, and reads what they read.
func TestOldFrontEndsGetTheirAnswers(t *testing.T) {
	t.Parallel()
	const origin = "https://pages.example"
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, b.env)
	s := harness.StartServer(t, with(b.env, "ALLOWED_ORIGINS", origin))
	s.Await(t, "server ready", 1)
	ask := func(method, path, body string, header ...string) (int, http.Header, []byte) {
		t.Helper()
		req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s %s: the page may not read the answer: %v", method, path, resp.Header)
		}
		return resp.StatusCode, resp.Header, data
	}
	for _, method := range []string{"POST", "GET"} {
		code, h, _ := ask("OPTIONS", "/search", "", "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "content-type")
		if code != http.StatusNoContent || !strings.Contains(h.Get("Access-Control-Allow-Methods"), method) || !strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "content-type") {
			t.Errorf("preflight of %s: %d %v", method, code, h)
		}
	}
	const question = "冷凍倉庫の温度監視"
	for _, c := range []struct {
		name, method, path, body, kind string
		results                        int
	}{
		{"k and use_mmr", "POST", "/search", `{"query":"` + question + `","k":5,"use_mmr":false}`, "application/json", 5},
		{"top_k and mmr", "POST", "/search", `{"query":"` + question + `","top_k":7,"mmr":true}`, "application/json", 7},
		{"a method of similarity", "POST", "/search", `{"query":"` + question + `","k":3,"use_mmr":true,"similarity_method":"cosine"}`, "application/json", 3},
		{"k emptied", "POST", "/search", `{"query":"` + question + `","k":0,"use_mmr":false}`, "application/json", 5},
		{"k from a slider", "POST", "/search", `{"query":"` + question + `","k":4.0,"use_mmr":false}`, "application/json", 4},
		{"without a preflight", "POST", "/search", `{"query":"` + question + `","k":5,"use_mmr":false}`, "text/plain;charset=UTF-8", 5},
		{"by address", "GET", "/search?q=" + url.QueryEscape(question) + "&size=6", "", "", 6},
		{"by address, emptied", "GET", "/search?q=" + url.QueryEscape(question) + "&size=", "", "", 5},
		{"by address as people type it", "GET", "/search?q=" + question + "&size=2", "", "", 2},
	} {
		var header []string
		if c.kind != "" {
			header = []string{"Content-Type", c.kind}
		}
		code, _, data := ask(c.method, c.path, c.body, header...)
		var a struct {
			Results []struct {
				Text     string
				Score    float64
				Metadata struct {
					VendorID string `json:"vendor_id"`
					Type     any    `json:"type"`
					Website  any    `json:"website"`
				}
			}
		}
		if err := json.Unmarshal(data, &a); code != http.StatusOK || err != nil {
			t.Errorf("%s: %d, %v: %.200s", c.name, code, err, data)
			continue
		}
		if len(a.Results) != c.results {
			t.Errorf("%s: %d results, want %d", c.name, len(a.Results), c.results)
		}
		for i, r := range a.Results {
			if r.Text == "" || r.Metadata.VendorID == "" || r.Score < 0 || r.Score > 1 || i > 0 && r.Score > a.Results[i-1].Score {
				t.Errorf("%s: result %d is %+v", c.name, i, r)
			}
		}
	}
	for path, body := range map[string]string{"/search": `{"query":"x","k":"5"}`, "/search?q=x&size=101": ""} {
		method := "GET"
		if body != "" {
			method = "POST"
		}
		if code, _, data := ask(method, path, body); code != http.StatusUnprocessableEntity {
			t.Errorf("%s %s: %d %s", path, body, code, data)
		}
	}
}
