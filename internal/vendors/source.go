package vendors

import (
	"bytes"
	"fmt"
	"io"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

const (
	readSize = 256 << 10

	byteOrderMark = "\xEF\xBB\xBF"

	// maxSpace is the longest run of whitespace between two records. Nobody indents by a mebibyte; a file of
	// nothing but spaces is refused after this much of it.
	maxSpace = 1 << 20
)

// source reads a catalogue piece by piece and knows where it is. Its memory is one read buffer with one value in it.
type source struct {
	*jsonread.Reader
	line int // line of the next byte, from 1
}

func newSource(r io.Reader) *source {
	return &source{Reader: jsonread.Stream(r, readSize), line: 1}
}

// bounded is the catalogue's reader: it refuses a file that is larger than allowed.
type bounded struct {
	r    io.Reader
	max  int64
	read int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), b.max-b.read+1)])
	if b.read += int64(n); b.read > b.max {
		b.read = b.max
		return n - 1, &CatalogueError{Kind: KindFileSize, Detail: fmt.Sprintf("more than %d bytes", b.max)}
	}
	if err != nil && err != io.EOF && !isCatalogueError(err) { // a wrapped EOF is no proper end
		err = fmt.Errorf("read catalogue: %w", err)
	}
	return n, err
}

// consume moves past n bytes of the window.
func (s *source) consume(n int) {
	w, _ := s.Window()
	s.line += bytes.Count(w[:n], []byte{'\n'})
	s.Advance(n)
}

// fail is an error at the next byte.
func (s *source) fail(kind, detail string) error {
	return &CatalogueError{Kind: kind, Line: s.line, Offset: s.Offset(), Detail: detail}
}

// unexpected says what was found where wanted should be.
func (s *source) unexpected(wanted string) error {
	if _, err := s.Window(); err != nil && err != io.EOF {
		return err
	}
	f := faultOf(s.Unexpected(wanted), 0)
	return s.fail(f.kind, f.detail)
}

// skipBOM skips the UTF-8 byte order mark and recognises those of UTF-16.
func (s *source) skipBOM() error {
	var head []byte
	for len(head) < 3 {
		w, err := s.Window()
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
	if len(head) > 0 && string(head) != byteOrderMark {
		return &CatalogueError{Kind: KindSyntax, Line: 1, Detail: "found byte 0xef where an array or an object should be"}
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// token skips whitespace and returns the next byte without consuming it; io.EOF at the end.
func (s *source) token() (byte, error) {
	start := s.Offset()
	for {
		w, err := s.Window()
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
		if s.Offset()-start > maxSpace {
			return 0, s.fail(KindWhitespace, fmt.Sprintf("more than %d bytes in a row", maxSpace))
		}
		if found {
			return c, nil
		}
	}
}

// endLine moves past the rest of a line, which must be blank.
func (s *source) endLine() error {
	start := s.Offset()
	for {
		w, err := s.Window()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n := 0
		for n < len(w) && isSpace(w[n]) && w[n] != '\n' {
			n++
		}
		if n < len(w) && w[n] != '\n' {
			found := jsonread.QuoteByte(w[n])
			s.consume(n)
			return s.fail(KindTrailing, "found "+found+" after the object on its line")
		}
		if n < len(w) {
			s.consume(n + 1)
			return nil
		}
		if s.consume(n); s.Offset()-start > maxSpace {
			return s.fail(KindWhitespace, fmt.Sprintf("more than %d bytes in a row", maxSpace))
		}
	}
}

// value lets read take the next value from the text, at most limit bytes, and finds the place in the file of whatever
// is wrong with it.
func (s *source) value(limit int, read func(*jsonread.Reader) error) error {
	at, line := s.Offset(), s.line
	s.Hold(limit)
	err := read(s.Reader)
	held := s.Held()
	s.line += bytes.Count(held, []byte{'\n'})
	s.Release()
	if err == nil {
		return nil
	}
	f := faultOf(err, at)
	switch {
	case f == nil:
		return err
	case f.kind == KindRecordSize:
		return &CatalogueError{Kind: f.kind, Line: line, Offset: at, Detail: fmt.Sprintf("more than %d bytes", limit)}
	}
	line += bytes.Count(held[:min(f.at, len(held))], []byte{'\n'})
	return &CatalogueError{Kind: f.kind, Line: line, Offset: at + int64(f.at), Detail: f.detail}
}
