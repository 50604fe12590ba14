package filter_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func attributes(t testing.TB, raws ...string) *filter.Attributes {
	t.Helper()
	a, err := stored(len(raws), func(i int) ([]byte, error) { return []byte(raws[i]), nil })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// stored builds attributes and opens a copy of their arrays, as a replica does.
func stored(n int, raw func(i int) ([]byte, error)) (*filter.Attributes, error) {
	built, err := filter.Build(n, raw)
	if err != nil {
		return nil, err
	}
	var arrays [][]byte
	for _, a := range built.Arrays() {
		arrays = append(arrays, slices.Clone(a))
	}
	return filter.Open(arrays, n, raw)
}

func selected(t testing.TB, a *filter.Attributes, text string) []uint32 {
	t.Helper()
	f, err := filter.Parse(json.RawMessage(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return a.Select(f).ToArray()
}

func TestFiltersSelectWhatTheySay(t *testing.T) {
	a := attributes(t,
		`{"type":["SaaS","SI"],"engagement":{"status":"面談済"},"score_num":7,"listed":true,"notes":null}`,
		`{"type":"SaaS","engagement":{"status":"未面談"},"score_num":7.5,"listed":false,"products":[{"code":"A-1","price":10},{"code":"A-2"}]}`,
		`{"type":"BPO","score_num":9007199254740992,"score":"7","products":[],"a.b":"dot"}`,
		`{"type":["BPO",["SI"]],"score_num":[1,20],"a":{"b":"dot"},"products":{"code":"A-2"}}`,
		`{}`,
		`{"zero":-0.0}`,
		`{"cells":["12.50","007","7 "," 7","7件","","-","0e0","1e999"]}`,
	)
	for _, tt := range []struct {
		filter string
		want   []uint32
	}{
		{`{}`, []uint32{0, 1, 2, 3, 4, 5, 6}},
		{`{"type":"SaaS"}`, []uint32{0, 1}},
		{`{"type":["SI","BPO"]}`, []uint32{0, 2, 3}},
		{`{"type":[]}`, nil},
		{`{"type":["SI",7,null]}`, []uint32{0, 3}},
		{`{"engagement.status":"面談済"}`, []uint32{0}},
		{`{"engagement":"面談済"}`, nil},
		{`{"type":"SaaS","score_num":{"gte":7.5}}`, []uint32{1}},
		{`{"score_num":7.0}`, []uint32{0}},
		{`{"score_num":70e-1}`, []uint32{0}},
		{`{"score_num":"7"}`, nil},
		{`{"score":7}`, []uint32{2}},
		{`{"score":[8,7.0]}`, []uint32{2}},
		{`{"score":{"gte":7}}`, []uint32{2}},
		{`{"score":"7"}`, []uint32{2}},
		{`{"score":"7.0"}`, nil},
		{`{"cells":12.5}`, []uint32{6}},
		{`{"cells":{"gt":12.4,"lt":12.6}}`, []uint32{6}},
		{`{"cells":7}`, nil},
		{`{"cells":{"gte":6,"lte":8}}`, nil},
		{`{"cells":-0.0}`, []uint32{6}},
		{`{"cells":"007"}`, []uint32{6}},
		{`{"score_num":{"gt":7}}`, []uint32{1, 2, 3}},
		{`{"score_num":{"gte":7,"lt":7.5}}`, []uint32{0}},
		{`{"score_num":{"lte":7}}`, []uint32{0, 3}},
		{`{"score_num":{"gt":7.5,"lt":7.5}}`, nil},
		{`{"score_num":{"gt":5,"lt":10}}`, []uint32{0, 1}},
		{`{"listed":false}`, []uint32{1}},
		{`{"listed":[true,false]}`, []uint32{0, 1}},
		{`{"notes":null}`, []uint32{0}},
		{`{"notes":{"exists":true}}`, []uint32{0}},
		{`{"notes":{"exists":false}}`, []uint32{1, 2, 3, 4, 5, 6}},
		{`{"products":{"exists":true}}`, []uint32{1, 2, 3}},
		{`{"products.code":{"exists":true}}`, []uint32{1, 3}},
		{`{"products.code":"A-2"}`, []uint32{1, 3}},
		{`{"products.price":{"lt":11}}`, []uint32{1}},
		{`{"a.b":"dot"}`, []uint32{2, 3}},
		{`{"nothing":{"exists":false}}`, []uint32{0, 1, 2, 3, 4, 5, 6}},
		{`{"nothing":{"exists":true}}`, nil},
		{`{"nothing":"x"}`, nil},
		{`{"type":"Saa"}`, nil},
		{`{"type":"ＳａａＳ"}`, []uint32{0, 1}},
		{`{"type":"saas"}`, []uint32{0, 1}},
		{`{"type":{"ne":"saas"}}`, []uint32{2, 3, 4, 5, 6}},
		{`{"type":{"nin":["SaaS","SI"]}}`, []uint32{2, 4, 5, 6}},
		{`{"$or":[{"type":"SI"},{"listed":false}]}`, []uint32{0, 1, 3}},
		{`{"$and":[{"type":"SaaS"},{"score_num":{"gt":7}}]}`, []uint32{1}},
		{`{"$not":{"type":{"exists":true}}}`, []uint32{4, 5, 6}},
		{`{"$not":{"$or":[{"type":"SaaS"},{"type":"BPO"}]},"zero":0}`, []uint32{5}},
		{`{"$or":[]}`, nil},
		{`{"$and":[]}`, []uint32{0, 1, 2, 3, 4, 5, 6}},
		{`{"products":{"elem":{"code":"A-1","price":{"gte":10}}}}`, []uint32{1}},
		{`{"products":{"elem":{"code":"A-2","price":{"exists":true}}}}`, nil},
		{`{"products":{"elem":{"code":{"ne":"A-1"}}}}`, []uint32{1, 3}},
		{`{"products":{"elem":{}}}`, []uint32{1, 3}},
		{`{"score_num":{"gt":7,"ne":7.5}}`, []uint32{2, 3}},
		{`{"type":{"gte":"s","lt":"sb"}}`, []uint32{0, 1}},
		{`{"zero":0}`, []uint32{5}},
		{`{"zero":{"gte":0,"lte":-0}}`, []uint32{5}},
	} {
		if got := selected(t, a, tt.filter); !slices.Equal(got, tt.want) {
			t.Errorf("%s selects %v, want %v", tt.filter, got, tt.want)
		}
	}
}

func TestBadFiltersAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   "cut off",
		`null`:                               "filter is null",
		`[]`:                                 "filter is an array",
		`"x"`:                                "filter is a string",
		`{"a":1,"a":2}`:                      "duplicate key",
		`{"a":{}}`:                           `filter "a": an empty object`,
		`{"a":{"eq":1}}`:                     `filter "a": unknown operator "eq"`,
		`{"a":{"gt":true}}`:                  `filter "a": gt is a boolean`,
		`{"a":{"gt":1,"lt":"x"}}`:            "bounds are of different kinds",
		`{"a":{"gt":"x","lt":"2026-01-01"}}`: "bounds are of different kinds",
		`{"a":{"ne":[1]}}`:                   "want nin",
		`{"a":{"nin":1}}`:                    "nin is a number",
		`{"a":{"ne":{"b":1}}}`:               "not an object",
		`{"a":{"elem":1}}`:                   `filter "a": want a filter, not a number`,
		`{"a":{"elem":{"b":{"eq":1}}}}`:      `filter "a": "b": unknown operator "eq"`,
		`{"$and":{"a":1}}`:                   `filter "$and": want a list of filters, not an object`,
		`{"$or":[1]}`:                        `filter "$or": want a filter, not a number`,
		`{"$not":[{"a":1}]}`:                 `filter "$not": want a filter, not an array`,
		`{"$or":[{"a":{"gt":[]}}]}`:          `filter "$or": "a": gt is an array`,
		`{"$and":[` + strings.Repeat(`{"a":1},`, 64) + `{"a":1}]}`: "66 conditions",
		`{"a":{"gt":null}}`:            "gt is null",
		`{"a":{"exists":1}}`:           "exists is a number",
		`{"a":{"exists":true,"gt":1}}`: "exists cannot be combined",
		`{"a":{"gt":1,"b":{"c":1}}}`:   `unknown operator "b"`,
		`{"a":[[1]]}`:                  "not an array",
		`{"a":[{"gt":1}]}`:             "not an object",
		`{"a":1e999}`:                  "too large",
		`{"a":{"lt":-1e999}}`:          "too large",
		`{"a":` + strings.Repeat("[", 12) + `1` + strings.Repeat("]", 12) + `}`: "nested too deep",
		`{"a":1} x`:                        "not JSON",
		"{\"a\":\"\xff\"}":                 "invalid UTF-8",
		`{"a":[` + numbers(0, 1001) + `]}`: "lists 1001 values",
		manyConditions(65):                 "65 conditions",
	} {
		if _, err := filter.Parse(json.RawMessage(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.60s) = %v, want an error with %q", text, err, want)
		}
	}
}

func numbers(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func manyConditions(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// want evaluates a filter on a record as encoding/json decodes both: a second opinion on what a filter means.
func want(record any, filter map[string]any) bool {
	for path, cond := range filter {
		every := func(c any) bool { return want(record, c.(map[string]any)) }
		switch path {
		case "$and":
			if slices.ContainsFunc(cond.([]any), func(c any) bool { return !every(c) }) {
				return false
			}
			continue
		case "$or":
			if !slices.ContainsFunc(cond.([]any), every) {
				return false
			}
			continue
		case "$not":
			if every(cond) {
				return false
			}
			continue
		}
		var values []any
		reach(record, path, func(v any) { values = append(values, v) })
		has := func(cond any) bool { return slices.ContainsFunc(values, func(v any) bool { return accepts(v, cond) }) }
		c, is := cond.(map[string]any)
		if !is {
			if !has(cond) {
				return false
			}
			continue
		}
		bounds := map[string]any{}
		for op, x := range c {
			ok := true
			switch op {
			case "exists":
				ok = (len(values) > 0) == x.(bool)
			case "ne", "nin":
				ok = !has(x)
			case "elem":
				ok = slices.ContainsFunc(values, func(v any) bool { return element(v, x.(map[string]any)) })
			default:
				bounds[op] = x
			}
			if !ok {
				return false
			}
		}
		if len(bounds) > 0 && !has(bounds) {
			return false
		}
	}
	return true
}

func element(v any, filter map[string]any) bool {
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, func(e any) bool { return element(e, filter) })
	}
	_, ok := v.(map[string]any)
	return ok && want(v, filter)
}

func reach(v any, path string, visit func(any)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			reach(e, path, visit)
		}
	case map[string]any:
		for k, e := range v {
			if k == path {
				visit(e)
			} else if rest, ok := strings.CutPrefix(path, k+"."); ok {
				reach(e, rest, visit)
			}
		}
	}
}

func accepts(v, cond any) bool {
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, func(e any) bool { return accepts(e, cond) })
	}
	if _, ok := v.(map[string]any); ok {
		return false
	}
	var numeral any // the number that a string is
	if s, ok := v.(string); ok && s == strings.TrimSpace(s) && json.Unmarshal([]byte(s), &numeral) == nil {
		if _, number := numeral.(float64); !number {
			numeral = nil
		}
	}
	switch cond := cond.(type) {
	case []any:
		return slices.ContainsFunc(cond, func(c any) bool { return accepts(v, c) })
	case map[string]any:
		x, ok := v.(float64)
		if numeral != nil {
			x, ok = numeral.(float64)
		}
		text, isText := v.(string)
		for op, y := range cond {
			holds := func(c int) bool {
				return op == "gt" && c > 0 || op == "gte" && c >= 0 || op == "lt" && c < 0 || op == "lte" && c <= 0
			}
			switch y := y.(type) {
			case float64:
				if !ok || !holds(cmp.Compare(x, y)) {
					return false
				}
			case string:
				if !isText || !holds(cmp.Compare(folded(text), folded(y))) {
					return false
				}
			}
		}
		return true
	case string:
		s, ok := v.(string)
		return ok && folded(s) == folded(cond)
	}
	return v == cond || numeral != nil && numeral == cond
}

// folded by other means than the package's.
func folded(s string) string { return strings.ToLower(norm.NFKC.String(s)) }

// filterText draws a filter, with filters in it to the depth.
func filterText(depth int) *rapid.Generator[string] {
	scalar := rapid.SampledFrom([]string{`"SaaS"`, `"ＳＡＡＳ"`, `"面談済"`, `""`, `"1"`, `1`, `1.0`, `0`, `-0.0`, `7`, `-2.5`, `9007199254740993`, `true`, `false`, `null`, `"x\ny"`, `"\u9762談済"`})
	number := rapid.SampledFrom([]string{"0", "1", "-2.5", "1.5", "7", "9007199254740992"})
	text := rapid.SampledFrom([]string{`""`, `"s"`, `"SaaS"`, `"x"`, `"面"`, `"1"`})
	return rapid.Custom(func(t *rapid.T) string {
		paths := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "a.b", "a.b.c", "a.a", "b.c", "型", "", ".a", "a.", "c.型", "z"}), 0, 3, rapid.ID).Draw(t, "paths")
		list := func() string { return "[" + strings.Join(rapid.SliceOfN(scalar, 0, 3).Draw(t, "any"), ",") + "]" }
		var conds []string
		for _, p := range paths {
			var c string
			switch rapid.IntRange(0, 6+min(depth, 1)).Draw(t, "condition") {
			case 0:
				c = scalar.Draw(t, "scalar")
			case 1:
				c = list()
			case 2:
				c = fmt.Sprintf(`{"exists":%v}`, rapid.Bool().Draw(t, "exists"))
			case 3, 4:
				ops := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"gt", "gte", "lt", "lte"}), 1, 3, rapid.ID).Draw(t, "ops")
				bound := rapid.SampledFrom([]*rapid.Generator[string]{number, text}).Draw(t, "kind")
				for i, op := range ops {
					ops[i] = fmt.Sprintf("%q:%s", op, bound.Draw(t, "bound"))
				}
				c = "{" + strings.Join(ops, ",") + "}"
			case 5:
				c = fmt.Sprintf(`{"ne":%s}`, scalar.Draw(t, "ne"))
			case 6:
				c = fmt.Sprintf(`{"nin":%s,"ne":1}`, list())
			case 7:
				c = fmt.Sprintf(`{"elem":%s}`, filterText(depth-1).Draw(t, "element"))
			}
			conds = append(conds, fmt.Sprintf("%q:%s", p, c))
		}
		if depth > 0 {
			for _, op := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"$and", "$or", "$not"}), 0, 2, rapid.ID).Draw(t, "operators") {
				parts := rapid.SliceOfN(filterText(depth-1), 0, 3).Draw(t, "parts")
				c := "[" + strings.Join(parts, ",") + "]"
				if op == "$not" {
					c = filterText(depth-1).Draw(t, "part")
				}
				conds = append(conds, fmt.Sprintf("%q:%s", op, c))
			}
		}
		return "{" + strings.Join(conds, ",") + "}"
	})
}

func decode(t *rapid.T, s string) map[string]any {
	var m map[string]any
	// encoding/json refuses 1e999, which the index holds as infinity.
	if err := json.Unmarshal([]byte(strings.ReplaceAll(s, "1e999", "1e308")), &m); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return m
}

func TestSelectAgreesWithEvaluatingEveryRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raws := vendorstest.RecordTexts(t, rapid.IntRange(0, 12).Draw(t, "n"))
		a, err := stored(len(raws), func(i int) ([]byte, error) { return []byte(raws[i]), nil })
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			text := filterText(2).Draw(t, "filter")
			f, err := filter.Parse(json.RawMessage(text))
			if err != nil && strings.Contains(err.Error(), "exists cannot be combined") {
				continue
			}
			if err != nil {
				t.Fatalf("Parse(%s): %v", text, err)
			}
			var wanted []uint32
			for i, raw := range raws {
				if want(decode(t, raw), decode(t, text)) {
					wanted = append(wanted, uint32(i))
				}
			}
			if got := a.Select(f).ToArray(); !slices.Equal(got, wanted) {
				t.Fatalf("%s selects %v, want %v of\n%s", text, got, wanted, strings.Join(raws, "\n"))
			}
		}
	})
}

// More different values and more different paths than are indexed: the answers stay the same.
func TestSelectIsExactBeyondWhatIsIndexed(t *testing.T) {
	const n = 6000
	raws := make([]string, n)
	for i := range raws {
		raws[i] = fmt.Sprintf(`{"unique":"u%d","pair":"p%d","late":%q,"long":%q,"k%d":%d,"o":{"k%d":"x"}}`,
			i, i/2, map[bool]string{true: "late", false: fmt.Sprint("early", i)}[i >= 5000], strings.Repeat("長", 300)+fmt.Sprint(i%3), i, i%7, i)
	}
	a := attributes(t, raws...)
	all := func(from, to, step int) (out []uint32) {
		for i := from; i < to; i += step {
			out = append(out, uint32(i))
		}
		return out
	}
	for _, tt := range []struct {
		filter string
		want   []uint32
	}{
		{`{"unique":"u0"}`, []uint32{0}},
		{`{"unique":"u5999"}`, []uint32{5999}},
		{`{"unique":["u1","u4097","u5000","u6000"]}`, []uint32{1, 4097, 5000}},
		{`{"pair":"p2500"}`, []uint32{5000, 5001}},
		{`{"late":"late"}`, all(5000, n, 1)},
		{`{"late":["late","early3"]}`, append([]uint32{3}, all(5000, n, 1)...)},
		{`{"long":"` + strings.Repeat("長", 300) + `1"}`, all(1, n, 3)},
		{`{"k10":{"exists":true}}`, []uint32{10}},
		{`{"k5990":5}`, []uint32{5990}},
		{`{"k5990":4}`, nil},
		{`{"k5990":{"exists":false},"pair":"p2995"}`, []uint32{5991}},
		{`{"o.k5999":"x"}`, []uint32{5999}},
		{`{"o.k5999":{"exists":true},"late":"early3"}`, nil},
		{`{"nothing":{"exists":true}}`, nil},
	} {
		if got := selected(t, a, tt.filter); !slices.Equal(got, tt.want) {
			t.Errorf("%.60s selects %d records %.10v, want %d", tt.filter, len(got), got, len(tt.want))
		}
	}
	if got := a.Facets("late", 2, nil); len(got) != 2 || got[0].Value != "late" || got[0].Count != 1000 || got[1].Count != 1 {
		t.Errorf("Facets(late) = %v, want late 1000 times and one more", got)
	}
	if got := a.Facets("long", 10, nil); len(got) != 3 || got[0].Count != 2000 || got[0].Value != strings.Repeat("長", 300)+"0" {
		t.Errorf("Facets(long) has %d values, want 3", len(got))
	}
	if got := a.Facets("k5990", 10, nil); len(got) != 1 || got[0].Value != 5.0 || got[0].Count != 1 {
		t.Errorf("Facets(k5990) = %v, want 5 once", got)
	}
}

func TestFacetsCountRecordsByValue(t *testing.T) {
	a := attributes(t,
		`{"type":["SaaS","SI","SaaS"],"s":7,"e":{"x":"甲"}}`, `{"type":"SaaS","s":7.0,"e":[{"x":"乙"},{"x":"甲"}]}`, `{"type":"BPO","s":"7"}`,
		`{"type":null,"s":true}`, `{"type":["BPO"],"s":[false,1e999]}`)
	for _, tt := range []struct {
		field string
		max   int
		want  string
	}{
		{"type", 10, `[{"value":"BPO","count":2},{"value":"SaaS","count":2},{"value":"SI","count":1},{"value":null,"count":1}]`},
		{"type", 2, `[{"value":"BPO","count":2},{"value":"SaaS","count":2}]`},
		{"s", 10, `[{"value":7,"count":2},{"value":"7","count":1},{"value":false,"count":1},{"value":true,"count":1}]`},
		{"e.x", 10, `[{"value":"甲","count":2},{"value":"乙","count":1}]`},
		{"e", 10, `null`},
		{"nothing", 10, `null`},
		{"type", 0, `null`},
	} {
		got, err := json.Marshal(a.Facets(tt.field, tt.max, nil))
		if err != nil || strings.ReplaceAll(string(got), "[]", "null") != tt.want {
			t.Errorf("Facets(%s, %d) = %s, %v; want %s", tt.field, tt.max, got, err, tt.want)
		}
	}
}

func TestAttributesNeedEveryRecord(t *testing.T) {
	broken := errors.New("disk")
	if _, err := filter.Build(2, func(i int) ([]byte, error) { return []byte(`{}`), []error{nil, broken}[i] }); !errors.Is(err, broken) {
		t.Errorf("Build() = %v, want %v", err, broken)
	}
	if _, err := filter.Build(1, func(int) ([]byte, error) { return []byte(`{"a":`), nil }); err == nil {
		t.Error("Build() of a broken record gave no error")
	}
}

// Arrays of another version, of other records, cut short or with ranges that lead elsewhere are refused.
func TestAttributesRefuseArraysThatDoNotFit(t *testing.T) {
	raw := func(i int) ([]byte, error) { return fmt.Appendf(nil, `{"a":"x%d","n":%d}`, i%2, i), nil }
	built, err := filter.Build(4, raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(arrays [][]byte) [][]byte{
		"version":    func(a [][]byte) [][]byte { a[0][0]++; return a },
		"records":    func(a [][]byte) [][]byte { a[0][8]++; return a },
		"no head":    func(a [][]byte) [][]byte { a[0] = nil; return a },
		"too few":    func(a [][]byte) [][]byte { return a[:5] },
		"cut fields": func(a [][]byte) [][]byte { a[1] = a[1][:len(a[1])-1]; return a },
		"no texts":   func(a [][]byte) [][]byte { a[2] = nil; return a },
		"no entries": func(a [][]byte) [][]byte { a[3] = nil; return a },
		"no names":   func(a [][]byte) [][]byte { a[4] = nil; return a },
		"no bitmaps": func(a [][]byte) [][]byte { a[5] = nil; return a },
		"far range":  func(a [][]byte) [][]byte { a[1][15] = 0xff; return a },
	} {
		var arrays [][]byte
		for _, a := range built.Arrays() {
			arrays = append(arrays, slices.Clone(a))
		}
		if _, err := filter.Open(change(arrays), 4, raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A string is found however long its spellings are.
func TestSpellingsOfOneStringAreOne(t *testing.T) {
	a := attributes(t, `{"s":"`+strings.Repeat("ａ", 200)+`"}`, `{"s":"`+strings.Repeat("a", 200)+`"}`)
	if got := selected(t, a, `{"s":"`+strings.Repeat("A", 200)+`"}`); len(got) != 2 {
		t.Errorf("selects %v, want both", got)
	}
	if got := a.Facets("s", 9, nil); len(got) != 1 || got[0].Count != 2 {
		t.Errorf("counts %v, want one value of two", got)
	}
}

// Whatever a changed byte makes of the arrays, selecting and counting end with an answer.
func FuzzAttributeArrays(f *testing.F) {
	raw := func(i int) ([]byte, error) {
		return fmt.Appendf(nil, `{"a":"x%d","n":[%d,1.5],"b":[true,null],"u":"unique %d","d":"2026-01-0%dT09:00+09:00"}`, i%3, i, i, 1+i%9), nil
	}
	const n = 300
	built, err := filter.Build(n, raw)
	if err != nil {
		f.Fatal(err)
	}
	conditions, err := filter.Parse(json.RawMessage(`{"$or":[{"a":["x1","x2"],"n":{"gte":1,"lt":200}},{"b":[true,null],"u":{"gte":"unique 2"}},{"d":{"gt":"2026-01-01T00:00Z"}}]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(1), uint32(9), byte(3))
	f.Add(uint8(5), uint32(4), byte(255))
	f.Fuzz(func(t *testing.T, array uint8, at uint32, value byte) {
		var arrays [][]byte
		for _, a := range built.Arrays() {
			arrays = append(arrays, slices.Clone(a))
		}
		in := arrays[int(array)%len(arrays)]
		in[int(at)%len(in)] = value
		a, err := filter.Open(arrays, n, raw)
		if err != nil {
			return
		}
		j := filter.Join([]filter.Part{{Attributes: a, Dead: roaring.BitmapOf(3, 299)}, {Attributes: a, First: n}}, func(a, b uint32) bool {
			if a >= 2*n || b >= 2*n {
				t.Fatalf("positions %d and %d of %d", a, b, 2*n)
			}
			return a%n < b%n
		})
		joined := j.Select(conditions)
		j.Unknown(conditions)
		for _, field := range []string{"a", "n", "b", "u"} {
			j.Facets(field, 10, nil)
			j.Facets(field, 10, joined)
			j.Sorted(field, true, joined, 5)
		}
		found := a.Select(conditions)
		a.Unknown(conditions)
		for _, field := range []string{"a", "n", "b", "u"} {
			a.Facets(field, 10, nil)
			a.Facets(field, 10, found)
			a.Sorted(field, true, found, 5)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a.b":["x",null,true,1.5]}`, `{"a":{"gt":1,"lte":2e3}}`, `{"a":{"exists":false}}`, `{"":""}`, `{"a":-0}`,
		`{"$or":[{"a":{"ne":1}},{"$not":{"b":{"nin":["x",2]}}}]}`, `{"a":{"elem":{"b":{"gte":"x"}}}}`, `{"$and":[{}]}`} {
		f.Add([]byte(s))
	}
	raws := []string{`{"a":1,"b":"x"}`, `{"a":{"b":["x",null]}}`, `{}`}
	a := attributes(f, raws...)
	f.Fuzz(func(t *testing.T, text []byte) {
		conditions, err := filter.Parse(text)
		if err != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("accepted %s, which encoding/json refuses: %v", text, err)
		}
		for i, raw := range raws {
			var rec map[string]any
			if err := json.Unmarshal([]byte(raw), &rec); err != nil {
				t.Fatal(err)
			}
			if got := a.Select(conditions).Contains(uint32(i)); got != want(rec, m) {
				t.Fatalf("%s selects %s: %v", text, raw, got)
			}
		}
	})
}

func TestSelectAcrossManyRecords(t *testing.T) {
	const n = 140_000 // three containers of a roaring bitmap
	a, err := stored(n, func(i int) ([]byte, error) {
		return fmt.Appendf(nil, `{"s":[%d,%d],"k":"v%d"}`, i%100, 200+i%2, i%7), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, in := range map[string]func(i int) bool{
		`{"s":{"gte":50,"lt":60}}`:   func(i int) bool { return i%100 >= 50 && i%100 < 60 },
		`{"s":{"lt":99}}`:            func(i int) bool { return i%100 < 99 },
		`{"s":7}`:                    func(i int) bool { return i%100 == 7 },
		`{"s":[7,201],"k":"v3"}`:     func(i int) bool { return (i%100 == 7 || i%2 == 1) && i%7 == 3 },
		`{"s":{"gt":99},"k":["v6"]}`: func(i int) bool { return i%7 == 6 },
		`{"k":{"exists":false}}`:     func(int) bool { return false },
	} {
		got := selected(t, a, text)
		var want []uint32
		for i := range n {
			if in(i) {
				want = append(want, uint32(i))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s selects %d records, want %d", text, len(got), len(want))
		}
	}
}

func TestDatesAreComparedAsPeopleMeanThem(t *testing.T) {
	dates := []string{
		"2026-03-30", "2026-03-31", "2026-03-31T09:30", "2026-03-31 23:59:59.5", "2026-04-01", "2026-03-31T23:30:00+09:00",
		"2026-03-31T16:00Z", "2026-03-31t14:45:00-0500", "2026/03/31", "2026-02-30", "2026-03-31T25:00", "２０２６－０４－０２",
	}
	var raws []string
	for _, d := range dates {
		raws = append(raws, fmt.Sprintf(`{"d":%q}`, d))
	}
	// The same once more among so many that most are not kept as text.
	many := slices.Clone(raws)
	for i := range 9000 {
		many = append(many, fmt.Sprintf(`{"d":"1990-01-01T00:00:00.%06dZ"}`, i))
	}
	for _, tt := range []struct {
		filter string
		want   []uint32
	}{
		{`{"d":{"gte":"2026-03-31","lte":"2026-03-31"}}`, []uint32{1, 2, 3, 5, 6, 7}}, // the day as it is written
		{`{"d":{"gt":"2026-03-31"}}`, []uint32{4, 11}},
		{`{"d":{"gte":"2026-03-31T10:00"}}`, []uint32{3, 4, 5, 6, 7, 11}},
		{`{"d":{"lt":"2026-03-31","gt":"2000-01-01"}}`, []uint32{0}},
		{`{"d":{"gte":"2026-03-31T16:00:00Z","lt":"2026-04-01T00:00Z"}}`, []uint32{3, 6, 7}}, // 5 is 14:30Z, 7 is 19:45Z
		{`{"d":{"lte":"2026-04-01T01:00+09:00","gte":"2026-03-31T12:00+09:00"}}`, []uint32{3, 4, 5, 6}},
		{`{"d":{"gt":"2026-04-01T00:00"}}`, []uint32{11}},
		{`{"d":"2026-04-02"}`, []uint32{11}},
		{`{"d":{"gte":"2026/"}}`, []uint32{8}}, // no date: a string
	} {
		for name, all := range map[string][]string{"few": raws, "many": many} {
			if got := selected(t, attributes(t, all...), tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %s selects %v, want %v", name, tt.filter, got, tt.want)
			}
		}
	}
}

func TestFacetsWithinASelection(t *testing.T) {
	var raws []string
	for i := range 6000 {
		raws = append(raws, fmt.Sprintf(`{"type":%q,"n":%d,"u":"u%d","b":%v}`, []string{"SaaS", "ＳａａＳ", "SI"}[i%3], i%4, i, i%2 == 0))
	}
	a := attributes(t, raws...)
	f, err := filter.Parse(json.RawMessage(`{"n":{"lt":2},"u":["u0","u1","u2","u3","u5","u8"]}`)) // u3 has n 3, u2 has n 2
	if err != nil {
		t.Fatal(err)
	}
	within := a.Select(f)
	for field, want := range map[string]string{
		"type": `[{"value":"SI","count":2},{"value":"SaaS","count":2}]`, // 0 and 1, 5 and 8
		"n":    `[{"value":0,"count":2},{"value":1,"count":2}]`,
		"u":    `[{"value":"u0","count":1},{"value":"u1","count":1},{"value":"u5","count":1},{"value":"u8","count":1}]`,
		"b":    `[{"value":false,"count":2},{"value":true,"count":2}]`,
	} {
		got, err := json.Marshal(a.Facets(field, 10, within))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", field, got, err, want)
		}
	}
}

func TestSortedPutsValuesInOrderAndAbsentOnesLast(t *testing.T) {
	raws := []string{`{"v":3}`, `{}`, `{"v":"B"}`, `{"v":"ａ"}`, `{"v":[10,1]}`, `{"v":"2"}`, `{"v":null}`, `{"v":true}`, `{"v":3.0}`}
	many := slices.Clone(raws)
	for i := range 5000 {
		many = append(many, fmt.Sprintf(`{"v":"zz%d","w":1}`, i))
	}
	for name, all := range map[string][]string{"few": raws, "many": many} {
		a := attributes(t, all...)
		f, err := filter.Parse(json.RawMessage(`{"w":{"exists":false}}`))
		if err != nil {
			t.Fatal(err)
		}
		among := a.Select(f)
		if got, want := a.Sorted("v", false, among, 100), []uint32{4, 5, 0, 8, 3, 2, 7, 1, 6}; !slices.Equal(got, want) {
			t.Errorf("%s: ascending %v, want %v", name, got, want)
		}
		if got, want := a.Sorted("v", true, among, 100), []uint32{7, 2, 3, 4, 0, 8, 5, 1, 6}; !slices.Equal(got, want) {
			t.Errorf("%s: descending %v, want %v", name, got, want)
		}
		if got, want := a.Sorted("none", true, among, 2), []uint32{0, 1}; !slices.Equal(got, want) {
			t.Errorf("%s: by nothing %v, want %v", name, got, want)
		}
	}
}

func TestPathsThatNoRecordHasAreNamed(t *testing.T) {
	a := attributes(t, `{"a":[{"b":1}],"c":1}`)
	for text, want := range map[string][]string{
		`{"a.b":1,"c":2}`: nil, `{"d":1}`: {"d"}, `{"$or":[{"x":1},{"$not":{"c.d":{"exists":true}}},{"x":2}]}`: {"c.d", "x"},
		`{"a":{"elem":{"b":1,"z":1}}}`: {"a.z"}, `{"y":{"elem":{"b":1}}}`: {"y"},
	} {
		f, err := filter.Parse(json.RawMessage(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Unknown(f); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
