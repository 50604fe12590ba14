package jsonread

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// Reader reads one JSON text (RFC 8259), held in memory or coming from a stream, token by token. It hands out what is
// written, never a copy: a returned slice of a text in memory stays good, one of a stream until the next read.
type Reader struct {
	in   []byte // what can be read without asking the stream: all of a text in memory
	pos  int    // the next byte in in
	mode mode
	stream
}

type mode uint8

const (
	strict  mode = iota
	checked      // somebody checked the text before: strings are UTF-8
	lenient      // somebody else's program wrote the text, and what is of no interest in it may be nearly anything
)

// Over reads text, strictly: what it accepts is what encoding/json accepts, but for strings that are not UTF-8.
func Over(text []byte) Reader { return Reader{in: text} }

// OverChecked is Over for a text that was checked before: strings are not checked for UTF-8 again.
func OverChecked(text []byte) Reader { return Reader{in: text, mode: checked} }

// Reason is what is wrong with a text.
type Reason uint8

const (
	Syntax       Reason = iota // not JSON
	Truncated                  // it ends too early
	NotUTF8                    // a string holds bytes that are not UTF-8
	TooDeep                    // nested too deep
	TooLong                    // longer than the caller allows
	OutOfRange                 // a number beyond float32
	DuplicateKey               // an object of a Tree has a key twice
)

// String names it for people.
func (r Reason) String() string {
	return [...]string{"not JSON", "cut off", "invalid UTF-8", "nested too deep", "too long", "number out of range", "duplicate key"}[r]
}

// SyntaxError says what is wrong with a text, and where. Of a truncated text it is an io.ErrUnexpectedEOF.
type SyntaxError struct {
	Reason Reason
	At     int64  // offset in the text
	Found  byte   // what stands there; of Syntax only
	Wanted string // what should stand there; of Syntax and Truncated only
	Key    string // of DuplicateKey only
}

// More is what the name of the reason leaves open, empty when that is nothing.
func (e *SyntaxError) More() string {
	switch e.Reason {
	case Syntax:
		return "found " + QuoteByte(e.Found) + " where " + e.Wanted + " should be"
	case Truncated:
		return "it ends where " + e.Wanted + " should be"
	}
	return e.Key
}

// Detail says it without the place.
func (e *SyntaxError) Detail() string {
	switch e.Reason {
	case Syntax, Truncated:
		return e.More()
	case NotUTF8:
		return "a string is not UTF-8"
	case OutOfRange:
		return "a number is out of range"
	case DuplicateKey:
		return "duplicate key " + strconv.Quote(e.Key)
	}
	return e.Reason.String()
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s, at byte %d", e.Detail(), e.At) }

func (e *SyntaxError) Unwrap() error {
	if e.Reason == Truncated {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// QuoteByte shows one byte to people.
func QuoteByte(c byte) string {
	if c < 0x20 || c >= 0x7f {
		return "byte 0x" + strconv.FormatUint(uint64(c), 16)
	}
	return strconv.QuoteRune(rune(c))
}

// Offset of the next byte in the text.
func (r *Reader) Offset() int64 { return r.base + int64(r.pos) }

// Unexpected is the error for the next byte, or the end of the text, when something else is wanted.
func (r *Reader) Unexpected(wanted string) error { return r.unexpected(r.pos, wanted) }

func (r *Reader) unexpected(i int, wanted string) error {
	if i < len(r.in) {
		return &SyntaxError{Reason: Syntax, At: r.base + int64(i), Found: r.in[i], Wanted: wanted}
	}
	if r.stopped() {
		return r.fault(i, TooLong)
	}
	if r.err != nil && r.err != io.EOF {
		return r.err
	}
	return &SyntaxError{Reason: Truncated, At: r.base + int64(len(r.in)), Wanted: wanted}
}

func (r *Reader) fault(i int, why Reason) error {
	return &SyntaxError{Reason: why, At: r.base + int64(i)}
}

// Peek skips white space and returns the next byte without taking it; 0 at the end, where no token begins.
func (r *Reader) Peek() byte {
	for {
		for r.pos < len(r.in) {
			c := r.in[r.pos]
			if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
				return c
			}
			r.pos++
		}
		if _, ok := r.more(r.pos); !ok {
			return 0
		}
	}
}

// End checks that nothing but white space is left.
func (r *Reader) End() error {
	if r.Peek(); r.pos < len(r.in) {
		return r.Unexpected("the end")
	}
	if r.stopped() || r.err != nil && r.err != io.EOF {
		return r.Unexpected("the end")
	}
	return nil
}

// Take takes c if it is next, after white space.
func (r *Reader) Take(c byte) bool {
	if r.Peek() != c || r.pos >= len(r.in) {
		return false
	}
	r.pos++
	return true
}

// Object calls member with each key as written, quotes included, before its value, which member must take.
func (r *Reader) Object(member func(key []byte) error) error {
	if !r.Take('{') {
		return r.Unexpected("an object")
	}
	if r.Take('}') {
		return nil
	}
	for {
		key, err := r.key()
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		if r.Take('}') {
			return nil
		}
		if !r.Take(',') {
			return r.Unexpected("',' or '}'")
		}
	}
}

// key reads a key and the colon after it.
func (r *Reader) key() ([]byte, error) {
	if r.Peek() != '"' {
		return nil, r.Unexpected("a key")
	}
	limit := math.MaxInt
	if r.mode == lenient {
		limit = maxWord
	}
	start := r.Offset()
	key, n, err := r.StringUpTo(limit)
	if err == nil && n > limit {
		err = &SyntaxError{Reason: TooLong, At: start}
	}
	if err != nil {
		return nil, err
	}
	if r.pos < len(r.in) && r.in[r.pos] == ':' { // nearly always
		r.pos++
		return key, nil
	}
	before := r.held
	r.held = min(before, start)
	found := r.Take(':')
	r.held = before
	if !found {
		return nil, r.Unexpected("':'")
	}
	at := int(start - r.base)
	return r.in[at : at+len(key)], nil
}

// Array calls item before each item, which item must take.
func (r *Reader) Array(item func() error) error {
	if !r.Take('[') {
		return r.Unexpected("an array")
	}
	if r.Take(']') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if r.Take(']') {
			return nil
		}
		if !r.Take(',') {
			return r.Unexpected("',' or ']'")
		}
	}
}

// Value takes any value nested at most depth deep and returns it as written.
func (r *Reader) Value(depth int) ([]byte, error) {
	r.Peek()
	start, before := r.Offset(), r.held
	r.held = min(before, start)
	err := r.Skip(depth)
	r.held = before
	return r.in[start-r.base : r.pos], err
}

// Skip takes any value nested at most depth deep, and holds nothing of it unless it is a string.
func (r *Reader) Skip(depth int) error {
	if depth < 0 {
		return r.fault(r.pos, TooDeep)
	}
	var err error
	switch c := r.Peek(); {
	case c == '{':
		err = r.Object(func([]byte) error { return r.Skip(depth - 1) })
	case c == '[':
		err = r.Array(func() error { return r.Skip(depth - 1) })
	case c == '"' && r.mode == lenient:
		_, _, err = r.StringUpTo(0)
	case c == '"':
		_, err = r.String()
	case r.mode == lenient:
		_, err = r.Word()
	case c == '-' || isDigit(c):
		_, err = r.Number()
	case c == 't':
		err = r.Literal("true")
	case c == 'f':
		err = r.Literal("false")
	case c == 'n':
		err = r.Literal("null")
	default:
		err = r.Unexpected("a value")
	}
	return err
}

// Literal takes word.
func (r *Reader) Literal(word string) error {
	r.Peek()
	r.need(r.pos, len(word))
	for i := range len(word) {
		if r.pos+i >= len(r.in) || r.in[r.pos+i] != word[i] {
			r.pos += i
			return r.Unexpected(word)
		}
	}
	r.pos += len(word)
	return nil
}

// String takes a string and returns it as written, quotes included. Unlike encoding/json, which replaces bytes that are
// not UTF-8, it refuses them.
func (r *Reader) String() ([]byte, error) {
	raw, _, err := r.StringUpTo(math.MaxInt)
	return raw, err
}

// StringUpTo is String for one that is of use only when it has at most limit bytes between the quotes. Of a longer one
// raw is nil and it is not checked for UTF-8; n is the bytes between the quotes as written.
func (r *Reader) StringUpTo(limit int) (raw []byte, n int, err error) {
	if r.Peek() != '"' {
		return nil, 0, r.Unexpected("a string")
	}
	in, start, i, wide, dropped := r.in, r.pos, r.pos+1, false, 0
	for {
		for i+8 <= len(in) && plain(binary.LittleEndian.Uint64(in[i:])) {
			i += 8
		}
		if i >= len(in) {
			if last := i - 1; dropped+last-start > limit { // too long already: the rest is only counted
				dropped += last - start
				start, r.pos = last, last
			}
			moved, ok := r.more(start)
			if !ok {
				r.pos = len(r.in)
				return nil, 0, r.Unexpected("the end of a string")
			}
			in, start, i = r.in, start-moved, i-moved
			continue
		}
		switch c := in[i]; {
		case c == '"':
			r.pos = i + 1
			if n = dropped + i - start - 1; n > limit {
				return nil, n, nil
			}
			raw = in[start:r.pos]
			if wide && r.mode == strict && !utf8.Valid(raw) {
				return nil, n, r.fault(start+firstInvalid(raw), NotUTF8)
			}
			return raw, n, nil
		case c == '\\':
			moved, size := r.escape(start, i)
			in, start, i = r.in, start-moved, i-moved
			if size == 0 {
				r.pos = i
				return nil, 0, r.Unexpected("an escape")
			}
			i += size
		case c < ' ' && r.mode != lenient:
			r.pos = i
			return nil, 0, r.Unexpected("the end of a string")
		default:
			wide = wide || c >= utf8.RuneSelf
			i++
		}
	}
}

// plain reports whether none of eight bytes is a quote, a backslash, below space or above ASCII: what a string's end,
// escapes and faults begin with.
func plain(w uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^ones*'"', w^ones*'\\'
	// x-ones has the high bit of a byte set where x was zero or, harmlessly here, next to one.
	return (w|(w-ones*' ')|(quote-ones)|(slash-ones))&highs == 0
}

// escape is the length of the escape at i of the string that begins at start: 0 when it is none, more than is left when
// the text ends within it. moved is how far the window moved meanwhile.
func (r *Reader) escape(start, i int) (moved, size int) {
	moved = r.needFrom(start, i, 2)
	i -= moved
	if len(r.in)-i < 2 || r.mode == lenient {
		return moved, 2
	}
	switch r.in[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return moved, 2
	case 'u':
		more := r.needFrom(start-moved, i, 6)
		moved, i = moved+more, i-more
		for _, c := range r.in[i+2 : min(i+6, len(r.in))] {
			if hexDigit(c) < 0 {
				return moved, 0
			}
		}
		return moved, 6
	}
	return moved, 0
}

func firstInvalid(s []byte) int {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(s)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Number takes a number and returns it as written.
func (r *Reader) Number() ([]byte, error) {
	r.Peek()
	end, ok := r.number()
	if end == len(r.in) && r.src != nil { // it may go on
		r.whole()
		end, ok = r.number()
		ok = ok && !(end == len(r.in) && r.stopped())
	}
	if !ok {
		return nil, r.unexpected(end, "a digit")
	}
	raw := r.in[r.pos:end]
	r.pos = end
	return raw, nil
}

// number finds where a number ends, or where it ceases to be one.
func (r *Reader) number() (end int, ok bool) {
	in, i := r.in, r.pos
	if i < len(in) && in[i] == '-' {
		i++
	}
	switch {
	case i < len(in) && in[i] == '0':
		i++
	case i < len(in) && isDigit(in[i]):
		i = skipDigits(in, i)
	default:
		return i, false
	}
	if i < len(in) && in[i] == '.' {
		from := i + 1
		if i = skipDigits(in, from); i == from {
			return i, false
		}
	}
	if i < len(in) && in[i]|0x20 == 'e' {
		i++
		if i < len(in) && (in[i] == '+' || in[i] == '-') {
			i++
		}
		from := i
		if i = skipDigits(in, from); i == from {
			return i, false
		}
	}
	return i, true
}

func skipDigits(in []byte, i int) int {
	for i < len(in) && isDigit(in[i]) {
		i++
	}
	return i
}

// maxWord bounds a bare word, and a key of a lenient text.
const maxWord = 256

// Word takes what stands up to the next delimiter or white space: a number, a literal, or what some programs write for
// lack of one, as NaN.
func (r *Reader) Word() ([]byte, error) {
	if r.Peek(); r.pos < len(r.in) {
		r.whole()
	}
	end := wordEnd(r.in, r.pos)
	switch {
	case end-r.pos > maxWord:
		return nil, r.fault(r.pos, TooLong)
	case end == len(r.in) && r.src != nil || end == r.pos:
		return nil, r.unexpected(end, "a value")
	}
	raw := r.in[r.pos:end]
	r.pos = end
	return raw, nil
}

func wordEnd(in []byte, i int) int {
	for i < len(in) {
		switch in[i] {
		case ',', '}', ']', ':', ' ', '\t', '\r', '\n', '"', '{', '[':
			return i
		}
		i++
	}
	return i
}
