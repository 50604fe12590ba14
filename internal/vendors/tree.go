package vendors

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// kind is what a JSON value is.
type kind uint8

const (
	kindNull kind = iota
	kindFalse
	kindTrue
	kindNumber
	kindString
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// span is a range of bytes in tree.raw. Records are far below 4 GiB (maxRecord).
type span struct{ lo, hi uint32 }

// node is one value of a tree, in the order of the text. A value's first child is the next node; next is the node
// after its whole subtree, which is also its sibling when it has one.
type node struct {
	kind       kind
	escaped    bool   // the string holds a backslash
	keyEscaped bool   // the key holds a backslash
	key        span   // without quotes; object members only
	val        span   // strings without quotes
	at         uint32 // where the value began in the input, whitespace included
	next       uint32
}

// tree is one parsed JSON value: its bytes without insignificant whitespace and where each value lies in them.
// A tree is reused from record to record; nothing in it survives the next parse.
type tree struct {
	raw   []byte
	nodes []node
}

// flaw is what is wrong with a JSON text and where, as an offset into it.
type flaw struct {
	kind   string
	at     int
	detail string
}

// parse reads in, which must be exactly one JSON value (RFC 8259, strict) in UTF-8, nested at most maxDepth deep.
func (t *tree) parse(in []byte, maxDepth int) *flaw {
	return t.read(parser{in: in, maxDepth: maxDepth, tree: t})
}

// check is parse without keeping anything: its memory does not depend on in. It does not see repeated keys.
func (t *tree) check(in []byte, maxDepth int) *flaw {
	return t.read(parser{in: in, maxDepth: maxDepth, tree: t, discard: true})
}

func (t *tree) read(p parser) *flaw {
	t.raw = t.raw[:0]
	t.nodes = t.nodes[:0]
	p.space()
	if f := p.value(1); f != nil {
		return f
	}
	p.space()
	if p.pos < len(p.in) {
		return &flaw{KindSyntax, p.pos, "unexpected data after the value"}
	}
	return nil
}

type parser struct {
	in       []byte
	pos      int
	maxDepth int
	discard  bool // leave no value in the tree once it is read
	*tree
}

func (p *parser) space() {
	for p.pos < len(p.in) && isSpace(p.in[p.pos]) {
		p.pos++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// take copies the next n bytes of the input.
func (p *parser) take(n int) {
	p.raw = append(p.raw, p.in[p.pos:p.pos+n]...)
	p.pos += n
}

func (p *parser) unexpected(wanted string) *flaw {
	if p.pos >= len(p.in) {
		return &flaw{KindTruncated, p.pos, "it ends where " + wanted + " should be"}
	}
	return &flaw{KindSyntax, p.pos, "found " + quoteByte(p.in[p.pos]) + " where " + wanted + " should be"}
}

func (p *parser) value(depth int) *flaw {
	if p.pos >= len(p.in) {
		return p.unexpected("a value")
	}
	if depth > p.maxDepth {
		return &flaw{KindDepth, p.pos, ""}
	}
	self := len(p.nodes)
	lo := uint32(len(p.raw))
	p.nodes = append(p.nodes, node{at: uint32(p.pos)})
	var f *flaw
	var k kind
	switch c := p.in[p.pos]; {
	case c == '"':
		s, escaped, sf := p.str()
		if sf != nil {
			return sf
		}
		n := &p.nodes[self]
		n.kind, n.val, n.escaped, n.next = kindString, s, escaped, uint32(len(p.nodes))
		p.drop(self, lo)
		return nil
	case c == '{':
		k, f = kindObject, p.object(self, depth)
	case c == '[':
		k, f = kindArray, p.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		k, f = kindNumber, p.number()
	case c == 't':
		k, f = kindTrue, p.literal("true")
	case c == 'f':
		k, f = kindFalse, p.literal("false")
	case c == 'n':
		k, f = kindNull, p.literal("null")
	default:
		f = p.unexpected("a value")
	}
	if f != nil {
		return f
	}
	n := &p.nodes[self]
	n.kind, n.val, n.next = k, span{lo, uint32(len(p.raw))}, uint32(len(p.nodes))
	p.drop(self, lo)
	return nil
}

// drop forgets value self, whose bytes begin at lo, when nothing is to be kept.
func (p *parser) drop(self int, lo uint32) {
	if p.discard {
		p.nodes, p.raw = p.nodes[:self], p.raw[:lo]
	}
}

func (p *parser) literal(word string) *flaw {
	for i := range len(word) {
		if p.pos+i >= len(p.in) || p.in[p.pos+i] != word[i] {
			p.pos += i
			return p.unexpected(word)
		}
	}
	p.take(len(word))
	return nil
}

func (p *parser) digits() int {
	n := 0
	for p.pos < len(p.in) && p.in[p.pos] >= '0' && p.in[p.pos] <= '9' {
		p.pos++
		n++
	}
	return n
}

func (p *parser) number() *flaw {
	start := p.pos
	if p.in[p.pos] == '-' {
		p.pos++
	}
	if p.pos < len(p.in) && p.in[p.pos] == '0' {
		p.pos++
	} else if p.digits() == 0 {
		return p.unexpected("a digit")
	}
	if p.pos < len(p.in) && p.in[p.pos] == '.' {
		p.pos++
		if p.digits() == 0 {
			return p.unexpected("a digit")
		}
	}
	if p.pos < len(p.in) && (p.in[p.pos] == 'e' || p.in[p.pos] == 'E') {
		p.pos++
		if p.pos < len(p.in) && (p.in[p.pos] == '+' || p.in[p.pos] == '-') {
			p.pos++
		}
		if p.digits() == 0 {
			return p.unexpected("a digit")
		}
	}
	p.raw = append(p.raw, p.in[start:p.pos]...)
	return nil
}

// str copies a string and returns where its contents went.
func (p *parser) str() (s span, escaped bool, f *flaw) {
	start := p.pos + 1
	i := start
	ascii := true
	for {
		if i >= len(p.in) {
			p.pos = i
			return span{}, false, p.unexpected("the end of a string")
		}
		c := p.in[i]
		switch {
		case c == '"':
			if !ascii && !utf8.Valid(p.in[start:i]) {
				return span{}, false, &flaw{KindUTF8, start + firstInvalid(p.in[start:i]), ""}
			}
			lo := uint32(len(p.raw)) + 1
			p.take(i + 1 - p.pos)
			return span{lo, uint32(len(p.raw)) - 1}, escaped, nil
		case c == '\\':
			escaped = true
			n := escapeLen(p.in[i:])
			if n == 0 || i+n > len(p.in) {
				p.pos = i + min(1, n)*(len(p.in)-i)
				return span{}, false, p.unexpected("an escape")
			}
			i += n
		case c < 0x20:
			p.pos = i
			return span{}, false, p.unexpected("the end of a string")
		default:
			ascii = ascii && c < utf8.RuneSelf
			i++
		}
	}
}

// escapeLen is the length of the escape that s starts with, 0 when it is none. It is more than len(s) when s ends
// within what may become one.
func escapeLen(s []byte) int {
	if len(s) < 2 {
		return 2
	}
	if s[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[1]) < 0 {
			return 0
		}
		return 2
	}
	for _, c := range s[2:min(6, len(s))] {
		if hexDigit(c) < 0 {
			return 0
		}
	}
	return 6
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

func (p *parser) array(depth int) *flaw {
	p.take(1)
	p.space()
	if p.pos < len(p.in) && p.in[p.pos] == ']' {
		p.take(1)
		return nil
	}
	for {
		p.space()
		if f := p.value(depth + 1); f != nil {
			return f
		}
		p.space()
		if p.pos >= len(p.in) || p.in[p.pos] != ',' && p.in[p.pos] != ']' {
			return p.unexpected("',' or ']'")
		}
		last := p.in[p.pos] == ']'
		p.take(1)
		if last {
			return nil
		}
	}
}

func (p *parser) object(self, depth int) *flaw {
	p.take(1)
	p.space()
	if p.pos < len(p.in) && p.in[p.pos] == '}' {
		p.take(1)
		return nil
	}
	for count := 1; ; count++ {
		p.space()
		if p.pos >= len(p.in) || p.in[p.pos] != '"' {
			return p.unexpected("a key")
		}
		key, escaped, f := p.str()
		if f != nil {
			return f
		}
		p.space()
		if p.pos >= len(p.in) || p.in[p.pos] != ':' {
			return p.unexpected("':'")
		}
		p.take(1)
		p.space()
		child := len(p.nodes)
		if f := p.value(depth + 1); f != nil {
			return f
		}
		if !p.discard {
			p.nodes[child].key, p.nodes[child].keyEscaped = key, escaped
		}
		p.space()
		if p.pos >= len(p.in) || p.in[p.pos] != ',' && p.in[p.pos] != '}' {
			return p.unexpected("',' or '}'")
		}
		last := p.in[p.pos] == '}'
		p.take(1)
		if last {
			return p.uniqueKeys(self, count)
		}
	}
}

// uniqueKeys refuses an object with a repeated key. The object is the last value read; its node is not closed yet.
// Few keys are compared with each other (at most 16*15/2 short comparisons), many go through a map.
func (p *parser) uniqueKeys(self, count int) *flaw {
	const few = 16
	if count > few {
		seen := make(map[string]struct{}, count)
		for i := self + 1; i < len(p.nodes); i = int(p.nodes[i].next) {
			key := p.key(i)
			if _, dup := seen[key]; dup {
				return &flaw{KindDuplicateKey, int(p.nodes[i].at), key}
			}
			seen[key] = struct{}{}
		}
		return nil
	}
	for i := self + 1; i < len(p.nodes); i = int(p.nodes[i].next) {
		for j := self + 1; j < i; j = int(p.nodes[j].next) {
			if p.sameKey(i, j) {
				return &flaw{KindDuplicateKey, int(p.nodes[i].at), p.key(i)}
			}
		}
	}
	return nil
}

func (t *tree) sameKey(i, j int) bool {
	a, b := &t.nodes[i], &t.nodes[j]
	if !a.keyEscaped && !b.keyEscaped {
		return bytes.Equal(t.raw[a.key.lo:a.key.hi], t.raw[b.key.lo:b.key.hi])
	}
	return t.key(i) == t.key(j)
}
