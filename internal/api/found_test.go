package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
)

// many serves n records of which every third is of kind k0, and so on; the first is called 社 0.
func many(t *testing.T, n, bare int) *replica {
	t.Helper()
	var records []string
	for i := range n {
		records = append(records, fmt.Sprintf(`{"vendor_id":"V-%03d","name":"社 %d","description":"冷凍倉庫の管理 %d と輸送 %d","kind":"k%d","rank":%d}`, i, i, i*7, i%11, i%3, (i*37)%100))
	}
	w := followtest.New(t)
	w.Bare = bare
	p := w.Publish(records)
	r := start(t, w)
	r.serving(p.ID)
	return r
}

// Pages put together are the list that is asked for at once, whatever the mode, where stretches of the ranking meet too.
func TestPagesMakeOneList(t *testing.T) {
	r := many(t, 300, 5)
	vector := base64Vector(followtest.Gram("冷凍倉庫"))
	for _, ask := range []string{
		`"query":"冷凍倉庫の輸送 7","mode":"hybrid"`, `"query":"冷凍倉庫の輸送 7","mode":"lexical"`, `"query":"冷凍倉庫の輸送 7","mode":"semantic"`,
		`"query":"冷凍倉庫の輸送 7","filter":{"kind":"k1"}`, `"filter":{"kind":["k0","k2"]}`, `"vector":"` + vector + `"`, `"similar_to":"V-007"`,
		`"filter":{},"sort":{"field":"rank","order":"desc"}`, `"query":"冷凍倉庫の輸送 7","sort":{"field":"rank"}`,
	} {
		whole := r.search(`{` + ask + `,"k":100}`)
		if len(whole.Results) < 40 {
			t.Fatalf("%s: only %d results", ask, len(whole.Results))
		}
		var paged []string
		last := 2.0
		for offset := 0; ; offset += 15 {
			a := r.search(fmt.Sprintf(`{%s,"k":15,"offset":%d}`, ask, offset))
			if a.Total != whole.Total {
				t.Fatalf("%s: %d in all on this page, %d on the first", ask, a.Total, whole.Total)
			}
			paged = append(paged, a.ids()...)
			for _, h := range a.Results {
				if h.Score > last && !strings.Contains(ask, "sort") {
					t.Errorf("%s: score %v follows %v", ask, h.Score, last)
				}
				last = h.Score
			}
			if len(a.Results) < 15 {
				break
			}
		}
		if diff := cmp.Diff(whole.ids(), paged[:len(whole.Results)]); diff != "" {
			t.Errorf("%s: at once and by pages (-at once +pages)\n%s", ask, diff)
		}
		if slices.Sort(paged); len(slices.Compact(slices.Clone(paged))) != len(paged) {
			t.Errorf("%s: a record is on two pages", ask)
		}
		if !strings.Contains(ask, "sort") && strings.Contains(ask, "filter") && len(paged) != whole.Total {
			t.Errorf("%s: %d on all pages, %d match", ask, len(paged), whole.Total)
		}
	}
	if a := r.search(`{"query":"冷凍倉庫","offset":10000}`); len(a.Results) != 0 || a.Total != 300 {
		t.Errorf("beyond the end: %d of %d", len(a.Results), a.Total)
	}
}

func TestTotalCountsWhatTheFilterLetsThrough(t *testing.T) {
	r := many(t, 50, 0)
	for body, want := range map[string]int{
		`{"query":"冷凍倉庫"}`: 50, `{"query":"冷凍倉庫","filter":{"kind":"k0"},"k":3}`: 17, `{"filter":{"rank":{"gte":90}},"k":1}`: 5,
		`{"query":"冷凍倉庫","min_score":1}`: 50, `{"filter":{"kind":"none"}}`: 0, `{"similar_to":"V-000"}`: 49, `{"similar_to":"V-000","filter":{"kind":"k1"}}`: 17,
	} {
		if a := r.search(body); a.Total != want {
			t.Errorf("%s: %d in all, want %d", body, a.Total, want)
		}
	}
}

func TestMinScoreDropsRowsAlone(t *testing.T) {
	r := many(t, 50, 0)
	all := r.search(`{"query":"冷凍倉庫の管理 0 と輸送 0","mode":"semantic","k":50}`)
	least := all.Results[20].Score
	want := 0
	for want < 50 && all.Results[want].Score >= least {
		want++
	}
	a := r.search(fmt.Sprintf(`{"query":"冷凍倉庫の管理 0 と輸送 0","mode":"semantic","k":50,"filter":{},"min_score":%v}`, least))
	if diff := cmp.Diff(all.ids()[:want], a.ids()); diff != "" || a.Total != 50 {
		t.Errorf("of %d (-want +got)\n%s", a.Total, diff)
	}
}

func TestSortOrdersAllThatMatchOrTheBest(t *testing.T) {
	r := served(t)
	for body, want := range map[string][]string{
		// A record without a score comes last either way.
		`{"filter":{},"sort":{"field":"score_num"}}`:                                           {"V-003", "V-002", "V-001", "V-005", "V-004"},
		`{"filter":{},"sort":{"field":"score_num","order":"desc"}}`:                            {"V-005", "V-001", "V-002", "V-003", "V-004"},
		`{"filter":{},"sort":{"field":"score_num","order":"desc"},"k":2,"offset":1}`:           {"V-001", "V-002"},
		`{"filter":{"type":"SaaS"},"sort":{"field":"score_num","order":"desc"}}`:               {"V-005", "V-002"},
		`{"filter":{},"sort":{"field":"active"}}`:                                              {"V-003", "V-001", "V-002", "V-005", "V-004"},
		`{"filter":{},"sort":{"field":"nothing"}}`:                                             {"V-001", "V-002", "V-003", "V-004", "V-005"},
		`{"query":"会計のSaaS","mode":"semantic","sort":{"field":"score_num"}}`:                   {"V-002"}, // the others score less than .3
		`{"query":"Sakura Cloud","mode":"lexical","min_score":1,"sort":{"field":"score_num"}}`: {"V-002"},
	} {
		if diff := cmp.Diff(want, r.search(body).ids()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", body, diff)
		}
	}
}

func TestFacetsAreCountedOverWhatMatches(t *testing.T) {
	r := served(t)
	for body, want := range map[string]map[string][]filter.FacetCount{
		`{"query":"会計","k":1,"facets":["type","tags"]}`: {
			"type": {{Value: "SaaS", Count: 2}, {Value: "SI", Count: 1}, {Value: "サービス", Count: 1}, {Value: "物流", Count: 1}},
			"tags": {{Value: "会計", Count: 1}, {Value: "低温", Count: 1}, {Value: "倉庫", Count: 1}, {Value: "法務", Count: 1}, {Value: "翻訳", Count: 1}},
		},
		`{"filter":{"engagement.status":"面談済"},"facets":["type","type"]}`: {"type": {{Value: "SI", Count: 1}, {Value: "物流", Count: 1}}},
		`{"filter":{"type":"none"},"facets":["type"]}`:                    {"type": {}},
		`{"query":"会計","facets":["nothing"]}`:                             {"nothing": {}},
		`{"query":"会計","facets":[]}`:                                      {},
		`{"query":"会計"}`:                                                  nil,
	} {
		if diff := cmp.Diff(want, r.search(body).Facets); diff != "" {
			t.Errorf("%s (-want +got)\n%s", body, diff)
		}
	}
}

func TestSimilarLeavesOutTheRecordItself(t *testing.T) {
	r := served(t)
	post := r.search(`{"similar_to":"V-002","k":4}`)
	if len(post.Results) != 4 || slices.Contains(post.ids(), "V-002") || post.Results[0].Score < post.Results[3].Score {
		t.Errorf("%+v", post.Results)
	}
	get := getJSON[answer](r, "/vendors/V-002/similar?k=4")
	if diff := cmp.Diff(post.Results, get.Results); diff != "" {
		t.Errorf("by POST and by GET\n%s", diff)
	}
	if a := getJSON[answer](r, "/vendors/V-002/similar?size=2&offset=1"); !slices.Equal(a.ids(), post.ids()[1:3]) {
		t.Errorf("second page %v of %v", a.ids(), post.ids())
	}
	for path, want := range map[string]int{"/vendors/V-999/similar": 404, "/vendors/V-001/similar?k=101": 422, "/vendors/V-001/similar?k=x": 422, "/vendors/V-001/other": 404} {
		if code, h, data := r.do("GET", path, ""); code != want || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, code, data)
		}
	}
	if code, h, _ := r.do("POST", "/vendors/V-001/similar", ""); code != 405 || h.Get("Allow") != "GET" {
		t.Errorf("POST: %d, %q allowed", code, h.Get("Allow"))
	}
	r = bare(t, false) // V-004 and V-005 have no vector
	if a := r.search(`{"similar_to":"V-005"}`); len(a.Results) != 0 {
		t.Errorf("like a record without a vector: %v", a.ids())
	}
	if a := r.search(`{"similar_to":"V-005","filter":{"type":["SaaS","SI"]}}`); !slices.Equal(a.ids(), []string{"V-002", "V-003"}) || a.Results[0].Score != 0 {
		t.Errorf("like a record without a vector, filtered: %+v", a.Results)
	}
}

func TestMetadataHoldsTheFieldsThatAreWanted(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish([]string{`{"vendor_id":"V-1","name":"社","a.b":1,"a":{"b":2,"c":"\u3042","d":{"e":null}},"list":[{"x":1,"y":2},3,{"y":4},[{"x":5}]],"empty":{}}`})
	r := start(t, w)
	r.serving(p.ID)
	for fields, want := range map[string]string{
		`["name"]`:               `{"name":"社"}`,
		`["a.b"]`:                `{"a.b":1,"a":{"b":2}}`,
		`["a.c","vendor_id"]`:    `{"vendor_id":"V-1","a":{"c":"\u3042"}}`,
		`["a","a.b"]`:            `{"a.b":1,"a":{"b":2,"c":"\u3042","d":{"e":null}}}`,
		`["a.d.e"]`:              `{"a":{"d":{"e":null}}}`,
		`["list.x"]`:             `{"list":[{"x":1},[{"x":5}]]}`,
		`["empty"]`:              `{"empty":{}}`,
		`["empty.x","none","x"]`: `{}`,
		`[]`:                     `{}`,
	} {
		a := r.search(`{"query":"社","fields":` + fields + `}`)
		if got := string(a.Results[0].Metadata); got != want {
			t.Errorf("%s: %s, want %s", fields, got, want)
		}
		if a.Results[0].Text == "" || a.Results[0].ID != "V-1" {
			t.Errorf("%s: %+v", fields, a.Results[0])
		}
	}
	var batch struct{ Results []answer }
	_, _, data := r.do("POST", "/search/batch", `{"queries":[{"query":"社","fields":["name"]},{"query":"社","fields":["zip"]}]}`)
	must(t, json.Unmarshal(data, &batch))
	if len(batch.Results) != 2 || string(batch.Results[0].Results[0].Metadata) != `{"name":"社"}` || batch.Results[0].Warnings != nil || len(batch.Results[1].Warnings) != 1 {
		t.Errorf("batch: %s", data)
	}
}

func TestPathsThatNoRecordHasAreWarnedOf(t *testing.T) {
	r := served(t)
	for body, want := range map[string][]string{
		`{"query":"x","filter":{"type":"SaaS","engagement.status":{"exists":true}},"fields":["tags"],"facets":["type"],"sort":{"field":"score_num"}}`: nil,
		`{"query":"x","filter":{"typ":"SaaS"}}`:                                          {"typ"},
		`{"filter":{"$or":[{"a\"b":1},{"products":{"elem":{"nmae":"x"}}}]}}`:             {`a\"b`, "products.nmae"},
		`{"query":"x","facets":["typ"],"fields":["typ","nmae"],"sort":{"field":"rang"}}`: {"rang", "typ", "nmae"},
	} {
		got := r.search(body).Warnings
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.HasSuffix(got[i], `"`+want[i]+`"`)
		}
		if !ok {
			t.Errorf("%s: warnings %q, want of %q", body, got, want)
		}
	}
}

func TestHighlightsMarkTheWordsOfTheQuestion(t *testing.T) {
	r := served(t)
	for query, want := range map[string]string{
		"冷凍倉庫を管理したい": "北斗ロジスティクス\n<mark>冷凍倉庫</mark>の温度監視と低温輸送",
		"低温の倉庫":      "北斗ロジスティクス\n冷凍<mark>倉庫</mark>の温度監視と<mark>低温</mark>輸送",
		"ﾛｼﾞｽﾃｨｸｽ":   "北斗<mark>ロジスティクス</mark>\n冷凍倉庫の温度監視と低温輸送",
		"SAAS cloud": "Sakura <mark>Cloud</mark>\n会計の<mark>SaaS</mark>。請求書の自動処理",
	} {
		a := r.search(fmt.Sprintf(`{"query":%q,"highlight":true,"k":1,"mode":"lexical"}`, query))
		if len(a.Results) != 1 || a.Results[0].Highlight != want {
			t.Errorf("%s: %+v, want %q", query, a.Results, want)
		}
	}
	if a := r.search(`{"query":"会計"}`); a.Results[0].Highlight != "" {
		t.Errorf("unasked: %q", a.Results[0].Highlight)
	}
}

func TestSnippetsAreShortAndEscaped(t *testing.T) {
	long := strings.Repeat("<あ>", 400)
	m := newMarker("請求書 invoice")
	for text, want := range map[string]string{
		"":                        "",
		"a<b":                     "a&lt;b",
		"the reinvoice, invoices": "the reinvoice, <mark>invoice</mark>s",
		"請\u200b求書":               "<mark>請\u200b求書</mark>",
		long + "請求書" + long:       "…",
		"請求書" + long:              "<mark>請求書</mark>&lt;",
		long + "請求書":              "…",
		long:                      "&lt;あ&gt;",
	} {
		got := m.snippet(text)
		if !strings.HasPrefix(got, want) || len([]rune(text)) < snippetLength && got != want {
			t.Errorf("%.40q: %q", text, got)
		}
		if strings.Contains(text, "請") != strings.Contains(got, "<mark>請") {
			t.Errorf("%.40q: nothing marked in %q", text, got)
		}
		plain := strings.NewReplacer("<mark>", "", "</mark>", "", "&lt;", "<", "&gt;", ">", "…", "").Replace(got)
		if !strings.Contains(text, plain) || len([]rune(plain)) != min(snippetLength, len([]rune(text))) {
			t.Errorf("%.40q: %d characters of it: %q", text, len([]rune(plain)), got)
		}
	}
}

// FuzzMarks: whatever is marked, the text is all there, escaped once, and a snippet keeps to its size.
func FuzzMarks(f *testing.F) {
	f.Add("冷凍倉庫 <b> &amp;", "倉庫 B")
	f.Add("ｶﾞラス\u200bガラス\x00\xff", "ガラス")
	f.Fuzz(func(t *testing.T, text, question string) {
		text = strings.ToValidUTF8(text, "")
		m := newMarker(question)
		end := 0
		for _, s := range m.spans(text) {
			if s.from < end || s.to <= s.from || s.to > len(text) {
				t.Fatalf("%q in %q: %v", question, text, m.spans(text))
			}
			end = s.to
		}
		data, _ := json.Marshal(m.snippet(text))
		if got := appendJSON(nil, m.snippet(text)); len(got) > snippetSize || len(data) == 0 {
			t.Fatalf("%d bytes: %s", len(got), got)
		}
	})
}
