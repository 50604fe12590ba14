package api

import (
	"fmt"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// hitOverhead is how much longer than its line a result can be: two numbers and their names, less the record's name.
const hitOverhead = 64

// sizeOf is how many bytes the results take at most. It looks at both ends of every line before one is copied: lines lie
// anywhere in a mapped file, and come in side by side like this.
func sizeOf(v *view.View, hits []query.Hit) (int, error) {
	size := len(`{"results":[]},`)
	for _, h := range hits {
		line := v.Line(h.Pos)
		if len(line) == 0 || line[0] != '{' {
			return 0, fmt.Errorf("record %d: %w", h.Pos, snapshot.ErrCorrupt)
		}
		size += len(line) + hitOverhead
	}
	return size, nil
}

// appendResults renders hits as [{"id","text","score","similarity","metadata"}], copying the records' stored JSON.
func appendResults(b []byte, v *view.View, hits []query.Hit) ([]byte, error) {
	b = append(b, '[')
	for i, h := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendHit(b, v, h); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendHit renders one result. A line of documents.jsonl is {"id":…,"name":…,"text":…,"metadata":…}: its values
// are valid JSON already and go out as they are.
func appendHit(b []byte, v *view.View, h query.Hit) ([]byte, error) {
	var id, text, metadata []byte
	line := v.Line(h.Pos)
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
	b = append(b, `,"metadata":`...)
	b = append(b, metadata...)
	return append(b, '}'), nil
}

// tailSize is more than what stands around the results.
const tailSize = 1 << 10

// appendTail closes an answer: warnings when there are any, the snapshot and the time taken.
func appendTail(b []byte, snapshot string, warnings []string, since time.Time) []byte {
	for i, w := range warnings {
		b = append(b, []string{`,"warnings":[`, `,`}[min(i, 1)]...)
		b = strconv.AppendQuote(b, w) // our own words: plain ASCII
	}
	if len(warnings) > 0 {
		b = append(b, ']')
	}
	b = append(b, `,"snapshot":"`...)
	b = append(b, snapshot...) // a checked id: digits, letters and hyphens
	b = append(b, `","took_ms":`...)
	b = strconv.AppendFloat(b, float64(time.Since(since).Microseconds())/1000, 'f', -1, 64)
	return append(b, "}\n"...)
}

// appendAnswer renders the answer of /search.
func appendAnswer(b []byte, v *view.View, hits []query.Hit, warnings []string, since time.Time) ([]byte, error) {
	b, err := appendResults(append(b, `{"results":`...), v, hits)
	if err != nil {
		return nil, err
	}
	return appendTail(b, v.ID(), warnings, since), nil
}

// appendBatch renders the answer of /search/batch.
func appendBatch(b []byte, v *view.View, all [][]query.Hit, warnings []string, since time.Time) ([]byte, error) {
	b = append(b, `{"results":[`...)
	for i, hits := range all {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendResults(append(b, `{"results":`...), v, hits); err != nil {
			return nil, err
		}
		b = append(b, '}')
	}
	return appendTail(append(b, ']'), v.ID(), warnings, since), nil
}

// result is one result as the OpenAPI document describes it; appendHit renders it.
type result struct {
	ID         string   `json:"id" example:"V-001"`
	Text       string   `json:"text" doc:"Name and description"`
	Score      float32  `json:"score" minimum:"0" maximum:"1" doc:"Best first: cosine similarity in semantic mode, fused rank score in the others, 1 without a query"`
	Similarity *float32 `json:"similarity,omitempty" minimum:"-1" maximum:"1" doc:"Cosine similarity, in lexical and hybrid mode"`
	Metadata   record   `json:"metadata" doc:"The vendor's record"`
}

// record documents a vendor's record.
type record struct{}

// Schema implements huma.SchemaProvider.
func (record) Schema(huma.Registry) *huma.Schema { return recordSchema() }
