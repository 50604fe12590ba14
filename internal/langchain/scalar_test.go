package langchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

func TestWhatRowsHoldBecomesJSON(t *testing.T) {
	want := map[string]any{
		"datetime": "2024-01-02T03:04:05", "micros": "2024-01-02T03:04:05.000060", "utc": "2024-01-02T00:00:00+00:00",
		"jst": "2024-01-02T00:00:00+09:00", "tokyo": "2024-01-02T00:00:00+09:00", "date": "2024-01-02", "time": "03:04:05",
		"delta": "P1DT2S", "decimal": "12.50", "uuid": "80000000-0000-0000-0000-000000000005", "path": "/data/会社.md",
		"ordered": map[string]any{"a": "1"}, "nan": nil, "infinite": []any{"1.5", nil},
		"f2": "0.5", "f4": "0.1", "f8": "1.5", "fnan": nil, "i1": "-3", "i8": "-7", "u8": "18446744073709551615", "bool": true,
		"str": "東京", "dt64": "2024-01-02T03:04:05", "day64": "2024-01-02", "nat64": nil, "td64": "P1DT43200S", "big": "258",
		"pn": "12.0", "pnan": nil, "pts": "2024-01-02T03:04:05", "pnat": nil, "pzone": "2024-01-02T00:00:00+09:00",
		"ptd": "PT1.5S", "pna": nil, "nested": map[string]any{"a": []any{map[string]any{"b": "1"}}}, "7": "int key",
	}
	for protocol := 3; protocol <= 5; protocol++ {
		file := filepath.Join(t.TempDir(), "index.pkl")
		harness.RunPython(t, "internal/langchain/testdata/scalars.py", file, fmt.Sprint(protocol))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got Found
		if err := ReadPickle(bytes.NewReader(data), DefaultLimits(), func(_ int, d Found) error { got = d; return d.Unreadable }); err != nil {
			t.Fatalf("protocol %d: %v", protocol, err)
		}
		if got.ID != "00000000-0000-0000-0000-000000000001" {
			t.Errorf("the docstore's id is %q", got.ID)
		}
		var meta map[string]any
		dec := json.NewDecoder(bytes.NewReader(got.Metadata))
		dec.UseNumber()
		if err := dec.Decode(&meta); err != nil {
			t.Fatalf("%v: %s", err, got.Metadata)
		}
		if diff := cmp.Diff(want, numbersAsText(meta)); diff != "" {
			t.Errorf("protocol %d: %s", protocol, diff)
		}
		for _, c := range []Conversion{
			{"datetime", "datetime.datetime", "string"}, {"nested.a.b", "decimal.Decimal", "string"}, {"infinite", "NaN or infinite", "null"},
			{"pna", "pandas.NA", "null"}, {"7", "a key that is no string", "string"}, {"f8", "numpy.float64", "number"},
			{"str", "numpy.str_", "string"}, {"nat64", "numpy.datetime64", "null"}, {"pzone", "pandas.Timestamp", "string"}, {"pnat", "pandas.NaT", "null"},
		} {
			if got.Converted[c] != 1 {
				t.Errorf("%v is not noted in %v", c, got.Converted)
			}
		}
	}
}

func numbersAsText(v any) any {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case []any:
		for i := range v {
			v[i] = numbersAsText(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbersAsText(v[k])
		}
	}
	return v
}

// TestCallsOfKnownClassesAreReadAndNoOthers: knowing a class must not open a door.
func TestCallsOfKnownClassesAreReadAndNoOthers(t *testing.T) {
	dtypeOf := func(code string) string {
		return "cnumpy\ndtype\n" + unicode(code) + "\x89\x88\x87R(K\x03" + unicode("<") + "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
	}
	scalarOf := func(code, value string) string {
		return "cnumpy.core.multiarray\nscalar\n" + dtypeOf(code) + "C" + string(rune(len(value))) + value + "\x86R"
	}
	for name, c := range map[string]struct{ value, refused string }{
		"getattr of anything else": {"cbuiltins\ngetattr\ncuuid\nUUID\n" + unicode("_unpickle") + "\x86R", "builtins.getattr"},
		"another method":           {"cbuiltins\ngetattr\nczoneinfo\nZoneInfo\n" + unicode("__init__") + "\x86R", "builtins.getattr"},
		"getattr itself":           {"cbuiltins\ngetattr\n", "builtins.getattr"},
		"a class as a value":       {"cdatetime\ndatetime\n", "datetime.datetime"},
		"a new UUID with content":  {"cuuid\nUUID\n" + unicode("x") + "\x85\x81", "uuid.UUID"},
		"a new Decimal":            {"cdecimal\nDecimal\n)\x81", "decimal.Decimal"},
		"an array":                 {"cnumpy._core.multiarray\n_reconstruct\n", "numpy._core.multiarray._reconstruct"},
		"an ordered dict's items":  {"ccollections\nOrderedDict\n]\x85R", "collections.OrderedDict"},
		"a complex number":         {"cbuiltins\ncomplex\n", "builtins.complex"},
	} {
		var refused *RefusedError
		if _, err := read([]byte(with(c.value))); !errors.As(err, &refused) || !strings.Contains(refused.Name, c.refused) {
			t.Errorf("%s: %v, want %s refused", name, err, c.refused)
		}
	}
	for name, value := range map[string]string{
		"a date of two bytes":      "cdatetime\ndate\nC\x02ab\x85R",
		"a date of a string":       "cdatetime\ndate\n" + unicode("2024") + "\x85R",
		"no arguments":             "cdatetime\ndatetime\n)R",
		"a zone that is none":      "cdatetime\ndatetime\nC\x0a\x07\xe8\x01\x02\x00\x00\x00\x00\x00\x00K\x01\x86R",
		"a decimal that is a list": "cdecimal\nDecimal\n]\x85R",
		"a long number":            scalarOf("f16", strings.Repeat("x", 16)),
		"an object":                scalarOf("O8", "abcdefgh"),
		"too few bytes":            scalarOf("i8", "abc"),
		"a dtype without size":     "cnumpy\ndtype\n" + unicode("f") + "\x85R",
		"a time beyond all time":   "cpandas._libs.tslibs.timestamps\n_unpickle_timestamp\n(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fNNK\x07tR",
		"a delta beyond all time":  "cdatetime\ntimedelta\n(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x00K\x00tR",
		"an endless file of bytes": "B\xff\xff\xff\xff",
	} {
		if _, err := read([]byte(with(value))); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, value := range map[string]string{"bytes": "C\x01x", "a UUID without number": "cuuid\nUUID\n)\x81"} {
		err := ReadPickle(strings.NewReader(with(value)), DefaultLimits(), func(_ int, d Found) error {
			if d.ID != "a" || d.Unreadable == nil || !strings.Contains(d.Unreadable.Error(), "metadata.k") {
				t.Errorf("%s: %+v", name, d)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHalvesAndDurations(t *testing.T) {
	for bits, want := range map[uint16]float64{0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0001: 5.960464477539063e-08, 0x0000: 0} {
		if got := half(bits); got != want {
			t.Errorf("half %04x is %v, want %v", bits, got, want)
		}
	}
	if got := duration(-36*3600*1e9 - 5e8); got != "-P1DT43200.5S" {
		t.Error(got)
	}
}

// TestOneBadDocumentDoesNotHideTheOthers: a position without document, an empty one, and the rest.
func TestOneBadDocumentDoesNotHideTheOthers(t *testing.T) {
	doc := func(id, fields string) string { return unicode(id) + document + "}(" + fields + "ubs" }
	file := proto + store + "}" + unicode("_dict") + "}" +
		doc("a", unicode("page_content")+unicode("text")) +
		doc("b", unicode("page_content")+"N") +
		doc("c", unicode("page_content")+unicode("text")+unicode("metadata")+"]") +
		doc("d", unicode("page_content")+unicode("text")+unicode("metadata")+"N") +
		unicode("e") + "Ns" +
		"sb}(K\x00" + unicode("a") + "K\x01" + unicode("b") + "K\x02" + unicode("c") + "K\x03" + unicode("d") + "K\x04" + unicode("e") + "K\x05" + unicode("gone") + "u\x86."
	var got []string
	err := ReadPickle(strings.NewReader(file), DefaultLimits(), func(pos int, d Found) error {
		if _, err := ToVendor(&d, pos); err != nil {
			got = append(got, fmt.Sprintf("%d %s: %v", pos, d.ID, err))
		}
		return nil
	})
	want := []string{"1 b: its page_content is no string", "2 c: its metadata is no dict", "4 e: it is not a Document", "5 gone: it is not in the docstore"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
