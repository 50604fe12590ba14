package vendors_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/vendors"
)

func textOf(t *testing.T, raw string) string {
	t.Helper()
	text, err := vendors.TextOf([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNoTextIsEmpty(t *testing.T) {
	for raw, want := range map[string]string{
		`{}`: "-", `{"price":5,"contact":{"name":"甲野"},"mail":"a@b.example"}`: "- price contact mail",
		`{"description":"説明"}`: "説明", `{"kind":"SaaS"}`: "kind: SaaS", `{"title":"甲","description":"説明"}`: "甲\n説明",
		`{"name":"乙","title":"甲"}`: "乙\ntitle: 甲",
	} {
		if got := textOf(t, raw); got != want {
			t.Errorf("text of %s is %q, want %q", raw, got, want)
		}
	}
}

func TestTextHoldsWhatPeopleWouldReadAndNothingElse(t *testing.T) {
	for _, tt := range []struct{ what, fields, want string }{
		{"a name alone", `"x":1`, ""},
		{"strings under their keys", `"b":"乙","a":"甲"`, "\na: 甲\nb: 乙"},
		{"known fields first", `"zz":"終","tags":["a"],"capabilities":["b"],"type":"SI"`, "\ntype: SI\ncapabilities: b\ntags: a\nzz: 終"},
		{"lists on one line, in order", `"x":["c","a",["b"]]`, "\nx: c, a, b"},
		{"objects as lines of their own", `"x":{"y":{"z":"あ"},"w":"い"}`, "\nw: い\nz: あ"},
		{"objects in lists on a line each", `"x":[{"n":"あ"},{"n":"い","m":["う"]}]`, "\nx: あ\nx: う, い"},
		{"compatibility forms unified", `"x":"ＡＢＣ ﾊﾞｯｸ　①"`, "\nx: ABC バック 1"},
		{"whitespace and control characters as one space", `"x":" a\n\n\tb\u0000c　d "`, "\nx: a b c d"},
		{"no numbers, booleans, null", `"x":1,"y":true,"z":null,"w":[1.5]`, ""},
		{"no strings without a letter", `"x":"-","y":"03-1234-5678","z":"200-300","w":["2025-09-24","10:00","¥1,000"]`, ""},
		{"no dates", `"x":"2025年9月24日","y":"2025-09-24T10:00:00+09:00","created_at":"昨日"`, ""},
		{"no links or addresses", `"x":"https://a.example/b","y":"sales@a.example","z":"www.a.example","homepage":"甲"`, ""},
		{"no identifiers", `"parent_id":"甲","x":"0f8fad5b-d9cd-469f-a165-70867728950e","uuid":"乙"`, ""},
		{"no placeholders", `"x":"不明","y":"N/A","z":["なし",""," "]`, ""},
		{"no contacts", `"contact":{"name":"佐藤","email":"x"},"contacts":[{"name":"高橋"}]`, ""},
		{"no private keys", `"_source":"甲","_x":{"y":"乙"}`, ""},
		{"codes stay", `"code":"AX-200","cert":"ISO/IEC 27001"`, "\ncert: ISO/IEC 27001\ncode: AX-200"},
		{"words that look like hexadecimal stay", `"x":"facade","y":"deadbeefdeadbeef"`, "\nx: facade\ny: deadbeefdeadbeef"},
		{"sentences with a link stay", `"x":"詳細は https://a.example へ"`, "\nx: 詳細は https://a.example へ"},
	} {
		if got := textOf(t, `{"id":"i","name":"N",`+tt.fields+`}`); got != "N"+tt.want {
			t.Errorf("%s: text is %q, want %q", tt.what, got, "N"+tt.want)
		}
	}
}

func TestNameAndDescriptionComeFirstAndOnce(t *testing.T) {
	got := textOf(t, `{"id":"i","basic_info":{"description":"Ｄ","city":"c"},"name":"Ｎ","description_short":"s"}`)
	if want := "N\ns\ndescription: D\ncity: c"; got != want {
		t.Errorf("text is %q, want %q", got, want)
	}
}

func TestVerbatimTextReplacesTheTemplate(t *testing.T) {
	for raw, want := range map[string]string{
		`"_text":" Ａ\n b "`: " Ａ\n b ",
		`"_text":""`:        "N",
		`"_text":null`:      "N",
	} {
		if got := textOf(t, `{"id":"i","name":"N",`+raw+`}`); got != want {
			t.Errorf("text with %s is %q, want %q", raw, got, want)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	long, err := json.Marshal(strings.Repeat("倉庫a", 40_000))
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		`{"id":"i","name":` + string(long) + `}`,
		`{"id":"i","name":"N","description":` + string(long) + `,"x":"y"}`,
		`{"id":"i","name":"N","x":[` + strings.TrimSuffix(strings.Repeat(`"倉庫",`, 40_000), ",") + `],"y":"z"}`,
	} {
		text := textOf(t, raw)
		if n := utf8.RuneCountInString(text); n != vendors.MaxTextRunes || !utf8.ValidString(text) {
			t.Errorf("text of %.40s… has %d characters, valid %v; want %d", raw, n, utf8.ValidString(text), vendors.MaxTextRunes)
		}
	}
	text := textOf(t, `{"id":"i","name":"N","_text":`+string(long)+`}`)
	if len(text) > vendors.MaxVerbatimText || len(text) < vendors.MaxVerbatimText-3 || !utf8.ValidString(text) {
		t.Errorf("verbatim text has %d bytes, valid %v", len(text), utf8.ValidString(text))
	}
}

func TestChangedNamesFields(t *testing.T) {
	for _, tt := range []struct {
		what, before, after string
		want                string
	}{
		{"nothing", `{"a":1}`, `{"a":1}`, ""},
		{"order of keys", `{"a":1,"b":2}`, `{"b":2,"a":1}`, ""},
		{"values, additions, removals", `{"a":1,"b":2,"c":3}`, `{"a":2,"b":2,"d":4}`, "a c d"},
		{"spelling of a number", `{"a":1}`, `{"a":1.0}`, "a"},
		{"type", `{"a":"1"}`, `{"a":1}`, "a"},
		{"within objects", `{"e":{"s":"x","t":1},"f":{}}`, `{"e":{"s":"y","t":1},"f":{}}`, "e.s"},
		{"an object for a scalar", `{"e":{"s":"x"}}`, `{"e":"x"}`, "e"},
		{"lists as a whole", `{"l":[{"a":1}]}`, `{"l":[{"a":2}]}`, "l"},
	} {
		got, err := vendors.Changed([]byte(tt.before), []byte(tt.after))
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: Changed() = %v, %v, want %s", tt.what, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "1", `{"a":`} {
		if _, err := vendors.Changed([]byte(`{}`), []byte(bad)); err == nil {
			t.Errorf("Changed({}, %s) gave no error", bad)
		}
	}
}
