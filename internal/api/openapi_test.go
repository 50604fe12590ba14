package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
)

// TestAnswersAreWhatTheOpenAPIDocumentSays validates the document, then every request and answer against it.
func TestAnswersAreWhatTheOpenAPIDocumentSays(t *testing.T) {
	r := served(t)
	_, _, data := r.do("GET", "/openapi-3.0.json", "")
	doc, err := openapi3.NewLoader().LoadFromData(data)
	must(t, err)
	must(t, doc.Validate(context.Background()))
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	must(t, err)
	for _, c := range []struct {
		call, body string
		code       int
	}{
		{"POST /search", `{"query":"会計","k":3}`, 200},
		{"POST /search", `{"query":"会計","mode":"semantic","filter":{"type":["SaaS"],"score_num":{"gte":1}},"unknown":1}`, 200},
		{"POST /search", `{"vector":"` + base64Vector(followtest.Gram("会計")) + `"}`, 200},
		{"POST /search", `{"filter":{"active":true}}`, 200},
		{"POST /search", `{"query":"x","filter":{"a":{"near":1}}}`, 422},
		{"POST /search/batch", `{"queries":[{"query":"会計"},{"query":"翻訳","mode":"lexical"}]}`, 200},
		{"POST /search", `{"query":"会計","k":0}`, 200},
		{"POST /search", `{"query":"会計","size":2,"top_k":3,"use_mmr":true}`, 200},
		{"GET /search?q=%E4%BC%9A%E8%A8%88&k=3&mode=lexical", "", 200},
		{"GET /search?q=x&top_k=0", "", 200},
		{"GET /vendors/V-001", "", 200},
		{"GET /vendors/none", "", 404},
		{"GET /facets?field=type&field=score_num&field=active", "", 200},
		{"GET /snapshot", "", 200},
		{"GET /health", "", 200},
		{"GET /ready", "", 200},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		req, err := http.NewRequest(method, r.url+path, strings.NewReader(c.body))
		must(t, err)
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		route, params, err := router.FindRoute(req)
		if err != nil {
			t.Errorf("%s: %v", c.call, err)
			continue
		}
		in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			t.Errorf("%s: request: %v", c.call, err)
		}
		req.Body = io.NopCloser(strings.NewReader(c.body))
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		must(t, err)
		if res.StatusCode != c.code {
			t.Errorf("%s: %d %s", c.call, res.StatusCode, body)
		}
		out := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}
		if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
			t.Errorf("%s: answer: %v", c.call, err)
		}
	}
}
