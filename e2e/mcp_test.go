package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// bearer adds a key to every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// agent connects a client of the Model Context Protocol to a server.
func agent(t *testing.T, s *harness.Server, key string) (*mcp.ClientSession, error) {
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.URL + "/mcp", HTTPClient: &http.Client{Transport: bearer(key)}, MaxRetries: -1,
	}, nil)
	if err == nil {
		t.Cleanup(func() { _ = session.Close() })
	}
	return session, err
}

// TestAnAgentFindsItsWay goes through the tools as a model does: what fields there are, a question, one record, its like,
// what it did wrong, and the next state of the catalogue.
func TestAnAgentFindsItsWay(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, b.env)
	const key, hash = "example", "50d858e0985ecc7f60418aaf0cc5ab587f42c2570a884095a9e8ccacd0f6545c"
	s := harness.StartServer(t, with(b.env, "API_KEYS", hash))
	s.Await(t, "server ready", 1)
	if _, err := agent(t, s, "another"); err == nil {
		t.Error("a wrong key was taken")
	}
	session, err := agent(t, s, key)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 4 {
		t.Fatalf("%v, %v", tools, err)
	}
	type found struct {
		harness.Found
		Filters []struct{ Path string } `json:"filters_found"`
		Fields  []struct {
			Path   string
			Values []struct {
				Value any
				Count int
			}
		}
		Vendor   map[string]any
		Warnings []string
	}
	call := func(tool, arguments string) (found, string) {
		t.Helper()
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
		if err != nil {
			t.Fatalf("%s %s: %v", tool, arguments, err)
		}
		if res.IsError {
			return found{}, res.Content[0].(*mcp.TextContent).Text
		}
		data, err := json.Marshal(res.StructuredContent)
		if err != nil {
			t.Fatal(err)
		}
		var f found
		if err := json.Unmarshal(data, &f); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		return f, ""
	}

	fields, _ := call("list_fields", `{}`)
	status := ""
	for _, f := range fields.Fields {
		if f.Path == "engagement.status" && len(f.Values) > 1 {
			status = f.Values[0].Value.(string)
		}
	}
	if status == "" || fields.Snapshot == "" {
		t.Fatalf("list_fields: %+v", fields)
	}
	best, _ := call("search_vendors", `{"query":"冷凍倉庫の温度監視"}`)
	if len(best.Results) != 5 || best.Results[0].ID != "V-001" || best.Snapshot != fields.Snapshot {
		t.Fatalf("search_vendors: %+v", best)
	}
	filtered, _ := call("search_vendors", `{"query":"倉庫","k":100,"filter":{"engagement.status":"`+status+`"},"fields":["engagement.status"]}`)
	if len(filtered.Results) == 0 || len(filtered.Results) == 92 {
		t.Errorf("with a filter: %d", len(filtered.Results))
	}
	for _, r := range filtered.Results {
		if got := r.Metadata["engagement"].(map[string]any)["status"]; got != status || len(r.Metadata) != 1 {
			t.Errorf("%s: %v", r.ID, r.Metadata)
		}
	}
	asked, _ := call("search_vendors", `{"query":"面談済みの会社"}`)
	if len(asked.Filters) != 1 || asked.Filters[0].Path != "engagement.status" {
		t.Errorf("conditions in the question: %+v", asked.Filters)
	}
	if plain, _ := call("search_vendors", `{"query":"面談済みの会社","auto_filter":false}`); len(plain.Filters) != 0 {
		t.Errorf("left alone: %+v", plain.Filters)
	}
	one, _ := call("get_vendor", `{"id":"V-001"}`)
	if one.Vendor["vendor_id"] != "V-001" {
		t.Errorf("get_vendor: %v", one.Vendor)
	}
	like, _ := call("similar_vendors", `{"id":"V-001","k":3}`)
	if len(like.Results) != 3 || like.Results[0].ID == "V-001" {
		t.Errorf("similar_vendors: %+v", like)
	}
	for arguments, want := range map[string]string{
		`{"query":"倉庫","k":1000}`:                    "arguments.k: must be 0 to 100",
		`{"query":"倉庫","filters":{}}`:                "arguments.filters: is no argument of this tool",
		`{"query":"倉庫","filter":{"a":{"like":"b"}}}`: "arguments.filter",
	} {
		if _, why := call("search_vendors", arguments); !strings.HasPrefix(why, want) {
			t.Errorf("%s: %q, want %q", arguments, why, want)
		}
	}
	if odd, _ := call("search_vendors", `{"query":"倉庫","filter":{"no.such.field":1}}`); len(odd.Warnings) == 0 {
		t.Error("a field that no record has: no warning")
	}
	if _, why := call("get_vendor", `{"id":"V-999"}`); !strings.Contains(why, "search_vendors") {
		t.Errorf("an unknown id: %q", why)
	}

	// The catalogue changes under the same session.
	b.put(t, b.layout.Source, []byte(strings.Replace(string(sample(t)), `"V-001"`, `"V-901"`, 1)))
	s.Await(t, "snapshot swapped", 2)
	after, _ := call("search_vendors", `{"query":"冷凍倉庫の温度監視","k":1}`)
	if after.Snapshot == best.Snapshot || after.Results[0].ID != "V-901" {
		t.Errorf("after a swap: %+v", after)
	}
	if _, why := call("get_vendor", `{"id":"V-001"}`); why == "" {
		t.Error("a record that left is still there")
	}
	if listed, _ := call("list_fields", `{}`); listed.Snapshot != after.Snapshot {
		t.Errorf("list_fields answers from %s, search_vendors from %s", listed.Snapshot, after.Snapshot)
	}
}

// TestTheExampleOfAClientsConfigurationConnects does with examples/mcp.json what a client does.
func TestTheExampleOfAClientsConfigurationConnects(t *testing.T) {
	t.Parallel()
	_, s := served(t)
	var config struct {
		Servers map[string]struct {
			Type, URL string
			Headers   map[string]string
		} `json:"mcpServers"`
	}
	data, err := os.ReadFile(filepath.Join(harness.Root(), "examples", "mcp.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	c := config.Servers["vendors"]
	if c.Type != "http" || !strings.HasPrefix(c.Headers["Authorization"], "Bearer ") {
		t.Errorf("%+v", c)
	}
	path, ok := strings.CutPrefix(c.URL, "http://localhost:8080")
	if !ok {
		t.Fatalf("url %s", c.URL)
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: s.URL + path, MaxRetries: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.ListTools(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
