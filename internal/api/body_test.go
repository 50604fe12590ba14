package api

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/query"
)

// FuzzSearchBody: a body is parsed or refused with a fieldError; what is parsed is within the limits.
func FuzzSearchBody(f *testing.F) {
	for _, s := range []string{
		`{"query":"冷凍倉庫","k":5}`, `{"query":"x","mode":"hybrid","filter":{"a.b":["x",1,true],"n":{"gte":7,"lt":9},"e":{"exists":false}}}`,
		`{"vector":[0.1,-2e-3,3]}`, `{"vector":"` + base64.StdEncoding.EncodeToString([]byte("abcdefgh")) + `","k":100}`,
		`{"filter":{}}`, `{"query":null,"filter":{"a":null}}`, `{"similar_to":"V-1","offset":3.0,"min_score":0.5,"fields":["a.b"],"facets":["a"],"sort":{"field":"a","order":"desc"},"highlight":true}`, `{"k":1,"k":2,"query":"a","extra":{"deep":[[]]}}`, `{"query":"\ud800"}`, `{"queries":[{"query":"a"},{"vector":[1]}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		check := func(q searchRequest) {
			if q.K < 1 || q.K > maxK || !query.KnownMode(q.Mode) || utf8.RuneCountInString(q.Text) > maxQuery || !utf8.ValidString(q.Text) {
				t.Fatalf("%q gave %+v", in, q)
			}
			if q.Offset < 0 || q.Offset > query.MaxOffset || !(q.MinScore >= 0 && q.MinScore <= 1) || len(q.Facets) > query.MaxFacets || len(q.fields) > maxFields {
				t.Fatalf("%q gave %+v", in, q)
			}
			if q.Text == "" && q.Vector == nil && q.Filter == nil && q.Similar == "" {
				t.Fatalf("%q asks nothing", in)
			}
			var norm float64
			for _, v := range q.Vector {
				norm += float64(v) * float64(v)
			}
			if q.Vector != nil && math.Abs(norm-1) > 1e-3 {
				t.Fatalf("%q: squared length %v", in, norm)
			}
		}
		q, err := parseSearch([]byte(in), query.Hybrid)
		if err == nil {
			check(q)
			if !json.Valid([]byte(in)) {
				t.Fatalf("accepted %q", in)
			}
		} else if _, ok := err.(*fieldError); !ok {
			t.Fatalf("%q: %T %v", in, err, err)
		}
		qs, err := parseBatch([]byte(in), query.Semantic)
		for _, q := range qs {
			if err == nil {
				check(q)
			}
		}
		if _, ok := err.(*fieldError); err != nil && !ok {
			t.Fatalf("%q: %T %v", in, err, err)
		}
	})
}

// FuzzRecordViews: what the page derives from a record never panics and loses no text.
func FuzzRecordViews(f *testing.F) {
	for _, r := range followtest.Catalogue() {
		f.Add(r, "会計 saas")
	}
	f.Fuzz(func(t *testing.T, raw, query string) {
		fieldsOf([]byte(raw))
		chips([]string{"type", "tags"}, []byte(raw))
		if !utf8.ValidString(raw) {
			return
		}
		marked := string(newMarker(query).html(raw))
		if strings.Contains(strings.NewReplacer("<mark>", "", "</mark>", "").Replace(marked), "<") {
			t.Fatalf("unescaped: %q", marked)
		}
	})
}
