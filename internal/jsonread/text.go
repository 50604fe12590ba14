package jsonread

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Unquote is what a string means that String or Object returned.
func Unquote(raw []byte) string { return Unescape(raw[1 : len(raw)-1]) }

// Unescape is what the inside of a string means. Half a surrogate pair becomes U+FFFD, as in encoding/json.
func Unescape(inner []byte) string {
	first := bytes.IndexByte(inner, '\\')
	if first < 0 {
		return string(inner)
	}
	out := make([]byte, 0, len(inner))
	out = append(out, inner[:first]...)
	for s := inner[first:]; len(s) > 0; {
		if s[0] != '\\' {
			out = append(out, s[0])
			s = s[1:]
			continue
		}
		if s[1] != 'u' {
			out = append(out, plainEscape(s[1]))
			s = s[2:]
			continue
		}
		r := hex4(s[2:])
		s = s[6:]
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
				pair = utf16.DecodeRune(r, hex4(s[2:]))
			}
			if pair != utf8.RuneError {
				s = s[6:]
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

// Strings calls found with every string of the next value and its dotted path; the elements of a list share their list's.
func (r *Reader) Strings(found func(path, value string)) error { return r.strings("", found) }

func (r *Reader) strings(path string, found func(path, value string)) error {
	switch r.Peek() {
	case '{':
		return r.Object(func(key []byte) error {
			p := Unquote(key)
			if path != "" {
				p = path + "." + p
			}
			return r.strings(p, found)
		})
	case '[':
		return r.Array(func() error { return r.strings(path, found) })
	case '"':
		v, err := r.String()
		if err == nil && path != "" {
			found(path, Unquote(v))
		}
		return err
	}
	return r.Skip(MaxDepth)
}
