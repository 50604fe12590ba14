package vendors

import (
	"bytes"
	"fmt"
	"io"
)

const (
	readSize = 256 << 10

	// maxSpace is the longest run of whitespace between two records. Nobody indents by a mebibyte; a file of
	// nothing but spaces is refused after this much of it.
	maxSpace = 1 << 20
)

// source reads a catalogue piece by piece and knows where it is. Its memory is one read buffer.
type source struct {
	r     io.Reader
	limit int64
	buf   []byte
	pos   int   // next byte in buf
	end   int   // bytes in buf
	base  int64 // offset in the file of buf[0]
	line  int   // line of the next byte, from 1
	err   error // what the reader ended with
	idle  int   // reads in a row that brought nothing
}

func newSource(r io.Reader, limit int64) *source {
	return &source{r: r, limit: limit, buf: make([]byte, readSize), line: 1}
}

func (s *source) offset() int64 { return s.base + int64(s.pos) }

// window is what can be looked at without reading; it reads when nothing is left. Empty with io.EOF at the end.
func (s *source) window() ([]byte, error) {
	for s.pos == s.end {
		if s.err != nil {
			return nil, s.err
		}
		s.base += int64(s.end)
		s.pos, s.end = 0, 0
		n, err := s.r.Read(s.buf)
		s.end = n
		if s.err = err; err != nil && err != io.EOF { // a wrapped EOF is no proper end
			s.err = fmt.Errorf("read catalogue: %w", err)
		}
		if s.base+int64(n) > s.limit {
			s.pos, s.end = 0, 0
			s.err = s.fail(KindFileSize, fmt.Sprintf("more than %d bytes", s.limit))
		}
		if s.idle++; n > 0 {
			s.idle = 0
		} else if s.idle > 100 && s.err == nil {
			s.err = fmt.Errorf("read catalogue: %w", io.ErrNoProgress)
		}
	}
	return s.buf[s.pos:s.end], nil
}

// consume moves past n bytes of the window.
func (s *source) consume(n int) {
	s.line += bytes.Count(s.buf[s.pos:s.pos+n], []byte{'\n'})
	s.pos += n
}

// fail is an error at the next byte.
func (s *source) fail(kind, detail string) error {
	return &CatalogueError{Kind: kind, Line: s.line, Offset: s.offset(), Detail: detail}
}

// unexpected says what was found where wanted should be.
func (s *source) unexpected(wanted string) error {
	w, err := s.window()
	if err == io.EOF {
		return s.fail(KindTruncated, "it ends where "+wanted+" should be")
	}
	if err != nil {
		return err
	}
	return s.fail(KindSyntax, "found "+quoteByte(w[0])+" where "+wanted+" should be")
}

// skipBOM skips the UTF-8 byte order mark and recognises those of UTF-16.
func (s *source) skipBOM() error {
	var head []byte
	for len(head) < 3 {
		w, err := s.window()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case len(head) == 0 && w[0] != 0xEF && w[0] != 0xFE && w[0] != 0xFF:
			return nil
		case len(head) == 0 && w[0] != 0xEF:
			return s.fail(KindUTF8, "it looks like UTF-16; save it as UTF-8")
		}
		head = append(head, w[0])
		s.consume(1)
	}
	if len(head) > 0 && string(head) != "\xEF\xBB\xBF" {
		return &CatalogueError{Kind: KindSyntax, Line: 1, Detail: "found byte 0xef where an array or an object should be"}
	}
	return nil
}

// token skips whitespace and returns the next byte without consuming it; io.EOF at the end.
func (s *source) token() (byte, error) {
	start := s.offset()
	for {
		w, err := s.window()
		if err != nil {
			return 0, err
		}
		n := 0
		for n < len(w) && isSpace(w[n]) {
			n++
		}
		found := n < len(w)
		var c byte
		if found {
			c = w[n]
		}
		s.consume(n)
		if s.offset()-start > maxSpace {
			return 0, s.fail(KindWhitespace, fmt.Sprintf("more than %d bytes in a row", maxSpace))
		}
		if found {
			return c, nil
		}
	}
}

// frame appends the bytes of the next value to dst: to the bracket that closes it, to the quote that ends it, or to
// the delimiter after it. It only counts brackets and quotes; tree.parse says whether the bytes are a JSON value.
// The value may have at most limit bytes. On a cut-off or too large value the bytes read are returned with the error.
func (s *source) frame(dst []byte, limit int) ([]byte, error) {
	var f framer
	tooLarge := s.fail(KindRecordSize, fmt.Sprintf("more than %d bytes", limit))
	for {
		w, err := s.window()
		if err == io.EOF {
			if f.scalar {
				return dst, nil
			}
			return dst, s.fail(KindTruncated, "it ends within a value")
		}
		if err != nil {
			return dst, err
		}
		n, done := f.advance(w)
		if len(dst)+n > limit {
			return append(dst, w[:limit-len(dst)]...), tooLarge
		}
		dst = append(dst, w[:n]...)
		s.consume(n)
		if done {
			return dst, nil
		}
	}
}

// framer finds the end of a value in bytes that come in pieces.
type framer struct {
	depth    int
	inString bool
	escape   bool
	scalar   bool // a number or literal, which ends before a delimiter
}

// advance returns how many bytes of w belong to the value and whether it ends there.
func (f *framer) advance(w []byte) (n int, done bool) {
	for i := 0; i < len(w); i++ {
		c := w[i]
		switch {
		case f.inString:
			switch {
			case f.escape:
				f.escape = false
			case c == '\\':
				f.escape = true
			case c == '"':
				f.inString = false
				if f.depth == 0 {
					return i + 1, true
				}
			}
		case c == '"' && !f.scalar:
			f.inString = true
		case (c == '{' || c == '[') && !f.scalar:
			f.depth++
		case c == '}' || c == ']':
			if f.depth == 0 {
				return i, true
			}
			if f.depth--; f.depth == 0 {
				return i + 1, true
			}
		case f.depth == 0:
			if c == ',' || c == ':' || isSpace(c) {
				return i, true
			}
			f.scalar = true
		}
	}
	return len(w), false
}
