package api

import (
	"net/url"
	"strings"

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
