package vendors_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/japanese"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func shiftJIS(t testing.TB, s string) string {
	t.Helper()
	out, err := japanese.ShiftJIS.NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// called lists the records as id=name.
func called(recs []vendors.Record) []string {
	out := []string{}
	for _, r := range recs {
		out = append(out, r.ID+"="+r.Name)
	}
	return out
}

// repaired lists the repairs as kind count ids.
func repaired(r vendors.Report) string {
	var out []string
	for _, x := range r.Repairs {
		out = append(out, fmt.Sprintf("%s %d %s", x.Kind, x.Count, strings.Join(x.IDs, ",")))
	}
	return strings.Join(out, "; ")
}

func TestIDsAreMadeUnique(t *testing.T) {
	for _, tt := range []struct {
		what, rule, in string
		want           []string
		repairs        string
	}{
		{"a repeated id", "suffix", `[{"id":"V","name":"a"},{"id":"W","name":"b"},{"id":"V","name":"c"},{"id":"V","name":"d"}]`,
			[]string{"V=a", "W=b", "V~2=c", "V~3=d"}, "duplicate_id 1 V"},
		{"an id that a suffix would make exists, later", "suffix", `[{"id":"V","name":"a"},{"id":"V","name":"b"},{"id":"V~2","name":"c"}]`,
			[]string{"V=a", "V~3=b", "V~2=c"}, "duplicate_id 1 V"},
		{"a repeated id with a suffix", "suffix", `[{"id":"V~2","name":"a"},{"id":"V","name":"b"},{"id":"V","name":"c"},{"id":"V~2","name":"d"}]`,
			[]string{"V~2=a", "V=b", "V~3=c", "V~2~2=d"}, "duplicate_id 2 V~2,V"},
		{"records that are equal, whatever the order of keys and the spelling", "suffix",
			`[{"id":"V","name":"甲","n":1.0,"o":{"a":[1],"b":null}},{"o":{"b":null,"a":[1e0]},"n":10e-1,"name":"\u7532","id":"V"},{"id":"V","name":"甲","n":2}]`,
			[]string{"V=甲", "V~2=甲"}, "duplicate_id 1 V"},
		{"lists in another order are not equal", "suffix", `[{"id":"V","name":"a","x":[1,2]},{"id":"V","name":"a","x":[2,1]}]`,
			[]string{"V=a", "V~2=a"}, "duplicate_id 1 V"},
		{"a string is no number", "suffix", `[{"id":"V","name":"a","x":"1"},{"id":"V","name":"a","x":1}]`,
			[]string{"V=a", "V~2=a"}, "duplicate_id 1 V"},
		{"the last one", "last", `[{"id":"V","name":"a"},{"id":"W","name":"b"},{"id":"V","name":"c"},{"id":"V","name":"c"}]`,
			[]string{"W=b", "V=c"}, "duplicate_id 1 V"},
		{"a number and a string that are one id", "suffix", `[{"id":7,"name":"a"},{"id":"7","name":"b"}]`, []string{"7=a", "7~2=b"}, "duplicate_id 1 7"},
		{"names as ids", "suffix", `[{"title":"甲"},{"title":"乙","url":"https://b.example/"},{"title":"甲","url":"x"},{"title":"甲"}]`,
			[]string{"甲=甲", "乙=乙", "甲~2=甲"}, "duplicate_id 1 甲; no_id 3 甲,乙,甲~2"},
		{"a name that is somebody's id, later", "suffix", `[{"name":"甲"},{"id":"甲","name":"乙"}]`,
			[]string{"甲~2=甲", "甲=乙"}, "duplicate_id 1 甲; no_id 1 甲~2"},
		{"names as ids lose nothing to the last one", "last", `[{"name":"甲","x":1},{"name":"甲","x":2},{"id":"甲","name":"乙"}]`,
			[]string{"甲~2=甲", "甲~3=甲", "甲=乙"}, "duplicate_id 1 甲; no_id 2 甲~2,甲~3"},
		{"neither id nor name", "suffix", `[{"price":5},{"price":6},{"price":5}]`,
			[]string{"f43c8f8643f4e949=f43c8f8643f4e949", "011d46fcfb071464=011d46fcfb071464"},
			"duplicate_id 1 f43c8f8643f4e949; no_id 2 f43c8f8643f4e949,011d46fcfb071464; no_name 2 f43c8f8643f4e949,011d46fcfb071464"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			rules := vendors.DefaultRules()
			rules.Duplicates = tt.rule
			recs, report, err := read(strings.NewReader(tt.in), rules, vendors.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, called(recs)); d != "" {
				t.Errorf("records differ (-want +got):\n%s", d)
			}
			if got := repaired(report); got != tt.repairs {
				t.Errorf("repairs are %q, want %q", got, tt.repairs)
			}
			if report.Records != len(recs) || report.Read != report.Records+report.Dropped {
				t.Errorf("report %+v of %d records", report, len(recs))
			}
		})
	}
}

func TestIDsAndNamesAreFoundByRules(t *testing.T) {
	for _, tt := range []struct{ what, id, name, raw, want, repairs string }{
		{"defaults", "", "", `{"vendor_id":"V-1","id":2,"title":"t","company_name":"c"}`, "V-1=c", ""},
		{"a dotted path", "basic.code", "basic.label", `{"basic":{"code":7,"label":" 甲 "},"name":"n"}`, "7=甲", ""},
		{"a key with a dot", "basic.code", "name", `{"basic.code":"x","name":"n"}`, "x=n", ""},
		{"through a list, the first", "codes.value", "name", `{"codes":[{"value":""},{"value":"b"},{"value":"c"}],"name":"n"}`, "b=n", ""},
		{"12.0 is 12", "", "", `{"id":12.0,"name":"n"}`, "12=n", "float_id 1 12"},
		{"-3.00 is -3", "", "", `{"id":-3.00,"name":"n"}`, "-3=n", "float_id 1 -3"},
		{"1.5 is no id", "", "", `{"id":1.5,"name":"n"}`, "n=n", "no_id 1 n"},
		{"1e3 is no id", "", "", `{"id":1e3,"name":"n"}`, "n=n", "no_id 1 n"},
		{"a list, null, true and blanks are no id", "a,b,c,d,e", "", `{"a":[],"b":null,"c":true,"d":" ","e":"x","name":"n"}`, "x=n", ""},
		{"a number as a name", "", "", `{"id":"a","name":2024}`, "a=2024", ""},
		{"no name: the first text that is one", "", "", `{"id":"A-1","url":"https://a.example/","mail":"a@b.example","at":"2025-09-24T10:00:00Z","day":"2025年9月24日","n":5,"x":{"y":["-","冷凍倉庫の会社"]},"z":"later"}`,
			"A-1=冷凍倉庫の会社", "no_name 1 A-1"},
		{"no name: the id's own text is none", "", "", `{"id":"A-1","n":5}`, "A-1=A-1", "no_name 1 A-1"},
		{"dates in letters are no name", "", "", `{"id":"A-1","a":"Sep 24, 2025","b":"令和7年9月24日","c":"Wed, 24 Sep 2025 10:00:00 GMT","d":"甲"}`, "A-1=甲", "no_name 1 A-1"},
		{"the name of the text where RECORD_NAME leads nowhere", "", "label", `{"id":"A-1","kind":"SaaS","vendor_name":"甲"}`, "A-1=甲", "no_name 1 A-1"},
		{"no id: the name with a line break", "", "", `{"name":"甲\n 乙"}`, "甲 乙=甲\n 乙", "no_id 1 甲 乙"},
		{"no id: a name too long for one", "", "", `{"name":"` + strings.Repeat("甲", 200) + `"}`, "697be907e236e8f2=" + strings.Repeat("甲", 200), "no_id 1 697be907e236e8f2"},
		{"invisible names are none", "", "", `{"id":"a","name":"\u200b","title":"甲"}`, "a=甲", ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			rules := vendors.DefaultRules()
			if tt.id != "" {
				rules.ID = tt.id
			}
			if tt.name != "" {
				rules.Name = tt.name
			}
			recs, report, err := read(strings.NewReader("["+tt.raw+"]"), rules, vendors.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if got := called(recs)[0]; got != tt.want {
				t.Errorf("the record is called %q, want %q", got, tt.want)
			}
			if got := repaired(report); got != tt.repairs {
				t.Errorf("repairs are %q, want %q", got, tt.repairs)
			}
			if string(recs[0].Raw) != tt.raw {
				t.Errorf("metadata is %s", recs[0].Raw)
			}
		})
	}
}

// What is embedded must not depend on how records are called: a setting would make everything be bought again.
func TestTheTextDoesNotDependOnTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := "[" + strings.Join(vendorstest.RecordTexts(t, 2), ",") + "]"
		path := rapid.SampledFrom([]string{"a", "b", "a.b", "c", "name", "型"})
		rules := vendors.Rules{
			Duplicates: rapid.SampledFrom([]string{"suffix", "last"}).Draw(t, "duplicates"),
			ID:         path.Draw(t, "id") + ",id", Name: path.Draw(t, "name"),
		}
		want, _, err := read(strings.NewReader(in), vendors.DefaultRules(), vendors.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := read(strings.NewReader(in), rules, vendors.DefaultLimits())
		var bad *vendors.CatalogueError
		if errors.As(err, &bad) && bad.Kind == vendors.KindInvalidID {
			return // what stands at the path cannot be an id
		}
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		for _, r := range want {
			texts[r.Text] = true
		}
		for _, r := range got {
			if !texts[r.Text] {
				t.Fatalf("text %q of %s", r.Text, r.Raw)
			}
		}
	})
}

// TestIDsStayWhereTheyAre: an id that stands once is never touched, final ids are unique, the same file gives the same
// ids, and another order changes ids only among the records that share one.
func TestIDsStayWhereTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type rec struct{ id, name, x string }
		var all []rec
		for range rapid.IntRange(1, 12).Draw(t, "n") {
			all = append(all, rec{
				rapid.SampledFrom([]string{"", "", "V", "V~2", "W", "V~2~2", "甲", "甲~2"}).Draw(t, "id"),
				rapid.SampledFrom([]string{"甲", "乙", "V", "V~2", "甲~2"}).Draw(t, "name"),
				rapid.SampledFrom([]string{"1", "1.0", "2"}).Draw(t, "x"),
			})
		}
		rules := vendors.DefaultRules()
		rules.Duplicates = rapid.SampledFrom([]string{"suffix", "last"}).Draw(t, "rule")
		final := func(recs []rec) (ids map[string][]string) { // by content
			var texts []string
			for _, r := range recs {
				if r.id == "" {
					texts = append(texts, fmt.Sprintf(`{"name":%q,"x":%s}`, r.name, r.x))
				} else {
					texts = append(texts, fmt.Sprintf(`{"id":%q,"name":%q,"x":%s}`, r.id, r.name, r.x))
				}
			}
			got, report, err := read(strings.NewReader("["+strings.Join(texts, ",")+"]"), rules, vendors.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			ids = map[string][]string{}
			for _, r := range got {
				if seen[r.ID] {
					t.Fatalf("id %s twice: %v", r.ID, called(got))
				}
				seen[r.ID] = true
				ids[strings.ReplaceAll(string(r.Raw), "1.0", "1")] = append(ids[strings.ReplaceAll(string(r.Raw), "1.0", "1")], r.ID)
			}
			if report.Read != len(recs) || report.Read != report.Records+report.Dropped {
				t.Fatalf("report %+v of %d records", report, len(recs))
			}
			return ids
		}
		before := final(all)
		if d := cmp.Diff(before, final(all)); d != "" {
			t.Fatalf("the same file gave other ids:\n%s", d)
		}
		bases := map[string]int{}
		for _, r := range all {
			if bases[r.id]++; r.id == "" {
				bases[r.name]++
			}
		}
		after := final(rapid.Permutation(all).Draw(t, "reordered"))
		for _, r := range all {
			base := r.id
			if base == "" {
				base = r.name
			}
			key := fmt.Sprintf(`{"id":%q,"name":%q,"x":%s}`, r.id, r.name, strings.TrimSuffix(r.x, ".0"))
			if r.id == "" {
				key = fmt.Sprintf(`{"name":%q,"x":%s}`, r.name, strings.TrimSuffix(r.x, ".0"))
			}
			if bases[base] > 1 {
				for _, id := range append(before[key], after[key]...) {
					if id != base && !strings.HasPrefix(id, base+"~") {
						t.Fatalf("%s became %s", base, id)
					}
				}
				continue
			}
			if !slices.Equal(before[key], []string{base}) || !slices.Equal(after[key], []string{base}) {
				t.Fatalf("%s stands once and became %v, reordered %v", base, before[key], after[key])
			}
		}
	})
}

const sheet = "会社コード,company_name,basic_info.description,engagement.status,engagement.score,備考\r\n" +
	"A-1,氷室商会,\"冷凍倉庫の温度監視。\n\"\"24時間\"\"対応, 全国\",面談済,007,\r\n" +
	",ソニー表計算,能率を上げる,,12.50,\"#特記, [なし]\"\r\n" +
	",,,,,\r\n"

func TestFormatsAreFoundByContent(t *testing.T) {
	const a, b = `{"id":"a","name":"氷室商会"}`, `{"id":"b","name":"ソニー表計算"}`
	two := []string{"a=氷室商会", "b=ソニー表計算"}
	rows := []string{"A-1=氷室商会", "ソニー表計算=ソニー表計算"}
	rules := vendors.DefaultRules()
	rules.ID = "vendor_id,id,会社コード"
	for _, tt := range []struct {
		what, in string
		want     []string
		format   string
	}{
		{"array", "[" + a + "," + b + "]", two, "JSON UTF-8"},
		{"object", `{"vendors":[` + a + "," + b + "]}", two, "JSON UTF-8"},
		{"object on lines", "{\n\"meta\":{},\n\"vendors\":[\n" + a + ",\n" + b + "]\n}\n", two, "JSON UTF-8"},
		{"JSON Lines", a + "\n" + b, two, "JSON Lines UTF-8"},
		{"JSON Lines with blank lines, CRLF and a mark", "\ufeff\r\n" + a + " \r\n\r\n\t" + b + "\r\n\r\n", two, "JSON Lines UTF-8 with a byte order mark"},
		{"one record", "\n" + a + "\n", two[:1], "one JSON object UTF-8"},
		{"one record on lines", "{\n\"name\": \"氷室商会\",\n\"id\":\"a\"}", two[:1], "one JSON object UTF-8"},
		{"CSV", sheet, rows, "CSV UTF-8"},
		{"CSV with a mark", "\ufeff" + sheet, rows, "CSV UTF-8 with a byte order mark"},
		{"CSV in Shift_JIS", shiftJIS(t, sheet), rows, "CSV Shift_JIS"},
		{"CSV with quoted names", strings.Replace(sheet, "会社コード", `" 会社コード"`, 1), rows, "CSV UTF-8"},
		{"CSV after blank lines", "\n\r\n" + sheet, rows, "CSV UTF-8"},
	} {
		for _, gz := range []bool{false, true} {
			in := tt.in
			if gz {
				in = gzipped(in[:len(in)/2]) + gzipped(in[len(in)/2:])
			}
			for name, r := range map[string]io.ReadSeeker{"whole": strings.NewReader(in), "bytewise": through(strings.NewReader(in), iotest.OneByteReader)} {
				recs, report, err := read(r, rules, vendors.DefaultLimits())
				if err != nil {
					t.Fatalf("%s, gzip %v, %s: %v", tt.what, gz, name, err)
				}
				if d := cmp.Diff(tt.want, called(recs)); d != "" {
					t.Errorf("%s, gzip %v, %s: records differ (-want +got):\n%s", tt.what, gz, name, d)
				}
				if got := report.Format + " " + report.Encoding; got != tt.format || report.Gzip != gz {
					t.Errorf("%s: format %q, gzip %v, want %q, %v", tt.what, got, report.Gzip, tt.format, gz)
				}
			}
		}
	}
}

func TestCellsAreStringsAsTheyAreWritten(t *testing.T) {
	rules := vendors.DefaultRules()
	rules.ID = "会社コード"
	want := []string{
		`{"会社コード":"A-1","company_name":"氷室商会","basic_info":{"description":"冷凍倉庫の温度監視。\n\"24時間\"対応, 全国"},"engagement":{"status":"面談済","score":"007"}}`,
		`{"company_name":"ソニー表計算","basic_info":{"description":"能率を上げる"},"engagement":{"score":"12.50"},"備考":"#特記, [なし]"}`,
	}
	for _, in := range []string{sheet, "\ufeff" + sheet, shiftJIS(t, sheet)} {
		recs, _, err := read(strings.NewReader(in), rules, vendors.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range recs {
			if string(r.Raw) != want[i] {
				t.Errorf("record is %s\nwant      %s", r.Raw, want[i])
			}
		}
		if recs[0].Line != 2 || recs[1].Line != 4 {
			t.Errorf("lines %d and %d, want 2 and 4", recs[0].Line, recs[1].Line)
		}
		if recs[0].Answer != "氷室商会\n冷凍倉庫の温度監視。\n\"24時間\"対応, 全国" {
			t.Errorf("answer is %q", recs[0].Answer)
		}
	}
	recs, _, err := read(strings.NewReader("No.,Tel.,a..b,name\n1,2,\x01\\,甲\n"), vendors.DefaultRules(), vendors.DefaultLimits())
	if err != nil || string(recs[0].Raw) != `{"No.":"1","Tel.":"2","a..b":"\u0001\\","name":"甲"}` {
		t.Errorf("records %v, %v", recs, err)
	}
}

func TestWhatCannotBeReadIsRefusedWithTheLikelyCause(t *testing.T) {
	const a = `{"id":"a","name":"氷室商会"}`
	utf16 := func(s string) string {
		var b strings.Builder
		for _, r := range s {
			b.WriteByte(byte(r))
			b.WriteByte(byte(r >> 8))
		}
		return b.String()
	}
	kana := strings.Repeat("ｱｲｳｴｵ", 10)
	eucJP, err := japanese.EUCJP.NewEncoder().String("id,name\na,株式会社氷室商会の冷凍倉庫\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what, in, kind string
		line           int
		cause          string
	}{
		{"Shift_JIS in JSON", shiftJIS(t, "[{\"id\":\"a\",\n\"name\":\"氷室商会\"}]"), vendors.KindUTF8, 2, "Shift_JIS"},
		{"Shift_JIS with a backslash as second byte", shiftJIS(t, `[{"vendor_id":"V-1","name":"ソニー表計算"}]`), vendors.KindUTF8, 1, "Shift_JIS"},
		{"Shift_JIS whose backslash is before a quote", shiftJIS(t, "[{\"name\":\"予定表\"},\n{\"name\":\"十\"}]"), vendors.KindUTF8, 1, "Shift_JIS"},
		{"Shift_JIS in a key", shiftJIS(t, "[{\"id\":\"a\"},\n{\"構\":1}]"), vendors.KindUTF8, 2, "Shift_JIS"},
		{"Shift_JIS in JSON Lines", shiftJIS(t, "{\"id\":\"a\"}\n{\"name\":\"能登\"}"), vendors.KindUTF8, 2, "Shift_JIS"},
		{"Shift_JIS in one object", shiftJIS(t, "{\"meta\":\"表\",\"vendors\":[]}"), vendors.KindUTF8, 1, "Shift_JIS"},
		{"EUC-JP", eucJP, vendors.KindUTF8, 2, "EUC-JP"},
		{"UTF-8 with a broken character", "[{\"id\":\"a\",\"name\":\"氷室\xe6商会\"}]", vendors.KindUTF8, 1, "most of it is UTF-8"},
		{"a CSV in UTF-8 with a broken character", "id,name\na,氷室\xe6商会\n", vendors.KindUTF8, 2, "most of it is UTF-8"},
		{"a CSV that is mostly half-width katakana", shiftJIS(t, "id,name\na,"+kana+"\n"), vendors.KindUTF8, 2, "half-width katakana"},
		{"a CSV in Shift_JIS, cut within a character", shiftJIS(t, "id,name\na,"+strings.Repeat("株式会社氷室", 9))[:101], vendors.KindUTF8, 2, "damaged"},
		{"bytes of no text", "a,b\n\xff\xfe\xfd\xfc\xfb\n", vendors.KindUTF8, 2, "neither"},
		{"UTF-16 with a mark", "\xff\xfe" + utf16("[]"), vendors.KindUTF8, 1, "UTF-16"},
		{"UTF-16 without", utf16("[{}]"), vendors.KindUTF8, 1, "UTF-16"},
		{"UTF-16, big", "\xfe\xff\x00[\x00]", vendors.KindUTF8, 1, "UTF-16"},
		{"a UTF-16 CSV", "\xff\xfe" + utf16("id\tname\n"), vendors.KindUTF8, 1, "UTF-16"},
		{"NaN", "[{\"id\":\"a\",\n\"x\":NaN}]", vendors.KindSyntax, 2, "write null"},
		{"minus infinity in JSON Lines", a + "\n{\"x\":-Infinity}", vendors.KindSyntax, 2, "write null"},
		{"Python's words", "[{\"id\":\"a\",\"x\":None}]", vendors.KindSyntax, 1, "json.dump"},
		{"Python's quotes", "[{'id':'a'}]", vendors.KindSyntax, 1, "double quotes"},
		{"typographic quotes", "[{“id”:\"a\"}]", vendors.KindSyntax, 1, "typographic"},
		{"full-width punctuation", "[{\"id\"：\"a\"}]", vendors.KindSyntax, 1, "full-width"},
		{"a comment", "[" + a + ",\n// more\n]", vendors.KindSyntax, 2, "comments"},
		{"a comma too many", "[" + a + ",\n]", vendors.KindSyntax, 2, "one too many"},
		{"brackets crossed", "[{\"id\":\"a\"]", vendors.KindSyntax, 1, "found ']' where ',' or '}' should be, in record 1"},
		{"a comma missing", "[" + a + "\n" + a + "]", vendors.KindSyntax, 2, "missing"},
		{"gzip inside gzip", gzipped(gzipped("[" + a + "]")), vendors.KindFormat, 1, "gzip inside gzip"},
		{"gzip cut off", gzipped("[" + a + "]")[:30], vendors.KindTruncated, 1, "compressed"},
		{"gzip damaged", strings.Replace(gzipped("["+a+"]"), "\x00\x00\x00\x00", "\x00\x00\x00\x00\xff", 1), vendors.KindGzip, 1, "damaged"},
		{"gzip with more behind it", gzipped("["+a+"]") + "id,name\na,b\n", vendors.KindGzip, 1, "follows"},
		{"a workbook", "PK\x03\x04\x14\x00", vendors.KindFormat, 1, "Excel"},
		{"a workbook in gzip", gzipped("PK\x03\x04\x14\x00"), vendors.KindFormat, 1, "Excel"},
		{"HTML", "\n<!DOCTYPE html>", vendors.KindFormat, 2, "HTML"},
		{"HTML with a mark", "\ufeff<html>", vendors.KindFormat, 1, "HTML"},
		{"Markdown", "### ベンダー 1:\n", vendors.KindFormat, 1, "Markdown"},
		{"tabs", "id\tname\na\tb\n", vendors.KindFormat, 1, "tabs"},
		{"semicolons", "id;name\na;b\n", vendors.KindFormat, 1, "semicolons"},
		{"words", "hello\n", vendors.KindFormat, 1, "neither JSON nor CSV"},
		{"an object without vendors", `{"items":[` + a + `]}`, vendors.KindShape, 1, `"vendors"`},
		{"an object without vendors, on lines", "{\n\"items\":[]\n}", vendors.KindShape, 3, `"vendors"`},
		{"an object over two lines in JSON Lines", a + "\n{\"id\":\n\"b\"}\n", vendors.KindSyntax, 2, "next line"},
		{"objects over several lines", "{\"id\":1,\n\"name\":\"x\"}\n{\"id\":2}", vendors.KindSyntax, 1, "next line"},
		{"two objects on a line", a + a, vendors.KindTrailing, 1, "after the object"},
		{"objects with commas", a + ",\n" + a, vendors.KindTrailing, 1, "','"},
		{"an array among JSON Lines", a + "\n[" + a + "]", vendors.KindSyntax, 2, "JSON Lines"},
		{"JSON Lines cut off", a + "\n{\"id\":\"b", vendors.KindTruncated, 2, ""},
		{"an id in JSON Lines", a + "\n{\"id\":\"\\u0000\"}", vendors.KindInvalidID, 2, ""},
		{"a CSV without rows", "id,name\n", vendors.KindEmpty, 2, "no row"},
		{"a CSV with a header twice", "id,name,id\n1,2,3\n", vendors.KindCSV, 1, `"id" twice`},
		{"a CSV with a beside a.b", "a,name,a.b\n1,2,3\n", vendors.KindCSV, 1, `both "a" and "a.b"`},
		{"a CSV with a.b beside a", "a.b,name,a\n1,2,3\n", vendors.KindCSV, 1, `both "a.b" and "a"`},
		{"a CSV with a.b.c beside a.b", "a.b,name,a.b.c\n1,2,3\n", vendors.KindCSV, 1, `both "a.b" and "a.b.c"`},
		{"a column without a name", ",name\n0,甲\n", vendors.KindCSV, 1, "column 1 has no name"},
		{"a row too short", "id,name,x\n1,2,3\n4,5\n", vendors.KindCSV, 3, "2 cells in a row under 3 columns"},
		{"a row too long", "id,name\n1,2\n3,4,5\n", vendors.KindCSV, 3, "3 cells in a row under 2 columns"},
		{"a quotation mark within a cell", "id,name\n1,5\" display\n", vendors.KindCSV, 2, "quotes"},
		{"a quotation mark never closed", "id,name\n1,\"x\n2,y\n", vendors.KindCSV, 2, "quotes"},
		{"a line of Markdown", "id,name\n1,2\n# 3,4\n", vendors.KindCSV, 3, "Markdown"},
		{"a line of JSON", "id,name\n1,2\n{\"id\":3,4\n", vendors.KindCSV, 3, "mixed"},
		{"lines that end in CR", "id,name\r1,2\r3,4\r", vendors.KindCSV, 1, "carriage returns"},
		{"too many columns", strings.Repeat("x,", 1001) + "y\n", vendors.KindCSV, 1, "1002 columns"},
		{"headers too deep", "name," + strings.Repeat("x.", 1<<20) + "y\n1,2\n", vendors.KindDepth, 1, "column 2"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			for name, r := range map[string]io.ReadSeeker{"whole": strings.NewReader(tt.in), "bytewise": through(strings.NewReader(tt.in), iotest.OneByteReader)} {
				_, _, err := read(r, vendors.DefaultRules(), vendors.DefaultLimits())
				var bad *vendors.CatalogueError
				if !errors.As(err, &bad) {
					t.Fatalf("%s: Read() = %v, want a CatalogueError", name, err)
				}
				if bad.Kind != tt.kind || bad.Line != tt.line || !strings.Contains(bad.Detail, tt.cause) {
					t.Errorf("%s: Read() = %v, want %q in line %d, with %q", name, err, tt.kind, tt.line, tt.cause)
				}
			}
		})
	}
}

func TestCompressedFilesAreBoundedByWhatTheyHold(t *testing.T) {
	lim := small
	lim.File = 1 << 20
	for what, in := range map[string]string{
		"JSON": gzipped(`[{"id":"a","name":"b"}` + strings.Repeat(`, `, 1<<20)),
		"CSV":  gzipped("id,name\n" + strings.Repeat("\n", 2<<20)),
	} {
		_, err := parse(strings.NewReader(in), lim)
		var bad *vendors.CatalogueError
		if !errors.As(err, &bad) || bad.Kind != vendors.KindFileSize && bad.Kind != vendors.KindSyntax {
			t.Errorf("%s: %d bytes of gzip: %v", what, len(in), err)
		}
	}
	_, err := parse(strings.NewReader(gzipped("id,name\n1,\""+strings.Repeat("x", 200<<10)+"\"\n")), small)
	var bad *vendors.CatalogueError
	if !errors.As(err, &bad) || bad.Kind != vendors.KindRecordSize || bad.Line != 2 || !strings.Contains(bad.Detail, "never closed") {
		t.Errorf("a long cell was read whole: %v", err)
	}
}

func TestShiftJISIsTakenForItOnlyWhenItIsSure(t *testing.T) {
	const utf8 = "\xe3\x81\x82\xe3\x81\x84" // あい in UTF-8 is 縺ゅ＞ in Shift_JIS
	for _, tt := range []struct {
		what, text string // in Shift_JIS
		good       bool
	}{
		{"kanji", shiftJIS(t, "氷室"), true},
		{"9 of 100 half-width", shiftJIS(t, strings.Repeat("氷", 91)+strings.Repeat("ｱ", 9)), true},
		{"10 of 100 half-width", shiftJIS(t, strings.Repeat("氷", 90)+strings.Repeat("ｱ", 10)), false},
		{"less than half of the bytes are UTF-8", shiftJIS(t, "室室室室") + utf8, true},
		{"half of the bytes are UTF-8", shiftJIS(t, "室室室") + utf8, false},
		{"extensions of Windows", shiftJIS(t, "①㈱髙"), true},
		{"a byte that is none", shiftJIS(t, strings.Repeat("氷", 50)) + "\xff", false},
		{"cut within a character", shiftJIS(t, strings.Repeat("氷", 50)) + "\x8a", false},
	} {
		recs, report, err := read(strings.NewReader("id,name\na,"+tt.text+"\n"), vendors.DefaultRules(), vendors.DefaultLimits())
		if tt.good && (err != nil || len(recs) != 1 || report.Encoding != "Shift_JIS") {
			t.Errorf("%s: %d records, %q, %v", tt.what, len(recs), report.Encoding, err)
		}
		if !tt.good && err == nil {
			t.Errorf("%s: was taken for Shift_JIS: %s", tt.what, recs[0].Raw)
		}
	}
}

func TestNoCauseIsInvented(t *testing.T) {
	for in, want := range map[string]string{
		`[{"id":"a"]`:              "found ']' where ',' or '}' should be, in record 1",
		"{\"id\":1}\n{\"id\":\n2}": "the object goes on in the next line: JSON Lines has a whole one on each line",
		`[{"id":x}]`:               "found 'x' where a value should be, in record 1",
	} {
		_, err := parse(strings.NewReader(in), vendors.DefaultLimits())
		var bad *vendors.CatalogueError
		if !errors.As(err, &bad) || bad.Detail != want {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}
