package vendors_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// strict are rules under which a repeated id is refused.
var strict = vendors.Rules{Duplicates: vendors.DuplicatesRefuse, ID: "vendor_id,id", Name: "name,company_name,title"}

func read(r io.ReadSeeker, rules vendors.Rules, lim vendors.Limits) (recs []vendors.Record, report vendors.Report, err error) {
	report, err = vendors.Read(r, rules, lim, func() error {
		recs = nil
		return nil
	}, func(rec vendors.Record) error {
		recs = append(recs, rec)
		return nil
	})
	return recs, report, err
}

func parse(r io.ReadSeeker, lim vendors.Limits) ([]vendors.Record, error) {
	recs, _, err := read(r, strict, lim)
	return recs, err
}

// through is a file whose bytes come through another reader of it.
func through(f *strings.Reader, wrap func(io.Reader) io.Reader) io.ReadSeeker {
	return struct {
		io.Reader
		io.Seeker
	}{wrap(f), f}
}

func fromRaw(t testing.TB, raw string) vendors.Record {
	t.Helper()
	recs, err := parse(strings.NewReader("["+raw+"]"), vendors.DefaultLimits())
	if err != nil || len(recs) != 1 {
		t.Fatalf("%s: %d records, %v", raw, len(recs), err)
	}
	return recs[0]
}

func parseString(t *testing.T, s string) []vendors.Record {
	t.Helper()
	recs, err := parse(strings.NewReader(s), vendors.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func TestBothShapesGiveTheSameRecords(t *testing.T) {
	const list = `[ {"vendor_id":"V-1", "name":"甲"}, {"id": 2, "name":"乙", "x":[1 , 2]} ]`
	want := parseString(t, list)
	if len(want) != 2 || want[0].ID != "V-1" || want[1].ID != "2" {
		t.Fatalf("records of %s: %+v", list, want)
	}
	for name, s := range map[string]string{
		"object":            `{"vendors":` + list + `}`,
		"keys around it":    ` {"updated":"2025-09-24","meta":{"a":[1,{"b":null}]},"vendors" : ` + list + `,"vendor":[],"n":-1.5e3} `,
		"byte order mark":   "\ufeff" + list,
		"mark and object":   "\ufeff{\"vendors\":" + list + "}\n",
		"whitespace around": "\r\n\t " + list + "\n\n",
		"escaped key":       `{"vend\u006frs":` + list + `}`,
	} {
		got := parseString(t, s)
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(vendors.Record{}, "Line", "Offset")); d != "" {
			t.Errorf("%s: records differ (-array +this):\n%s", name, d)
		}
	}
}

func TestRecordsAreKeptByteForByte(t *testing.T) {
	const raw = `{"z":1.0,"id":"V-1","a":1e3,"name":"\u7532\/乙","e":"\ud83d\ude00 \"x\" \\","n":-0.0E+10,"t":[true,false,null,{},[]],"":""}`
	spaced := strings.NewReplacer(`":`, "\" :\n", `,"`, " , \t\"", "[true", "[ \r\n true").Replace(raw)
	recs := parseString(t, "["+spaced+"]")
	if got := string(recs[0].Raw); got != raw {
		t.Errorf("Raw = %s\nwant  %s", got, raw)
	}
	again := fromRaw(t, string(recs[0].Raw))
	if d := cmp.Diff(recs[0], again, cmpopts.IgnoreFields(vendors.Record{}, "Line", "Offset")); d != "" {
		t.Errorf("Raw read again differs (-parsed +again):\n%s", d)
	}
}

func TestRecordsKnowWhereTheyStand(t *testing.T) {
	s := "{\n \"vendors\": [\n  {\"id\":\"1\",\n   \"name\":\"a\"},\n\n  {\"id\":\"2\",\"name\":\"b\"}]}"
	recs := parseString(t, s)
	for i, line := range []int{3, 6} {
		if recs[i].Line != line || !strings.HasPrefix(s[recs[i].Offset:], string(recs[i].Raw[:9])) {
			t.Errorf("record %d: line %d, offset %d", i, recs[i].Line, recs[i].Offset)
		}
	}
}

func TestIDsAndNames(t *testing.T) {
	for _, tt := range []struct{ what, raw, id, name, answer string }{
		{"vendor_id goes before id", `{"id":"b","vendor_id":"a","name":"n"}`, "a", "n", "n"},
		{"a blank vendor_id counts as absent", `{"vendor_id":" ","id":"b","name":"n"}`, "b", "n", "n"},
		{"a null vendor_id counts as absent", `{"vendor_id":null,"id":"b","name":"n"}`, "b", "n", "n"},
		{"an integer stands for its spelling", `{"id":-70,"name":"n"}`, "-70", "n", "n"},
		{"large integers are not rounded", `{"id":12345678901234567890123,"name":"n"}`, "12345678901234567890123", "n", "n"},
		{"escapes are decoded", `{"id":"\u0041","name":"\u7532"}`, "A", "甲", "甲"},
		{"vendor_name", `{"id":"a","vendor_name":"n"}`, "a", "n", "n"},
		{"company_name in basic_info", `{"id":"a","basic_info":{"company_name":" n "}}`, "a", "n", "n"},
		{"name and description", `{"id":"a","name":"n","description":"d"}`, "a", "n", "n\nd"},
		{"nested description", `{"id":"a","name":"n","offerings":{"description_short":"s"}}`, "a", "n", "n\ns"},
		{"basic_info before offerings", `{"id":"a","name":"n","offerings":{"summary":"s"},"basic_info":{"overview":"o"}}`, "a", "n", "n\no"},
		{"a description in parts is a field like others", `{"id":"a","name":"n","description":{"ja":"d"}}`, "a", "n", "n"},
		{"compatibility forms stay in answers", `{"id":"a","name":"ＡＢＣ"}`, "a", "ＡＢＣ", "ＡＢＣ"},
	} {
		rec := fromRaw(t, tt.raw)
		if rec.ID != tt.id || rec.Name != tt.name || rec.Answer != tt.answer {
			t.Errorf("%s: id %q, name %q, answer %q; want %q, %q, %q", tt.what, rec.ID, rec.Name, rec.Answer, tt.id, tt.name, tt.answer)
		}
	}
}

// small are limits that tests can reach.
var small = vendors.Limits{File: 4 << 20, Record: 1000, Depth: 5, Records: 30}

func many(n int, record string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, record+",", i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestBadCataloguesAreRefusedWithOneError(t *testing.T) {
	const a, b = `{"id":"a","name":"A"}`, `{"id":"b","name":"B"}`
	for _, tt := range []struct {
		what, in string
		want     vendors.CatalogueError
	}{
		{"an empty file", "", vendors.CatalogueError{Kind: vendors.KindEmpty, Line: 1}},
		{"a byte order mark alone", "\ufeff", vendors.CatalogueError{Kind: vendors.KindEmpty, Line: 1, Offset: 3}},
		{"spaces", "  \n ", vendors.CatalogueError{Kind: vendors.KindEmpty, Line: 2, Offset: 4}},
		{"an empty array", "[ ]", vendors.CatalogueError{Kind: vendors.KindEmpty, Line: 1}},
		{"an empty list of vendors", "{\"vendors\":\n[]}", vendors.CatalogueError{Kind: vendors.KindEmpty, Line: 2, Offset: 12}},
		{"no vendors", `{"items":[]}`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 11}},
		{"an empty object", `{}`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 1}},
		{"vendors of another type", `{"vendors":{"a":1}}`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 11}},
		{"vendors twice", `{"vendors":[` + a + `],"vendors":[` + b + `]}`, vendors.CatalogueError{Kind: vendors.KindDuplicateKey, Line: 1, Offset: 35}},
		{"another key twice", `{"x":1,"x":2,"vendors":[` + a + `]}`, vendors.CatalogueError{Kind: vendors.KindDuplicateKey, Line: 1, Offset: 7}},
		{"text", "vendors", vendors.CatalogueError{Kind: vendors.KindFormat, Line: 1}},
		{"a number", "1", vendors.CatalogueError{Kind: vendors.KindFormat, Line: 1}},
		{"HTML", "<html>", vendors.CatalogueError{Kind: vendors.KindFormat, Line: 1}},
		{"UTF-16", "\xff\xfe[\x00", vendors.CatalogueError{Kind: vendors.KindUTF8, Line: 1}},
		{"half a byte order mark", "\xef\xbb[]", vendors.CatalogueError{Kind: vendors.KindUTF8, Line: 1}},
		{"Shift_JIS", "[{\"id\":\"a\",\n\"name\":\"\x8a\x94\"}]", vendors.CatalogueError{Kind: vendors.KindUTF8, Line: 2, Offset: 20}},
		{"cut off within a string", `[` + a + `,{"id":"b","na`, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 36}},
		{"cut off within an escape", `[{"id":"\u30`, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 12}},
		{"cut off after a record", `[` + a, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 22}},
		{"cut off after a comma", `[` + a + `,`, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 23}},
		{"cut off after the array", `{"vendors":[` + a + `]`, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 34}},
		{"cut off after a key", `{"vendors"`, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 10}},
		{"an opening brace", `{`, vendors.CatalogueError{Kind: vendors.KindTruncated, Line: 1, Offset: 1}},
		{"a comma too many", `[` + a + `,]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 23}},
		{"a comma missing", `[` + a + b + `]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 22}},
		{"a comma after the array", `{"vendors":[` + a + `],}`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 35}},
		{"brackets crossed", `[{"id":"a"]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 10}},
		{"a key without quotes", `[{id:"a"}]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 2}},
		{"a comment", "[" + a + ", // b\n" + b + "]", vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 24}},
		{"half a literal", `[tru]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 4}},
		{"a leading zero", `[{"id":"a","n":01}]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 16}},
		{"a line break in a string", "[{\"id\":\"a\nb\"}]", vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 9}},
		{"an unknown escape", `[{"id":"\x"}]`, vendors.CatalogueError{Kind: vendors.KindSyntax, Line: 1, Offset: 8}},
		{"a key twice in a record", `[{"id":"a","name":"A","n\u0061me":"B"}]`, vendors.CatalogueError{Kind: vendors.KindDuplicateKey, Line: 1, Offset: 34}},
		{"data after the array", `[` + a + `] x`, vendors.CatalogueError{Kind: vendors.KindTrailing, Line: 1, Offset: 24}},
		{"two arrays", `[` + a + `][` + b + `]`, vendors.CatalogueError{Kind: vendors.KindTrailing, Line: 1, Offset: 23}},
		{"a NUL at the end", `[` + a + "]\x00", vendors.CatalogueError{Kind: vendors.KindTrailing, Line: 1, Offset: 23}},
		{"records that are no objects", `[` + a + `,1,"x",[]]`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 23, IDs: []string{"record 2", "record 3", "record 4"}, Count: 3}},
		{"a _text of the wrong type", `[{"id":"a","name":"A","_text":1}]`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 1, IDs: []string{"a"}, Count: 1}},
		{"ids with control characters", `[{"id":"a\u0000","name":"x"}]`, vendors.CatalogueError{Kind: vendors.KindInvalidID, Line: 1, Offset: 1, IDs: []string{"record 1"}, Count: 1}},
		{"an id too long", `[{"id":"` + strings.Repeat("x", 513) + `","name":"x"}]`, vendors.CatalogueError{Kind: vendors.KindInvalidID, Line: 1, Offset: 1, IDs: []string{"record 1"}, Count: 1}},
		{"a duplicate id", `[` + a + `,` + b + `,` + a + `]`, vendors.CatalogueError{Kind: vendors.KindDuplicateID, Line: 1, Offset: 45, IDs: []string{"a"}, Count: 1}},
		{"an id three times", `[` + a + `,` + a + `,` + a + `]`, vendors.CatalogueError{Kind: vendors.KindDuplicateID, Line: 1, Offset: 23, IDs: []string{"a"}, Count: 1}},
		{"a number that is the same id as a string", `[{"id":"7","name":"A"},{"id":7,"name":"B"}]`, vendors.CatalogueError{Kind: vendors.KindDuplicateID, Line: 1, Offset: 23, IDs: []string{"7"}, Count: 1}},
		{
			"many duplicates", `[` + many(12, `{"id":"%d","name":"x"}`) + `,` + many(12, `{"id":"%d","name":"x"}`) + `]`,
			vendors.CatalogueError{Kind: vendors.KindDuplicateID, Line: 1, Offset: 267, IDs: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, Count: 12},
		},
		{"the first offence decides", `[{"id":"a","_text":1},` + b + `,` + b + `]`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 1, IDs: []string{"a"}, Count: 1}},
		{"an offence before a syntax error", `[{"id":"a","_text":1},]`, vendors.CatalogueError{Kind: vendors.KindShape, Line: 1, Offset: 1, IDs: []string{"a"}, Count: 1}},
		{"too many records", `[` + many(31, `{"id":"%d","name":"x"}`) + `]`, vendors.CatalogueError{Kind: vendors.KindRecords, Line: 1, Offset: 681}},
		{"a record too large", `[{"id":"a","name":"` + strings.Repeat("x", 1000) + `"}]`, vendors.CatalogueError{Kind: vendors.KindRecordSize, Line: 1, Offset: 1}},
		{"a record full of spaces", `[{"id":"a",` + strings.Repeat(" ", 1000) + `"name":"A"}]`, vendors.CatalogueError{Kind: vendors.KindRecordSize, Line: 1, Offset: 1}},
		{"nested too deep", `[{"id":"a","name":"A","x":[[[[1]]]]}]`, vendors.CatalogueError{Kind: vendors.KindDepth, Line: 1, Offset: 30}},
		{"nested too deep beside the vendors", `{"x":` + strings.Repeat("[", 100_000) + `1`, vendors.CatalogueError{Kind: vendors.KindDepth, Line: 1, Offset: 10}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			for _, chunk := range []string{"whole", "bytewise"} {
				var r io.ReadSeeker = strings.NewReader(tt.in)
				if chunk == "bytewise" {
					r = through(strings.NewReader(tt.in), iotest.OneByteReader)
				}
				_, err := parse(r, small)
				var got *vendors.CatalogueError
				if !errors.As(err, &got) {
					t.Fatalf("%s: Parse() = %v, want a CatalogueError", chunk, err)
				}
				if d := cmp.Diff(&tt.want, got, cmpopts.IgnoreFields(vendors.CatalogueError{}, "Detail", "Lines")); d != "" {
					t.Errorf("%s: error differs (-want +got):\n%s%v", chunk, d, err)
				}
			}
		})
	}
}

func TestAnErrorNamesKindIDsAndPlace(t *testing.T) {
	_, err := parse(strings.NewReader("[{\"id\":\"V-1\",\"name\":\"A\"},\n{\"id\":\"V-1\",\"name\":\"B\"}]"), small)
	const want = `duplicate id "V-1": records 1 and 2 (line 2, byte 26)`
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	_, err = parse(strings.NewReader("[{\"id\":\"V-1\",\"name\":\"A\"},\n{\"id\" \"V-2\"}]"), small)
	const syntax = `not JSON: found '"' where ':' should be, in record 2 (line 2, byte 32)`
	if err == nil || err.Error() != syntax {
		t.Errorf("error is %v, want %s", err, syntax)
	}
	e := &vendors.CatalogueError{Kind: vendors.KindDuplicateID, IDs: []string{"甲", "b"}, Count: 5}
	if got, want := e.Error(), `duplicate id "甲", "b" and 3 more`; got != want {
		t.Errorf("error is %s, want %s", got, want)
	}
}

// counter counts what is read of an endless file, from its start each time.
type counter struct {
	head, fill string
	at         int
	n          int64
}

func (c *counter) Seek(int64, int) (int64, error) {
	c.at = 0
	return 0, nil
}

func (c *counter) Read(p []byte) (int, error) {
	if c.at < len(c.head) {
		n := copy(p, c.head[c.at:])
		c.at += n
		return n, nil
	}
	for i := range p {
		p[i] = c.fill[i%len(c.fill)]
	}
	c.n += int64(len(p))
	return len(p), nil
}

func TestEndlessFilesAreRefusedEarly(t *testing.T) {
	lim := vendors.DefaultLimits()
	lim.File = 64 << 20
	for _, tt := range []struct {
		what, head, fill, kind string
		atMost                 int64
	}{
		{"spaces", "", " ", vendors.KindWhitespace, 4 << 20},
		{"line breaks after the bracket", "[", "\n", vendors.KindWhitespace, 4 << 20},
		{"a string without end", `[{"id":"`, "x", vendors.KindRecordSize, 9 << 20},
		{"brackets", "[", "[", vendors.KindDepth, 9 << 20},
		{"a number without end", "[", "1", vendors.KindRecordSize, 9 << 20},
		{"a key without end", `{"`, "x", vendors.KindRecordSize, 2 << 20},
		{"an ignored value without end", `{"x":[`, "1,", vendors.KindFileSize, 70 << 20},
	} {
		src := &counter{head: tt.head, fill: tt.fill}
		_, err := parse(src, lim)
		var bad *vendors.CatalogueError
		if !errors.As(err, &bad) || bad.Kind != tt.kind {
			t.Errorf("%s: Parse() = %v, want %s", tt.what, err, tt.kind)
		}
		if src.n > tt.atMost {
			t.Errorf("%s: read %d bytes, want at most %d", tt.what, src.n, tt.atMost)
		}
	}
}

func TestParsingDoesNotHoldTheCatalogue(t *testing.T) {
	const n = 20_000 // 22 MB
	r, err := os.Create(t.TempDir() + "/vendors.json")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := vendorstest.Write(r, vendorstest.Options{N: n, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, count, most := held(), 0, uint64(0)
	if _, err := vendors.Read(r, strict, vendors.DefaultLimits(), nil, func(vendors.Record) error {
		if count++; count%(n/4) == 0 {
			most = max(most, held())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// The ids take 50 B * 20,000 = 1 MB, the buffers of reader and writer 1.3 MB.
	if count != n || most > before+8<<20 {
		t.Errorf("%d bytes are held after %d records, %d before", most, count, before)
	}
}

func TestErrorsOfTheReaderAreNoCatalogueErrors(t *testing.T) {
	for _, cause := range []error{errors.New("connection reset"), io.ErrUnexpectedEOF} {
		for _, head := range []string{"", "[", `[{"id":"a","name":"A"},{"id":"a"`, `{"x":`} {
			_, err := parse(through(strings.NewReader(head), func(r io.Reader) io.Reader {
				return io.MultiReader(r, iotest.ErrReader(cause))
			}), small)
			var bad *vendors.CatalogueError
			if !errors.Is(err, cause) || errors.As(err, &bad) {
				t.Errorf("after %q: Parse() = %v, want %v", head, err, cause)
			}
		}
	}
}

func TestTheErrorOfEachEndsParsing(t *testing.T) {
	stop, calls := errors.New("stop"), 0
	_, err := vendors.Read(strings.NewReader(`[{"id":1,"name":"a"},{"id":2,"name":"b"}]`), strict, small, nil, func(vendors.Record) error {
		calls++
		return stop
	})
	if err != stop || calls != 1 {
		t.Errorf("Parse() = %v after %d calls, want %v after 1", err, calls, stop)
	}
}

func TestNothingIsHandedOverAfterAnOffence(t *testing.T) {
	recs, err := parse(strings.NewReader(`[{"id":1,"name":"a"},{"id":1,"name":"b"},{"id":2,"name":"c"}]`), small)
	if err == nil || len(recs) != 1 {
		t.Errorf("%d records before %v, want 1", len(recs), err)
	}
}

func TestTheSampleCatalogueIsGood(t *testing.T) {
	data, err := os.ReadFile("../../testdata/vendors.json")
	if err != nil {
		t.Fatal(err)
	}
	recs := parseString(t, string(data))
	if len(recs) < 80 {
		t.Errorf("%d records, want at least 80", len(recs))
	}
	var file struct{ Vendors []json.RawMessage }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for i, raw := range file.Vendors {
		var want bytes.Buffer
		if err := json.Compact(&want, raw); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(recs[i].Raw, want.Bytes()) {
			t.Fatalf("record %s is not what encoding/json reads", recs[i].ID)
		}
	}
}

func TestGeneratedCatalogues(t *testing.T) {
	write := func(o vendorstest.Options) (string, []vendors.Record) {
		t.Helper()
		var b strings.Builder
		if err := vendorstest.Write(&b, o); err != nil {
			t.Fatal(err)
		}
		return b.String(), parseString(t, b.String())
	}
	base := vendorstest.Options{N: 5000, Seed: 7}
	text, first := write(base)
	if again, _ := write(base); text != again {
		t.Error("the same options gave two catalogues")
	}
	base.Array = true
	_, array := write(base)
	for i := range first {
		if first[i].Digest != array[i].Digest {
			t.Fatalf("record %s differs between the two shapes", first[i].ID)
		}
	}
	base.Rev, base.Changed = 2, 0.01
	_, second := write(base)
	changed := 0
	for i := range first {
		if first[i].ID != second[i].ID || first[i].Name != second[i].Name {
			t.Fatalf("revision 2 changed the id or the name of %s", first[i].ID)
		}
		if first[i].Digest != second[i].Digest {
			changed++
		}
	}
	if changed < 25 || changed > 85 {
		t.Errorf("revision 2 changed %d of 5000 records, want about 50", changed)
	}
	base.Drop = 0.6
	if _, kept := write(base); len(kept) < 1800 || len(kept) > 2200 {
		t.Errorf("%d of 5000 records are left, want about 2000", len(kept))
	}
}
