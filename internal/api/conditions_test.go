package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestConditionsInTheQuestionOrderTheAnswer(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(sample(t))
	r := start(t, w)
	r.serving(p.ID)
	type vendor struct {
		Name       string
		Engagement struct{ Status string }
		BasicInfo  struct{ Employees float64 } `json:"basic_info"`
	}
	var of map[string]vendor
	parse := func(a answer) {
		of = map[string]vendor{}
		for _, x := range a.Results {
			var v vendor
			must(t, json.Unmarshal(x.Metadata, &v))
			of[x.ID] = v
		}
	}
	for _, tt := range []struct {
		question string
		path     string
		meets    func(v vendor) bool
	}{
		{"面談済みの会社", "engagement.status", func(v vendor) bool { return v.Engagement.Status == "面談済" }},
		{"見送り以外のベンダーで勤怠管理", "engagement.status", func(v vendor) bool { return v.Engagement.Status != "見送り" }},
		{"従業員200人以上の会社", "basic_info.employees", func(v vendor) bool { return v.BasicInfo.Employees >= 200 }},
	} {
		for _, mode := range []string{"hybrid", "lexical"} {
			for _, filter := range []string{`{}`, `{"delivery.deployment":"クラウド"}`} {
				a := r.search(fmt.Sprintf(`{"query":%q,"mode":%q,"k":100,"filter":%s}`, tt.question, mode, filter))
				parse(a)
				if len(a.Found) != 1 || a.Found[0].Path != tt.path || a.Found[0].Count == 0 || a.Found[0].Words == "" {
					t.Fatalf("%s: found %+v", tt.question, a.Found)
				}
				meeting := 0
				for i, x := range a.Results {
					if ok := tt.meets(of[x.ID]); ok == x.Beyond || ok != (x.Score >= 0.5) {
						t.Errorf("%s %s: %s meets it: %v, is marked %v, scores %v", tt.question, mode, x.ID, ok, x.Beyond, x.Score)
					} else if ok {
						if meeting++; meeting != i+1 {
							t.Errorf("%s %s: %s comes behind others", tt.question, mode, x.ID)
						}
					}
					if i > 0 && x.Score > a.Results[i-1].Score {
						t.Errorf("%s: scores rise at %d", tt.question, i)
					}
				}
				if meeting == 0 || meeting == len(a.Results) || len(a.Results) != a.Total {
					t.Errorf("%s %s %s: %d of %d meet it, %d in all", tt.question, mode, filter, meeting, len(a.Results), a.Total)
				}
				page := r.search(fmt.Sprintf(`{"query":%q,"mode":%q,"k":7,"offset":5,"filter":%s}`, tt.question, mode, filter))
				if got, want := page.ids(), a.ids()[5:12]; !slices.Equal(got, want) {
					t.Errorf("%s %s: the page from 5 is %v, of the whole list %v", tt.question, mode, got, want)
				}
			}
		}
		for _, off := range []string{`"auto_filter":false`, `"mode":"semantic"`} {
			a := r.search(fmt.Sprintf(`{"query":%q,%s,"k":100}`, tt.question, off))
			if len(a.Found) != 0 || anyBeyond(a) {
				t.Errorf("%s with %s: found %+v", tt.question, off, a.Found)
			}
		}
	}
}

// A record that is what the question says comes before all conditions; what stands in a name is none.
func TestNamesComeBeforeConditions(t *testing.T) {
	var records []string
	for i := range 30 {
		records = append(records, fmt.Sprintf(`{"vendor_id":"V-%02d","name":"社 %d","status":%q}`, i, i, []string{"面談済", "未面談"}[i%2]))
	}
	records = append(records, `{"vendor_id":"V-90","name":"面談済みラボ","status":"未面談"}`, `{"vendor_id":"V-91","name":"道具","status":"未面談","offerings":{"products":[{"code":"面談済"}]}}`)
	w := followtest.New(t)
	p := w.Publish(records)
	r := start(t, w)
	r.serving(p.ID)
	if a := r.search(`{"query":"面談済みラボ","k":3}`); a.ids()[0] != "V-90" || a.Results[0].Score != 1 || len(a.Found) != 0 {
		t.Errorf("a name: %v, found %+v", a.ids(), a.Found)
	}
	if a := r.search(`{"query":"面談済の会社","k":20}`); len(a.Found) != 1 || a.Found[0].Count != 15 || a.Results[0].Beyond || !a.Results[19].Beyond {
		t.Errorf("a condition: %v, found %+v", a.ids(), a.Found)
	}
}

func anyBeyond(a answer) bool {
	for _, x := range a.Results {
		if x.Beyond {
			return true
		}
	}
	return false
}

func TestPeoplesSynonymsAreConditions(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(sample(t))
	_, err := w.Objects.Put(t.Context(), w.Layout.Synonyms(), []byte(`{"engagement.status":{"見送り":["お断り"]},"delivery.is_scratch":{"true":["フルスクラッチ"]},"nowhere":{"x":["会社"]}}`), store.PutOptions{})
	must(t, err)
	r := start(t, w)
	r.serving(p.ID)
	for question, path := range map[string]string{"お断りの会社": "engagement.status", "フルスクラッチで作る会社": "delivery.is_scratch"} {
		a := r.search(fmt.Sprintf(`{"query":%q,"k":3}`, question))
		if len(a.Found) != 1 || a.Found[0].Path != path || a.Found[0].Count == 0 {
			t.Errorf("%s: found %+v", question, a.Found)
		}
	}
}
