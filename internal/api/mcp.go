package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// POST /mcp is the API for language models, by the Model Context Protocol over streamable HTTP
// (https://modelcontextprotocol.io/specification/2025-06-18/basic/transports): without sessions, so that any replica answers any
// request, and without streams. A tool reads its arguments and answers as its counterpart in the API does.

// Limits of /mcp. What a tool answers is read whole by a model: 256 KiB are some 60,000 tokens. A request holds its body and
// its answer three times over, as JSON, within JSON and on its way out: 256 MiB in all at most.
const (
	maxCalls      = 128
	maxToolAnswer = 256 << 10

	listedFields = 64  // whose values list_fields counts unasked
	listedValues = 8   // of each
	listedText   = 100 // characters of a value
)

const instructions = `A catalogue of vendors (companies with what they offer), most of it in Japanese; questions may be in Japanese or English.
search_vendors finds vendors by what they do, by name and by conditions. Call list_fields first when you want to filter by a field or count its values.
get_vendor gives one whole record, similar_vendors those most like it.
A score above 0.5 fits the question, one below 0.3 is merely the nearest: when nothing scores more, say that nothing fits.
Each answer names the snapshot of the catalogue it comes from; two answers of different snapshots may differ.`

// newMCP returns the handler of /mcp behind the guards.
func (s *Server) newMCP() http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "vectorstore", Title: "Vendor search", Version: s.cfg.Version}, &mcp.ServerOptions{
		Instructions: instructions,
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	server.AddReceivingMiddleware(withoutStreams)
	for _, t := range s.tools() {
		server.AddTool(&mcp.Tool{
			Name: t.name, Title: t.title, Description: t.description, InputSchema: t.in, OutputSchema: t.out,
			Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true, OpenWorldHint: new(false)},
		}, s.call(t))
	}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, PropagateRequestCancellation: true,
		DisableLocalhostProtection: true, // a proxy on this machine sends the public name; who may call is for keys and CORS to say
	})
}

// withoutStreams refuses the one method that would keep a request open.
func withoutStreams(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, r mcp.Request) (mcp.Result, error) {
		if method == "subscriptions/listen" {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "nothing can be subscribed to"}
		}
		return next(ctx, method, r)
	}
}

// mcpCall is one POST /mcp: what its tool leaves for the header and the log. The tool runs in a goroutine of its own.
type mcpCall struct {
	http.ResponseWriter
	ids   []any
	begun bool

	mu              sync.Mutex
	snapshot, query string
}

type mcpCallKey struct{}

// note is called by the tool.
func (c *mcpCall) note(snapshot, query string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot, c.query = snapshot, query
}

func (c *mcpCall) noted() (snapshot, query string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot, c.query
}

// WriteHeader implements http.ResponseWriter.
func (c *mcpCall) WriteHeader(status int) {
	if id, _ := c.noted(); id != "" {
		c.Header()[headerSnapshot] = []string{id}
	}
	c.begun = true
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter; the header goes before it.
func (c *mcpCall) Write(p []byte) (int, error) {
	if !c.begun {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(p)
}

// handleMCP is POST /mcp.
func (s *Server) handleMCP(w http.ResponseWriter, r *http.Request) {
	if !s.calls.enter(1) {
		s.fail(w, r, query.ErrBusy)
		return
	}
	defer s.calls.leave(1)
	body := buffers.Get().(*bytes.Buffer)
	defer putBuffer(body)
	if err := readBody(w, r, maxBody, body); err != nil {
		s.fail(w, r, err)
		return
	}
	if bytes.HasPrefix(bytes.TrimLeft(body.Bytes(), " \t\r\n"), []byte("[")) {
		problem(w, http.StatusBadRequest, "several messages in one request are not taken: send them one by one")
		return
	}
	c := &mcpCall{ResponseWriter: w, ids: ids(w, r)}
	r = r.WithContext(context.WithValue(r.Context(), mcpCallKey{}, c))
	r.Body = io.NopCloser(bytes.NewReader(body.Bytes()))
	s.mcp.ServeHTTP(c, r)
	_, text := c.noted()
	noteQuery(w, text)
}

// tool is what a model can call.
type tool struct {
	name, title, description string
	in, out                  *huma.Schema
	run                      func(ctx context.Context, c *mcpCall, arguments []byte) ([]byte, error)
}

// call runs a tool. Errors are for the model to act on.
func (s *Server) call(t tool) mcp.ToolHandler {
	return func(ctx context.Context, r *mcp.CallToolRequest) (out *mcp.CallToolResult, _ error) {
		c, ok := ctx.Value(mcpCallKey{}).(*mcpCall)
		if !ok {
			return nil, errors.New("not called over HTTP")
		}
		arguments := []byte(r.Params.Arguments)
		if len(arguments) == 0 || string(arguments) == "null" {
			arguments = []byte("{}")
		}
		failed := func(why string) *mcp.CallToolResult {
			return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: why}}}
		}
		defer func() { // this goroutine is not the request's, which would be caught
			if p := recover(); p != nil {
				s.log.Error("handler panicked", append([]any{"path", "/mcp", "tool", t.name, "panic", fmt.Sprint(p), "stack", string(debug.Stack())}, c.ids...)...)
				out = failed("internal error")
			}
		}()
		err := namesOnly(arguments, t.in)
		var data []byte
		if err == nil {
			data, err = t.run(ctx, c, arguments)
		}
		if err == nil && len(data) > maxToolAnswer {
			err = wrong("body", "asks for an answer of %d KiB, the limit is %d: ask for fewer results (k), or for some fields of each (fields)", len(data)>>10, maxToolAnswer>>10)
		}
		if err != nil {
			return failed(s.advice(ctx, t.name, err, c)), nil
		}
		return &mcp.CallToolResult{StructuredContent: json.RawMessage(data), Content: []mcp.Content{&mcp.TextContent{Text: string(data)}}}, nil
	}
}

// advice says of an error what to do about it.
func (s *Server) advice(ctx context.Context, name string, err error, c *mcpCall) string {
	status, detail, fields := failure(ctx, err)
	switch {
	case len(fields) > 0:
		return "arguments" + strings.TrimPrefix(fields[0].Location, "body") + ": " + fields[0].Message
	case errors.Is(err, query.ErrUnknownRecord):
		return err.Error() + `: take the id of a result of search_vendors, as "V-001"`
	case errors.Is(err, query.ErrProvider):
		return detail + `: try again with "mode":"lexical"`
	case status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		s.refusals.note(status, append([]any{"path", "/mcp", "tool", name, "error", err}, c.ids...)...)
		return detail + ": try again in a few seconds"
	case status == http.StatusInternalServerError:
		s.log.Error("search failed", append([]any{"path", "/mcp", "tool", name, "status", status, "error", err}, c.ids...)...)
	}
	return detail
}

// namesOnly refuses arguments that a tool does not have: a model that is not told goes on as if they had counted.
func namesOnly(arguments []byte, in *huma.Schema) error {
	r := bodyReader{jsonread.Over(arguments)}
	return located("body", r.members("body", func(key string) error {
		if in.Properties[key] == nil {
			names := make([]string, 0, len(in.Properties))
			for name := range in.Properties {
				names = append(names, name)
			}
			slices.Sort(names)
			return wrong("body."+key, "is no argument of this tool; it has %s", strings.Join(names, ", "))
		}
		_, err := r.Value(maxDepth)
		return err
	}))
}

// tools are described by the types that describe the API.
func (s *Server) tools() []tool {
	search := argumentsOf[searchBody]("query", "k", "offset", "mode", "filter", "min_score", "fields", "sort", "facets", "auto_filter")
	similar := argumentsOf[searchBody]("k", "offset", "filter", "min_score", "fields")
	similar.Properties["id"], similar.Required = argumentsOf[vendorInputDoc]().Properties["id"], []string{"id"}
	return []tool{
		{
			"search_vendors", "Search vendors", "Finds vendors in the catalogue by what is asked in plain words: what they offer, who they are, names, product names, codes. " +
				"Conditions in the question (面談済みの会社, 従業員100人以上) are found and bring those that meet them first; filters_found says which. " +
				"Use filter for conditions that must hold, by paths and values of list_fields; with filter alone all that match are listed. " +
				"Results are best first: a score above 0.5 fits, below 0.3 does not. Name the fields you need to get short answers.",
			search, answerOf[answerBody](), s.toolSearch,
		},
		{
			"get_vendor", "Get one vendor", "The whole record of one vendor by its id, which results of search_vendors and similar_vendors carry.",
			argumentsOf[vendorInputDoc](), answerOf[vendorDoc](), s.toolVendor,
		},
		{
			"similar_vendors", "Similar vendors", "Vendors most like one that you know by its id, without itself, best first; the score is a cosine here. " +
				"Use it for alternatives to a vendor; to look for what a vendor does, use search_vendors.",
			similar, answerOf[answerBody](), s.toolSimilar,
		},
		{
			"list_fields", "List fields", "The fields of the catalogue's records: dotted paths for filter, fields, facets and sort of search_vendors, the kinds of their values and the most frequent ones with the number of records. " +
				"Name fields to get up to 200 values of each.",
			argumentsOf[fieldsInputDoc](), answerOf[fieldsDoc](), s.toolFields,
		},
	}
}

// vendorInputDoc documents the argument of get_vendor.
type vendorInputDoc struct {
	ID string `json:"id" maxLength:"1024" doc:"The vendor's id" example:"V-001"`
}

// vendorDoc documents the answer of get_vendor.
type vendorDoc struct {
	Vendor   record `json:"vendor" doc:"The record as it is in the catalogue"`
	Snapshot string `json:"snapshot" doc:"The snapshot that it comes from"`
}

// fieldsInputDoc documents the argument of list_fields.
type fieldsInputDoc struct {
	Fields []string `json:"fields,omitempty" nullable:"false" maxItems:"16" doc:"Dotted paths whose values are wanted; without it all fields are listed"`
}

// fieldsDoc is the answer of list_fields.
type fieldsDoc struct {
	Fields   []fieldDoc `json:"fields" nullable:"false"`
	Records  int        `json:"records" doc:"In the catalogue"`
	Snapshot string     `json:"snapshot" doc:"The snapshot that they come from"`
}

type fieldDoc struct {
	Path   string              `json:"path" example:"engagement.status"`
	Kinds  []string            `json:"kinds,omitempty" nullable:"false" doc:"Of the values shown: string, number, boolean, null"`
	Values []filter.FacetCount `json:"values,omitempty" nullable:"false" doc:"Those of most records first"`
	More   bool                `json:"more,omitempty" doc:"There are more values"`
}

// argumentsOf is the schema of a tool's input: of the properties of T those that are named, or all.
func argumentsOf[T any](names ...string) *huma.Schema {
	schema := answerOf[T]()
	properties := make(map[string]*huma.Schema)
	for name, p := range schema.Properties {
		if len(names) == 0 || slices.Contains(names, name) {
			properties[name] = p
		}
	}
	schema.Properties, schema.AdditionalProperties = properties, false
	return schema
}

// answerOf is the schema of a tool's output, whole: nothing in it refers to elsewhere.
func answerOf[T any]() *huma.Schema {
	defs := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
	return inlined(defs, defs.Schema(reflect.TypeFor[T](), false, ""))
}

func inlined(defs huma.Registry, s *huma.Schema) *huma.Schema {
	if s == nil {
		return nil
	}
	if s.Ref != "" {
		s = defs.SchemaFromRef(s.Ref)
	}
	out := *s
	out.Properties = make(map[string]*huma.Schema, len(s.Properties))
	for name, p := range s.Properties {
		out.Properties[name] = inlined(defs, p)
	}
	out.Items = inlined(defs, s.Items)
	if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
		out.AdditionalProperties = inlined(defs, more)
	}
	return &out
}

// toolSearch is search_vendors.
func (s *Server) toolSearch(ctx context.Context, c *mcpCall, arguments []byte) ([]byte, error) {
	return s.found(ctx, c, func() (searchRequest, error) { return parseSearch(arguments, s.cfg.DefaultMode) })
}

// toolSimilar is similar_vendors.
func (s *Server) toolSimilar(ctx context.Context, c *mcpCall, arguments []byte) ([]byte, error) {
	return s.found(ctx, c, func() (searchRequest, error) {
		id, err := idOf(arguments)
		if err != nil {
			return searchRequest{}, err
		}
		r := bodyReader{jsonread.Over(arguments)}
		q, err := r.unsettled("body")
		if err != nil {
			return q, located("body", err)
		}
		q.Similar = id
		return q, settle(&q.Query, "body", s.cfg.DefaultMode)
	})
}

// found answers a search for a tool, and counts it among the searches.
func (s *Server) found(ctx context.Context, c *mcpCall, parse func() (searchRequest, error)) ([]byte, error) {
	start := time.Now()
	code := http.StatusInternalServerError
	s.m.inFlight.Inc()
	defer func() {
		s.m.inFlight.Dec()
		s.m.requests.WithLabelValues(strconv.Itoa(code)).Inc()
		s.searcher.Metrics().Took(time.Since(start), tracing.Of(ctx).ID())
	}()
	var a rendered
	defer func() { s.answers.leave(a.claimed) }()
	q, err := parse()
	if err == nil {
		err = s.answered(ctx, s.answerTo("", q, nil, start), nil, &a)
		c.note(a.snapshot, q.Text)
	}
	if err != nil {
		code, _, _ = failure(ctx, err)
		return nil, err
	}
	code = http.StatusOK
	return bytes.TrimSuffix(a.data, []byte("\n")), nil
}

// idOf reads the id among the arguments.
func idOf(arguments []byte) (id string, err error) {
	r := bodyReader{jsonread.Over(arguments)}
	err = r.members("body", func(key string) (err error) {
		if key == "id" {
			id, err = r.text("body.id", maxPath)
			return err
		}
		_, err = r.Value(maxDepth)
		return err
	})
	if err == nil && id == "" {
		err = wrong("body.id", "is required")
	}
	return id, located("body", err)
}

// toolVendor is get_vendor.
func (s *Server) toolVendor(_ context.Context, c *mcpCall, arguments []byte) ([]byte, error) {
	id, err := idOf(arguments)
	if err != nil {
		return nil, err
	}
	snap := s.follower.Acquire()
	if snap == nil {
		return nil, errNoSnapshot
	}
	defer s.follower.Release(snap)
	c.note(snap.ID(), "")
	pos, ok := snap.Find(id)
	if !ok {
		return nil, query.ErrUnknownRecord
	}
	raw, err := snap.Metadata(pos)
	if err != nil {
		return nil, err
	}
	return append(appendJSON(append(append([]byte(`{"vendor":`), raw...), `,"snapshot":`...), snap.ID()), '}'), nil
}

// toolFields is list_fields.
func (s *Server) toolFields(ctx context.Context, c *mcpCall, arguments []byte) ([]byte, error) {
	r := bodyReader{jsonread.Over(arguments)}
	var named []string
	err := r.members("body", func(string) (err error) {
		if r.Peek() == 'n' {
			return r.Literal("null")
		}
		named, err = r.paths("body.fields", query.MaxFacets)
		return err
	})
	if err != nil {
		return nil, located("body", err)
	}
	snap := s.follower.Acquire()
	if snap == nil {
		return nil, errNoSnapshot
	}
	defer s.follower.Release(snap)
	c.note(snap.ID(), "")
	if len(named) > 0 {
		return s.fields(ctx, snap, named, query.FacetValues)
	}
	// What all fields hold does not change as long as the snapshot is served.
	if known := s.listed.Load(); known != nil && known.snapshot == snap.ID() {
		return known.data, nil
	}
	data, err := s.fields(ctx, snap, snap.Paths(), listedValues)
	if err == nil {
		s.listed.Store(&listed{snap.ID(), data})
	}
	return data, err
}

// listed is what list_fields answers unasked.
type listed struct {
	snapshot string
	data     []byte
}

// fields renders fields with their values, which are counted as those of a search are: on a core, and in time. Of more than
// listedFields the others are named alone.
func (s *Server) fields(ctx context.Context, snap *follow.Snapshot, paths []string, values int) ([]byte, error) {
	out := fieldsDoc{Fields: make([]fieldDoc, 0, len(paths)), Records: snap.Len(), Snapshot: snap.ID()}
	for part := range slices.Chunk(paths, query.MaxFacets) {
		var counts [][]filter.FacetCount
		if len(out.Fields) < listedFields {
			a, err := s.searcher.Search(ctx, snap.View, query.Query{Filter: &filter.Filter{}, K: 1, Facets: part})
			if err != nil {
				return nil, err
			}
			if len(a.Unknown) > 0 {
				return nil, wrong("body.fields", "%q is no field of any record: list_fields without arguments lists them", a.Unknown[0])
			}
			counts = a.Facets
		}
		for i, path := range part {
			f := fieldDoc{Path: path}
			if counts != nil {
				f.describe(counts[i], values)
			}
			out.Fields = append(out.Fields, f)
		}
	}
	data := appendJSON(nil, out)
	for len(data) > maxToolAnswer && len(out.Fields) > 1 { // paths of a catalogue without a shape
		out.Fields = out.Fields[:len(out.Fields)/2]
		data = appendJSON(nil, out)
	}
	return data, nil
}

func (f *fieldDoc) describe(counts []filter.FacetCount, most int) {
	f.More = len(counts) > most || len(counts) == query.FacetValues
	for _, c := range counts[:min(most, len(counts))] {
		kind := "null"
		switch v := c.Value.(type) {
		case string:
			kind = "string"
			if utf8.RuneCountInString(v) > listedText {
				f.More = true // it cannot be asked for as it stands here
				continue
			}
		case bool:
			kind = "boolean"
		case nil:
		default:
			kind = "number"
		}
		if !slices.Contains(f.Kinds, kind) {
			f.Kinds = append(f.Kinds, kind)
		}
		f.Values = append(f.Values, c)
	}
}
