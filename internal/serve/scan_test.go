package serve

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzScanner: the scanner accepts what encoding/json accepts, and nothing else but for its own bounds.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `null`, ` {"a" : [1, -0.5e+3, true, false, null, "\u3042\n\\"] , "b":{}} `, `{"a":1,}`, `[1 2]`, `01`, `1.`, `.5`, `-`, `1e`,
		`"\x"`, `"\u12"`, "\"\x01\"", `"` + "\xff" + `"`, `{"a"}`, `tru`, `nulll`, `[[[[[[[[]]]]]]]]`, `{"a":{"a":{"a":{}}}}`, "\xef\xbb\xbf{}", `{1:2}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s := scanner{in: []byte(in)}
		raw, err := s.skip()
		if err == nil {
			err = s.end()
		}
		valid := json.Valid([]byte(in))
		switch {
		case err == nil && !valid:
			t.Fatalf("accepted %q", in)
		case err != nil && valid && utf8.ValidString(in) && err != errDepth:
			t.Fatalf("refused %q: %v", in, err)
		case err == nil && string(raw) != strings.Trim(in, " \t\r\n"):
			t.Fatalf("%q read as %q", in, raw)
		}
	})
}

// FuzzFloat: bit for bit strconv.ParseFloat of JSON numbers, consuming exactly the number.
func FuzzFloat(f *testing.F) {
	for _, s := range []string{
		"0", "-0", "0.0", "-0.000", "1", "0.1", "16777217", "16777216.999999999", "0.00000000000000000000001", "1e-22", "1e22", "1e23",
		"3.4028235e38", "3.4028236e38", "1.401298464324817e-45", "1.17549435e-38", "9007199254740993", "12345678901234567890", "0.30000001192092896",
		"1.2345678901234567e-05", "0.012345678901234567", "1.00000017881393432617187499", "1.00000017881393421514957253748434595763683319091796875001",
		"9.9999999999999999999", "9.999999999999999999", "0.9999999999999999999", "-0.00000000", "1.25", "-1.5e5", "1.12345678e1",
		"0.1234567812345678e1", "0.123456781234567812345678", "0.1234567812345678123456789", "01", "1.", ".1", "1e", "1e+", "--1", "+1", "NaN", "1e9999", "1e-9999", "1.5e0000000001",
		"/.5", "a.5", "-a.5", "-", "0.", "-0.", "1.x",
	} {
		f.Add(s)
	}
	f.Fuzz(checkFloat)
}

func checkFloat(t *testing.T, in string) {
	t.Helper()
	n := scanner{in: []byte(in)}
	raw, nerr := n.number()
	s := scanner{in: []byte(in)}
	got, err := s.float()
	if nerr != nil {
		if err == nil {
			t.Fatalf("%q is no number, read as %v", in, got)
		}
		raw = []byte(in)
	}
	// fraction takes fewer, and looks ahead: whatever follows in the text must not matter.
	for _, after := range []string{",", "]", ", 1.5", "\n", ":"} {
		const far = "7777777777777777777777777777777777777777"
		f, end, ok := fraction(append(append([]byte("["), raw...), after+far...), 1)
		if ok && (err != nil || math.Float32bits(f) != math.Float32bits(got) || end != 1+len(raw)) {
			t.Fatalf("%q before %q: fraction %v (%x), float %v (%x); read %d of %d bytes", raw, after, f, math.Float32bits(f), got, math.Float32bits(got), end-1, len(raw))
		}
	}
	if nerr != nil {
		return
	}
	want, werr := strconv.ParseFloat(string(raw), 32)
	if (err != nil) != (werr != nil) {
		t.Fatalf("%q: %v, strconv %v", in, err, werr)
	}
	if err == nil && (math.Float32bits(got) != math.Float32bits(float32(want)) || s.pos != n.pos) {
		t.Fatalf("%q: %v (%x), strconv %v (%x); read %d of %d bytes", in, got, math.Float32bits(got), want, math.Float32bits(float32(want)), s.pos, n.pos)
	}
}

// TestFractionTakesWhatVectorsAreMadeOf holds that the fast way is the usual one.
func TestFractionTakesWhatVectorsAreMadeOf(t *testing.T) {
	for name, body := range vectorBodies(1536) {
		if name == "base64" {
			continue
		}
		var q struct{ Vector []json.RawMessage }
		if err := json.Unmarshal(body, &q); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for _, n := range q.Vector {
			if _, _, ok := fraction(append(n[:len(n):len(n)], strings.Repeat(" ", 30)...), 0); ok {
				taken++
			}
		}
		if taken < len(q.Vector)*95/100 {
			t.Errorf("%s: %d of %d", name, taken, len(q.Vector))
		}
	}
}

func TestFloatEqualsStrconv(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		f := math.Float32frombits(rng.Uint32())
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			continue
		}
		unit := rng.Float64()*2 - 1
		// Midpoints between two float32 and their neighbours in float64 are the hard cases.
		mid := (float64(f) + float64(math.Nextafter32(f, 0))) / 2
		for _, v := range []string{
			strconv.FormatFloat(float64(f), 'g', -1, 32), strconv.FormatFloat(unit, 'g', -1, 64), strconv.FormatFloat(unit, 'f', -1, 64),
			strconv.FormatFloat(float64(float32(unit)), 'f', -1, 64), strconv.FormatFloat(mid, 'e', -1, 64),
			strconv.FormatFloat(math.Nextafter(mid, 1), 'e', -1, 64), strconv.FormatFloat(unit, 'f', rng.IntN(25), 64),
			strconv.FormatFloat(unit*10, 'f', rng.IntN(25), 64),
			strconv.FormatFloat((float64(float32(unit))+float64(math.Nextafter32(float32(unit), 2)))/2, 'f', -1, 64),
		} {
			checkFloat(t, v)
		}
	}
}

// FuzzSearchBody: a body is parsed or refused with a fieldError; what is parsed is within the limits.
func FuzzSearchBody(f *testing.F) {
	for _, s := range []string{
		`{"query":"冷凍倉庫","k":5}`, `{"query":"x","mode":"hybrid","filter":{"a.b":["x",1,true],"n":{"gte":7,"lt":9},"e":{"exists":false}}}`,
		`{"vector":[0.1,-2e-3,3]}`, `{"vector":"` + base64.StdEncoding.EncodeToString([]byte("abcdefgh")) + `","k":100}`,
		`{"filter":{}}`, `{"query":null,"filter":{"a":null}}`, `{"k":1,"k":2,"query":"a","extra":{"deep":[[]]}}`, `{"query":"\ud800"}`, `{"queries":[{"query":"a"},{"vector":[1]}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		check := func(q query) {
			if q.k < 1 || q.k > maxK || !knownMode(q.mode) || utf8.RuneCountInString(q.text) > maxQuery || !utf8.ValidString(q.text) {
				t.Fatalf("%q gave %+v", in, q)
			}
			if q.text == "" && q.vector == nil && q.filter == nil {
				t.Fatalf("%q asks nothing", in)
			}
			var norm float64
			for _, v := range q.vector {
				norm += float64(v) * float64(v)
			}
			if q.vector != nil && math.Abs(norm-1) > 1e-3 {
				t.Fatalf("%q: squared length %v", in, norm)
			}
		}
		q, err := parseSearch([]byte(in), ModeHybrid)
		if err == nil {
			check(q)
			if !json.Valid([]byte(in)) {
				t.Fatalf("accepted %q", in)
			}
		} else if _, ok := err.(*fieldError); !ok {
			t.Fatalf("%q: %T %v", in, err, err)
		}
		qs, err := parseBatch([]byte(in), ModeSemantic)
		for _, q := range qs {
			if err == nil {
				check(q)
			}
		}
		if _, ok := err.(*fieldError); err != nil && !ok {
			t.Fatalf("%q: %T %v", in, err, err)
		}
	})
}

// FuzzRecordViews: what the page derives from a record never panics and loses no text.
func FuzzRecordViews(f *testing.F) {
	for _, r := range catalogue() {
		f.Add(r, "会計 saas")
	}
	f.Fuzz(func(t *testing.T, raw, query string) {
		fieldsOf([]byte(raw))
		chips([]string{"type", "tags"}, []byte(raw))
		pickFacets(3, func(int) ([]byte, error) { return []byte(raw), nil })
		if !utf8.ValidString(raw) {
			return
		}
		marked := string(mark(raw, terms(query)))
		if strings.Contains(strings.NewReplacer("<mark>", "", "</mark>", "").Replace(marked), "<") {
			t.Fatalf("unescaped: %q", marked)
		}
	})
}
