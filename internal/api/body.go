package api

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// Limits of a search.
const (
	maxBody      = 1 << 20  // /search
	maxBatchBody = 16 << 20 // /search/batch
	maxQuery     = 8192     // characters
	maxK         = 100
	defaultK     = 5
	maxDims      = 65536 // of a vector in a body, before the snapshot's dims are known
	maxBatch     = 4096  // queries of a batch
	// maxBatchResults bounds the sum of k in a batch: 50,000 records of 1 KiB are 50 MiB of answer, see maxAnswer.
	maxBatchResults = 50_000
	maxBatchCounts  = query.MaxFacets // facets and orders of a whole batch: each may read the catalogue
	maxFields       = 64              // paths that metadata is cut down to
	maxPath         = 1024            // bytes of a path
)

// searchRequest is one search as a body asks for it.
type searchRequest struct {
	query.Query
	fields    []string // what metadata is cut down to; nil for all of it
	highlight bool
}

// maxDepth of nesting in what a body holds beside numbers and texts. Filters are two deep.
const maxDepth = 64

// fieldError is a body that is JSON but not a search: 422, naming where.
type fieldError struct {
	at  string // body.k, body.queries[3].vector
	why string
}

func (e *fieldError) Error() string { return e.at + ": " + e.why }

func wrong(at, format string, a ...any) error { return &fieldError{at, fmt.Sprintf(format, a...)} }

// parseSearch reads the body of /search. defaultMode is for queries of text.
func parseSearch(body []byte, defaultMode string) (searchRequest, error) {
	s := bodyReader{jsonread.Over(body)}
	q, err := s.query("body", defaultMode)
	if err == nil {
		err = s.End()
	}
	return q, located("body", err)
}

// parseBatch reads the body of /search/batch.
func parseBatch(body []byte, defaultMode string) ([]searchRequest, error) {
	s := bodyReader{jsonread.Over(body)}
	var all []searchRequest
	found := false
	err := s.members("body", func(key string) error {
		if key != "queries" {
			_, err := s.Value(maxDepth)
			return err
		}
		found = true
		all = all[:0]
		if s.Peek() != '[' {
			return s.mistyped("body.queries", "a list of searches")
		}
		return s.Array(func() error {
			at := fmt.Sprintf("body.queries[%d]", len(all))
			if len(all) >= maxBatch {
				return wrong("body.queries", "more than %d", maxBatch)
			}
			q, err := s.query(at, defaultMode)
			all = append(all, q)
			return located(at, err)
		})
	})
	if err == nil {
		err = s.End()
	}
	if err == nil && (!found || len(all) == 0) {
		err = wrong("body.queries", "is required, with at least one search")
	}
	if err == nil {
		err = affordable(all)
	}
	return all, located("body", err)
}

// affordable bounds what a batch asks for in all.
func affordable(all []searchRequest) error {
	results, counts := 0, 0
	for _, q := range all {
		results += q.Offset + q.K
		counts += len(q.Facets)
		if q.Sort != nil {
			counts++
		}
	}
	switch {
	case results > maxBatchResults:
		return wrong("body.queries", "ask for %d results in all, offsets included; the limit is %d", results, maxBatchResults)
	case counts > maxBatchCounts:
		return wrong("body.queries", "have %d facets and sorts in all, the limit is %d", counts, maxBatchCounts)
	}
	return nil
}

// located turns a syntax error into a fieldError.
func located(at string, err error) error {
	var fe *fieldError
	if err == nil || errors.As(err, &fe) {
		return err
	}
	return wrong(at, "%v", err)
}

// bodyReader reads the body of a request and knows what a search is.
type bodyReader struct{ jsonread.Reader }

// members is Object for a body: the value must be an object, keys come decoded.
func (s *bodyReader) members(at string, member func(key string) error) error {
	if c := s.Peek(); c == 0 && s.End() == nil {
		return wrong(at, "is empty, expected a JSON object")
	} else if c != '{' {
		return s.mistyped(at, "a JSON object")
	}
	return s.Object(func(raw []byte) error { return member(jsonread.Unquote(raw)) })
}

// mistyped reports a value of the wrong type, or the syntax error that it turns out to be.
func (s *bodyReader) mistyped(at, want string) error {
	if _, err := s.Value(maxDepth); err != nil {
		return err
	}
	return wrong(at, "must be %s", want)
}

// query reads one search object.
func (s *bodyReader) query(at, defaultMode string) (searchRequest, error) {
	q, err := s.unsettled(at)
	if err != nil {
		return q, err
	}
	return q, settle(&q.Query, at, defaultMode)
}

// unsettled reads the fields of a search object each by itself. Of a repeated key the last counts. null is like absent.
func (s *bodyReader) unsettled(at string) (searchRequest, error) {
	q := searchRequest{Query: query.Query{AutoFilter: true}}
	var counts [len(countNames)]int
	err := s.members(at, func(key string) (err error) {
		if s.Peek() == 'n' {
			return s.Literal("null")
		}
		here := func() string { return at + "." + key }
		switch key {
		case "query":
			q.Text, err = s.text(here(), maxQuery)
		case "k", "size", "top_k":
			counts[slices.Index(countNames[:], key)], err = s.count(here(), maxK)
		case "offset":
			q.Offset, err = s.count(here(), query.MaxOffset)
		case "min_score":
			q.MinScore, err = s.share(here())
		case "mode":
			q.Mode, err = s.mode(here())
		case "filter":
			q.Filter, err = s.filter(here())
		case "vector":
			q.Vector, err = s.vector(here())
		case "similar_to":
			q.Similar, err = s.text(here(), maxPath)
		case "sort":
			q.Sort, err = s.sort(here())
		case "fields":
			q.fields, err = s.paths(here(), maxFields)
		case "facets":
			q.Facets, err = s.paths(here(), query.MaxFacets)
		case "highlight":
			q.highlight, err = s.flag(here())
		case "auto_filter":
			q.AutoFilter, err = s.flag(here())
		default:
			_, err = s.Value(maxDepth)
		}
		return err
	})
	q.K = firstCount(counts)
	return q, err
}

// countNames are what clients call the number of results they want. The first that is given counts.
var countNames = [...]string{"k", "size", "top_k"}

// firstCount chooses among the counts, by countNames; 0 is one that is not given, as a form sends whose field was emptied.
func firstCount(counts [len(countNames)]int) int {
	return cmp.Or(counts[0], counts[1], counts[2], defaultK)
}

// settle checks the fields against each other.
func settle(q *query.Query, at, defaultMode string) error {
	if strings.TrimSpace(q.Text) == "" {
		q.Text = ""
	}
	switch {
	case q.Text == "" && q.Vector == nil && q.Filter == nil && q.Similar == "":
		return wrong(at, "one of query, vector, similar_to and filter is required")
	case q.Similar != "" && (q.Text != "" || q.Vector != nil):
		return wrong(at+".similar_to", "stands in place of query and vector: give one of them")
	case q.Mode == "" && (q.Vector != nil || q.Similar != ""):
		q.Mode = query.Semantic
	case q.Mode == "":
		q.Mode = defaultMode
	case q.Text == "" && (q.Vector != nil || q.Similar != "") && q.Mode != query.Semantic:
		return wrong(at+".mode", "%s needs a query", q.Mode)
	}
	return nil
}

// fitting checks what is known once there is a view: a vector's length, an id.
func fitting(at string, q *query.Query, v *view.View) error {
	if q.Vector != nil && len(q.Vector) != v.Dims() {
		return wrong(at+".vector", "has %d dimensions, the index has %d", len(q.Vector), v.Dims())
	}
	if q.Similar != "" {
		if _, ok := v.Find(q.Similar); !ok {
			return wrong(at+".similar_to", "%v", query.ErrUnknownRecord)
		}
	}
	return nil
}

// parseURL reads the query string of GET /search. Of a repeated parameter the first counts; an empty one is like absent.
func parseURL(raw, defaultMode string) (searchRequest, error) {
	params, err := url.ParseQuery(raw)
	if err != nil {
		return searchRequest{}, wrong("query", "is not a valid query string")
	}
	q := searchRequest{Query: query.Query{Text: params.Get("q"), Mode: params.Get("mode"), AutoFilter: true}}
	switch {
	case !utf8.ValidString(q.Text):
		return q, wrong("query.q", "is not UTF-8")
	case strings.TrimSpace(q.Text) == "":
		return q, wrong("query.q", "is required")
	case utf8.RuneCountInString(q.Text) > maxQuery:
		return q, wrong("query.q", "has more than %d characters", maxQuery)
	case q.Mode != "" && !query.KnownMode(q.Mode):
		return q, wrong("query.mode", "must be semantic, lexical or hybrid")
	}
	if err := pageOf(params, &q.Query); err != nil {
		return q, err
	}
	return q, settle(&q.Query, "query", defaultMode)
}

// parseSimilar reads the query string of GET /vendors/{id}/similar.
func parseSimilar(id, raw string) (searchRequest, error) {
	params, err := url.ParseQuery(raw)
	if err != nil {
		return searchRequest{}, wrong("query", "is not a valid query string")
	}
	q := searchRequest{Query: query.Query{Similar: id, Mode: query.Semantic}}
	return q, pageOf(params, &q.Query)
}

// pageOf reads which results are wanted.
func pageOf(params url.Values, q *query.Query) (err error) {
	var counts [len(countNames)]int
	for i, name := range countNames {
		if counts[i], err = digits(params, name, maxK); err != nil {
			return err
		}
	}
	q.K = firstCount(counts)
	q.Offset, err = digits(params, "offset", query.MaxOffset)
	return err
}

// digits reads a number of results in a query string.
func digits(params url.Values, name string, most int) (int, error) {
	text := params.Get(name)
	n, err := strconv.Atoi(cmp.Or(text, "0"))
	switch {
	case strings.Trim(text, "0123456789") != "":
		return 0, wrong("query."+name, "must be an integer")
	case err != nil || n > most:
		return 0, wrong("query."+name, "must be at most %d", most)
	}
	return n, nil
}

func (s *bodyReader) text(at string, most int) (string, error) {
	if s.Peek() != '"' {
		return "", s.mistyped(at, "a string")
	}
	raw, err := s.String()
	if err != nil {
		return "", err
	}
	t := jsonread.Unquote(raw)
	if n := utf8.RuneCountInString(t); n > most {
		return "", wrong(at, "has %d characters, the limit is %d", n, most)
	}
	return t, nil
}

// count reads a number of results. Numbers that are whole count however they are written, as 5.0.
func (s *bodyReader) count(at string, most int) (int, error) {
	v, err := s.number(at, "an integer", float64(most))
	if err == nil && v != math.Trunc(v) {
		err = wrong(at, "must be an integer")
	}
	return int(v), err
}

// share reads a number from 0 to 1.
func (s *bodyReader) share(at string) (float32, error) {
	v, err := s.number(at, "a number", 1)
	return float32(v), err
}

func (s *bodyReader) number(at, kind string, most float64) (float64, error) {
	if c := s.Peek(); c != '-' && (c < '0' || c > '9') {
		return 0, s.mistyped(at, kind)
	}
	raw, err := s.Number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || v < 0 || v > most {
		return 0, wrong(at, "must be 0 to %g", most)
	}
	return v, nil
}

func (s *bodyReader) flag(at string) (bool, error) {
	switch s.Peek() {
	case 't':
		return true, s.Literal("true")
	case 'f':
		return false, s.Literal("false")
	}
	return false, s.mistyped(at, "true or false")
}

// path reads a dotted path.
func (s *bodyReader) path(at string) (string, error) {
	p, err := s.text(at, maxPath)
	if err == nil && p == "" {
		err = wrong(at, "is empty, expected a field's path")
	}
	return p, err
}

// paths reads a list of dotted paths, without repeats.
func (s *bodyReader) paths(at string, most int) ([]string, error) {
	if s.Peek() != '[' {
		return nil, s.mistyped(at, "a list of fields")
	}
	out := []string{}
	err := s.Array(func() error {
		p, err := s.path(fmt.Sprintf("%s[%d]", at, len(out)))
		if err == nil && len(out) == most {
			err = wrong(at, "has more than %d fields", most)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
		return err
	})
	return out, err
}

// sort reads {"field": path, "order": "asc" or "desc"}.
func (s *bodyReader) sort(at string) (*query.Sort, error) {
	if s.Peek() != '{' {
		return nil, s.mistyped(at, `an object: {"field":"name","order":"asc"}`)
	}
	var by query.Sort
	err := s.members(at, func(key string) (err error) {
		if s.Peek() == 'n' {
			return s.Literal("null")
		}
		switch key {
		case "field":
			by.Field, err = s.path(at + ".field")
		case "order":
			var order string
			if order, err = s.text(at+".order", maxPath); err == nil && order != "asc" && order != "desc" {
				err = wrong(at+".order", "must be asc or desc")
			}
			by.Descending = order == "desc"
		default:
			_, err = s.Value(maxDepth)
		}
		return err
	})
	if err == nil && by.Field == "" {
		err = wrong(at+".field", "is required")
	}
	return &by, err
}

func (s *bodyReader) mode(at string) (string, error) {
	if s.Peek() != '"' {
		return "", s.mistyped(at, "a string")
	}
	raw, err := s.String()
	if err != nil {
		return "", err
	}
	m := jsonread.Unquote(raw)
	if !query.KnownMode(m) {
		return "", wrong(at, "must be semantic, lexical or hybrid")
	}
	return m, nil
}

func (s *bodyReader) filter(at string) (*filter.Filter, error) {
	if s.Peek() != '{' {
		return nil, s.mistyped(at, "an object")
	}
	raw, err := s.Value(maxDepth)
	if err != nil {
		return nil, err
	}
	f, err := filter.Parse(json.RawMessage(raw))
	if err != nil {
		return nil, wrong(at, "%v", err)
	}
	return &f, nil
}

// vector reads a list of numbers, or base64 of little-endian float32. It is returned as a unit vector.
func (s *bodyReader) vector(at string) ([]float32, error) {
	var v []float32
	var err error
	switch s.Peek() {
	case '[':
		var ok bool
		if v, ok, err = s.Floats(maxDims); err == nil && !ok {
			if len(v) == maxDims {
				return nil, wrong(at, "has more than %d numbers", maxDims)
			}
			err = s.mistyped(fmt.Sprintf("%s[%d]", at, len(v)), "a number")
		}
	case '"':
		var raw []byte
		if raw, err = s.String(); err == nil {
			v, err = decodeVector(at, raw[1:len(raw)-1])
		}
	default:
		err = s.mistyped(at, "a list of numbers, or base64 of little-endian float32")
	}
	if err != nil {
		return nil, err
	}
	return v, normalise(at, v)
}

// decodeVector reads the inside of a JSON string; base64 never needs an escape but for "/", which few encoders write.
func decodeVector(at string, raw []byte) ([]float32, error) {
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = bytes.ReplaceAll(raw, []byte(`\/`), []byte("/"))
	}
	scratch := buffers.Get().(*bytes.Buffer)
	defer putBuffer(scratch)
	scratch.Grow(base64.StdEncoding.DecodedLen(len(raw)))
	b := scratch.AvailableBuffer()
	b = b[:cap(b)]
	n, err := base64.StdEncoding.Decode(b, raw)
	if err != nil {
		return nil, wrong(at, "is not base64")
	}
	if b = b[:n]; n%4 != 0 || n/4 > maxDims {
		return nil, wrong(at, "has %d bytes, expected 4 for each of at most %d dimensions", n, maxDims)
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v, nil
}

// normalise scales v to unit length in place.
func normalise(at string, v []float32) error {
	if len(v) == 0 {
		return wrong(at, "is empty")
	}
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return wrong(at, "holds a number that is not finite")
	}
	if sum < 1e-60 {
		return wrong(at, "has length zero")
	}
	if math.Abs(sum-1) < 1e-6 {
		return nil // already a unit vector, to float32's precision
	}
	scale := 1 / math.Sqrt(sum)
	for i, f := range v {
		v[i] = float32(float64(f) * scale)
	}
	return nil
}
