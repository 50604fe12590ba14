package vendors

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/transform"
)

// place is where in a text something is.
type place struct {
	line   int
	offset int64
}

// notUTF8 finds the first byte of r that does not belong to a character of UTF-8. A character that the end of r cuts
// off is no such byte: r may be the beginning of a file.
func notUTF8(r io.Reader) (at place, found bool, err error) {
	buf := make([]byte, readSize)
	at.line = 1
	kept := 0 // bytes of a character that the last read cut off
	for {
		n, err := r.Read(buf[kept:])
		text := buf[:kept+n]
		whole := len(text) - cutOff(text)
		if !utf8.Valid(text[:whole]) {
			i := firstInvalid(text[:whole])
			return at.plus(text[:i]), true, nil
		}
		at = at.plus(text[:whole])
		kept = copy(buf, text[whole:])
		if err == io.EOF {
			return at, false, nil
		}
		if err != nil {
			return at, false, err
		}
	}
}

func (p place) plus(text []byte) place {
	p.line += bytes.Count(text, []byte{'\n'})
	p.offset += int64(len(text))
	return p
}

// cutOff is how many bytes at the end of text are the beginning of a longer character.
func cutOff(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(text)
}

// census says what a text is made of when it is read in one encoding.
type census struct {
	high     int // characters beyond ASCII, bytes for UTF-8
	good     int // of them in the encoding
	narrow   int // half-width katakana, which bytes of other encodings look like in Shift_JIS
	firstBad place
}

// countUTF8 counts bytes.
func countUTF8(r io.Reader) (census, error) {
	var c census
	in := bufio.NewReaderSize(r, readSize)
	for {
		switch r, n, err := in.ReadRune(); {
		case err == io.EOF:
			return c, nil
		case err != nil:
			return c, err
		case r == utf8.RuneError && n == 1:
			c.high++
		case n > 1:
			c.high += n
			c.good += n
		}
	}
}

// countDecoded counts the characters of r in an encoding of x/text, which decodes what it cannot to U+FFFD.
func countDecoded(r io.Reader, e encoding.Encoding) (census, error) {
	var c census
	at := place{line: 1}
	in := bufio.NewReaderSize(transform.NewReader(r, e.NewDecoder()), readSize)
	for {
		switch r, n, err := in.ReadRune(); {
		case err == io.EOF:
			return c, nil
		case err != nil:
			return c, err
		case r == utf8.RuneError:
			if c.high == c.good {
				c.firstBad = at
			}
			c.high++
		case r >= utf8.RuneSelf:
			c.high++
			c.good++
			if r >= 0xFF61 && r <= 0xFF9F {
				c.narrow++
			}
		default:
			at = at.plus([]byte{byte(r)}[:n])
		}
	}
}

// tongue is what encoding a text that is not UTF-8 is in: shiftJIS, or false with the likely cause in words.
//
// Shift_JIS accepts most sequences of bytes, so that it decodes is not enough: of real Japanese text hardly anything is
// half-width katakana, and hardly anything is UTF-8 as well.
func tongue(open func() (io.Reader, error)) (shiftJIS bool, cause string, err error) {
	var counts [3]census
	for i, count := range []func(io.Reader) (census, error){
		countUTF8,
		func(r io.Reader) (census, error) { return countDecoded(r, japanese.ShiftJIS) },
		func(r io.Reader) (census, error) { return countDecoded(r, japanese.EUCJP) },
	} {
		r, err := open()
		if err == nil {
			counts[i], err = count(r)
		}
		if err != nil {
			return false, "", err
		}
	}
	utf, sjis, euc := counts[0], counts[1], counts[2]
	mostlyUTF8 := 2*utf.good >= utf.high
	decodes := sjis.good == sjis.high && !mostlyUTF8
	switch {
	case decodes && 10*sjis.narrow < sjis.high:
		return true, "it looks like Shift_JIS; save it as UTF-8", nil
	case mostlyUTF8:
		return false, "most of it is UTF-8: part of it comes from a file in another encoding, or was cut within a character", nil
	case euc.good == euc.high && decodes:
		return false, fmt.Sprintf("it may be EUC-JP, or Shift_JIS with %d half-width katakana in %d characters; save it as UTF-8", sjis.narrow, sjis.high), nil
	case euc.good == euc.high:
		return false, "it looks like EUC-JP; save it as UTF-8", nil
	case decodes:
		return false, fmt.Sprintf("it may be Shift_JIS, but %d of %d characters would be half-width katakana; save it as UTF-8", sjis.narrow, sjis.high), nil
	case 20*sjis.good >= 19*sjis.high:
		return false, fmt.Sprintf("it looks like Shift_JIS with damaged characters (the first in line %d); save it as UTF-8", sjis.firstBad.line), nil
	}
	return false, "it is neither UTF-8 nor Shift_JIS; save it as UTF-8", nil
}

// misreadAhead is how far behind a fault misread looks: all of nearly every file, and little of one that has no end.
const misreadAhead = 1 << 20

// misread looks for bytes that are not UTF-8 in a file that is refused: where they are, nothing else that was found wrong
// means anything. 表 in Shift_JIS ends in a backslash.
func (c *catalogue) misread(refused *CatalogueError) error {
	if c.src == nil || refused.Kind == KindFileSize || refused.Kind == KindGzip {
		return refused // its encoding is known, or the file is too large or damaged
	}
	open := func() (io.Reader, error) {
		in, err := c.open()
		return io.LimitReader(in, refused.Offset+misreadAhead), err
	}
	r, err := open()
	if err != nil {
		return refused
	}
	at, found, err := notUTF8(r)
	if err != nil || !found {
		return refused
	}
	_, cause, err := tongue(open)
	if err != nil && !isCatalogueError(err) {
		return refused
	}
	return &CatalogueError{Kind: KindUTF8, Line: at.line, Offset: at.offset, Detail: cause}
}
