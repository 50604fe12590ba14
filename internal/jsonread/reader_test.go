package jsonread

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// ways to read one text: in memory, and as streams whose pieces end anywhere.
func ways(in string) map[string]*Reader {
	mem := Over([]byte(in))
	return map[string]*Reader{
		"memory":       &mem,
		"byte by byte": Stream(iotest.OneByteReader(strings.NewReader(in)), 1),
		"in halves":    Stream(iotest.HalfReader(strings.NewReader(in)), 16),
		"end at once":  Stream(iotest.DataErrReader(strings.NewReader(in)), 64),
	}
}

const testDepth = 100

// FuzzReader: what encoding/json accepts is accepted and nothing else, but for strings that are not UTF-8 and for depth;
// a stream is read as a text in memory is, with the same error.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `null`, ` {"a" : [1, -0.5e+3, true, false, null, "\u3042\n\\"] , "b":{}} `, `{"a":1,}`, `[1 2]`, `01`, `1.`, `.5`, `-`, `1e`,
		`"\x"`, `"\u12"`, "\"\x01\"", `"` + "\xff" + `"`, `{"a"}`, `tru`, `nulll`, `[[[[[[[[]]]]]]]]`, `{"a":{"a":{"a":{}}}}`, "\xef\xbb\xbf{}", `{1:2}`,
		`"` + strings.Repeat("あ", 50) + `\"`, `{"` + strings.Repeat("k", 70) + `"   :   ` + strings.Repeat("7", 70) + `}`, `"\ud83d\ude00\u12`, `[1.5e-3`, `"\`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		valid := json.Valid([]byte(in))
		mem := Over([]byte(in))
		_, wantErr := value(&mem)
		deep := errors.As(wantErr, new(*SyntaxError)) && wantErr.(*SyntaxError).Reason == TooDeep
		switch {
		case wantErr == nil && !valid:
			t.Fatalf("accepted %q", in)
		case wantErr != nil && valid && utf8.ValidString(in) && !deep:
			t.Fatalf("refused %q: %v", in, wantErr)
		}
		for name, r := range ways(in) {
			raw, err := value(r)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("%s: %q: %v, in memory %v", name, in, err, wantErr)
			}
			if err == nil && raw != strings.Trim(in, " \t\r\n") {
				t.Fatalf("%s: %q read as %q", name, in, raw)
			}
		}
		if wantErr == nil {
			checkTree(t, in)
		}
	})
}

func value(r *Reader) (string, error) {
	raw, err := r.Value(testDepth)
	text := string(raw)
	if err == nil {
		err = r.End()
	}
	return text, err
}

// checkTree reads a good text token by token and compares with what encoding/json makes of it.
func checkTree(t *testing.T, in string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(in))
	dec.UseNumber()
	var want any
	if err := dec.Decode(&want); err != nil {
		t.Fatal(err)
	}
	for name, r := range ways(in) {
		got, err := tree(r)
		if err != nil {
			t.Fatalf("%s: %q: %v", name, in, err)
		}
		if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
			t.Fatalf("%s: %q read as %s, want %s", name, in, g, w)
		}
	}
}

func tree(r *Reader) (v any, err error) {
	switch c := r.Peek(); c {
	case '{':
		m := map[string]any{}
		err = r.Object(func(key []byte) error {
			k := Unquote(key)
			m[k], err = tree(r)
			return err
		})
		return m, err
	case '[':
		a := []any{}
		err = r.Array(func() error {
			v, err := tree(r)
			a = append(a, v)
			return err
		})
		return a, err
	case '"':
		s, err := r.String()
		if err != nil {
			return nil, err
		}
		return Unquote(s), nil
	case 't':
		return true, r.Literal("true")
	case 'f':
		return false, r.Literal("false")
	case 'n':
		return nil, r.Literal("null")
	}
	n, err := r.Number()
	return json.Number(n), err
}

func TestErrorsSayWhatAndWhere(t *testing.T) {
	for in, want := range map[string]string{
		``:                       "it ends where a value should be, at byte 0",
		`  {"a" 1}`:              "found '1' where ':' should be, at byte 7",
		`{"a":1 "b"}`:            `found '"' where ',' or '}' should be, at byte 7`,
		`[1,]`:                   "found ']' where a value should be, at byte 3",
		`{a:1}`:                  "found 'a' where a key should be, at byte 1",
		`[tru]`:                  "found ']' where true should be, at byte 4",
		`[-]`:                    "found ']' where a digit should be, at byte 2",
		`"a`:                     "it ends where the end of a string should be, at byte 2",
		`"\q"`:                   `found '\\' where an escape should be, at byte 1`,
		`"\u00g0"`:               `found '\\' where an escape should be, at byte 1`,
		"\"a\nb\"":               "found byte 0xa where the end of a string should be, at byte 2",
		"\"あ\xff\"":              "a string is not UTF-8, at byte 4",
		`{} x`:                   "found 'x' where the end should be, at byte 3",
		"\xef\xbb\xbf{}":         "found byte 0xef where a value should be, at byte 0",
		"\x00":                   "found byte 0x0 where a value should be, at byte 0",
		strings.Repeat("[", 200): "nested too deep, at byte 101",
	} {
		for name, r := range ways(in) {
			_, err := value(r)
			if err == nil || err.Error() != want {
				t.Errorf("%s: %q: %v, want %s", name, in, err, want)
			}
			if strings.HasPrefix(want, "it ends") != errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %v is an unexpected EOF: %v", in, err, errors.Is(err, io.ErrUnexpectedEOF))
			}
		}
	}
}

func TestAStreamsOwnErrorIsPassedOn(t *testing.T) {
	broken := errors.New("connection reset")
	whole := `{"a":["b\u0020c",1.5,true,null,{}]}`
	for cut := range len(whole) {
		r := Stream(io.MultiReader(strings.NewReader(whole[:cut]), iotest.ErrReader(broken)), 4)
		if _, err := value(r); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", whole[:cut], err)
		}
	}
	r := Stream(iotest.ErrReader(nil), 4)
	if _, err := value(r); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that brings nothing: %v", err)
	}
}

// endless is one byte again and again; read counts them.
type endless struct {
	c    byte
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.c
	}
	e.read += len(p)
	return len(p), nil
}

func TestHoldBoundsWhatIsRead(t *testing.T) {
	const limit = 1 << 16
	for _, head := range []string{`"`, `[`, `{"`, `1`, `[1,`, ` `, `{"a":"b"`} {
		for _, c := range []byte(`x1[ ,`) {
			src := &endless{c: c}
			r := Stream(io.MultiReader(strings.NewReader(head), src), 512)
			r.Hold(limit)
			_, err := r.Value(10)
			if err == nil {
				err = r.End()
			}
			if err == nil || src.read > 2*limit {
				t.Errorf("%q and %q for ever: %v after %d bytes", head, c, err, src.read)
			}
		}
	}
	r := Stream(strings.NewReader(`["abc" ] [2]`), 2)
	for _, want := range []string{`["abc" ]`, ` [2]`} {
		r.Hold(len(want))
		if _, err := r.Value(2); err != nil || string(r.Held()) != want {
			t.Errorf("held %q, %v, want %q", r.Held(), err, want)
		}
		r.Release()
	}
}

func TestALenientStreamHoldsLittle(t *testing.T) {
	long := strings.Repeat("x\x01\xff", 1<<18)
	in := `{"a":"` + long + `","b":[NaN,-Infinity,` + "\n" + `undefined],"c":"` + long[:30] + `","d":"` + long + `"}`
	r := LenientStream(strings.NewReader(in), 512)
	var words []string
	err := r.Object(func(key []byte) error {
		switch string(key) {
		case `"b"`:
			return r.Array(func() error {
				w, err := r.Word()
				words = append(words, string(w))
				return err
			})
		case `"c"`:
			raw, n, err := r.StringUpTo(30)
			if string(raw) != `"`+long[:30]+`"` || n != 30 {
				t.Errorf("a short string: %d, %q", n, raw)
			}
			return err
		case `"d"`:
			raw, n, err := r.StringUpTo(1000)
			if raw != nil || n != len(long) {
				t.Errorf("a long string: %d bytes, %d given", n, len(raw))
			}
			return err
		}
		return r.Skip(3)
	})
	if err != nil || strings.Join(words, " ") != "NaN -Infinity undefined" {
		t.Errorf("%v, words %q", err, words)
	}
	if len(r.buf) > 8<<10 {
		t.Errorf("the buffer grew to %d bytes", len(r.buf))
	}
	for _, in := range []string{`{"` + strings.Repeat("k", maxWord+1) + `":1}`, `[` + strings.Repeat("1", 100*maxWord) + `]`} {
		r := LenientStream(strings.NewReader(in), 512)
		var syntax *SyntaxError
		if err := r.Skip(3); !errors.As(err, &syntax) || syntax.Reason != TooLong || len(r.buf) > 2048 {
			t.Errorf("%.9q…: %v, buffer %d", in, err, len(r.buf))
		}
	}
}

// FuzzUnescape: a string means what encoding/json says it means.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`a`, `\n\t\"\\\/\b\f\r`, `あ`, `\ud83d\ude00`, `\ud83d`, `\ud83dx`, `\ud83d\n`, `\ud83d\u0041`, `\ude00\ud83d`, `\u0000`, `x\u00e9\uFFFD`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		raw := []byte(`"` + inner + `"`)
		var want string
		if !utf8.ValidString(inner) || json.Unmarshal(raw, &want) != nil {
			return
		}
		if raw = bytes.TrimSpace(raw); Unquote(raw) != want {
			t.Fatalf("%q means %q, want %q", inner, Unquote(raw), want)
		}
	})
}
