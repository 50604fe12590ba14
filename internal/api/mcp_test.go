package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// mcp connects the SDK's own client.
func (r *replica) mcp() *mcp.ClientSession {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(r.t.Context(), &mcp.StreamableClientTransport{Endpoint: r.url + "/mcp", HTTPClient: client, MaxRetries: -1}, nil)
	must(r.t, err)
	r.t.Cleanup(func() {
		_ = s.Close()
		client.CloseIdleConnections()
	})
	return s
}

// called is what a tool answered: data, or an error in words.
type called struct {
	failed string
	data   map[string]any
	raw    json.RawMessage
}

func call(t testing.TB, s *mcp.ClientSession, name, arguments string) (c called) {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: json.RawMessage(arguments)})
	if err != nil {
		t.Fatalf("%s %s: %v", name, arguments, err)
	}
	text := res.Content[0].(*mcp.TextContent).Text
	if res.IsError {
		return called{failed: text}
	}
	c.raw = json.RawMessage(text)
	must(t, json.Unmarshal(c.raw, &c.data))
	structured, err := json.Marshal(res.StructuredContent)
	must(t, err)
	var same any
	must(t, json.Unmarshal(structured, &same))
	if fmt.Sprint(same) != fmt.Sprint(c.data) {
		t.Errorf("%s: the text says %s, the structure %s", name, text, structured)
	}
	return c
}

func TestToolsSaySchemasThatTheirAnswersKeep(t *testing.T) {
	r := served(t)
	s := r.mcp()
	if in := s.InitializeResult(); in.ServerInfo.Name != "vectorstore" || in.ServerInfo.Version != "v1.2.3" || !strings.Contains(in.Instructions, "list_fields") || in.Capabilities.Tools == nil || in.Capabilities.Tools.ListChanged {
		t.Errorf("%+v %+v", in, in.Capabilities)
	}
	listed, err := s.ListTools(t.Context(), nil)
	must(t, err)
	calls := map[string][]string{
		"search_vendors": {
			`{"query":"冷凍倉庫の温度監視"}`, `{"query":"会計","k":2,"offset":1,"mode":"lexical","fields":["name"],"facets":["type"],"min_score":0.1}`,
			`{"filter":{"type":"SaaS"},"sort":{"field":"name","order":"desc"}}`, `{"query":"面談済みの会社","auto_filter":true}`,
		},
		"get_vendor":      {`{"id":"V-001"}`},
		"similar_vendors": {`{"id":"V-001"}`, `{"id":"V-001","k":3,"filter":{"type":["SaaS","SI"]},"fields":["name"]}`},
		"list_fields":     {`{}`, `{"fields":["type","engagement.status"]}`},
	}
	var names []string
	for _, tool := range listed.Tools {
		names = append(names, tool.Name)
		if a := tool.Annotations; a == nil || !a.ReadOnlyHint || !a.IdempotentHint || a.OpenWorldHint == nil || *a.OpenWorldHint {
			t.Errorf("%s: annotations %+v", tool.Name, a)
		}
		if len(tool.Description) < 40 || tool.Title == "" {
			t.Errorf("%s: described as %q, %q", tool.Name, tool.Title, tool.Description)
		}
		in, out := resolved(t, tool.InputSchema), resolved(t, tool.OutputSchema)
		for _, arguments := range calls[tool.Name] {
			var given any
			must(t, json.Unmarshal([]byte(arguments), &given))
			if err := in.Validate(given); err != nil {
				t.Errorf("%s %s: %v", tool.Name, arguments, err)
			}
			a := call(t, s, tool.Name, arguments)
			if a.failed != "" {
				t.Errorf("%s %s: %s", tool.Name, arguments, a.failed)
				continue
			}
			if err := out.Validate(a.data); err != nil {
				t.Errorf("%s %s: answer: %v\n%s", tool.Name, arguments, err, a.raw)
			}
			if a.data["snapshot"] != r.follower.ServedID() {
				t.Errorf("%s: snapshot %v", tool.Name, a.data["snapshot"])
			}
		}
		if in.Validate(map[string]any{"id": "V-001", "limit": 3}) == nil {
			t.Errorf("%s: the schema takes anything", tool.Name)
		}
		if out.Validate(map[string]any{}) == nil {
			t.Errorf("%s: any answer keeps the schema", tool.Name)
		}
	}
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(calls)); !slices.Equal(names, want) {
		t.Errorf("tools %v, want %v", names, want)
	}
}

func resolved(t testing.TB, schema any) *jsonschema.Resolved {
	t.Helper()
	data, err := json.Marshal(schema)
	must(t, err)
	if strings.Contains(string(data), `"$ref"`) {
		t.Errorf("refers to elsewhere: %s", data)
	}
	var s jsonschema.Schema
	must(t, json.Unmarshal(data, &s))
	r, err := s.Resolve(nil)
	must(t, err)
	return r
}

// What a tool answers is what its counterpart in the API answers.
func TestToolsAnswerAsTheAPIDoes(t *testing.T) {
	r := served(t)
	s := r.mcp()
	for _, c := range []struct{ tool, arguments, call, body string }{
		{"search_vendors", `{"query":"冷凍倉庫の温度監視","k":7}`, "POST /search", `{"query":"冷凍倉庫の温度監視","k":7}`},
		{"search_vendors", `{"query":"面談済みの会社"}`, "POST /search", `{"query":"面談済みの会社"}`},
		{"search_vendors", `{"query":"会計","filter":{"type":["SaaS"]},"fields":["name"]}`, "POST /search", `{"query":"会計","filter":{"type":["SaaS"]},"fields":["name"]}`},
		{"similar_vendors", ` { "k" : 4 , "id" : "V-001" }`, "GET /vendors/V-001/similar?k=4", ""},
	} {
		a := call(t, s, c.tool, c.arguments)
		method, path, _ := strings.Cut(c.call, " ")
		_, _, data := r.do(method, path, c.body)
		if timeless(a.raw) != timeless(data[:len(data)-1]) || len(a.data["results"].([]any)) == 0 {
			t.Errorf("%s %s:\n%s\nthe API:\n%s", c.tool, c.arguments, a.raw, data)
		}
	}
	a := call(t, s, "get_vendor", `{"id":"V-001"}`)
	_, _, record := r.do("GET", "/vendors/V-001", "")
	if want := `{"vendor":` + string(record) + `,"snapshot":"` + r.follower.ServedID() + `"}`; string(a.raw) != want {
		t.Errorf("get_vendor: %s, want %s", a.raw, want)
	}
	a = call(t, s, "list_fields", `{"fields":["type"]}`)
	_, _, facets := r.do("GET", "/facets?field=type", "")
	if !strings.Contains(string(facets), string(a.raw[strings.Index(string(a.raw), `"values":`)+9:strings.Index(string(a.raw), "]}]")+1])) {
		t.Errorf("list_fields: %s, facets: %s", a.raw, facets)
	}
}

func TestListedFieldsCanBeFilteredBy(t *testing.T) {
	r := served(t)
	s := r.mcp()
	a := call(t, s, "list_fields", `{}`)
	filtered := 0
	for _, f := range a.data["fields"].([]any) {
		f := f.(map[string]any)
		values, _ := f["values"].([]any)
		if len(values) > listedValues {
			t.Errorf("%v has %d values", f["path"], len(values))
		}
		for _, v := range values {
			v := v.(map[string]any)
			filter, err := json.Marshal(map[string]any{"filter": map[string]any{f["path"].(string): v["value"]}, "k": 1})
			must(t, err)
			if v["value"] == nil {
				continue
			}
			filtered++
			if got := call(t, s, "search_vendors", string(filter)); got.data["total"] != v["count"] {
				t.Errorf("%s: %v records, listed with %v", filter, got.data["total"], v["count"])
			}
		}
	}
	if filtered < 10 {
		t.Errorf("only %d values: %s", filtered, a.raw)
	}
}

func TestToolErrorsSayWhatToDo(t *testing.T) {
	r := served(t)
	s := r.mcp()
	for _, c := range []struct{ tool, arguments, want string }{
		{"search_vendors", `{}`, "arguments: one of query, vector, similar_to and filter is required"},
		{"search_vendors", `{"query":"x","limit":3}`, "arguments.limit: is no argument of this tool; it has auto_filter, facets, fields, filter, k,"},
		{"search_vendors", `{"query":"x","k":101}`, "arguments.k: must be 0 to 100"},
		{"search_vendors", `{"query":7}`, "arguments.query: must be a string"},
		{"search_vendors", `{"query":"x","filter":{"type":{"like":"S"}}}`, "arguments.filter"},
		{"search_vendors", `{"query":"x","vector":[1]}`, "arguments.vector: is no argument"},
		{"search_vendors", `{"query":"` + strings.Repeat("長", 8193) + `"}`, "arguments.query: has 8193 characters"},
		{"get_vendor", `{"id":"none"}`, "no vendor has this id: take the id of a result of search_vendors"},
		{"get_vendor", `{}`, "arguments.id: is required"},
		{"get_vendor", `{"id":1}`, "arguments.id: must be a string"},
		{"similar_vendors", `{"id":"none"}`, "no vendor has this id: take"},
		{"similar_vendors", `{"k":3}`, "arguments.id: is required"},
		{"similar_vendors", `{"id":"V-001","query":"x"}`, "arguments.query: is no argument"},
		{"list_fields", `{"fields":["nothing"]}`, `arguments.fields: "nothing" is no field of any record: list_fields without arguments lists them`},
		{"list_fields", `{"fields":"type"}`, "arguments.fields: must be a list"},
	} {
		if a := call(t, s, c.tool, c.arguments); !strings.HasPrefix(a.failed, c.want) {
			t.Errorf("%s %.100s: %q, want %q", c.tool, c.arguments, a.failed, c.want)
		}
	}
	// Searches are counted like the API's, and with what they came to.
	for code, want := range map[string]float64{"422": 6, "404": 1} {
		if got := testutil.ToFloat64(r.m.requests.WithLabelValues(code)); got != want {
			t.Errorf("%v searches of %s, want %v", got, code, want)
		}
	}
	_, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "delete_vendor"})
	if err == nil || !strings.Contains(err.Error(), "delete_vendor") {
		t.Errorf("a tool that does not exist: %v", err)
	}
}

func TestToolErrorsOfWhatFailsHere(t *testing.T) {
	var down, boom atomic.Bool
	r := served(t, func(d *follow.Deps, _ *Config) {
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) {
			return followtest.EmbedFunc(func(ctx context.Context, text string) ([]float32, error) {
				if down.Load() {
					return nil, fmt.Errorf("401 from a secret place")
				}
				return followtest.Embedder.EmbedQuery(ctx, text)
			}), nil
		}
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
	s := r.mcp()
	down.Store(true)
	if a := call(t, s, "search_vendors", `{"query":"新しい質問","mode":"semantic"}`); !strings.Contains(a.failed, `try again with "mode":"lexical"`) || strings.Contains(a.failed, "secret") {
		t.Errorf("provider down: %q", a.failed)
	}
	if a := call(t, s, "search_vendors", `{"query":"温度監視の質問"}`); a.data["degraded"] != "lexical" {
		t.Errorf("hybrid, provider down: %q %s", a.failed, a.raw)
	}
	down.Store(false)
	boom.Store(true)
	for range 4 {
		if a := call(t, s, "search_vendors", `{"query":"会計","mode":"semantic"}`); a.failed != "internal error" {
			t.Errorf("panic: %q", a.failed)
		}
	}
	boom.Store(false)
	if a := call(t, s, "search_vendors", `{"query":"会計"}`); a.failed != "" {
		t.Errorf("afterwards: %q", a.failed)
	}
	if n := testutil.ToFloat64(r.m.inFlight); n != 0 {
		t.Errorf("%v searches in flight at the end", n)
	}
}

func TestToolsWaitForTheFirstSnapshot(t *testing.T) {
	w := followtest.New(t)
	r := start(t, w)
	s := r.mcp()
	for tool, arguments := range map[string]string{"search_vendors": `{"query":"x"}`, "get_vendor": `{"id":"V-001"}`, "similar_vendors": `{"id":"V-001"}`, "list_fields": `{}`} {
		if a := call(t, s, tool, arguments); a.failed != "no snapshot is loaded: try again in a few seconds" {
			t.Errorf("%s: %q", tool, a.failed)
		}
	}
	// And follow the next ones.
	for v := range 3 {
		p := w.Publish(followtest.Versioned(v, 20))
		r.serving(p.ID)
		for tool, arguments := range map[string]string{"search_vendors": `{"query":"x"}`, "list_fields": `{}`} {
			if a := call(t, s, tool, arguments); a.data["snapshot"] != p.ID {
				t.Errorf("%s: %s %s, want %s", tool, a.failed, a.data["snapshot"], p.ID)
			}
		}
	}
}

const toolCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_vendors","arguments":{"query":"会計"}}}`

func (r *replica) post(body string, header ...string) (int, http.Header, []byte) {
	r.t.Helper()
	return r.do("POST", "/mcp", body, append([]string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream"}, header...)...)
}

func TestMCPIsGuardedLikeTheRest(t *testing.T) {
	sum := func(k string) string { h := sha256.Sum256([]byte(k)); return hex.EncodeToString(h[:]) }
	r := served(t, func(_ *follow.Deps, c *Config) {
		c.APIKeys, c.AllowedOrigins = []string{sum("key")}, []string{"https://front.example"}
	})
	if code, h, _ := r.post(toolCall); code != 401 || h.Get("WWW-Authenticate") == "" {
		t.Errorf("without a key: %d", code)
	}
	auth := []string{"Authorization", "Bearer key"}
	code, h, data := r.post(toolCall, append(auth, "Origin", "https://front.example")...)
	if code != 200 || h.Get("Access-Control-Allow-Origin") != "https://front.example" || h.Get(headerSnapshot) != r.follower.ServedID() || h.Get(headerRequest) == "" || h.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", code, h, data)
	}
	if _, h, _ := r.do("OPTIONS", "/mcp", "", "Origin", "https://front.example", "Access-Control-Request-Method", "POST"); !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Mcp-Protocol-Version") {
		t.Errorf("preflight: %v", h)
	}
	for name, c := range map[string]struct {
		method, body string
		want         int
	}{
		"GET":            {"GET", "", 405},
		"DELETE":         {"DELETE", "", 405},
		"a batch":        {"POST", "[" + toolCall + "," + toolCall + "]", 400},
		"too much":       {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + strings.Repeat("x", 1<<20) + `"}}`, 413},
		"no JSON":        {"POST", "query=x", 400},
		"nothing":        {"POST", "", 400},
		"deeply nested":  {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_vendors","arguments":{"query":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}}`, 400},
		"a notification": {"POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202},
	} {
		code, h, data := r.do(c.method, "/mcp", c.body, append(auth, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")...)
		if code != c.want || code == 405 && h.Get("Allow") != "POST" {
			t.Errorf("%s: %d %.200s, want %d", name, code, data, c.want)
		}
	}
	// A stream would stay open.
	_, _, data = r.post(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},"notifications":{"toolsListChanged":true}}}`, append(auth, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "subscriptions/listen")...)
	if !strings.Contains(string(data), `"code":-32601`) {
		t.Errorf("a subscription: %s", data)
	}

	limited := served(t, func(_ *follow.Deps, c *Config) { c.RateLimit = 0.001 })
	if code, _, _ := limited.post(toolCall); code != 200 {
		t.Errorf("first: %d", code)
	}
	if code, h, _ := limited.post(toolCall); code != 429 || h.Get("Retry-After") == "" {
		t.Errorf("second: %d", code)
	}
}

func TestMCPIsBounded(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(heavy(92, 10_000))
	var waiting, on chan struct{} = make(chan struct{}, 1), make(chan struct{})
	var slow atomic.Bool
	r := start(t, w, func(d *follow.Deps, c *Config) {
		open := d.Indexes.Open
		d.Indexes = followtest.Opening(d.Indexes, func(path string, p snapshot.IndexParams) (snapshot.Index, error) {
			x, err := open(path, p)
			x.(*followtest.Index).Before = func() {
				if slow.Load() {
					waiting <- struct{}{}
					<-on
				}
			}
			return x, err
		})
	})
	r.serving(p.ID)
	s := r.mcp()
	if a := call(t, s, "search_vendors", `{"filter":{"kind":"heavy"},"k":100}`); !strings.Contains(a.failed, "the limit is 256: ask for fewer results (k), or for some fields of each (fields)") {
		t.Errorf("%q, %d bytes", a.failed, len(a.raw))
	}
	if a := call(t, s, "search_vendors", `{"filter":{"kind":"heavy"},"k":100,"fields":["name"]}`); a.failed == "" {
		t.Log("texts are long too") // fields cut metadata alone
	}
	if a := call(t, s, "search_vendors", `{"filter":{"kind":"heavy"},"k":5}`); a.failed != "" {
		t.Errorf("five: %q", a.failed)
	}
	if n := r.answers.used.Load(); n != 0 {
		t.Errorf("%d bytes of answers are still claimed", n)
	}
	// Beyond so many at a time 503, before the body is read.
	r.calls.most = 1
	slow.Store(true)
	done := make(chan int, 1)
	go func() {
		code, _, _ := r.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_vendors","arguments":{"query":"重い","mode":"semantic"}}}`)
		done <- code
	}()
	<-waiting
	if code, h, _ := r.post(toolCall); code != 503 || h.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", code)
	}
	slow.Store(false)
	close(on)
	if code := <-done; code != 200 {
		t.Errorf("the one before it: %d", code)
	}
}

func TestAccessLogHoldsWhatAToolWasAsked(t *testing.T) {
	r := served(t, func(_ *follow.Deps, c *Config) { c.AccessLog = AccessQueries })
	code, _, _ := r.post(toolCall)
	r.close() // every line is written
	lines := linesOf(t, r.log, "request")
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	line := lines[0]
	if code != 200 || line["path"] != "/mcp" || line["query"] != "会計" || line["snapshot"] == "" || line["status"] != 200.0 {
		t.Errorf("%v", line)
	}
}

// A swap between the request and its tool: the header says what the tool answered from.
func TestTheHeaderNamesTheToolsSnapshot(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set(headerSnapshot, "before")
	c := &mcpCall{ResponseWriter: w}
	c.note("after", "")
	_, err := c.Write([]byte("{}"))
	must(t, err)
	if got := w.Result().Header.Get(headerSnapshot); got != "after" || w.Code != 200 {
		t.Errorf("%d %s", w.Code, got)
	}
}
