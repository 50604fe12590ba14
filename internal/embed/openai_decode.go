package embed

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// answerDecoder reads the body of a /v1/embeddings answer as a stream and hands over each vector when its object is
// complete. It knows only this shape, which is why one 1536-d vector costs some 10 µs instead of 100: the base64 goes
// from the read buffer through one scratch buffer to the numbers, nothing is allocated per vector.
//
//	{"object":"list","data":[{"object":"embedding","index":0,"embedding":"<base64 of little-endian float32>"}, …],
//	 "model":"…","usage":{"prompt_tokens":8,"total_tokens":8}}
//
// An embedding may also be an array of numbers, or of numbers as strings; what is no number is read as NaN, and what is
// no embedding as one without numbers, for the caller's check to find. The rest is decoration: an index or a usage of
// any other form counts as absent. The size of the body is bounded by the caller.
type answerDecoder struct {
	*jsonread.Reader
	dims int       // longer vectors are measured, not stored: bounds memory
	vec  []float32 // of the entry being read, up to dims numbers
	size int       // numbers the entry has
	bin  []byte    // the bytes of base64 text
}

// answer is what a complete body said beside the vectors.
type answer struct {
	entries int
	list    bool // data is a list, be it empty
	tokens  int
}

var errSyntax = errors.New("not the JSON of an embeddings answer")

const maxSkipDepth = 32

func newAnswerDecoder(r io.Reader, dims int) *answerDecoder {
	return &answerDecoder{Reader: jsonread.LenientStream(r, 32<<10), dims: dims, vec: make([]float32, 0, dims)}
}

// decode reads one answer. entry gets each vector with its index, or -1 where the server gives none; vec is cut to dims
// numbers when it has more, size is its true length.
func (d *answerDecoder) decode(entry func(index int, vec []float32, size int) error) (answer, error) {
	var a answer
	err := d.Object(func(key []byte) error {
		switch string(key) {
		case `"data"`:
			if d.Peek() == '[' {
				a.list = true
				return d.Array(func() error {
					a.entries++
					return d.entry(entry)
				})
			}
		case `"usage"`:
			if d.Peek() == '{' {
				return d.usage(&a)
			}
		}
		return d.Skip(maxSkipDepth)
	})
	if s, ok := errors.AsType[*jsonread.SyntaxError](err); ok && s.Reason != jsonread.Truncated {
		err = fmt.Errorf("%w: %w", errSyntax, err)
	}
	return a, err
}

func (d *answerDecoder) entry(entry func(int, []float32, int) error) error {
	index := -1
	d.size, d.vec = 0, d.vec[:0]
	err := d.Object(func(key []byte) error {
		switch string(key) {
		case `"index"`:
			v, err := d.lenientNumber()
			if v == math.Trunc(v) && v >= 0 && v < 1<<30 {
				index = int(v)
			}
			return err
		case `"embedding"`:
			return d.embedding()
		}
		return d.Skip(maxSkipDepth)
	})
	if err != nil {
		return err
	}
	return entry(index, d.vec, d.size)
}

func (d *answerDecoder) embedding() error {
	switch d.Peek() {
	case '"':
		return d.base64()
	case '[':
		return d.Array(func() error {
			v, err := d.number()
			d.add(float32(v))
			return err
		})
	}
	return d.Skip(maxSkipDepth)
}

func (d *answerDecoder) add(v float32) {
	if d.size++; len(d.vec) < d.dims {
		d.vec = append(d.vec, v)
	}
}

func (d *answerDecoder) base64() error {
	// What is longer than any right answer is not held: only its length is of interest.
	raw, total, err := d.StringUpTo(base64.StdEncoding.EncodedLen(4*d.dims) + 64)
	if err != nil {
		return err
	}
	if raw == nil {
		d.size = base64.RawStdEncoding.DecodedLen(total) / 4
		return nil
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') >= 0 { // \/ is the only escape that base64 can need; any other fails to decode
		raw = bytes.ReplaceAll(raw, []byte(`\/`), []byte("/"))
	}
	enc := base64.StdEncoding
	if len(raw)%4 != 0 {
		enc = base64.RawStdEncoding
	}
	if n := enc.DecodedLen(len(raw)); cap(d.bin) < n {
		d.bin = make([]byte, n)
	}
	n, err := enc.Decode(d.bin[:cap(d.bin)], raw)
	if err != nil || n%4 != 0 {
		return fmt.Errorf("%w: embedding is not base64 of float32 numbers", errSyntax)
	}
	bin := d.bin[:n]
	d.size = n / 4
	d.vec = d.vec[:min(d.size, d.dims)]
	for i := range d.vec {
		d.vec[i] = math.Float32frombits(binary.LittleEndian.Uint32(bin[4*i:]))
	}
	return nil
}

func (d *answerDecoder) usage(a *answer) error {
	return d.Object(func(key []byte) error {
		if k := string(key); k != `"prompt_tokens"` && k != `"total_tokens"` {
			return d.Skip(maxSkipDepth)
		}
		v, err := d.lenientNumber()
		if v > 0 && v < 1e9 {
			a.tokens = max(a.tokens, int(v))
		}
		return err
	})
}

// lenientNumber reads a number, also one in a string; any other value is skipped and NaN.
func (d *answerDecoder) lenientNumber() (float64, error) {
	switch c := d.Peek(); {
	case c == '"':
		return d.quoted()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	return math.NaN(), d.Skip(maxSkipDepth)
}

// quoted reads a string as a number.
func (d *answerDecoder) quoted() (float64, error) {
	raw, _, err := d.StringUpTo(64)
	if err != nil || raw == nil {
		return math.NaN(), err
	}
	if v, err := strconv.ParseFloat(string(raw[1:len(raw)-1]), 64); err == nil {
		return v, nil
	}
	return math.NaN(), nil
}

// number reads a number, or a literal for one that is none.
func (d *answerDecoder) number() (float64, error) {
	if d.Peek() == '"' {
		return d.quoted()
	}
	tok, err := d.Word()
	if err != nil {
		return 0, err
	}
	switch string(tok) {
	case "NaN", "null", "Infinity", "-Infinity", "nan", "inf", "-inf":
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(string(tok), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%w: a number expected", errSyntax)
	}
	return v, nil
}
