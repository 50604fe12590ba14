package vendors

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// form is the format of a file.
type form int

const (
	formJSON  form = iota // an array, or an object with "vendors"
	formOne               // one object, which is a record
	formLines             // JSON Lines
	formCSV
)

func (f form) String() string { return [...]string{"JSON", "one JSON object", "JSON Lines", "CSV"}[f] }

const gzipMagic = "\x1f\x8b"

// strangers are files that people take for a catalogue, by how they begin.
var strangers = []struct{ magic, what string }{
	{gzipMagic, "gzip inside gzip: compress it once"},
	{"PK\x03\x04", "an Excel workbook or another ZIP file: save the sheet as CSV (UTF-8)"},
	{"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV (UTF-8)"},
	{"%PDF", "a PDF"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd: only gzip is read"},
	{"BZh", "compressed with bzip2: only gzip is read"},
	{"\xfd7zXZ\x00", "compressed with xz: only gzip is read"},
	{"PAR1", "Parquet: write JSON Lines or CSV"},
	{"SQLite format 3", "an SQLite database: write JSON Lines or CSV"},
}

// open returns the file's bytes from the start, decompressed.
func (c *catalogue) open() (*bounded, error) {
	if _, err := c.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	var r io.Reader = c.file
	if c.gzip {
		r = &inflater{file: noting{r: c.file}}
	}
	return &bounded{r: r, max: c.lim.File}, nil
}

// openJSON makes the file, from the start, what JSON is read from.
func (c *catalogue) openJSON() error {
	in, err := c.open()
	if err != nil {
		return err
	}
	c.src = newSource(in)
	return c.src.skipBOM()
}

// inflater decompresses gzip and tells damaged data from a file that cannot be read.
type inflater struct {
	file noting
	z    *gzip.Reader
}

// noting remembers the error of a reader.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}

func (f *inflater) Read(p []byte) (n int, err error) {
	if f.z == nil {
		f.z, err = gzip.NewReader(&f.file)
	}
	if err == nil {
		n, err = f.z.Read(p)
	}
	switch {
	case err == nil || err == io.EOF || f.file.err != nil:
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = &CatalogueError{Kind: KindTruncated, Detail: "the compressed data ends too early"}
	default:
		err = &CatalogueError{Kind: KindGzip, Detail: "the compressed data is damaged, or something follows it"}
	}
	return n, err
}

// sniff finds out what kind of file it is, by its content.
func (c *catalogue) sniff() error {
	head, err := c.head()
	if err == nil && strings.HasPrefix(string(head), gzipMagic) {
		c.gzip, c.report.Gzip = true, true
		head, err = c.head()
	}
	if err != nil {
		return err
	}
	for _, s := range strangers {
		if bytes.HasPrefix(head, []byte(s.magic)) {
			return &CatalogueError{Kind: KindFormat, Line: 1, Detail: s.what}
		}
	}
	text, bom := bytes.CutPrefix(head, []byte(byteOrderMark))
	if c.report.Encoding = "UTF-8"; bom {
		c.report.Encoding = "UTF-8 with a byte order mark"
	}
	text = bytes.TrimLeft(text, " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")), bytes.IndexByte(head[:min(4, len(head))], 0) >= 0:
		return &CatalogueError{Kind: KindUTF8, Line: 1, Detail: "it looks like UTF-16; save it as UTF-8"}
	case len(text) == 0 || text[0] == '[':
		return nil
	case text[0] == '{':
		return c.objects()
	}
	if what, no := noRow(text[0]); no {
		return c.at(head, text, &CatalogueError{Kind: KindFormat, Detail: what})
	}
	c.form = formCSV
	return c.settleEncoding()
}

// at places an error at text, which ends where head does.
func (c *catalogue) at(head, text []byte, bad *CatalogueError) error {
	p := place{line: 1}.plus(head[:len(head)-len(text)])
	bad.Line, bad.Offset = p.line, p.offset
	return bad
}

// head is the beginning of the file, enough to see what it is.
func (c *catalogue) head() ([]byte, error) {
	in, err := c.open()
	if err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(in, 64<<10))
	if isCatalogueError(err) && len(head) > 0 {
		err = nil // it is met again, with its place
	}
	return head, err
}

// objects tells apart the files that begin with an object: one that holds the vendors, one that is a record, and JSON
// Lines. What is wrong in it is met again when it is read.
func (c *catalogue) objects() error {
	if err := c.openJSON(); err != nil {
		return err
	}
	_, _ = c.src.token()
	c.src.consume(1)
	for first := true; ; first = false {
		b, err := c.src.token()
		if err == nil && b == '}' && first {
			break
		}
		if err != nil || b != '"' || c.value(maxKeyLen, false) != nil || c.build.Str(0) == "vendors" {
			return nil
		}
		if b, err = c.src.token(); err != nil || b != ':' {
			return nil
		}
		c.src.consume(1)
		if _, err = c.src.token(); err != nil || c.value(c.lim.Record, true) != nil {
			return nil
		}
		last, err := c.delimiter('}')
		if err != nil {
			return nil
		}
		if last {
			break
		}
	}
	c.src.consume(1)
	c.form = formLines
	if _, err := c.src.token(); err == io.EOF {
		c.form = formOne
	}
	return nil
}

// settleEncoding finds the encoding of a CSV: UTF-8, or Shift_JIS, or none that is sure enough.
func (c *catalogue) settleEncoding() error {
	in, err := c.open()
	if err != nil {
		return err
	}
	at, found, err := notUTF8(in)
	if err != nil || !found {
		return err
	}
	shiftJIS, cause, err := tongue(func() (io.Reader, error) { return c.open() })
	switch {
	case err != nil:
		return err
	case !shiftJIS:
		return &CatalogueError{Kind: KindUTF8, Line: at.line, Offset: at.offset, Detail: cause}
	}
	c.shiftJIS, c.report.Encoding = true, "Shift_JIS"
	return nil
}
