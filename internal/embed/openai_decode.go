package embed

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// answerDecoder reads the body of a /v1/embeddings answer as a stream and hands over each vector when its object is
// complete. It knows only this shape, which is why one 1536-d vector costs some 10 µs instead of 100: the base64 goes
// from the read buffer through one scratch buffer to the numbers, nothing is allocated per vector.
//
//	{"object":"list","data":[{"object":"embedding","index":0,"embedding":"<base64 of little-endian float32>"}, …],
//	 "model":"…","usage":{"prompt_tokens":8,"total_tokens":8}}
//
// An embedding may also be an array of numbers; NaN, Infinity and null in it are read as NaN, for the caller's check
// to find. Unknown members are skipped. The size of the body is bounded by the caller.
type answerDecoder struct {
	br   *bufio.Reader
	dims int       // longer vectors are measured, not stored: bounds memory
	vec  []float32 // of the entry being read, up to dims numbers
	size int       // numbers the entry has
	raw  []byte    // base64 text
	bin  []byte    // its bytes
	tok  []byte
}

// answer is what a complete body said beside the vectors.
type answer struct {
	entries int
	tokens  int
}

var errSyntax = errors.New("not the JSON of an embeddings answer")

const (
	maxSkipDepth = 32
	maxToken     = 256 // bytes of a key or a number
)

func newAnswerDecoder(r io.Reader, dims int) *answerDecoder {
	return &answerDecoder{br: bufio.NewReaderSize(r, 32<<10), dims: dims, vec: make([]float32, 0, dims)}
}

// decode reads one answer. entry gets each vector with its index, or -1 where the server gives none; vec is cut to dims
// numbers when it has more, size is its true length.
func (d *answerDecoder) decode(entry func(index int, vec []float32, size int) error) (answer, error) {
	var a answer
	sawData := false
	err := d.object(func(key string) error {
		switch key {
		case "data":
			sawData = true
			return d.array(func() error {
				a.entries++
				return d.entry(entry)
			})
		case "usage":
			return d.usage(&a)
		}
		return d.skip(0)
	})
	if err == nil && !sawData {
		err = fmt.Errorf("%w: no data", errSyntax)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return a, err
}

func (d *answerDecoder) entry(entry func(int, []float32, int) error) error {
	index, saw := -1, false
	d.size = 0
	err := d.object(func(key string) error {
		switch key {
		case "index":
			n, err := d.integer()
			index = n
			return err
		case "embedding":
			saw = true
			return d.embedding()
		}
		return d.skip(0)
	})
	if err != nil {
		return err
	}
	if !saw {
		return fmt.Errorf("%w: an entry without embedding", errSyntax)
	}
	return entry(index, d.vec, d.size)
}

func (d *answerDecoder) embedding() error {
	d.vec = d.vec[:0]
	c, err := d.peek()
	switch {
	case err != nil:
		return err
	case c == '"':
		return d.base64()
	case c == '[':
		return d.array(func() error {
			v, err := d.number()
			d.add(float32(v))
			return err
		})
	}
	return fmt.Errorf("%w: embedding starts with %q", errSyntax, c)
}

func (d *answerDecoder) add(v float32) {
	if d.size++; len(d.vec) < d.dims {
		d.vec = append(d.vec, v)
	}
}

func (d *answerDecoder) base64() error {
	limit := base64.StdEncoding.EncodedLen(4*d.dims) + 64
	total, err := d.stringInto(limit)
	if err != nil {
		return err
	}
	if total > len(d.raw) { // longer than any right answer: only its length is of interest
		d.size = base64.RawStdEncoding.DecodedLen(total) / 4
		return nil
	}
	enc := base64.StdEncoding
	if len(d.raw)%4 != 0 {
		enc = base64.RawStdEncoding
	}
	if n := enc.DecodedLen(len(d.raw)); cap(d.bin) < n {
		d.bin = make([]byte, n)
	}
	n, err := enc.Decode(d.bin[:cap(d.bin)], d.raw)
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

// stringInto reads a string into raw, at most limit bytes of it, and returns its length as sent. The only escape that
// base64 can need, \/, is resolved; any other stays and fails to decode.
func (d *answerDecoder) stringInto(limit int) (total int, err error) {
	if err := d.expect('"'); err != nil {
		return 0, err
	}
	d.raw = d.raw[:0]
	escaped := false
	for {
		if _, err := d.br.Peek(1); err != nil {
			return 0, err
		}
		buf, _ := d.br.Peek(d.br.Buffered())
		end := bytes.IndexByte(buf, '"')
		part := buf
		if end >= 0 {
			part = buf[:end]
		}
		escaped = escaped || bytes.IndexByte(part, '\\') >= 0
		total += len(part)
		d.raw = append(d.raw, part[:min(len(part), max(0, limit-len(d.raw)))]...)
		_, _ = d.br.Discard(len(part))
		if end >= 0 {
			_, _ = d.br.Discard(1)
			break
		}
	}
	if escaped && total == len(d.raw) {
		d.raw = bytes.ReplaceAll(d.raw, []byte(`\/`), []byte("/"))
		total = len(d.raw)
	}
	return total, nil
}

func (d *answerDecoder) usage(a *answer) error {
	return d.object(func(key string) error {
		if key != "prompt_tokens" && key != "total_tokens" {
			return d.skip(0)
		}
		v, err := d.number()
		if v > 0 && v < 1e9 {
			a.tokens = max(a.tokens, int(v))
		}
		return err
	})
}

// object calls member for each key, with the reader at the value.
func (d *answerDecoder) object(member func(key string) error) error {
	if err := d.expect('{'); err != nil {
		return err
	}
	return d.list('}', func() error {
		key, err := d.key()
		if err != nil {
			return err
		}
		if err := d.expect(':'); err != nil {
			return err
		}
		return member(key)
	})
}

func (d *answerDecoder) array(element func() error) error {
	if err := d.expect('['); err != nil {
		return err
	}
	return d.list(']', element)
}

func (d *answerDecoder) list(end byte, item func() error) error {
	for first := true; ; first = false {
		c, err := d.peek()
		switch {
		case err != nil:
			return err
		case c == end:
			return d.expect(end)
		case first:
		case c != ',':
			return fmt.Errorf("%w: %q in a list", errSyntax, c)
		default:
			_, _ = d.br.Discard(1)
		}
		if err := item(); err != nil {
			return err
		}
	}
}

func (d *answerDecoder) key() (string, error) {
	total, err := d.stringInto(maxToken)
	if err == nil && total > len(d.raw) {
		err = fmt.Errorf("%w: a key of %d bytes", errSyntax, total)
	}
	return string(d.raw), err
}

func (d *answerDecoder) integer() (int, error) {
	v, err := d.number()
	if err == nil && (v != math.Trunc(v) || math.Abs(v) > 1<<30) {
		err = fmt.Errorf("%w: %v is not an index", errSyntax, v)
	}
	return int(v), err
}

// number reads a number, or a literal for one that is none.
func (d *answerDecoder) number() (float64, error) {
	tok, err := d.token()
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

// token reads up to the next delimiter.
func (d *answerDecoder) token() ([]byte, error) {
	if _, err := d.peek(); err != nil {
		return nil, err
	}
	d.tok = d.tok[:0]
	for {
		c, err := d.br.ReadByte()
		if err != nil {
			return nil, err
		}
		switch c {
		case ',', '}', ']', ':', ' ', '\t', '\r', '\n', '"', '{', '[':
			return d.tok, d.br.UnreadByte()
		}
		if d.tok = append(d.tok, c); len(d.tok) > maxToken {
			return nil, fmt.Errorf("%w: a token of over %d bytes", errSyntax, maxToken)
		}
	}
}

// skip passes over any value.
func (d *answerDecoder) skip(depth int) error {
	if depth > maxSkipDepth {
		return fmt.Errorf("%w: nested over %d deep", errSyntax, maxSkipDepth)
	}
	c, err := d.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return d.object(func(string) error { return d.skip(depth + 1) })
	case '[':
		return d.array(func() error { return d.skip(depth + 1) })
	case '"':
		return d.skipString()
	}
	tok, err := d.token()
	if err == nil && len(tok) == 0 {
		err = fmt.Errorf("%w: a value expected", errSyntax)
	}
	return err
}

func (d *answerDecoder) skipString() error {
	_, _ = d.br.Discard(1)
	for {
		c, err := d.br.ReadByte()
		if err != nil || c == '"' {
			return err
		}
		if c == '\\' {
			if _, err := d.br.ReadByte(); err != nil {
				return err
			}
		}
	}
}

// peek returns the next byte that is not white space, without taking it.
func (d *answerDecoder) peek() (byte, error) {
	for {
		c, err := d.br.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, d.br.UnreadByte()
		}
	}
}

func (d *answerDecoder) expect(want byte) error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	if c != want {
		return fmt.Errorf("%w: %q instead of %q", errSyntax, c, want)
	}
	_, _ = d.br.Discard(1)
	return nil
}
