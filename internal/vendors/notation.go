package vendors

import (
	"bytes"
	"io"
)

// notations are what people and programs write in place of JSON: what stands where JSON ends, and what stands before it
// when that matters.
var notations = []struct{ word, cause, after string }{
	{"NaN", "NaN is not JSON, write null", ""},
	{"Infinity", "Infinity is not JSON, write null", ""},
	{"None", "it is Python's notation, write it with json.dump", ""},
	{"True", "it is Python's notation, write it with json.dump", ""},
	{"False", "it is Python's notation, write it with json.dump", ""},
	{"undefined", "undefined is not JSON, write null", ""},
	{"'", "JSON has double quotes only", ""},
	{"“", "the quotes are typographic, JSON has \" only", ""},
	{"”", "the quotes are typographic, JSON has \" only", ""},
	{"\xef\xbc", "it is full-width punctuation, JSON has , : and \" only", ""},
	{"//", "JSON has no comments", ""},
	{"/*", "JSON has no comments", ""},
	{"#", "JSON has no comments", ""},
	{"]", "the comma before it is one too many", ","},
	{"}", "the comma before it is one too many", ","},
	{"{", "a comma is missing before it", "}"},
}

// explained adds the likely cause to a fault in JSON's syntax.
func (c *catalogue) explained(bad *CatalogueError) *CatalogueError {
	if bad.Kind != KindSyntax || c.src == nil {
		return bad
	}
	before := min(bad.Offset, 64)
	in, err := c.open()
	if err == nil {
		_, err = io.CopyN(io.Discard, in, bad.Offset-before)
	}
	if err != nil {
		return bad
	}
	text, _ := io.ReadAll(io.LimitReader(in, before+16))
	at := min(int(before), len(text))
	for _, n := range notations {
		if n.after != "" && c.form != formJSON {
			continue // in JSON Lines there are no commas between records
		}
		if bytes.HasPrefix(text[at:], []byte(n.word)) && bytes.HasSuffix(bytes.TrimSpace(text[:at]), []byte(n.after)) {
			own := *bad
			own.Detail += "; " + n.cause
			return &own
		}
	}
	return bad
}
