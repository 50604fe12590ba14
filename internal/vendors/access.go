package vendors

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// bytesOf is the text of value i as it is written, strings without their quotes.
func (t *tree) bytesOf(i int) []byte { return t.raw[t.nodes[i].val.lo:t.nodes[i].val.hi] }

// str is the decoded string i.
func (t *tree) str(i int) string {
	if !t.nodes[i].escaped {
		return string(t.bytesOf(i))
	}
	return unescape(t.bytesOf(i))
}

// key is the decoded key of object member i.
func (t *tree) key(i int) string {
	n := &t.nodes[i]
	if !n.keyEscaped {
		return string(t.raw[n.key.lo:n.key.hi])
	}
	return unescape(t.raw[n.key.lo:n.key.hi])
}

// keyIs tells whether member i is called name, without building a string.
func (t *tree) keyIs(i int, name string) bool {
	n := &t.nodes[i]
	if n.keyEscaped {
		return t.key(i) == name
	}
	return string(t.raw[n.key.lo:n.key.hi]) == name
}

// children calls visit with each element or member of value i, in order.
func (t *tree) children(i int, visit func(child int)) {
	if t.nodes[i].kind < kindArray {
		return
	}
	for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
		visit(c)
	}
}

// member finds the member called name of object i; ok is false when i is no object or has no such member.
func (t *tree) member(i int, name string) (child int, ok bool) {
	if t.nodes[i].kind != kindObject {
		return 0, false
	}
	for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
		if t.keyIs(c, name) {
			return c, true
		}
	}
	return 0, false
}

// unescape decodes the contents of a JSON string whose escapes are known to be well-formed. Half a surrogate pair
// becomes U+FFFD, as in encoding/json.
func unescape(s []byte) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		if s[i+1] != 'u' {
			out = append(out, plainEscape(s[i+1]))
			i += 2
			continue
		}
		r := hex4(s[i+2:])
		i += 6
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(s) >= i+6 && s[i] == '\\' && s[i+1] == 'u' {
				pair = utf16.DecodeRune(r, hex4(s[i+2:]))
			}
			if pair != utf8.RuneError {
				i += 6
			}
			r = pair
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

func plainEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

func hex4(s []byte) rune {
	return rune(hexDigit(s[0])<<12 | hexDigit(s[1])<<8 | hexDigit(s[2])<<4 | hexDigit(s[3]))
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func quoteByte(c byte) string {
	if c < 0x20 || c >= 0x7f {
		return "byte 0x" + strconv.FormatUint(uint64(c), 16)
	}
	return strconv.QuoteRune(rune(c))
}
