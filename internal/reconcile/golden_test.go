package reconcile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// What golden.json does not say as documented must never count as a test that passed.
func TestGoldenFilesThatTestNothingHold(t *testing.T) {
	for golden, want := range map[string]string{
		`[{"query":"倉庫","expects":["NOPE"]}]`:                            `entry 1: the key "expects" is not known`,
		`[{"query":"倉庫"}]`:                                               "entry 1: expects no id",
		`[{"query":"倉庫","expect":[]}]`:                                   "entry 1: expects no id",
		`[{"query":"倉庫","expect":null}]`:                                 "entry 1: expects no id",
		`[{"query":"倉庫","grades":{"V-000":0}}]`:                          "entry 1: expects no id",
		`[{"query":"a","expect":["V-000"],"k":30},{"expect":["V-000"]}]`: "entry 2: has no query",
		`[{"query":" ","expect":["V-000"]}]`:                             "entry 1: query: is not a text",
		`[{"query":"a","Expect":["V-000"]}]`:                             `the key "Expect" is not known`,
		`[{"query":"a","expect":["V-000"],"expect":["V-001"]}]`:          `the key "expect" stands twice`,
		`[{"query":"a","expect":"V-000"}]`:                               "expect: is not a list of ids",
		`[{"query":"a","expect":[{"id":"V-000"}]}]`:                      "is no id",
		`[{"query":"a","expect":["V-000"],"k":101}]`:                     "k: 101 is not 1 to 100",
		`[{"query":"a","expect":["V-000"],"k":"5"}]`:                     `k: "5" is not 1 to 100`,
		`[{"query":"a","expect":["V-000","V-001"],"k":1}]`:               "expects 2 ids among the first 1",
		`[{"query":"a","grades":{"V-000":4}}]`:                           "grades are 0 to 3",
		`[{"query":"a","grades":["V-000"]}]`:                             "grades: is not an object",
		`["倉庫"]`:                                                         "entry 1: is not an object",
		`{"queries":[]}`:                                                 "is not an array",
		`null`:                                                           "is not an array",
		``:                                                               "is empty",
		`[{"query":"a","expect":["V-000"]}`:                              "unexpected end",
		`[] []`:                                                          "invalid character",
		"[{\"query\":\"\x91\x71\x8c\xc9\",\"expect\":[\"V-000\"]}]":      "is not UTF-8",
	} {
		r := newRig(t)
		r.catalogue(0, 30, "a")
		r.put(r.layout.Golden(), []byte(golden))
		out := r.once()
		r.want(out, reconcile.ResultHeld, reconcile.ExitHeld)
		r.condition(reconcile.Held, reconcile.True, reconcile.ReasonGoldenInvalid)
		if !strings.Contains(out.Message, want) {
			t.Errorf("%s: %s, want %s", golden, out.Message, want)
		}
		// Put right, the same candidate is judged again.
		r.put(r.layout.Golden(), []byte(`[{"query":"a","expect":["V-000"],"k":30}]`))
		r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)
	}
}

func TestGoldenEntriesPassOrMiss(t *testing.T) {
	for _, c := range []struct {
		golden string
		passes bool
		want   string // of the check's message
	}{
		{"\ufeff" + `[{"query":"a","expect":["V-000"],"k":30,"note":"why"}]`, true, "1 of 1 golden queries pass"},
		{`[{"query":"a","grades":{"V-000":3,"V-001":0,"V-002":1},"k":30}]`, true, "1 of 1 golden queries pass"},
		{`[{"query":"a","expect":["V-000"],"grades":{"NOPE":3},"k":30.0}]`, true, "1 of 1 golden queries pass"},
		{`[{"query":"a","expect":["V-000","GONE"],"k":30}]`, true, `1 of 1 golden queries pass; entry 1, "a": the catalogue has no "GONE"`},
		{`[{"query":"a","expect":["V-000"],"k":30},{"query":"b","expect":["GONE","G2"],"k":30}]`, false, `1 of 2 golden queries pass; entry 2, "b": the catalogue has no "GONE", "G2"`},
		{fmt.Sprintf(`[{"query":"a","expect":[%s]}]`, ids(0, 30)), true, "1 of 1 golden queries pass"}, // k grows with what is expected
		{fmt.Sprintf(`[{"query":"a","expect":[%s],"k":0}]`, ids(0, 29)), false, "in its top 29"},
		{`[{"query":"a","expect":[7],"k":30}]`, false, `the catalogue has no "7"`},
		{`[]`, true, "nothing was asked"},
		{" \n[\n]\n", true, "nothing was asked"},
	} {
		r := newRig(t)
		r.embed.Query = func(string) []float32 { v := make([]float32, dims); v[0] = 1; return v }
		r.catalogue(0, 30, "a")
		r.put(r.layout.Golden(), []byte(c.golden))
		r.once()
		list, err := r.operator().List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		d, err := r.operator().Show(t.Context(), list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		held, message := d.State == "held", ""
		for _, check := range d.Gate.Checks {
			if check.Name == reconcile.CheckGolden {
				message = check.Message
			}
		}
		if held == c.passes || !strings.Contains(message, c.want) {
			t.Errorf("%s: held %v: %s, want %s", c.golden, held, message, c.want)
		}
	}
}

func ids(from, to int) string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf(`"V-%03d"`, i))
	}
	return strings.Join(out, ",")
}

// The gate can ask for graded quality: a floor, and no fall below what is served.
func TestGradedQualityHolds(t *testing.T) {
	text, err := vendors.TextOf([]byte(`{"id":"V-000","name":"vendor 0","description":"about 0 a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.embed.Query = func(string) []float32 { return recontest.Vector(text, dims) } // finds V-000 of catalogue a
	r.put(r.layout.Golden(), []byte(`[{"query":"q","grades":{"V-000":3},"k":30}]`))
	r.cfg.GateMinNDCG, r.cfg.GateMaxNDCGDrop = 1, 0.05
	r.catalogue(0, 30, "a")
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)

	r.cfg.GateMinNDCG = 0
	r.catalogue(0, 30, "b") // V-000 lies elsewhere now
	out := r.once()
	r.want(out, reconcile.ResultHeld, reconcile.ExitHeld)
	if !strings.Contains(out.Message, "nDCG@10 of the golden queries, 1.000 served") {
		t.Error(out.Message)
	}
	r.cfg.GateMaxNDCGDrop = 0
	r.want(r.once(), reconcile.ResultPromoted, reconcile.ExitDone)

	r.cfg.GateMinNDCG = 0.99
	r.catalogue(0, 30, "c")
	r.want(r.once(), reconcile.ResultHeld, reconcile.ExitHeld)
}
