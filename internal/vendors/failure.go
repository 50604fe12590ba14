package vendors

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// What can be wrong with a catalogue: the values of CatalogueError.Kind.
const (
	KindSyntax       = "not JSON"
	KindTruncated    = "cut off"
	KindTrailing     = "data after the catalogue"
	KindUTF8         = "invalid UTF-8"
	KindEmpty        = "empty catalogue"
	KindShape        = "wrong type"
	KindDuplicateKey = "duplicate key"
	KindDuplicateID  = "duplicate id"
	KindInvalidID    = "invalid id"
	KindFileSize     = "file too large"
	KindRecordSize   = "record too large"
	KindRecords      = "too many records"
	KindDepth        = "nested too deep"
	KindWhitespace   = "too much whitespace"
	KindFormat       = "not a catalogue"
	KindCSV          = "broken CSV"
	KindGzip         = "damaged gzip"
)

// maxOffenders is how many offending records a CatalogueError names.
const maxOffenders = 10

// CatalogueError says why a catalogue was refused. Nothing of a refused catalogue may be used.
type CatalogueError struct {
	Kind   string   // one of the Kind constants
	Line   int      // line of the first offence, from 1; 0 for a single stored record
	Offset int64    // its offset in bytes, from 0
	IDs    []string // the first ten offending records: their ids, or "record 3" (counted from 1) where they have none
	Lines  []int    // where each of them is
	Count  int      // how many offend; 0 when the kind does not concern single records
	Detail string   // more for people: what was found, the likely cause, what to do; or empty
}

// Error gives kind, ids and place in one line: `duplicate id "V-1", "V-7" (line 12, byte 345)`.
func (e *CatalogueError) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind)
	for i, id := range e.IDs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		b.WriteString(strconv.Quote(id))
	}
	if more := e.Count - len(e.IDs); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, " (line %d, byte %d)", e.Line, e.Offset)
	}
	return b.String()
}

// fault is what is wrong with a record or its text, and where, as an offset into the text.
type fault struct {
	kind   string
	at     int
	detail string
}

// faultOf is what err, which reading a JSON text that began at offset start ended with, says about the text; nil when
// that is nothing.
func faultOf(err error, start int64) *fault {
	s, ok := errors.AsType[*jsonread.SyntaxError](err)
	if !ok {
		return nil
	}
	f := &fault{kind: s.Reason.String(), at: int(s.At - start), detail: s.More()}
	if s.Reason == jsonread.TooLong {
		f.kind = KindRecordSize
	}
	return f
}
