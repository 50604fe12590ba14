package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"
)

// Server is a running bin/server.
type Server struct {
	*Process
	URL   string // of the public API
	Admin string // of the admin port
}

// StartServer starts a server on free ports and waits until it listens.
func StartServer(t testing.TB, env map[string]string) *Server {
	t.Helper()
	e := map[string]string{"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "VECTORSTORE_LOCAL_DIR": t.TempDir()}
	maps.Copy(e, env)
	p := Start(t, "server", e, "serve")
	l := p.Await(t, "server listening", 1)
	return &Server{Process: p, URL: "http://" + l.Str("listen_addr"), Admin: "http://" + l.Str("admin_addr")}
}

// Indexer is a running bin/indexer.
type Indexer struct {
	*Process
	Admin string
}

// StartIndexer starts the daemon on a free admin port and waits until it listens.
func StartIndexer(t testing.TB, env map[string]string) *Indexer {
	t.Helper()
	e := map[string]string{"ADMIN_ADDR": "127.0.0.1:0", "VECTORSTORE_LOCAL_DIR": t.TempDir()}
	maps.Copy(e, env)
	p := Start(t, "indexer", e, "run")
	l := p.Await(t, "indexer listening", 1)
	return &Indexer{Process: p, Admin: "http://" + l.Str("admin_addr")}
}

// client does not retry and does not follow redirects: what a probe sees is what the server said.
var client = &http.Client{
	Timeout:       20 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Answer of an HTTP request.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte
}

// JSON decodes the body.
func (a Answer) JSON(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.Body, &m); err != nil {
		t.Fatalf("not JSON (%v): %.300s", err, a.Body)
	}
	return m
}

// Do sends a request; a nil body sends none.
func Do(method, url string, body []byte) (Answer, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, b}, err
}

// Get fails the test when the request does not reach an answer.
func Get(t testing.TB, url string) Answer {
	t.Helper()
	a, err := Do(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Post sends body as JSON.
func Post(t testing.TB, url, body string) Answer {
	t.Helper()
	a, err := Do(http.MethodPost, url, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Found is the answer of /search.
type Found struct {
	Snapshot string `json:"snapshot"`
	Results  []struct {
		ID         string         `json:"id"`
		Text       string         `json:"text"`
		Score      float64        `json:"score"`
		Similarity *float64       `json:"similarity"`
		Metadata   map[string]any `json:"metadata"`
	} `json:"results"`
}

// Search posts a query; the snapshot in the body and the header must agree.
func Search(url, body string) (Found, error) {
	a, err := Do(http.MethodPost, url+"/search", []byte(body))
	if err != nil {
		return Found{}, err
	}
	if a.Code != http.StatusOK {
		return Found{}, fmt.Errorf("%d: %.200s", a.Code, a.Body)
	}
	var f Found
	if err := json.Unmarshal(a.Body, &f); err != nil {
		return f, err
	}
	if h := a.Header.Get("X-Snapshot-Id"); h != f.Snapshot {
		return f, fmt.Errorf("X-Snapshot-Id %q, body says %q", h, f.Snapshot)
	}
	return f, nil
}

// AwaitHealth waits until /health shows want under key.
func AwaitHealth(t testing.TB, s *Server, key string, want any) map[string]any {
	t.Helper()
	var got map[string]any
	Eventually(t, fmt.Sprintf("/health %s = %v", key, want), func() error {
		a, err := Do(http.MethodGet, s.URL+"/health", nil)
		if err != nil {
			return err
		}
		got = nil
		if err := json.Unmarshal(a.Body, &got); err != nil {
			return err
		}
		if got[key] != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
	return got
}
