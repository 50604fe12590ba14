package golden_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taksuehiro/vectorstore/internal/golden"
)

func TestMeasuresAreThoseOfTheTextbooks(t *testing.T) {
	// Järvelin and Kekäläinen's gain with 2^g - 1: (7/1 + 1/log2 4) / (7/1 + 3/log2 3 + 1/log2 4).
	ndcg := (7 + 1/math.Log2(4)) / (7 + 3/math.Log2(3) + 1/math.Log2(4))
	grades := map[string]int{"A": 3, "B": 2, "C": 1}
	for _, tt := range []struct {
		found []string
		want  golden.Quality
	}{
		{[]string{"A", "x", "C"}, golden.Quality{Queries: 1, Hit1: 1, Hit3: 1, Hit5: 1, Recall: 2. / 3, MRR: 1, NDCG: ndcg}},
		{[]string{"A", "B", "C"}, golden.Quality{Queries: 1, Hit1: 1, Hit3: 1, Hit5: 1, Recall: 1, MRR: 1, NDCG: 1}},
		{[]string{"x", "x", "x", "C"}, golden.Quality{Queries: 1, Hit5: 1, Recall: 1. / 3, MRR: 0.25, NDCG: 1 / math.Log2(5) / (7 + 3/math.Log2(3) + 0.5)}},
		{strings.Split("x x x x x x x x x x A", " "), golden.Quality{Queries: 1}},
		{nil, golden.Quality{Queries: 1}},
	} {
		got := golden.Query{Grades: grades}.Measure(tt.found)
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
			t.Errorf("%v: %s", tt.found, diff)
		}
	}
	mean := golden.Mean([]golden.Quality{{Queries: 1, Hit1: 1, NDCG: 1}, {Queries: 3, NDCG: 0.2}})
	if diff := cmp.Diff(golden.Quality{Queries: 4, Hit1: 0.25, NDCG: 0.4}, mean, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
		t.Error(diff)
	}
}

func TestLinesAndTablesAreTheSame(t *testing.T) {
	lines, err := golden.ParseLines([]byte("\ufeff{\"query\":\"倉庫\",\"expect\":[\"V-1\",\"V-2\"],\"note\":\"words\"}\n\n{\"query\":\"a, b\",\"expect\":[\"V-3\"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := golden.ParseCSV([]byte("\ufeffnote,query,expect\nwords,倉庫,V-1 V-2\n,\"a, b\",V-3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lines, table); diff != "" || len(lines) != 2 {
		t.Error(diff)
	}
}

func TestFilesThatTestNothingAreErrors(t *testing.T) {
	long := strings.Repeat(`{"query":"a","expect":["V-1"]}`+"\n", golden.MaxQueries+1)
	for what, raw := range map[string]string{
		"line 2: has no query":                   "{\"query\":\"a\",\"expect\":[\"V-1\"]}\n{\"expect\":[\"V-1\"]}",
		"line 1: expects no id":                  `{"query":"a","grades":{}}`,
		"holds no query":                         "\n\n",
		"at most 1000":                           long,
		"not UTF-8":                              "{\"query\":\"\x91\x71\"}",
		`line 1: the key "expects" is not known`: `{"query":"a","expects":["V-1"]}`,
		"line 1: is not an object":               `["a"]`,
		"larger than":                            strings.Repeat(" ", golden.MaxSize+1),
	} {
		if _, err := golden.ParseLines([]byte(raw)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%.40q: %v, want %s", raw, err, what)
		}
	}
	for what, raw := range map[string]string{
		"needs the columns query and expect": "question,ids\na,V-1\n",
		"line 3: needs a query":              "query,expect\na,V-1\nb,\n",
		"wrong number of fields":             "query,expect\na\n",
		"read the header":                    "",
	} {
		if _, err := golden.ParseCSV([]byte(raw)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v, want %s", raw, err, what)
		}
	}
}
