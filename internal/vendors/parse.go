package vendors

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Limits bound what Read accepts and so what it needs: one read buffer; one record with its tree, at worst (nothing
// but single digits and commas) 25 times its size; and about 50 bytes per record to recognise duplicate ids.
type Limits struct {
	File    int64 // bytes of the whole file
	Record  int   // bytes of one record as it stands in the file, whitespace included
	Depth   int   // nesting within a record, the record itself being 1
	Records int   // records in a catalogue
}

// DefaultLimits admits catalogues far above any real one: 2 million records of 4 KiB fill the 8 GiB, and their ids
// take 2e6 * 50 B = 100 MB while parsing.
func DefaultLimits() Limits {
	return Limits{File: 8 << 30, Record: 4 << 20, Depth: 64, Records: 2_000_000}
}

const (
	// maxIgnored bounds the value of one ignored key beside "vendors", maxKeys and maxKeyLen the keys.
	maxIgnored = 64 << 20
	maxKeys    = 1000
	maxKeyLen  = 64 << 10
)

func isCatalogueError(err error) bool {
	var bad *CatalogueError
	return errors.As(err, &bad)
}

// json reads an array of records, or an object that holds one.
func (c *catalogue) json() error {
	var err error
	switch first, e := c.src.token(); {
	case e == io.EOF:
		return c.src.fail(KindEmpty, "the file is empty")
	case e != nil:
		return e
	case first == '[':
		err = c.array()
	case first == '{':
		err = c.object()
	default:
		return c.src.unexpected("an array or an object")
	}
	if err != nil {
		return err
	}
	switch _, e := c.src.token(); {
	case e == nil:
		return c.src.fail(KindTrailing, "")
	case e != io.EOF:
		return e
	}
	return nil
}

// object reads {"vendors": [...]} and checks and ignores the other keys.
func (c *catalogue) object() error {
	c.src.consume(1)
	keys := make(map[string]bool)
	for {
		b, err := c.src.token()
		if err == nil && b == '}' && len(keys) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF || b != '"' {
			return c.src.unexpected("a key")
		}
		last, err := c.member(keys)
		if err != nil {
			return err
		}
		if last {
			break
		}
	}
	if !keys["vendors"] {
		return c.src.fail(KindShape, `the object has no key "vendors"`)
	}
	c.src.consume(1)
	return nil
}

// member reads one key and its value up to the comma, which it consumes, or the closing brace, which it leaves.
func (c *catalogue) member(keys map[string]bool) (last bool, err error) {
	at, line := c.src.Offset(), c.src.line
	if err := c.value(maxKeyLen, false); err != nil {
		return false, err
	}
	key := c.build.Str(0)
	if keys[key] {
		return false, &CatalogueError{Kind: KindDuplicateKey, Line: line, Offset: at, Detail: key}
	}
	if keys[key] = true; len(keys) > maxKeys {
		return false, c.src.fail(KindShape, fmt.Sprintf("more than %d keys beside the vendors", maxKeys))
	}
	if b, err := c.src.token(); err != nil && err != io.EOF {
		return false, err
	} else if err == io.EOF || b != ':' {
		return false, c.src.unexpected("':'")
	}
	c.src.consume(1)
	b, err := c.src.token()
	switch {
	case err == io.EOF:
		return false, c.src.unexpected("a value")
	case err != nil:
		return false, err
	case key != "vendors":
		err = c.value(maxIgnored, true)
	case b == '[':
		err = c.array()
	default:
		return false, c.src.fail(KindShape, `"vendors" is not an array`)
	}
	if err != nil {
		return false, err
	}
	return c.delimiter('}')
}

// delimiter expects a comma, which it consumes, or the closing bracket, which it leaves.
func (c *catalogue) delimiter(closing byte) (last bool, err error) {
	b, err := c.src.token()
	switch {
	case err != nil && err != io.EOF:
		return false, err
	case err == nil && b == ',':
		c.src.consume(1)
		return false, nil
	case err == nil && b == closing:
		return true, nil
	}
	return false, c.src.unexpected(fmt.Sprintf("',' or %q", closing))
}

// array reads the records.
func (c *catalogue) array() error {
	at, line := c.src.Offset(), c.src.line
	c.src.consume(1)
	for {
		switch b, err := c.src.token(); {
		case err == io.EOF:
			return c.src.unexpected("a record")
		case err != nil:
			return err
		case b == ']' && c.count == 0:
			return &CatalogueError{Kind: KindEmpty, Line: line, Offset: at, Detail: "no vendors in it"}
		}
		if err := c.record(); err != nil {
			return err
		}
		last, err := c.delimiter(']')
		if err != nil {
			return err
		}
		if last {
			c.src.consume(1)
			return nil
		}
	}
}

// value reads the next value into c.build, or only checks it.
func (c *catalogue) value(limit int, ignore bool) error {
	return c.src.value(limit, func(r *jsonread.Reader) error {
		if ignore {
			return r.Skip(c.lim.Depth - 1)
		}
		return c.build.Read(r, c.lim.Depth)
	})
}

// record reads one record.
func (c *catalogue) record() error {
	at := place{c.src.line, c.src.Offset()}
	if c.count >= c.lim.Records {
		return c.src.fail(KindRecords, fmt.Sprintf("more than %d", c.lim.Records))
	}
	if err := c.value(c.lim.Record, false); err != nil {
		var bad *CatalogueError
		if errors.As(err, &bad) {
			bad.Detail = strings.TrimPrefix(fmt.Sprintf("%s, in record %d", bad.Detail, c.count+1), ", ")
		}
		return err
	}
	return c.take(at)
}

// offence notes a bad record. The first decides the kind; later ones of that kind are named with it.
func (c *catalogue) offence(kind, id, detail string, line int, at int64) {
	if c.bad == nil {
		c.bad = &CatalogueError{Kind: kind, Line: line, Offset: at, Detail: detail}
	}
	if c.bad.Kind != kind {
		return
	}
	if c.bad.Count++; len(c.bad.IDs) < maxOffenders {
		c.bad.IDs, c.bad.Lines = append(c.bad.IDs, id), append(c.bad.Lines, line)
	}
}

// one reads a file that is a single record: it says so by its id or its name.
func (c *catalogue) one() error {
	if _, err := c.src.token(); err != nil {
		return err
	}
	if err := c.value(c.lim.Record, false); err != nil {
		return err
	}
	_, hasID := c.build.present(c.where.id, anything)
	_, hasName := c.build.present(c.where.name, visible)
	if !hasID && !hasName {
		return &CatalogueError{Kind: KindShape, Line: c.src.line, Offset: c.src.Offset() - 1, Detail: fmt.Sprintf(
			`the object has no key "vendors", and as a record it would need an id (%s) or a name (%s)`, c.ids.rules.ID, c.ids.rules.Name)}
	}
	return c.take(place{1, 0})
}

// lines reads JSON Lines: each line that is not empty is a whole object.
func (c *catalogue) lines() error {
	for {
		b, err := c.src.token()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case b != '{':
			return c.src.unexpected("an object: JSON Lines has a whole one on each line")
		}
		line, at := c.src.line, c.src.Offset()
		if err := c.record(); err != nil {
			return err
		}
		if c.src.line != line {
			return &CatalogueError{Kind: KindSyntax, Line: line, Offset: at, Detail: "the object goes on in the next line: JSON Lines has a whole one on each line"}
		}
		if err := c.src.endLine(); err != nil {
			return err
		}
	}
}
