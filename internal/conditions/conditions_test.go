package conditions_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func read(t testing.TB, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// sample is a finder over the sample catalogue.
func sample(t testing.TB) *conditions.Finder {
	t.Helper()
	return sampleWith(t, `{}`)
}

func sampleWith(t testing.TB, synonyms string) *conditions.Finder {
	t.Helper()
	words, err := conditions.ParseSynonyms([]byte(synonyms))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join("..", "..", "testdata", "vendors.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := vendorstest.Records(f)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(i int) ([]byte, error) { return records[i].Raw, nil }
	a, err := filter.Build(len(records), raw)
	if err != nil {
		t.Fatal(err)
	}
	return conditions.New(a, len(records), raw).With(words)
}

type wanted struct {
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func TestConditionsOfQuestionsAreFound(t *testing.T) {
	f := sample(t)
	var questions []struct {
		Question string
		Want     []wanted
	}
	read(t, "testdata/questions.json", &questions)
	right := 0
	for _, q := range questions {
		found := f.Find(q.Question)
		got := map[string]any{}
		for _, c := range found {
			got[c.Path] = normal(t, c.Value)
		}
		want := map[string]any{}
		for _, w := range q.Want {
			want[w.Path] = w.Value
		}
		if diff := cmp.Diff(want, got); diff == "" {
			right++
		} else {
			t.Logf("%s: found %+v\n%s", q.Question, found, diff)
		}
	}
	t.Logf("%d of %d", right, len(questions))
	if len(questions) < 100 || float64(right) < 0.95*float64(len(questions)) {
		t.Errorf("%d of %d, want 95 %% of at least 100", right, len(questions))
	}
}

// normal is a value as JSON has it.
func normal(t *testing.T, v any) (out any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNoConditionIsInventedInOtherQuestions(t *testing.T) {
	f := sample(t)
	var q struct{ Queries, Heldout []struct{ Query string } }
	read(t, "../../testdata/queries.json", &q)
	var p struct{ Queries []struct{ Query string } }
	read(t, "../../testdata/paraphrases.json", &p)
	all := append(append(q.Queries, q.Heldout...), p.Queries...)
	for _, q := range all {
		if found := f.Find(q.Query); len(found) > 0 {
			t.Errorf("%s: %+v", q.Query, found)
		}
	}
	if len(all) < 100 {
		t.Errorf("%d questions", len(all))
	}
}

// What stands where it is no word of its own, or is what the question is about, is no condition.
func TestLookAlikesAreNoConditions(t *testing.T) {
	f := sample(t)
	for _, q := range []string{
		"非上場株の売買を手がける", "クラウドに強い", "倉庫の温度を24時間見守る", "3人で使う", "5年保証", "北海道産の食材",
		"", "   ", "、。！", "100", "100人", strings.Repeat("面", 5000),
	} {
		for _, c := range f.Find(q) {
			if !(c.Path == "basic_info.listed" && c.Value == false) {
				t.Errorf("%.30q: %+v", q, c)
			}
		}
	}
}

func TestSynonymsNameValues(t *testing.T) {
	f := sampleWith(t, `{"engagement.status":{"見送り":["お断り"]},"delivery.is_scratch":{"true":["フルスクラッチ"]},"nowhere":{"x":["y z"]}}`)
	for question, want := range map[string]wanted{
		"お断りの会社": {"engagement.status", "見送り"},
		"フルスクラッチで作ってくれる会社": {"delivery.is_scratch", true},
		"お断り以外": {"engagement.status", map[string]any{"ne": "見送り"}},
	} {
		found := f.Find(question)
		if len(found) != 1 || found[0].Path != want.Path || cmp.Diff(normal(t, found[0].Value), want.Value) != "" {
			t.Errorf("%s: %+v, want %+v", question, found, want)
		}
	}
}

func TestSynonymsOfPeopleAreBounded(t *testing.T) {
	for what, raw := range map[string]string{
		"not an object":    `[]`,
		"words of a value": `{"a":{"b":"c"}}`,
		"too many words":   `{"a":{"b":[` + strings.Repeat(`"w",`, 10_000) + `"w"]}}`,
		"too many bytes":   `{"a":{"b":["` + strings.Repeat("w", conditions.MaxSynonyms) + `"]}}`,
		"cut short":        `{"a":{"b":["w"`,
	} {
		if _, err := conditions.ParseSynonyms([]byte(raw)); err == nil || !strings.Contains(err.Error(), "synonyms.json") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s, err := conditions.ParseSynonyms([]byte("\ufeff" + `{"a":{"b":["w"]}}`)); err != nil || len(s) != 1 {
		t.Errorf("with a byte order mark: %v, %v", s, err)
	}
}

func FuzzFind(f *testing.F) {
	find := sample(f)
	f.Add("従業員１００人以上で月額50万円以下、面談済み以外のSaaS企業")
	f.Fuzz(func(t *testing.T, q string) {
		for _, c := range find.Find(q) {
			if c.Path == "" || c.Words == "" || c.Count < 0 {
				t.Fatalf("%q: %+v", q, c)
			}
		}
	})
}
