package serve

import (
	"html/template"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// field is one member of a record as the page shows it: a value, or groups of members.
type field struct {
	Key, Value string
	Link       string // set when Value is an address of the web
	Groups     [][]field
}

// fieldsOf lays out a record's JSON in its own order.
func fieldsOf(raw []byte) []field {
	s := scanner{in: raw}
	var out []field
	_ = s.object(func(key []byte) error {
		f, err := s.field(unquote(key))
		if f.Value != "" || len(f.Groups) > 0 {
			out = append(out, f)
		}
		return err
	})
	return out
}

// field reads one value. Lists of scalars become one line, objects a group, lists of objects a group each.
func (s *scanner) field(key string) (field, error) {
	f := field{Key: key}
	var values []string
	err := s.gather(&values, &f.Groups)
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

func (s *scanner) gather(values *[]string, groups *[][]field) error {
	switch c := s.peek(); {
	case c == '{':
		var group []field
		err := s.object(func(key []byte) error {
			f, err := s.field(unquote(key))
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
		return s.array(func() error { return s.gather(values, groups) })
	case c == '"':
		v, err := s.str()
		if err != nil {
			return err
		}
		if t := unquote(v); t != "" {
			*values = append(*values, t)
		}
		return nil
	}
	v, err := s.skip()
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
