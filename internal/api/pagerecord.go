package api

import (
	"html/template"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// field is one member of a record as the page shows it: a value, or groups of members.
type field struct {
	Key, Value string
	Link       string // set when Value is an address of the web
	Groups     [][]field
}

// fieldsOf lays out a record's JSON in its own order.
func fieldsOf(raw []byte) []field {
	text := jsonread.Over(raw)
	s := &text
	var out []field
	_ = s.Object(func(key []byte) error {
		f, err := fieldOf(s, jsonread.Unquote(key))
		if f.Value != "" || len(f.Groups) > 0 {
			out = append(out, f)
		}
		return err
	})
	return out
}

// fieldOf reads one value. Lists of scalars become one line, objects a group, lists of objects a group each.
func fieldOf(s *jsonread.Reader, key string) (field, error) {
	f := field{Key: key}
	var values []string
	err := gather(s, &values, &f.Groups)
	f.Value = strings.Join(values, "、")
	if len(values) == 1 {
		if u, err := url.Parse(values[0]); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
			f.Link = values[0]
		}
	}
	if len(f.Groups) > 0 && len(values) > 0 { // a list of both: the scalars are a group of their own
		f.Groups = append(f.Groups, []field{{Value: f.Value}})
	}
	return f, err
}

func gather(s *jsonread.Reader, values *[]string, groups *[][]field) error {
	switch c := s.Peek(); {
	case c == '{':
		var group []field
		err := s.Object(func(key []byte) error {
			f, err := fieldOf(s, jsonread.Unquote(key))
			if f.Value != "" || len(f.Groups) > 0 {
				group = append(group, f)
			}
			return err
		})
		if len(group) > 0 {
			*groups = append(*groups, group)
		}
		return err
	case c == '[':
		return s.Array(func() error { return gather(s, values, groups) })
	case c == '"':
		v, err := s.String()
		if err != nil {
			return err
		}
		if t := jsonread.Unquote(v); t != "" {
			*values = append(*values, t)
		}
		return nil
	}
	v, err := s.Value(maxDepth)
	if err == nil && string(v) != "null" {
		*values = append(*values, string(v))
	}
	return err
}

// terms are the words of a query that are worth marking in a text, longest first.
func terms(query string) []string {
	words := strings.FieldsFunc(query, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && r != '-' && r != 'ー'
	})
	words = slices.DeleteFunc(words, func(w string) bool { return utf8.RuneCountInString(w) < 2 })
	slices.SortStableFunc(words, func(a, b string) int { return len(b) - len(a) })
	return words[:min(len(words), 8)]
}

// mark escapes text and wraps what equals one of the terms, whatever its case, in <mark>.
func mark(text string, terms []string) template.HTML {
	var b strings.Builder
	for len(text) > 0 {
		if n := termAt(text, terms); n > 0 {
			b.WriteString("<mark>" + template.HTMLEscapeString(text[:n]) + "</mark>")
			text = text[n:]
			continue
		}
		_, n := utf8.DecodeRuneInString(text)
		b.WriteString(template.HTMLEscapeString(text[:n]))
		text = text[n:]
	}
	return template.HTML(b.String()) //nolint:gosec // every piece was escaped
}

// termAt is the length of the term that text begins with, 0 for none.
func termAt(text string, terms []string) int {
	for _, t := range terms {
		if len(text) >= len(t) && strings.EqualFold(text[:len(t)], t) {
			return len(t)
		}
	}
	return 0
}
