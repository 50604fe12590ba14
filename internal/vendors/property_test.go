package vendors_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func TestAnyCatalogueIsReadAsItStands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := vendorstest.RecordTexts(t, rapid.IntRange(1, 5).Draw(t, "n"))
		list := "[" + strings.Join(texts, ",\n") + "]"
		object := `{"before":` + vendorstest.JSONText(2).Draw(t, "before") + `,"vendors":` + list + `,"after":` + vendorstest.JSONText(2).Draw(t, "after") + "}"
		for _, s := range []string{list, object} {
			recs, err := parse(through(strings.NewReader(s), iotest.HalfReader), vendors.DefaultLimits())
			if err != nil {
				t.Fatalf("Parse(%s): %v", s, err)
			}
			if len(recs) != len(texts) {
				t.Fatalf("%d records, want %d", len(recs), len(texts))
			}
			for i, rec := range recs {
				var want bytes.Buffer
				if err := json.Compact(&want, []byte(texts[i])); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(rec.Raw, want.Bytes()) {
					t.Fatalf("Raw = %s\nwant  %s", rec.Raw, want.Bytes())
				}
				if s[rec.Offset:rec.Offset+1] != "{" || rec.Line != 1+strings.Count(s[:rec.Offset], "\n") {
					t.Fatalf("record %d: line %d, offset %d", i, rec.Line, rec.Offset)
				}
				if again, err := vendors.TextOf(rec.Raw); err != nil || again != rec.Text {
					t.Fatalf("TextOf(%s) = %q, %v; want %q", rec.Raw, again, err, rec.Text)
				}
			}
		}
	})
}

func TestACutOffCatalogueIsNeverRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := vendorstest.RecordTexts(t, rapid.IntRange(1, 3).Draw(t, "n"))
		s := `{"vendors":[` + strings.Join(texts, ",") + `],"x":` + vendorstest.JSONText(1).Draw(t, "x") + "}"
		cut := rapid.IntRange(0, len(s)-1).Draw(t, "cut")
		_, err := parse(strings.NewReader(s[:cut]), vendors.DefaultLimits())
		var bad *vendors.CatalogueError
		if !errors.As(err, &bad) {
			t.Fatalf("Parse(%s) = %v", s[:cut], err)
		}
		if k := bad.Kind; cut > 0 && k != vendors.KindTruncated {
			t.Fatalf("Parse(%s) = %v, want %s", s[:cut], err, vendors.KindTruncated)
		}
	})
}

func TestKeyOrderDoesNotChangeTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.Permutation([]string{
			`"id":"V-1"`, `"name":"甲"`, `"tags":["冷凍","倉庫"]`, `"basic_info":{"description":"説明","city":"札幌"}`,
			`"offerings":{"products":[{"name":"温度ナビ","code":"AX-200"},{"code":"B-1","name":"乙"}]}`, `"type":"SaaS"`, `"zeta":"終"`,
		}).Draw(t, "members")
		text, err := vendors.TextOf([]byte("{" + strings.Join(members, ",") + "}"))
		if err != nil {
			t.Fatal(err)
		}
		const want = "甲\n説明\ncity: 札幌\ntype: SaaS\nproducts: 温度ナビ, AX-200\nproducts: 乙, B-1\ntags: 冷凍, 倉庫\nzeta: 終"
		if text != want {
			t.Fatalf("Text = %q, want %q", text, want)
		}
	})
}

// Whatever the bytes are: read whole or byte by byte they give the same, every record is one that can be stored under an
// id of its own, and an error is about a place in the file. A file that begins as JSON is accepted only when encoding/json
// reads it, or each of its lines; what Read refuses besides (repeated keys, limits, ids, bytes that encoding/json mends)
// only makes it stricter.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"", "[]", "{}", `[{"id":"a","name":"x"}]`, "\ufeff" + `{"a":[1,"\u0000"],"vendors":[{"vendor_id":7,"name":"甲","x":{"y":[{}]}}]}`,
		`[{"id":"a","name":"x"},{"id":"a","name":"x"},{"id":"a"},{"id":"a~2"}]`, "[{\"id\":\"\xff\"}]", `[{"id":"\ud800","name":"x"}]`, "\xff\xfe", "[[[[[[",
		"{\"id\":1}\n{\"name\":\"x\"}\n", sheet, "\ufeffa,b.c,b.d\n1,,\"x\"\"\n\"\n", shiftJIS(f, sheet), gzipped(`[{"title":"甲"}]`), gzipped(gzipped("")),
	} {
		f.Add([]byte(s))
	}
	lim := vendors.Limits{File: 1 << 20, Record: 1 << 12, Depth: 16, Records: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		recs, report, err := read(bytes.NewReader(data), vendors.DefaultRules(), lim)
		chunked, again, err2 := read(through(strings.NewReader(string(data)), iotest.OneByteReader), vendors.DefaultRules(), lim)
		if fmt.Sprint(err, report) != fmt.Sprint(err2, again) || len(recs) != len(chunked) {
			t.Fatalf("read whole: %d records, %v, %v; byte by byte: %d, %v, %v", len(recs), report, err, len(chunked), again, err2)
		}
		var bad *vendors.CatalogueError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error of another type: %v", err)
		}
		if err != nil && (bad.Offset < 0 || bad.Offset > lim.File || bad.Line < 1 || !report.Gzip && !strings.Contains(report.Encoding, "JIS") && bad.Offset > int64(len(data))) {
			t.Fatalf("error outside the file: %v", err)
		}
		isJSON(t, data, report, err, bad)
		if err != nil {
			return
		}
		if len(recs) == 0 && report.Dropped == 0 {
			t.Fatal("accepted without a record")
		}
		ids := map[string]bool{}
		for _, rec := range recs {
			if again, err := vendors.TextOf(rec.Raw); err != nil || again != rec.Text || rec.Name == "" || rec.Text == "" || !json.Valid(rec.Raw) {
				t.Fatalf("TextOf(%s) = %q, %v; the record is %+v", rec.Raw, again, err, rec)
			}
			if rec.ID == "" || ids[rec.ID] {
				t.Fatalf("id %q of %v", rec.ID, called(recs))
			}
			ids[rec.ID] = true
		}
	})
}

// isJSON compares what was said of a file with what encoding/json says.
func isJSON(t *testing.T, data []byte, report vendors.Report, err error, bad *vendors.CatalogueError) {
	t.Helper()
	top := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	if report.Gzip || len(top) == 0 || top[0] != '[' && top[0] != '{' {
		return
	}
	valid := json.Valid(top)
	if report.Format == "JSON Lines" {
		valid = true
		for line := range bytes.Lines(top) {
			valid = valid && (len(bytes.TrimSpace(line)) == 0 || json.Valid(line))
		}
	}
	if err == nil && !valid {
		t.Fatal("accepted what is no JSON")
	}
	if err != nil && valid && (bad.Kind == vendors.KindSyntax || bad.Kind == vendors.KindTruncated || bad.Kind == vendors.KindTrailing) {
		t.Fatalf("refused valid JSON: %v", err)
	}
}

func FuzzTextOf(f *testing.F) {
	f.Add([]byte(`{"id":"a","name":"x","_text":"t","tags":["a",["b",{"c":"d"}]],"url":"https://x"}`))
	f.Add([]byte(`{"id":"a","name":"\ud83d\ude00","x":"2025-09-24T10:00:00Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, err := vendors.TextOf(raw)
		if err != nil {
			return
		}
		if n := len([]rune(text)); text == "" || n > vendors.MaxVerbatimText {
			t.Fatalf("TextOf(%s) has %d characters", raw, n)
		}
		w, err := vendors.WordsOf("a~2", "n", raw)
		if err != nil || w.Name != "n" || !slices.Equal(w.Keywords[:2], []string{"a~2", "a"}) {
			t.Fatalf("WordsOf(%s) = %+v, %v", raw, w, err)
		}
	})
}
