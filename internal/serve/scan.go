package serve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// scanner reads one JSON text (RFC 8259) in place. It accepts exactly what encoding/json accepts, and hands out the
// raw bytes of values, so that a body is read once and nothing is built that the request does not need.
type scanner struct {
	in      []byte
	pos     int
	trusted bool // the text was checked before: strings are UTF-8
}

// maxDepth of nesting in a body. Filters are two deep; encoding/json allows 10,000.
const maxDepth = 64

var errDepth = errors.New("nested too deeply")

// syntaxError is where and why a text is not JSON.
type syntaxError struct {
	at  int
	why string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.why, e.at) }

func (s *scanner) fail(why string) error {
	if s.pos >= len(s.in) {
		return &syntaxError{s.pos, "unexpected end of JSON"}
	}
	return &syntaxError{s.pos, why}
}

func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos >= len(s.in) {
		return 0
	}
	return s.in[s.pos]
}

// end checks that nothing but space is left.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.in) {
		return s.fail("data after the JSON value")
	}
	return nil
}

// eat consumes c, after space.
func (s *scanner) eat(c byte) bool {
	if s.peek() != c || s.pos >= len(s.in) {
		return false
	}
	s.pos++
	return true
}

// object calls member with each raw key (quotes included), positioned before its value, which member must consume.
func (s *scanner) object(member func(key []byte) error) error {
	if !s.eat('{') {
		return s.fail("expected an object")
	}
	if s.eat('}') {
		return nil
	}
	for {
		s.space()
		key, err := s.str()
		if err != nil {
			return err
		}
		if !s.eat(':') {
			return s.fail("expected ':'")
		}
		s.space()
		if err := member(key); err != nil {
			return err
		}
		if s.eat('}') {
			return nil
		}
		if !s.eat(',') {
			return s.fail("expected ',' or '}'")
		}
	}
}

// array calls item before each item, which it must consume.
func (s *scanner) array(item func() error) error {
	if !s.eat('[') {
		return s.fail("expected an array")
	}
	if s.eat(']') {
		return nil
	}
	for {
		s.space()
		if err := item(); err != nil {
			return err
		}
		if s.eat(']') {
			return nil
		}
		if !s.eat(',') {
			return s.fail("expected ',' or ']'")
		}
	}
}

// skip consumes any value and returns its raw bytes.
func (s *scanner) skip() ([]byte, error) { return s.value(maxDepth) }

func (s *scanner) value(depth int) ([]byte, error) {
	if depth < 0 {
		return nil, errDepth
	}
	var err error
	c := s.peek()
	start := s.pos
	switch {
	case c == '{':
		err = s.object(func([]byte) error { _, err := s.value(depth - 1); return err })
	case c == '[':
		err = s.array(func() error { _, err := s.value(depth - 1); return err })
	case c == '"':
		_, err = s.str()
	case c == '-' || '0' <= c && c <= '9':
		_, err = s.number()
	case c == 't':
		err = s.literal("true")
	case c == 'f':
		err = s.literal("false")
	case c == 'n':
		err = s.literal("null")
	default:
		err = s.fail("expected a value")
	}
	return s.in[start:s.pos], err
}

func (s *scanner) literal(word string) error {
	if len(s.in)-s.pos < len(word) || string(s.in[s.pos:s.pos+len(word)]) != word {
		return s.fail("expected a value")
	}
	s.pos += len(word)
	return nil
}

// str consumes a string and returns it raw, quotes included. Unlike encoding/json, which replaces bytes that are not
// UTF-8, it refuses them.
func (s *scanner) str() ([]byte, error) {
	if s.pos >= len(s.in) || s.in[s.pos] != '"' {
		return nil, s.fail("expected a string")
	}
	start := s.pos
	wide := false
	for s.pos++; s.pos < len(s.in); s.pos++ {
		for s.pos+8 <= len(s.in) && plain(binary.LittleEndian.Uint64(s.in[s.pos:])) {
			s.pos += 8
		}
		if s.pos >= len(s.in) {
			break
		}
		switch c := s.in[s.pos]; {
		case c == '"':
			s.pos++
			raw := s.in[start:s.pos]
			if wide && !s.trusted && !utf8.Valid(raw) {
				s.pos = start
				return nil, s.fail("a string is not UTF-8")
			}
			return raw, nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.fail("control character in a string")
		case c >= utf8.RuneSelf:
			wide = true
		}
	}
	return nil, s.fail("")
}

// plain reports whether none of eight bytes is a quote, a backslash, below space or above ASCII: what a string's end,
// escapes and faults begin with.
func plain(w uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^ones*'"', w^ones*'\\'
	// x-ones has the high bit of a byte set where x was zero or, harmlessly here, next to one.
	return (w|(w-ones*' ')|(quote-ones)|(slash-ones))&highs == 0
}

// escape checks the escape at pos and leaves pos on its last byte.
func (s *scanner) escape() error {
	s.pos++
	if s.pos >= len(s.in) {
		return s.fail("")
	}
	switch s.in[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			s.pos++
			if s.pos >= len(s.in) || !isHex(s.in[s.pos]) {
				return s.fail("invalid \\u escape")
			}
		}
		return nil
	}
	return s.fail("invalid escape")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number consumes a number and returns it raw.
func (s *scanner) number() ([]byte, error) {
	in, i := s.in, s.pos
	if i < len(in) && in[i] == '-' {
		i++
	}
	switch {
	case i < len(in) && in[i] == '0':
		i++
	case i < len(in) && isDigit(in[i]):
		for i < len(in) && isDigit(in[i]) {
			i++
		}
	default:
		s.pos = i
		return nil, s.fail("expected a digit")
	}
	if i < len(in) && in[i] == '.' {
		i++
		if i >= len(in) || !isDigit(in[i]) {
			s.pos = i
			return nil, s.fail("expected a digit")
		}
		for i < len(in) && isDigit(in[i]) {
			i++
		}
	}
	if i < len(in) && (in[i] == 'e' || in[i] == 'E') {
		i++
		if i < len(in) && (in[i] == '+' || in[i] == '-') {
			i++
		}
		if i >= len(in) || !isDigit(in[i]) {
			s.pos = i
			return nil, s.fail("expected a digit")
		}
		for i < len(in) && isDigit(in[i]) {
			i++
		}
	}
	raw := in[s.pos:i]
	s.pos = i
	return raw, nil
}
