package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// reply is an answered search: what was asked, what was found, and what was odd about it.
type reply struct {
	*searchRequest
	query.Answer
	view   *view.View
	facets []byte // as JSON
	found  []byte // conditions, as JSON; nil for none
	odd    []string
	marks  *marker // of the question's words; nil unless asked for
}

func replyTo(q *searchRequest, v *view.View, a query.Answer) reply {
	p := reply{searchRequest: q, Answer: a, view: v}
	unknown := a.Unknown
	for _, path := range q.fields {
		if !v.Has(path) {
			unknown = append(unknown, path)
		}
	}
	for i, path := range unknown {
		if !slices.Contains(unknown[:i], path) {
			p.odd = append(p.odd, "no record has the field "+strconv.Quote(path))
		}
	}
	if q.Facets != nil {
		p.facets = appendFacets(nil, q.Facets, a.Facets)
	}
	if len(a.Found) > 0 {
		p.found, _ = json.Marshal(a.Found) // strings, numbers and booleans
	}
	if q.highlight {
		p.marks = newMarker(q.Text)
	}
	return p
}

// What a result and a reply take at most beyond what is copied: numbers, names and punctuation.
const (
	hitOverhead = 64 // less the record's name, which is not sent
	tailSize    = 1 << 10
)

// size is how many bytes the reply takes at most. It looks at both ends of every line before one is copied: lines lie
// anywhere in a mapped file, and come in side by side like this.
func (p *reply) size() (int, error) {
	size := tailSize + len(p.facets) + len(p.found)
	for _, w := range p.odd {
		size += 6*len(w) + 8
	}
	for _, h := range p.Hits {
		line := p.view.Line(h.Pos)
		if len(line) == 0 || line[0] != '{' {
			return 0, fmt.Errorf("record %d: %w", h.Pos, snapshot.ErrCorrupt)
		}
		size += len(line) + hitOverhead
		if h.Beyond {
			size += len(`,"beyond_conditions":true`)
		}
		if p.marks != nil {
			size += snippetSize
		}
	}
	return size, nil
}

// append renders what belongs to one search: an object without its end.
func (p *reply) append(b []byte) ([]byte, error) {
	b = append(b, `{"results":[`...)
	for i, h := range p.Hits {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = p.appendHit(b, h); err != nil {
			return nil, err
		}
	}
	b = append(b, `],"total":`...)
	b = strconv.AppendInt(b, int64(p.Total), 10)
	if p.facets != nil {
		b = append(append(b, `,"facets":`...), p.facets...)
	}
	if p.found != nil {
		b = append(append(b, `,"filters_found":`...), p.found...)
	}
	if p.Degraded {
		b = append(b, `,"degraded":"lexical"`...)
	}
	return b, nil
}

// appendHit renders one result. A line of documents.jsonl is {"id":…,"name":…,"text":…,"metadata":…}: its values
// are valid JSON already and go out as they are.
func (p *reply) appendHit(b []byte, h query.Hit) ([]byte, error) {
	var id, text, metadata []byte
	line := p.view.Line(h.Pos)
	s := jsonread.OverChecked(line)
	err := s.Object(func(key []byte) (err error) {
		switch string(key) {
		case `"id"`:
			id, err = s.String()
		case `"text"`:
			text, err = s.String()
		case `"metadata"`: // the last one
			metadata = line[s.Offset() : len(line)-1]
			s.Advance(len(metadata))
		default:
			err = s.Skip(maxDepth)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b = append(b, `{"id":`...)
	b = append(b, id...)
	b = append(b, `,"text":`...)
	b = append(b, text...)
	b = append(b, `,"score":`...)
	b = strconv.AppendFloat(b, float64(h.Score), 'f', -1, 32)
	if h.HasSimilarity {
		b = append(b, `,"similarity":`...)
		b = strconv.AppendFloat(b, float64(h.Similarity), 'f', -1, 32)
	}
	if h.Beyond {
		b = append(b, `,"beyond_conditions":true`...)
	}
	if p.marks != nil {
		b = append(b, `,"highlight":`...)
		b = appendJSON(b, p.marks.snippet(jsonread.Unquote(text)))
	}
	b = append(b, `,"metadata":`...)
	if p.fields == nil {
		b = append(b, metadata...)
	} else if b, err = appendFields(b, metadata, p.fields); err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

// appendFields renders what the paths lead to in an object, in its own order, and nothing beside it.
func appendFields(b, object []byte, paths []string) ([]byte, error) {
	s := jsonread.OverChecked(object)
	start := len(b)
	b, err := appendBelow(b, &s, paths)
	if len(b) == start {
		b = append(b, `{}`...)
	}
	return b, err
}

// appendBelow appends the parts of the next value that paths lead to; nothing when there are none. As in a filter, paths go
// through objects and every element of lists, and a key may have dots in it.
func appendBelow(b []byte, s *jsonread.Reader, paths []string) ([]byte, error) {
	start := len(b)
	part := func(open byte, key []byte, add func([]byte) ([]byte, error)) error {
		whole := len(b)
		if len(b) > start {
			open = ','
		}
		b = append(append(b, open), key...)
		if key != nil {
			b = append(b, ':')
		}
		before := len(b)
		var err error
		if b, err = add(b); len(b) == before {
			b = b[:whole]
		}
		return err
	}
	switch s.Peek() {
	case '{':
		err := s.Object(func(key []byte) error {
			name := jsonread.Unquote(key)
			if slices.Contains(paths, name) {
				return part('{', key, func(b []byte) ([]byte, error) {
					v, err := s.Value(maxDepth)
					return append(b, v...), err
				})
			}
			var below []string
			for _, p := range paths {
				if rest, ok := strings.CutPrefix(p, name); ok && strings.HasPrefix(rest, ".") {
					below = append(below, rest[1:])
				}
			}
			if below == nil {
				return s.Skip(maxDepth)
			}
			return part('{', key, func(b []byte) ([]byte, error) { return appendBelow(b, s, below) })
		})
		if len(b) > start {
			b = append(b, '}')
		}
		return b, err
	case '[':
		err := s.Array(func() error {
			return part('[', nil, func(b []byte) ([]byte, error) { return appendBelow(b, s, paths) })
		})
		if len(b) > start {
			b = append(b, ']')
		}
		return b, err
	}
	return b, s.Skip(maxDepth)
}

// appendFacets renders counted fields in the order they were asked for.
func appendFacets(b []byte, fields []string, counts [][]filter.FacetCount) []byte {
	b = append(b, '{')
	for i, field := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, field), ':')
		b = appendJSON(b, counts[i])
	}
	return append(b, '}')
}

// appendJSON renders a value of strings, numbers and lists of them.
func appendJSON(b []byte, v any) []byte {
	buf := bytes.NewBuffer(b)
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // such values have no errors
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func appendWarnings(b []byte, warnings ...string) []byte {
	if len(warnings) == 0 {
		return b
	}
	return appendJSON(append(b, `,"warnings":`...), warnings)
}

// appendTail closes an answer: the snapshot and the time taken.
func appendTail(b []byte, snapshot string, since time.Time) []byte {
	b = append(b, `,"snapshot":"`...)
	b = append(b, snapshot...) // a checked id: digits, letters and hyphens
	b = append(b, `","took_ms":`...)
	b = strconv.AppendFloat(b, float64(time.Since(since).Microseconds())/1000, 'f', -1, 64)
	return append(b, "}\n"...)
}

// appendAnswer renders the answer of /search.
func appendAnswer(b []byte, p *reply, warnings []string, since time.Time) ([]byte, error) {
	b, err := p.append(b)
	if err != nil {
		return nil, err
	}
	return appendTail(appendWarnings(b, slices.Concat(warnings, p.odd)...), p.view.ID(), since), nil
}

// appendBatch renders the answer of /search/batch.
func appendBatch(b []byte, v *view.View, all []reply, warnings []string, since time.Time) ([]byte, error) {
	b = append(b, `{"results":[`...)
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = all[i].append(b); err != nil {
			return nil, err
		}
		b = append(appendWarnings(b, all[i].odd...), '}')
	}
	return appendTail(appendWarnings(append(b, ']'), warnings...), v.ID(), since), nil
}

// result is one result as the OpenAPI document describes it; reply.appendHit renders it.
type result struct {
	ID         string   `json:"id" example:"V-001"`
	Text       string   `json:"text" doc:"Name and description"`
	Score      float32  `json:"score" minimum:"0" maximum:"1" doc:"Best first, unless sorted: cosine similarity in semantic mode, relevance in the others (above 0.5 fits, below 0.3 is merely the nearest), 1 without a query"`
	Similarity *float32 `json:"similarity,omitempty" minimum:"-1" maximum:"1" doc:"Cosine similarity, in hybrid mode, and in lexical mode where the model is in the server"`
	Highlight  string   `json:"highlight,omitempty" doc:"With highlight: a part of the text as HTML, the words of the question in mark elements"`
	Beyond     bool     `json:"beyond_conditions,omitempty" doc:"The record does not meet the conditions in the question, filters_found"`
	Metadata   record   `json:"metadata" doc:"The vendor's record, or those of its fields that were asked for"`
}

// record documents a vendor's record.
type record struct{}

// Schema implements huma.SchemaProvider.
func (record) Schema(huma.Registry) *huma.Schema { return recordSchema() }
