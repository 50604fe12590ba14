package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// served starts a server on the default catalogue.
func served(t *testing.T, change ...func(*follow.Deps, *Config)) *replica {
	t.Helper()
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	r := start(t, w, change...)
	r.serving(p.ID)
	return r
}

func TestOldClientGetsTextScoreAndMetadata(t *testing.T) {
	r := served(t)
	a := r.search(`{"query": "冷凍倉庫の温度監視", "k": 5}`)
	if len(a.Results) != 5 || a.Results[0].ID != "V-001" {
		t.Fatalf("got %v", a.ids())
	}
	first := a.Results[0]
	if got, want := string(first.Metadata), followtest.Catalogue()[0]; got != want {
		t.Errorf("metadata\n%s\nwant\n%s", got, want)
	}
	if !strings.Contains(first.Text, "北斗ロジスティクス") || !strings.Contains(first.Text, "低温輸送") {
		t.Errorf("text %q lacks name or description", first.Text)
	}
	last := math.Inf(1)
	for _, h := range a.Results {
		if h.Score < 0 || h.Score > 1 || h.Score > last {
			t.Errorf("scores not in 0..1, best first: %v after %v", h.Score, last)
		}
		last = h.Score
	}
	if a.TookMS == nil {
		t.Error("took_ms is missing")
	}
}

func TestBadBodiesAreProblems(t *testing.T) {
	r := served(t)
	vector := func(n int) string {
		return `{"vector":[` + strings.TrimSuffix(strings.Repeat("0.5,", n), ",") + `]}`
	}
	nan := make([]byte, 4*followtest.Dims)
	binary.LittleEndian.PutUint32(nan, math.Float32bits(float32(math.NaN())))
	for name, c := range map[string]struct {
		body     string
		location string
	}{
		"empty":                     {"", "body"},
		"spaces":                    {"  \n", "body"},
		"not JSON":                  {"query=x", "body"},
		"cut off":                   {`{"query":"x"`, "body"},
		"two values":                {`{"query":"x"} {}`, "body"},
		"a list":                    {`[]`, "body"},
		"null":                      {`null`, "body"},
		"nothing asked":             {`{}`, "body"},
		"empty query":               {`{"query":""}`, "body"},
		"blank query":               {`{"query":" 　"}`, "body"},
		"k 101":                     {`{"query":"x","k":101}`, "body.k"},
		"k negative":                {`{"query":"x","k":-1}`, "body.k"},
		"k fraction":                {`{"query":"x","k":1.5}`, "body.k"},
		"k text":                    {`{"query":"x","k":"5"}`, "body.k"},
		"k empty text":              {`{"query":"x","k":""}`, "body.k"},
		"k true":                    {`{"query":"x","k":true}`, "body.k"},
		"k a list":                  {`{"query":"x","k":[5]}`, "body.k"},
		"k beyond float64":          {`{"query":"x","k":1e999}`, "body.k"},
		"k 100.5":                   {`{"query":"x","k":100.5}`, "body.k"},
		"size 101":                  {`{"query":"x","size":101}`, "body.size"},
		"size text beside k":        {`{"query":"x","k":3,"size":"5"}`, "body.size"},
		"top_k text":                {`{"query":"x","top_k":"5"}`, "body.top_k"},
		"k huge":                    {`{"query":"x","k":99999999999999999999}`, "body.k"},
		"query a number":            {`{"query":7}`, "body.query"},
		"query too long":            {`{"query":"` + strings.Repeat("あ", 8193) + `"}`, "body.query"},
		"query not UTF-8":           {"{\"query\":\"\xff\"}", "body"},
		"mode unknown":              {`{"query":"x","mode":"fuzzy"}`, "body.mode"},
		"mode a number":             {`{"query":"x","mode":1}`, "body.mode"},
		"filter a list":             {`{"query":"x","filter":[]}`, "body.filter"},
		"filter unknown operator":   {`{"query":"x","filter":{"a":{"near":1}}}`, "body.filter"},
		"filter range on a boolean": {`{"query":"x","filter":{"a":{"gt":true}}}`, "body.filter"},
		"offset 10001":              {`{"query":"x","offset":10001}`, "body.offset"},
		"offset fraction":           {`{"query":"x","offset":0.5}`, "body.offset"},
		"min_score 2":               {`{"query":"x","min_score":2}`, "body.min_score"},
		"min_score text":            {`{"query":"x","min_score":"1"}`, "body.min_score"},
		"fields text":               {`{"query":"x","fields":"name"}`, "body.fields"},
		"fields of a number":        {`{"query":"x","fields":["a",1]}`, "body.fields[1]"},
		"fields too many":           {`{"query":"x","fields":[` + numbered(maxFields+1) + `]}`, "body.fields"},
		"facets too many":           {`{"query":"x","facets":[` + numbered(17) + `]}`, "body.facets"},
		"facets empty":              {`{"query":"x","facets":[""]}`, "body.facets[0]"},
		"sort text":                 {`{"query":"x","sort":"name"}`, "body.sort"},
		"sort nothing":              {`{"query":"x","sort":{"order":"asc"}}`, "body.sort.field"},
		"sort up":                   {`{"query":"x","sort":{"field":"a","order":"up"}}`, "body.sort.order"},
		"highlight text":            {`{"query":"x","highlight":"yes"}`, "body.highlight"},
		"similar to nobody":         {`{"similar_to":"V-999"}`, "body.similar_to"},
		"similar and query":         {`{"similar_to":"V-001","query":"x"}`, "body.similar_to"},
		"similar by words":          {`{"similar_to":"V-001","mode":"lexical"}`, "body.mode"},
		"sort alone":                {`{"sort":{"field":"name"}}`, "body"},
		"vector short":              {vector(followtest.Dims - 1), "body.vector"},
		"vector long":               {vector(followtest.Dims + 1), "body.vector"},
		"vector empty":              {`{"vector":[]}`, "body.vector"},
		"vector NaN":                {`{"vector":[NaN]}`, "body"},
		"vector infinite":           {`{"vector":[1e999]}`, "body"},
		"vector of text":            {`{"vector":["1"]}`, "body.vector[0]"},
		"vector zero":               {strings.ReplaceAll(vector(followtest.Dims), "0.5", "0"), "body.vector"},
		"vector a number":           {`{"vector":3}`, "body.vector"},
		"vector base64 NaN":         {`{"vector":"` + base64.StdEncoding.EncodeToString(nan) + `"}`, "body.vector"},
		"vector not base64":         {`{"vector":"***"}`, "body.vector"},
		"vector lexical":            {strings.Replace(vector(followtest.Dims), "{", `{"mode":"lexical",`, 1), "body.mode"},
	} {
		t.Run(name, func(t *testing.T) {
			code, h, data := r.do("POST", "/search", c.body)
			if code != 422 || h.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%d %s: %s", code, h.Get("Content-Type"), data)
			}
			var p struct {
				Status int
				Title  string
				Errors []struct{ Message, Location string }
			}
			must(t, json.Unmarshal(data, &p))
			if p.Status != 422 || p.Title == "" || len(p.Errors) != 1 || p.Errors[0].Location != c.location || p.Errors[0].Message == "" {
				t.Errorf("%s, want location %s", data, c.location)
			}
		})
	}
}

// numbered is n different strings of JSON.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"f%d"`, i)
	}
	return b.String()[1:]
}

func TestUnknownFieldsAreIgnoredAndTypesAreNot(t *testing.T) {
	r := served(t)
	r.search(`{"query":"会計","limit":3,"nested":{"a":[1,{"b":null}]},"k":null,"filter":null,"mode":null,"vector":null}`)
	for _, body := range []string{`{"queries":{}}`, `{"queries":[]}`, `{}`, `[{"query":"x"}]`, `{"queries":[{"query":"x"},{"k":3}]}`} {
		if code, _, data := r.do("POST", "/search/batch", body); code != 422 {
			t.Errorf("%s: %d %s", body, code, data)
		}
	}
	many := strings.TrimSuffix(strings.Repeat(`{"query":"x","k":100},`, maxBatchResults/100+1), ",")
	if code, _, data := r.do("POST", "/search/batch", `{"queries":[`+many+`]}`); code != 422 || !strings.Contains(string(data), "results in all") {
		t.Errorf("%d %s", code, data)
	}
	deep := strings.TrimSuffix(strings.Repeat(`{"query":"x","offset":10000},`, 5), ",")
	if code, _, data := r.do("POST", "/search/batch", `{"queries":[`+deep+`]}`); code != 422 || !strings.Contains(string(data), "results in all") {
		t.Errorf("deep pages: %d %s", code, data)
	}
	counts := strings.TrimSuffix(strings.Repeat(`{"query":"x","facets":["a","b"],"sort":{"field":"a"}},`, 6), ",")
	if code, _, data := r.do("POST", "/search/batch", `{"queries":[`+counts+`]}`); code != 422 || !strings.Contains(string(data), "facets and sorts in all") {
		t.Errorf("counts: %d %s", code, data)
	}
	code, _, data := r.do("POST", "/search/batch", `{"queries":[{"query":"x"},{"query":"x","k":101}]}`)
	if code != 422 || !strings.Contains(string(data), `body.queries[1].k`) {
		t.Errorf("%d %s", code, data)
	}
}

func TestLimitsOfBodies(t *testing.T) {
	r := served(t)
	for path, limit := range map[string]int{"/search": maxBody, "/search/batch": maxBatchBody} {
		body := `{"query":"x","queries":[{"query":"x"}],"pad":"` + strings.Repeat("a", limit) + `"}`
		code, h, _ := r.do("POST", path, body)
		if code != 413 || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s of %d bytes: %d", path, len(body), code)
		}
		if code, _, data := r.do("POST", path, body[:limit/2]+`"}`); code != 200 {
			t.Errorf("%s of %d bytes: %d %.80s", path, limit/2+2, code, data)
		}
	}
	if a := r.search(`{"query":"` + strings.Repeat("あ", 8192) + `"}`); len(a.Results) == 0 {
		t.Error("a query of 8192 characters finds nothing")
	}
}

func TestFilters(t *testing.T) {
	r := served(t)
	for body, want := range map[string][]string{
		`{"filter":{"type":"SaaS"}}`:                                          {"V-002", "V-005"},
		`{"filter":{"type":["SaaS","SI"]},"k":2}`:                             {"V-002", "V-003"},
		`{"filter":{"score_num":{"gte":7,"lt":9}}}`:                           {"V-001", "V-002"},
		`{"filter":{"engagement.status":"面談済"}}`:                              {"V-001", "V-003"},
		`{"filter":{"tags":"翻訳"}}`:                                            {"V-004"},
		`{"filter":{"score_num":{"exists":false}}}`:                           {"V-004"},
		`{"filter":{"active":true,"type":"SaaS"},"query":""}`:                 {"V-002", "V-005"},
		`{"filter":{"type":"none"}}`:                                          {},
		`{"filter":{"type":"none"},"query":"会計"}`:                             {},
		`{"filter":{"type":"SI"},"query":"会計","k":5,"mode":"hybrid"}`:         {"V-003"},
		`{"filter":{"type":"SI"},"query":"会計","k":5,"mode":"lexical"}`:        {"V-003"},
		`{"filter":{"type":"SI"},"query":"会計","k":5,"mode":"semantic"}`:       {"V-003"},
		`{"filter":{"active":true},"query":"請求書","mode":"lexical","k":3}`:     {"V-002", "V-001", "V-005"},
		`{"filter":{},"query":"","k":2}`:                                      {"V-001", "V-002"},
		`{"filter":{"engagement.status":{"exists":true}},"k":100,"query":""}`: {"V-001", "V-002", "V-003", "V-004"},
	} {
		a := r.search(body)
		if diff := cmp.Diff(want, a.ids()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", body, diff)
		}
		if !strings.Contains(body, `"query":"`) || strings.Contains(body, `"query":""`) {
			for _, h := range a.Results {
				if h.Score != 1 {
					t.Errorf("%s: score %v without a query, want 1", body, h.Score)
				}
			}
		}
	}
}

func TestModes(t *testing.T) {
	r := served(t)
	semantic := r.search(`{"query":"会計のSaaS","mode":"semantic"}`)
	if semantic.Results[0].Similarity != nil {
		t.Error("semantic answers carry a similarity")
	}
	vector := base64Vector(followtest.Gram("会計のSaaS"))
	if got := r.search(`{"vector":"` + vector + `"}`); !cmp.Equal(got.Results, semantic.Results) {
		t.Errorf("the same vector in base64 gives %v, not %v", got.ids(), semantic.ids())
	}
	for _, mode := range []string{"lexical", "hybrid"} {
		for query, first := range map[string]string{
			"北斗ロジスティクス": "V-001", "sakura cloud": "V-002", "ライン眼": "V-003", "gk-3000": "V-005",
			"ＧａｔｅＫｅｙ　３": "V-005", "V-004": "V-004", "みなと翻訳": "V-004",
		} {
			a := r.search(fmt.Sprintf(`{"query":%q,"mode":%q,"k":3}`, query, mode))
			if len(a.Results) == 0 || a.Results[0].ID != first {
				t.Errorf("%s %q: first is %v, want %s", mode, query, a.ids(), first)
				continue
			}
			if a.Results[0].Similarity == nil {
				t.Errorf("%s %q: no similarity", mode, query)
			}
		}
	}
}

func base64Vector(v []float32) string {
	var b []byte
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestBatchAnswersInOrderFromOneSnapshot(t *testing.T) {
	r := served(t)
	var queries []string
	for i := range 200 {
		queries = append(queries, fmt.Sprintf(`{"query":%q,"k":%d}`, []string{"会計", "翻訳", "倉庫", "認証"}[i%4], 1+i%5))
	}
	code, h, data := r.do("POST", "/search/batch", `{"queries":[`+strings.Join(queries, ",")+`]}`)
	if code != 200 {
		t.Fatalf("%d %s", code, data)
	}
	var got struct {
		Results  []answer
		Snapshot string
	}
	must(t, json.Unmarshal(data, &got))
	if len(got.Results) != 200 || got.Snapshot != h.Get(headerSnapshot) {
		t.Fatalf("%d results, snapshot %s, header %s", len(got.Results), got.Snapshot, h.Get(headerSnapshot))
	}
	for i, q := range queries {
		if diff := cmp.Diff(r.search(q).ids(), got.Results[i].ids()); diff != "" {
			t.Errorf("query %d differs alone and in the batch\n%s", i, diff)
		}
	}
}

func TestVendorFacetsSnapshotHealth(t *testing.T) {
	r := served(t)
	code, h, data := r.do("GET", "/vendors/V-004", "")
	if code != 200 || string(data) != followtest.Catalogue()[3] || h.Get("Content-Type") != "application/json" {
		t.Errorf("vendor: %d %s %s", code, h.Get("Content-Type"), data)
	}
	if code, _, _ := r.do("GET", "/vendors/V-999", ""); code != 404 {
		t.Errorf("absent vendor: %d", code)
	}
	_, _, data = r.do("GET", "/facets?field=type&field=engagement.status", "")
	want := `{"facets":{"engagement.status":[{"value":"面談済","count":2},{"value":"契約中","count":1},{"value":"未接触","count":1}],` +
		`"type":[{"value":"SaaS","count":2},{"value":"SI","count":1},{"value":"サービス","count":1},{"value":"物流","count":1}]}}`
	if strings.TrimSpace(string(data)) != want {
		t.Errorf("facets\n%s\nwant\n%s", data, want)
	}
	if code, _, _ := r.do("GET", "/facets", ""); code != 422 {
		t.Errorf("facets without a field: %d", code)
	}
	snap := getJSON[map[string]any](r, "/snapshot")
	for _, key := range []string{"id", "created_at", "source", "spec", "files", "stats", "index", "generation", "loaded_at", "refused"} {
		if _, ok := snap[key]; !ok {
			t.Errorf("/snapshot lacks %s", key)
		}
	}
	if snap["refused"] != nil || snap["generation"] != 1.0 {
		t.Errorf("/snapshot %v", snap)
	}
	health := getJSON[healthBody](r, "/health")
	if health.Status != "ok" || health.Source != "dir/current" || health.Vectors != 5 || health.Generation != 1 || health.Snapshot != snap["id"] {
		t.Errorf("/health %+v", health)
	}
	if code, _, _ := r.do("GET", "/ready", ""); code != 200 {
		t.Errorf("/ready: %d", code)
	}
}

// TestSnapshotAndPageSayWhatChangedSinceTheBase and how long the last edit took to be served.
func TestSnapshotAndPageSayWhatChangedSinceTheBase(t *testing.T) {
	w := followtest.New(t)
	base, sha := w.Build(followtest.Catalogue())
	w.Promote(base, sha)
	r := start(t, w)
	r.serving(base.ID)
	snap := getJSON[map[string]any](r, "/snapshot")
	_, _, page := r.do("GET", "/?lang=en", "")
	if _, after := snap["served_after_seconds"]; after || snap["changes"] != 0.0 || strings.Contains(string(page), "Changes since") || strings.Contains(string(page), "served after") {
		t.Errorf("at start /snapshot says %v, the page %s", snap, page)
	}
	edit := followtest.Change{Records: followtest.Catalogue()[:1], Keys: []uint64{1 << 32}, Gone: []string{"V-002"}}
	m, digest := w.BuildDelta(base, sha, 0, edit, append(followtest.Catalogue()[:1:1], followtest.Catalogue()[2:]...))
	w.Promote(m, digest)
	r.serving(m.ID)
	snap = getJSON[map[string]any](r, "/snapshot")
	if after, ok := snap["served_after_seconds"].(float64); !ok || after < 0 || snap["changes"] != 2.0 || snap["base"].(map[string]any)["id"] != base.ID {
		t.Errorf("/snapshot says %v", snap)
	}
	_, _, page = r.do("GET", "/?lang=en", "")
	for _, want := range []string{"<code>" + base.ID + "</code>", "<dt>Changes since</dt><dd>2</dd>", "<dt>Last edit served after</dt>"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %s: %s", want, page)
		}
	}
}

func TestWithoutASnapshotSearchesAre503(t *testing.T) {
	r := start(t, followtest.New(t))
	followtest.Eventually(t, "polled", func() bool { return r.follower.Status().Answered })
	for method, path := range map[string]string{"GET": "/snapshot", "POST": "/search"} {
		code, h, data := r.do(method, path, `{"query":"x"}`)
		if code != 503 || h.Get("Retry-After") == "" || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v %s", path, code, h, data)
		}
		if h.Get(headerSnapshot) == "" || h.Get(headerRequest) == "" {
			t.Errorf("%s lacks the ids: %v", path, h)
		}
	}
	if code, _, _ := r.do("GET", "/ready", ""); code != 503 {
		t.Errorf("/ready: %d", code)
	}
	health := getJSON[map[string]any](r, "/health")
	if health["vectorstore_source"] != "none" || health["snapshot"] != "" || health["vectors"] != 0.0 {
		t.Errorf("/health %v", health)
	}
}

// flaky is a provider that fails while broken is set and counts its calls.
func flaky(broken *atomic.Bool, calls *atomic.Int64) func(*follow.Deps, *Config) {
	return func(d *follow.Deps, _ *Config) {
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) {
			return followtest.EmbedFunc(func(_ context.Context, text string) ([]float32, error) {
				calls.Add(1)
				if broken.Load() {
					return nil, errors.New("provider is down")
				}
				return followtest.Gram(text), nil
			}), nil
		}
	}
}

func TestFailingProviderIs502ByMeaningAndWordsAnswerTheRest(t *testing.T) {
	var broken atomic.Bool
	var calls atomic.Int64
	r := served(t, flaky(&broken, &calls))
	if a := r.search(`{"query":"会計"}`); a.Degraded != "" {
		t.Errorf("degraded %q while the provider works", a.Degraded)
	}
	broken.Store(true)
	for range 7 { // more than the breaker suffers
		code, _, data := r.do("POST", "/search", `{"query":"翻訳","mode":"semantic"}`)
		if code != 502 || strings.Contains(string(data), "is down") {
			t.Fatalf("%d %s", code, data)
		}
		a := r.search(`{"query":"翻訳"}`)
		if a.Degraded != "lexical" || len(a.Results) == 0 || a.Results[0].ID != "V-004" || a.Results[0].Similarity != nil {
			t.Fatalf("degraded %q: %+v", a.Degraded, a.Results)
		}
	}
	if a := r.search(`{"query":"会計"}`); a.Degraded != "" || a.Results[0].Similarity == nil {
		t.Errorf("a question whose vector is known is degraded: %+v", a)
	}
	r.search(`{"vector":"` + base64Vector(followtest.Gram("翻訳")) + `"}`)
	if a := r.search(`{"query":"翻訳","mode":"lexical"}`); len(a.Results) == 0 || a.Results[0].ID != "V-004" || a.Degraded != "" {
		t.Errorf("lexical: %v", a.ids())
	}
	code, _, data := r.do("POST", "/search/batch", `{"queries":[{"query":"会計"},{"query":"契約書"},{"query":"契約書","mode":"lexical"}]}`)
	if n := strings.Count(string(data), `"degraded":"lexical"`); code != 200 || n != 1 {
		t.Errorf("batch: %d, %d degraded: %s", code, n, data)
	}
	if p := getJSON[snapshotBody](r, "/snapshot").Provider; p.State != "open" || p.LastError != "provider is down" {
		t.Errorf("breaker %+v", p)
	}
	if n := metricOf(t, r, "vectorstore_search_degraded_total"); n != 8 {
		t.Errorf("%v degraded searches were counted, want 8", n)
	}
}

// By words alone nobody outside is called; a model in this process may add the similarity.
func TestSearchingByWordsCallsNoProvider(t *testing.T) {
	for provider, want := range map[string]int64{"openai": 0, "local": 1} {
		w := followtest.New(t)
		w.Provider = provider
		p := w.Publish(followtest.Catalogue())
		var broken atomic.Bool
		var calls atomic.Int64
		r := start(t, w, flaky(&broken, &calls))
		r.serving(p.ID)
		a := r.search(`{"query":"会計","mode":"lexical"}`)
		if got := calls.Load(); got != want || a.Results[0].ID != "V-002" || (a.Results[0].Similarity != nil) != (want == 1) {
			t.Errorf("%s: %d calls for %+v", provider, got, a.Results)
		}
	}
}

// metricOf is the value of a counter without labels.
func metricOf(t *testing.T, r *replica, name string) float64 {
	t.Helper()
	all, err := r.reg.Gather()
	must(t, err)
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestStatusIsJSON(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	r := start(t, w)
	r.serving(p.ID)
	res, err := http.Get(r.admin + "/status")
	must(t, err)
	defer res.Body.Close()
	var b statusBody
	must(t, json.NewDecoder(res.Body).Decode(&b))
	if !b.Ready || b.Desired != p.ID || b.Snapshot == nil || b.Snapshot.ID != p.ID {
		t.Errorf("%+v", b)
	}
}
