package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// served starts an indexer and a server on the sample catalogue in a directory store.
func served(t *testing.T) (*backend, *harness.Server) {
	t.Helper()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	harness.StartIndexer(t, b.env)
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)
	return b, s
}

func TestBadBodiesAreProblems(t *testing.T) {
	t.Parallel()
	_, s := served(t)
	zeros := strings.TrimSuffix(strings.Repeat("0.1,", 511), ",")
	for name, body := range map[string]string{
		"empty":             ``,
		"not JSON":          `query=x`,
		"cut off":           `{"query":"x"`,
		"not an object":     `["x"]`,
		"null":              `null`,
		"no query":          `{"k":3}`,
		"query is a number": `{"query":7}`,
		"query too long":    `{"query":"` + strings.Repeat("長", 8193) + `"}`,
		"k is 101":          `{"query":"x","k":101}`,
		"k is a string":     `{"query":"x","k":"5"}`,
		"k is 1.5":          `{"query":"x","k":1.5}`,
		"unknown mode":      `{"query":"x","mode":"fuzzy"}`,
		"vector too short":  `{"vector":[` + zeros + `]}`,
		"vector with NaN":   `{"vector":[NaN]}`,
		"vector of strings": `{"vector":["a"]}`,
		"filter is a list":  `{"query":"x","filter":[1]}`,
		"filter object":     `{"query":"x","filter":{"a":{"like":"b"}}}`,
	} {
		a := harness.Post(t, s.URL+"/search", body)
		if a.Code != http.StatusUnprocessableEntity || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: %d %s %.200s", name, a.Code, a.Header.Get("Content-Type"), a.Body)
			continue
		}
		p := a.JSON(t)
		if p["status"] != 422.0 || p["title"] == nil || p["detail"] == nil {
			t.Errorf("%s: problem is %v", name, p)
		}
	}
	if a := harness.Post(t, s.URL+"/search", `{"query":"`+strings.Repeat("x", 1<<20)+`"}`); a.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over 1 MiB: %d, want 413", a.Code)
	}
	if _, err := harness.Search(s.URL, `{"query":"物流","unknown":{"x":1},"k":1}`); err != nil {
		t.Errorf("an unknown field must be ignored: %v", err)
	}
}

func TestAnswersHaveTheDocumentedShape(t *testing.T) {
	t.Parallel()
	b, s := served(t)
	p := b.pointer(t)
	id := first0(t, b)

	a := harness.Post(t, s.URL+"/search", `{"query":"物流","k":4,"mode":"hybrid"}`)
	if a.Header.Get("X-Snapshot-Id") != p.ID || a.Header.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", a.Header)
	}
	var f harness.Found
	if err := json.Unmarshal(a.Body, &f); err != nil || len(f.Results) != 4 {
		t.Fatalf("%v %s", err, a.Body)
	}
	last := 1.0
	for _, r := range f.Results {
		if r.ID == "" || r.Text == "" || r.Score < 0 || r.Score > last || r.Similarity == nil || r.Metadata["vendor_id"] != r.ID {
			t.Errorf("result %+v after score %v", r, last)
		}
		last = r.Score
	}

	batch := harness.Post(t, s.URL+"/search/batch", `{"queries":[{"query":"物流","k":2},{"query":"会計","k":3}]}`).JSON(t)
	results := batch["results"].([]any)
	if batch["snapshot"] != p.ID || len(results) != 2 || len(results[1].(map[string]any)["results"].([]any)) != 3 {
		t.Errorf("batch %v", batch)
	}
	if v := harness.Get(t, s.URL+"/vendors/"+id); v.Code != 200 || v.JSON(t)["vendor_id"] != id {
		t.Errorf("/vendors/%s: %d %.200s", id, v.Code, v.Body)
	}
	if v := harness.Get(t, s.URL+"/vendors/none"); v.Code != 404 {
		t.Errorf("/vendors/none: %d", v.Code)
	}
	facets := harness.Get(t, s.URL+"/facets?field=type&field=engagement.status").JSON(t)["facets"].(map[string]any)
	if len(facets) != 2 || len(facets["type"].([]any)) == 0 {
		t.Errorf("facets %v", facets)
	}
	snap := harness.Get(t, s.URL+"/snapshot").JSON(t)
	for _, key := range []string{"id", "source", "spec", "files", "generation", "loaded_at", "refused"} {
		if _, ok := snap[key]; !ok {
			t.Errorf("/snapshot lacks %s", key)
		}
	}
	health := harness.Get(t, s.URL+"/health").JSON(t)
	if health["status"] != "ok" || health["snapshot"] != p.ID || health["vectors"] != float64(p.Source.Records) || health["generation"] != 1.0 {
		t.Errorf("/health %v", health)
	}
	for _, path := range []string{"/docs", "/openapi.json", "/", "/ready"} {
		if a := harness.Get(t, s.URL+path); a.Code != 200 {
			t.Errorf("%s: %d", path, a.Code)
		}
	}
}

func TestFilterFindsEveryMatchInCatalogueOrder(t *testing.T) {
	t.Parallel()
	_, s := served(t)
	var doc struct {
		Vendors []map[string]any `json:"vendors"`
	}
	if err := json.Unmarshal(sample(t), &doc); err != nil {
		t.Fatal(err)
	}
	for _, status := range []string{"面談済", "未面談", "商談中", "契約中", "見送り", "無い"} {
		var want []string
		for _, v := range doc.Vendors {
			if e, ok := v["engagement"].(map[string]any); ok && e["status"] == status {
				want = append(want, v["vendor_id"].(string))
			}
		}
		f, err := harness.Search(s.URL, `{"k":100,"filter":{"engagement.status":"`+status+`"}}`)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range f.Results {
			got = append(got, r.ID)
			if r.Score != 1 {
				t.Errorf("score %v of a filter-only result", r.Score)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", status, got, want)
		}
		q, err := harness.Search(s.URL, `{"query":"まったく関係のない質問","k":100,"filter":{"engagement.status":"`+status+`"}}`)
		if err != nil || len(q.Results) != len(want) {
			t.Errorf("%s with a query: %d results, %v; want %d", status, len(q.Results), err, len(want))
		}
	}
}

func TestExactNamesOfVendorsAndProductsComeFirst(t *testing.T) {
	t.Parallel()
	_, s := served(t)
	var doc struct {
		Vendors []struct {
			ID        string `json:"vendor_id"`
			Name      string `json:"name"`
			Offerings struct {
				Products []struct{ Name, Code string } `json:"products"`
			} `json:"offerings"`
		} `json:"vendors"`
	}
	if err := json.Unmarshal(sample(t), &doc); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, v := range doc.Vendors {
		exact := []string{v.Name}
		for _, p := range v.Offerings.Products {
			exact = append(exact, p.Name, p.Code)
		}
		for _, q := range exact {
			asked++
			body, _ := json.Marshal(map[string]any{"query": q, "k": 3})
			f, err := harness.Search(s.URL, string(body))
			if err != nil || len(f.Results) == 0 || f.Results[0].ID != v.ID {
				t.Errorf("%q is %s's; answered %+v, %v", q, v.ID, f.Results, err)
			}
		}
	}
	if asked < 200 {
		t.Errorf("only %d names asked", asked)
	}
}
