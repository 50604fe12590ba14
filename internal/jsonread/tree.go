package jsonread

import (
	"bytes"
	"iter"
	"strconv"
)

// Kind is what a JSON value is.
type Kind uint8

const (
	Null Kind = iota
	False
	True
	Number
	String
	Array
	Object
)

func (k Kind) String() string {
	return [...]string{"null", "a boolean", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

const (
	// MaxTree bounds the text of a tree in bytes: its offsets are 32 bits.
	MaxTree = 1 << 30

	// MaxDepth bounds how deep the values of a tree are nested: each level is one call deep.
	MaxDepth = 1000
)

// span is a range of bytes in Tree.raw.
type span struct{ lo, hi uint32 }

// node is one value of a tree, in the order of the text. A value's first child is the next node; next is the node
// after its whole subtree, which is also its sibling when it has one.
type node struct {
	kind       Kind
	escaped    bool   // the string holds a backslash
	keyEscaped bool   // the key holds a backslash
	key        span   // without quotes; object members only
	val        span   // strings without quotes
	at         uint32 // where the value began in the input, whitespace included
	next       uint32
}

// Tree is one JSON value: its text without insignificant whitespace, and where each value within lies in it. Values
// are numbered in the order of the text; 0 is the whole. An object in it has each key once: readers of JSON disagree on
// what a repeated one means. A tree is reused from text to text; nothing in it survives the next one.
type Tree struct {
	raw   []byte
	nodes []node
	text  Reader // of a value in memory
}

// Parse reads in, which must be exactly one JSON value (RFC 8259, strict) in UTF-8, nested at most depth deep.
func (t *Tree) Parse(in []byte, depth int) error {
	if len(in) > MaxTree {
		return &SyntaxError{Reason: TooLong}
	}
	t.text = Over(in)
	if err := t.Read(&t.text, depth); err != nil {
		return err
	}
	return t.text.End()
}

// Read reads the next value of r, of which the caller bounds the size.
func (t *Tree) Read(r *Reader, depth int) error {
	t.raw, t.nodes = t.raw[:0], t.nodes[:0]
	p := parser{r, r.Offset(), depth, t}
	return p.value(1)
}

// Raw is the text, which the next one overwrites.
func (t *Tree) Raw() []byte { return t.raw }

// Len is how many values there are in all.
func (t *Tree) Len() int { return len(t.nodes) }

// Kind of value i.
func (t *Tree) Kind(i int) Kind { return t.nodes[i].kind }

// Bytes is the text of value i as it is written, a string without its quotes.
func (t *Tree) Bytes(i int) []byte { return t.raw[t.nodes[i].val.lo:t.nodes[i].val.hi] }

// Text is the decoded string i; a view of the tree where it can be.
func (t *Tree) Text(i int) []byte {
	if !t.nodes[i].escaped {
		return t.Bytes(i)
	}
	return []byte(Unescape(t.Bytes(i)))
}

// Str is the decoded string i.
func (t *Tree) Str(i int) string {
	if t.nodes[i].escaped {
		return Unescape(t.Bytes(i))
	}
	return string(t.Bytes(i))
}

// Float is the double nearest to number i, infinite when it is beyond them all. Zero has no sign.
func (t *Tree) Float(i int) float64 {
	f, _ := strconv.ParseFloat(string(t.Bytes(i)), 64) // the syntax is known to be good; out of range gives ±Inf
	return f + 0                                       // -0 + 0 = 0
}

// KeyText is the decoded key of object member i; a view of the tree where it can be.
func (t *Tree) KeyText(i int) []byte {
	n := &t.nodes[i]
	key := t.raw[n.key.lo:n.key.hi]
	if n.keyEscaped {
		return []byte(Unescape(key))
	}
	return key
}

// Key is the decoded key of object member i.
func (t *Tree) Key(i int) string {
	return string(t.KeyText(i))
}

// Children yields each element or member of value i, in order.
func (t *Tree) Children(i int) iter.Seq[int] {
	return func(yield func(int) bool) {
		if t.nodes[i].kind < Array {
			return
		}
		for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
			if !yield(c) {
				return
			}
		}
	}
}

// Member finds the member called name of object i; ok is false when i is no object or has no such member.
func (t *Tree) Member(i int, name string) (member int, ok bool) {
	if t.nodes[i].kind != Object {
		return 0, false
	}
	for c := range t.Children(i) {
		if string(t.KeyText(c)) == name {
			return c, true
		}
	}
	return 0, false
}

// Follow calls visit with every value that path leads to from value i. A path is keys joined with dots; it leads
// through objects and through every element of lists. A key with a dot in it is written as it is.
func (t *Tree) Follow(i int, path string, visit func(i int)) {
	switch t.nodes[i].kind {
	case Array:
		for c := range t.Children(i) {
			if t.nodes[c].kind >= Array {
				t.Follow(c, path, visit)
			}
		}
	case Object:
		for c := range t.Children(i) {
			key := t.KeyText(c)
			switch {
			case string(key) == path:
				visit(c)
			case len(key) < len(path) && path[len(key)] == '.' && path[:len(key)] == string(key):
				t.Follow(c, path[len(key)+1:], visit)
			}
		}
	}
}

type parser struct {
	*Reader
	start int64 // where reading began
	depth int
	*Tree
}

// value reads the next value.
func (p *parser) value(depth int) error {
	c := p.Peek()
	at := int(p.Offset() - p.start)
	if depth > p.depth {
		return &SyntaxError{Reason: TooDeep, At: p.Offset()}
	}
	self := len(p.nodes)
	lo := uint32(len(p.raw))
	p.nodes = append(p.nodes, node{at: uint32(at)})
	var k Kind
	var err error
	switch {
	case c == '"':
		var s []byte
		if s, err = p.String(); err != nil {
			return err
		}
		p.raw = append(p.raw, s...)
		n := &p.nodes[self]
		n.kind, n.escaped = String, bytes.IndexByte(s, '\\') >= 0
		n.val, n.next = span{lo + 1, uint32(len(p.raw)) - 1}, uint32(self)+1
		return nil
	case c == '{':
		k, err = Object, p.object(self, depth)
	case c == '[':
		k, err = Array, p.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		var s []byte
		s, err = p.Number()
		k, p.raw = Number, append(p.raw, s...)
	case c == 't':
		k, err = True, p.literal("true")
	case c == 'f':
		k, err = False, p.literal("false")
	case c == 'n':
		k, err = Null, p.literal("null")
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
			key := p.Key(i)
			if _, dup := seen[key]; dup {
				return p.repeated(i)
			}
			seen[key] = struct{}{}
		}
		return nil
	}
	for i := self + 1; i < len(p.nodes); i = int(p.nodes[i].next) {
		for j := self + 1; j < i; j = int(p.nodes[j].next) {
			if bytes.Equal(p.KeyText(i), p.KeyText(j)) {
				return p.repeated(i)
			}
		}
	}
	return nil
}

func (p *parser) repeated(member int) error {
	return &SyntaxError{Reason: DuplicateKey, At: p.start + int64(p.nodes[member].at), Key: p.Key(member)}
}
