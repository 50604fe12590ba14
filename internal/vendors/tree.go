package vendors

import (
	"bytes"
	"errors"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
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
	text  jsonread.Reader // of a value in memory
}

// flaw is what is wrong with a JSON text and where, as an offset into it.
type flaw struct {
	kind   string
	at     int
	detail string
}

func (f *flaw) Error() string { return f.kind }

// flawOf is what err, which reading a JSON text that began at offset start ended with, says about the text; nil when
// that is nothing.
func flawOf(err error, start int64) *flaw {
	if f, ok := errors.AsType[*flaw](err); ok {
		return f
	}
	s, ok := errors.AsType[*jsonread.SyntaxError](err)
	if !ok {
		return nil
	}
	f := &flaw{at: int(s.At - start)}
	switch s.Reason {
	case jsonread.Truncated:
		f.kind, f.detail = KindTruncated, s.Detail()
	case jsonread.NotUTF8:
		f.kind = KindUTF8
	case jsonread.TooDeep:
		f.kind = KindDepth
	case jsonread.TooLong:
		f.kind = KindRecordSize
	default:
		f.kind, f.detail = KindSyntax, s.Detail()
	}
	return f
}

// parse reads in, which must be exactly one JSON value (RFC 8259, strict) in UTF-8, nested at most maxDepth deep.
func (t *tree) parse(in []byte, maxDepth int) *flaw {
	t.text = jsonread.Over(in)
	err := t.read(&t.text, maxDepth)
	if err == nil {
		err = t.text.End()
	}
	return flawOf(err, 0)
}

// read reads the next value of r into the tree.
func (t *tree) read(r *jsonread.Reader, maxDepth int) error {
	t.raw, t.nodes = t.raw[:0], t.nodes[:0]
	p := parser{r, r.Offset(), maxDepth, t}
	return p.value(1)
}

type parser struct {
	*jsonread.Reader
	start    int64 // where reading began
	maxDepth int
	*tree
}

// value reads the next value.
func (p *parser) value(depth int) error {
	c := p.Peek()
	at := int(p.Offset() - p.start)
	if depth > p.maxDepth {
		return &flaw{KindDepth, at, ""}
	}
	self := len(p.nodes)
	lo := uint32(len(p.raw))
	p.nodes = append(p.nodes, node{at: uint32(at)})
	var k kind
	var err error
	switch {
	case c == '"':
		var s []byte
		if s, err = p.String(); err != nil {
			return err
		}
		p.raw = append(p.raw, s...)
		n := &p.nodes[self]
		n.kind, n.escaped = kindString, bytes.IndexByte(s, '\\') >= 0
		n.val, n.next = span{lo + 1, uint32(len(p.raw)) - 1}, uint32(self)+1
		return nil
	case c == '{':
		k, err = kindObject, p.object(self, depth)
	case c == '[':
		k, err = kindArray, p.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		var s []byte
		s, err = p.Number()
		k, p.raw = kindNumber, append(p.raw, s...)
	case c == 't':
		k, err = kindTrue, p.literal("true")
	case c == 'f':
		k, err = kindFalse, p.literal("false")
	case c == 'n':
		k, err = kindNull, p.literal("null")
	default:
		err = p.Unexpected("a value")
	}
	if err != nil {
		return err
	}
	n := &p.nodes[self]
	n.kind, n.val, n.next = k, span{lo, uint32(len(p.raw))}, uint32(len(p.nodes))
	return nil
}

func (p *parser) literal(word string) error {
	p.raw = append(p.raw, word...)
	return p.Literal(word)
}

func (p *parser) array(depth int) error {
	sep := byte('[')
	err := p.Array(func() error {
		p.raw = append(p.raw, sep)
		sep = ','
		return p.value(depth + 1)
	})
	if sep == '[' {
		p.raw = append(p.raw, '[')
	}
	p.raw = append(p.raw, ']')
	return err
}

// object reads the members of the object that is node self.
func (p *parser) object(self, depth int) error {
	count := 0
	sep := byte('{')
	err := p.Object(func(key []byte) error {
		count++
		p.raw = append(p.raw, sep)
		sep = ','
		name := span{uint32(len(p.raw)) + 1, uint32(len(p.raw)+len(key)) - 1}
		escaped := bytes.IndexByte(key, '\\') >= 0
		p.raw = append(append(p.raw, key...), ':')
		child := len(p.nodes)
		if err := p.value(depth + 1); err != nil {
			return err
		}
		p.nodes[child].key, p.nodes[child].keyEscaped = name, escaped
		return nil
	})
	if err != nil {
		return err
	}
	if sep == '{' {
		p.raw = append(p.raw, '{')
	}
	p.raw = append(p.raw, '}')
	return p.uniqueKeys(self, count)
}

// uniqueKeys refuses an object with a repeated key. The object is the last value read; its node is not closed yet.
// Few keys are compared with each other (at most 16*15/2 short comparisons), many go through a map.
func (p *parser) uniqueKeys(self, count int) error {
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
