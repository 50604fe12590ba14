package api

import (
	"compress/gzip"
	"fmt"
	"html"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/swaggest/swgui/v5/static"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/query"
)

// searchBody documents one search; body.go reads it.
type searchBody struct {
	_ struct{} `additionalProperties:"true"`

	Query  string         `json:"query,omitempty" maxLength:"8192" doc:"What is looked for. May be absent when vector, similar_to or filter is given" example:"冷凍倉庫の温度監視"`
	K      *int           `json:"k,omitempty" minimum:"0" maximum:"100" default:"5" doc:"Results wanted; 0 is the default"`
	Size   *int           `json:"size,omitempty" minimum:"0" maximum:"100" doc:"Another name of k, which goes before it"`
	TopK   *int           `json:"top_k,omitempty" minimum:"0" maximum:"100" doc:"Another name of k, which goes before it"`
	Mode   string         `json:"mode,omitempty" enum:"semantic,lexical,hybrid" doc:"By meaning, by words, or both fused. Default: the server's DEFAULT_MODE for a query, semantic for a vector"`
	Filter map[string]any `json:"filter,omitempty" doc:"Dotted path of a record's field to a value, a list of values (any of), or operators: {\"gt\"|\"gte\"|\"lt\"|\"lte\": a number, a date or a string}, {\"ne\": value}, {\"nin\": [values]}, {\"exists\": boolean}, {\"elem\": filter} for one object of a list; \"$and\": [filters], \"$or\": [filters], \"$not\": filter at any level. Strings are compared without case and width; a string in a record that is wholly a number compares with numbers too"`
	Vector vectorDoc      `json:"vector,omitempty" doc:"Replaces query: numbers, or base64 of little-endian float32"`

	SimilarTo  string   `json:"similar_to,omitempty" maxLength:"1024" doc:"Replaces query: the id of a vendor; those most like it are found, without itself" example:"V-001"`
	Offset     int      `json:"offset,omitempty" minimum:"0" maximum:"10000" doc:"Results left out before the first one: the next page is at offset + k"`
	MinScore   float32  `json:"min_score,omitempty" minimum:"0" maximum:"1" doc:"Leaves out results that score less, even of fewer than k; total stays as it is"`
	Sort       *sortDoc `json:"sort,omitempty" doc:"Orders by a field in place of the score: all that match the filter or, where something is asked, the best 100 that score at least 0.3 and min_score. Records without a value come last, equal ones in catalogue order"`
	Fields     []string `json:"fields,omitempty" nullable:"true" maxItems:"64" doc:"Dotted paths: metadata holds just these"`
	Facets     []string `json:"facets,omitempty" nullable:"true" maxItems:"16" doc:"Dotted paths of fields whose values are counted over all that match the filter"`
	AutoFilter *bool    `json:"auto_filter,omitempty" default:"true" doc:"Whether conditions are looked for in the question (面談済みの会社, 従業員100人以上): records that meet them come first, the others after them. filters_found in the answer says which. Not in semantic mode"`
	Highlight  bool     `json:"highlight,omitempty" doc:"Adds to each result a part of its text in which the words of the query are marked"`
}

// sortDoc documents an order.
type sortDoc struct {
	_ struct{} `additionalProperties:"true"`

	Field string `json:"field" minLength:"1" maxLength:"1024" doc:"Dotted path" example:"name"`
	Order string `json:"order,omitempty" enum:"asc,desc" default:"asc"`
}

// vectorDoc is the schema of a vector in a body.
type vectorDoc struct{}

// Schema implements huma.SchemaProvider.
func (vectorDoc) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeNumber, Format: "float"}},
		{Type: huma.TypeString, ContentEncoding: "base64"},
	}}
}

// recordSchema is a vendor's record: an object with whatever fields the catalogue gives it.
func recordSchema() *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

type batchBody struct {
	_       struct{}     `additionalProperties:"true"`
	Queries []searchBody `json:"queries" nullable:"false" minItems:"1" maxItems:"4096"`
}

// FoundBody documents what is found by one search.
type FoundBody struct {
	Results  []result                       `json:"results" nullable:"false" doc:"Best first, or as sorted"`
	Total    int                            `json:"total" doc:"Records that match the filter, whatever they score"`
	Facets   map[string][]filter.FacetCount `json:"facets,omitempty" doc:"With facets: the values of each field, those of most records first, 200 at most"`
	Found    []conditions.Condition         `json:"filters_found,omitempty" nullable:"false" doc:"Conditions found in the question, with the words that say them and how many records meet each"`
	Degraded string                         `json:"degraded,omitempty" enum:"lexical" doc:"The embedding provider failed: a hybrid query was answered by its words"`
	Warnings []string                       `json:"warnings,omitempty" nullable:"false" doc:"What was odd about the request, as a field that no record has"`
}

// answerBody documents the answer of /search.
type answerBody struct {
	FoundBody
	Snapshot string  `json:"snapshot" doc:"The snapshot that all results come from"`
	TookMS   float64 `json:"took_ms"`
}

type batchAnswerBody struct {
	Results  []FoundBody `json:"results" nullable:"false" doc:"In the order of the queries"`
	Warnings []string    `json:"warnings,omitempty" nullable:"false" doc:"What was odd about the request"`
	Snapshot string      `json:"snapshot" doc:"The snapshot that all results come from"`
	TookMS   float64     `json:"took_ms"`
}

// documentSearch describes the operations that are read and rendered by hand.
func (s *Server) documentSearch(api huma.API) {
	add := func(op huma.Operation, answer *huma.Schema, more ...int) {
		op.Responses = map[string]*huma.Response{"200": {
			Description: "OK",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: answer}},
			Headers: map[string]*huma.Param{
				headerSnapshot: {Schema: &huma.Schema{Type: huma.TypeString}},
				headerRequest:  {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}}
		problem := schemaOf[huma.ErrorModel](api, "")
		for _, code := range append([]int{401, 422, 429, 500, 502, 503, 504}, more...) {
			op.Responses[strconv.Itoa(code)] = &huma.Response{
				Description: http.StatusText(code),
				Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
			}
		}
		api.OpenAPI().AddOperation(&op)
	}
	post := func(id, path, summary string, body *huma.Schema) huma.Operation {
		op := s.operation(id, path, summary)
		op.Method = http.MethodPost
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: body}}}
		return op
	}
	get := s.operation("search-get", "/search", "Search the catalogue, for people and simple clients")
	most, least := float64(maxK), 0.0
	deep := float64(query.MaxOffset)
	count := &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Default: defaultK}
	page := []*huma.Param{
		{Name: "k", In: "query", Description: "Results wanted; 0 is the default", Schema: count},
		{Name: "size", In: "query", Description: "Another name of k, which goes before it", Schema: count},
		{Name: "top_k", In: "query", Description: "Another name of k, which goes before it", Schema: count},
		{Name: "offset", In: "query", Description: "Results left out before the first one", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &deep}},
	}
	get.Parameters = append([]*huma.Param{
		{Name: "q", In: "query", Required: true, Description: "What is looked for", Example: "冷凍倉庫の温度監視", Schema: &huma.Schema{Type: huma.TypeString}},
		{Name: "mode", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{query.Semantic, query.Lexical, query.Hybrid}}},
	}, page...)
	similar := s.operation("similar-vendors", "/vendors/{id}/similar", "Vendors most like one, without itself")
	similar.Parameters = append([]*huma.Param{
		{Name: "id", In: "path", Required: true, Description: "The vendor's id", Example: "V-001", Schema: &huma.Schema{Type: huma.TypeString}},
	}, page...)
	add(post("search", "/search", "Search the catalogue", schemaOf[searchBody](api, "")), schemaOf[answerBody](api, ""), 413, 415)
	add(get, schemaOf[answerBody](api, ""))
	add(similar, schemaOf[answerBody](api, ""), 404)
	add(post("search-batch", "/search/batch", "Several searches on one snapshot", schemaOf[batchBody](api, "")), schemaOf[batchAnswerBody](api, ""), 413, 415)
}

var _ huma.SchemaProvider = vectorDoc{}

// docsCSP lets Swagger UI run from this server alone. Its styles are set by script; images are data: URLs.
const docsCSP = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// registerDocs serves Swagger UI from the binary: /docs works without any network.
func (s *Server) registerDocs(mux *http.ServeMux) {
	title := html.EscapeString("Vendor search " + s.cfg.Version)
	index := fmt.Sprintf(`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>%s – API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/docs/favicon-32x32.png"><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui">This page needs JavaScript; the API is described in <a href="/openapi.json">openapi.json</a>.</div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
`, title)
	const start = `SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout", defaultModelsExpandDepth: 0});
`
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			secure(w, docsCSP)
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	mux.HandleFunc("GET /docs", text("text/html; charset=utf-8", index))
	mux.HandleFunc("GET /docs/{$}", text("text/html; charset=utf-8", index))
	mux.HandleFunc("GET /docs/start.js", text("text/javascript; charset=utf-8", start))
	mux.HandleFunc("GET /docs/{file}", s.docsFile)
}

// docsFile serves Swagger UI's assets, which are embedded compressed.
func (s *Server) docsFile(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.PathValue("file"))
	kinds := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png"}
	kind, known := kinds[path.Ext(name)]
	file, err := static.FS.Open(name + ".gz")
	packed := err == nil
	if err != nil {
		file, err = static.FS.Open(name)
	}
	if err != nil || !known {
		s.notFound(w, r)
		return
	}
	defer file.Close()
	h := w.Header()
	secure(w, docsCSP)
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "public, max-age=3600")
	var from io.Reader = file
	if packed {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
		} else if from, err = gzip.NewReader(file); err != nil {
			s.notFound(w, r)
			return
		}
	}
	_, _ = io.Copy(w, from)
}

// secure sets the headers of what a browser renders.
func secure(w http.ResponseWriter, csp string) {
	h := w.Header()
	h.Set("Content-Security-Policy", csp)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}
