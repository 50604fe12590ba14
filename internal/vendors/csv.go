package vendors

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/transform"
)

// maxColumns bounds the header of a CSV; the bytes of a row are bounded as those of any record.
const maxColumns = 1000

// noRow tells whether a line that begins with c shows that a file is no CSV, and what it is instead.
func noRow(c byte) (what string, no bool) {
	switch c {
	case '<':
		return "it is HTML or XML, perhaps an error page that was saved as the catalogue", true
	case '#':
		return "it is Markdown or has comments; a catalogue is JSON, JSON Lines or CSV", true
	case '{', '[':
		return "JSON and CSV are mixed", true
	}
	return "", false
}

// rows reads a CSV: RFC 4180, a header first.
type rows struct {
	*csv.Reader
	text  *rowText
	start int64 // offset of the row read last
}

// rowText is the text of a CSV on its way to the parser, which reads a row of any length into memory: it hands on only
// so much for one row. It notes the lines that no row may begin with.
type rowText struct {
	r     io.Reader
	limit int
	left  int
	line  int  // of the next byte
	begun bool // that line
	odd   []oddLine
}

type oddLine struct {
	line int
	what string
}

func (t *rowText) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, &CatalogueError{Kind: KindRecordSize, Detail: fmt.Sprintf("more than %d bytes in a row; is a quotation mark never closed?", t.limit)}
	}
	n, err := t.r.Read(p[:min(len(p), t.left)])
	t.left -= n
	for _, c := range p[:n] {
		if !t.begun {
			if what, no := noRow(c); no {
				t.odd = append(t.odd, oddLine{t.line, what})
			}
		}
		if t.begun = c != '\n'; !t.begun {
			t.line++
		}
	}
	return n, err
}

func (c *catalogue) rows() (*rows, error) {
	in, err := c.open()
	if err != nil {
		return nil, err
	}
	var r io.Reader
	if c.shiftJIS {
		r = transform.NewReader(in, japanese.ShiftJIS.NewDecoder())
	} else {
		b := bufio.NewReader(in)
		if mark, _ := b.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
			_, _ = b.Discard(len(mark))
		}
		r = b
	}
	x := &rows{text: &rowText{r: r, limit: c.lim.Record, line: 1}}
	x.Reader = csv.NewReader(x.text)
	x.FieldsPerRecord, x.ReuseRecord = -1, true
	return x, nil
}

// next returns the next row and its line, io.EOF after the last.
func (x *rows) next() (cells []string, line int, err error) {
	x.text.left = x.text.limit + 64<<10 // the parser reads ahead
	x.start = x.InputOffset()
	cells, err = x.Read()
	if bad, is := errors.AsType[*CatalogueError](err); is {
		own := *bad
		own.Line, own.Offset = x.text.line, x.start
		return nil, 0, &own
	}
	wrong, broken := errors.AsType[*csv.ParseError](err)
	switch {
	case broken:
		line = wrong.StartLine
	case err != nil:
		return nil, 0, err
	default:
		line, _ = x.FieldPos(0)
	}
	refused := CatalogueError{Kind: KindCSV, Line: line, Offset: x.start, Detail: x.text.oddAt(line)}
	switch {
	case refused.Detail != "":
	case !broken:
		return cells, line, nil
	case errors.Is(wrong.Err, csv.ErrQuote):
		refused.Detail = `a cell that begins with " ends wrongly or never: double the quotes within it`
	default:
		refused.Detail = `a cell holds a " but does not begin with one: put the whole cell in quotes and double those within`
	}
	return nil, 0, &refused
}

// oddAt says why no row may begin with that line, and forgets the lines before it.
func (t *rowText) oddAt(line int) string {
	for len(t.odd) > 0 && t.odd[0].line < line {
		t.odd = t.odd[1:]
	}
	if len(t.odd) > 0 && t.odd[0].line == line {
		return t.odd[0].what
	}
	return ""
}

// csv reads the records of a CSV: every cell is a string as it is written, and an empty one is absent.
func (c *catalogue) csv() error {
	x, err := c.rows()
	if err != nil {
		return err
	}
	header, line, err := x.next()
	if err == io.EOF {
		return &CatalogueError{Kind: KindEmpty, Line: x.text.line, Offset: x.start, Detail: "the file is empty"}
	}
	if err != nil {
		return err
	}
	root, columns, bad := newColumns(header, c.lim.Depth)
	if bad != nil {
		bad.Line, bad.Offset = line, x.start
		return bad
	}
	c.report.Columns = columns
	for {
		cells, line, err := x.next()
		switch {
		case err == io.EOF && c.count == 0:
			return &CatalogueError{Kind: KindEmpty, Line: x.text.line, Offset: x.start, Detail: "no vendors in it: there is a header and no row"}
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := c.row(root, columns, cells, line, x.start); err != nil {
			return err
		}
	}
}

// row makes a record of a row. A row without a cell is what spreadsheets leave behind.
func (c *catalogue) row(root *column, columns int, cells []string, line int, at int64) error {
	if len(trimEmpty(cells, 0)) == 0 {
		return nil
	}
	if cells = trimEmpty(cells, columns); len(cells) != columns {
		return &CatalogueError{Kind: KindCSV, Line: line, Offset: at, Detail: fmt.Sprintf(
			"%d cells in a row under %d columns: a line break or comma stands in a cell without quotes, or the row is cut off", len(cells), columns)}
	}
	if c.count >= c.lim.Records {
		return &CatalogueError{Kind: KindRecords, Line: line, Offset: at, Detail: fmt.Sprintf("more than %d", c.lim.Records)}
	}
	if c.frame = root.write(c.frame[:0], cells); len(c.frame) > c.lim.Record {
		return &CatalogueError{Kind: KindRecordSize, Line: line, Offset: at, Detail: fmt.Sprintf("more than %d bytes", c.lim.Record)}
	}
	if f := faultOf(c.build.Parse(c.frame, c.lim.Depth), 0); f != nil {
		return &CatalogueError{Kind: f.kind, Line: line, Offset: at, Detail: f.detail}
	}
	return c.take(place{line, at})
}

// trimEmpty drops empty cells at the end of a row that is longer than n.
func trimEmpty(cells []string, n int) []string {
	for len(cells) > n && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	return cells
}

// column is a place in the records that a header describes: a cell, or an object of columns.
type column struct {
	key  []byte // as JSON, with the colon
	name string
	cell int // -1 for an object
	in   []*column
}

// newColumns reads a header. A name with dots leads into objects; without a name a column must be empty.
func newColumns(header []string, depth int) (root *column, columns int, bad *CatalogueError) {
	fail := func(kind, format string, args ...any) (*column, int, *CatalogueError) {
		return nil, 0, &CatalogueError{Kind: kind, Detail: fmt.Sprintf(format, args...)}
	}
	header = trimEmpty(header, 0)
	if n := len(header); n < 2 {
		return fail(KindFormat, "%s", oneColumn(header))
	} else if n > maxColumns {
		return fail(KindCSV, "%d columns, at most %d", n, maxColumns)
	}
	root = &column{cell: -1}
	for i, name := range header {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			return fail(KindCSV, "column %d has no name: the first row names the columns (of pandas, write with index=False)", i+1)
		case strings.Count(name, ".") >= depth:
			return fail(KindDepth, "column %d", i+1)
		case strings.Contains(name, "\r"):
			return fail(KindCSV, "its lines end in carriage returns alone; save it with ordinary line ends")
		}
		if other := root.add(name, name, i); other == name {
			return fail(KindCSV, "the header has %q twice", name)
		} else if other != "" {
			return fail(KindCSV, "the header has both %q and %q", other, name)
		}
	}
	return root, len(header), nil
}

func oneColumn(header []string) string {
	text := strings.Join(header, "")
	switch {
	case strings.Contains(text, "\t"):
		return "its columns are separated by tabs; save it as CSV, separated by commas"
	case strings.Contains(text, ";"):
		return "its columns are separated by semicolons; save it as CSV, separated by commas"
	}
	return "neither JSON nor CSV: a CSV begins with a row of at least two column names, separated by commas"
}

// add puts the column of cell i at path; a column that it cannot stand beside is returned.
func (n *column) add(path, full string, i int) (conflict string) {
	key, rest, nested := strings.Cut(path, ".")
	if nested && (key == "" || rest == "" || strings.HasPrefix(rest, ".") || strings.HasSuffix(rest, ".")) {
		key, nested = path, false // "No." is no path
	}
	var at *column
	for _, c := range n.in {
		if string(c.key) == string(keyText(key)) {
			at = c
		}
	}
	switch {
	case at != nil && (!nested || at.cell >= 0):
		return at.name
	case at == nil:
		at = &column{key: keyText(key), name: full, cell: i}
		n.in = append(n.in, at)
		if !nested {
			return ""
		}
		at.cell = -1
	}
	return at.add(rest, full, i)
}

func keyText(key string) []byte { return append(appendString(nil, key), ':') }

// write appends the JSON of the cells below n; nothing when all of them are empty.
func (n *column) write(dst []byte, cells []string) []byte {
	if n.cell >= 0 {
		if n.cell < len(cells) && cells[n.cell] != "" {
			dst = appendString(dst, cells[n.cell])
		}
		return dst
	}
	start, empty := len(dst), true
	dst = append(dst, '{')
	for _, c := range n.in {
		before := len(dst)
		if !empty {
			dst = append(dst, ',')
		}
		dst = append(dst, c.key...)
		mark := len(dst)
		if dst = c.write(dst, cells); len(dst) == mark {
			dst = dst[:before]
			continue
		}
		empty = false
	}
	if empty {
		return dst[:start]
	}
	return append(dst, '}')
}

// appendString appends s, which is UTF-8, as a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c < 0x20:
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
