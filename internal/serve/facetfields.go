package serve

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// What makes a field worth a filter on the page: a handful of short values that many records share.
const (
	facetFields = 6
	facetSample = 500 // records looked at, spread over the catalogue
	facetValues = 40  // distinct values at most
	facetLength = 16  // characters of a value on average, at most
)

// fieldStat is what the sample shows of a path.
type fieldStat struct {
	path     string
	order    int // first seen
	records  int // that have it
	last     int // record counted last
	values   map[string]int
	length   int
	mentions int
	numeric  int
}

// pickFacets chooses the paths that the page offers as filters.
func pickFacets(n int, raw func(i int) ([]byte, error)) []string {
	stats := make(map[string]*fieldStat)
	sampled := min(n, facetSample)
	for i := range sampled {
		r, err := raw(i * n / sampled)
		if err != nil {
			continue
		}
		s := jsonread.Over(r)
		_ = eachString(&s, "", func(path, value string) {
			st := stats[path]
			if st == nil {
				if len(stats) >= 1000 {
					return
				}
				st = &fieldStat{path: path, order: len(stats), last: -1, values: make(map[string]int)}
				stats[path] = st
			}
			if st.last != i {
				st.last = i
				st.records++
			}
			if len(st.values) <= facetValues {
				st.values[value]++
			}
			if !strings.ContainsFunc(value, unicode.IsLetter) {
				st.numeric++ // "100-150", "-"
			}
			st.mentions++
			st.length += utf8.RuneCountInString(value)
		})
	}
	var good []*fieldStat
	for _, st := range stats {
		if d := len(st.values); d >= 2 && d <= facetValues && st.mentions >= 3*d &&
			2*st.records >= sampled && st.length <= facetLength*st.mentions && 4*st.numeric < st.mentions {
			good = append(good, st)
		}
	}
	slices.SortFunc(good, func(a, b *fieldStat) int {
		return cmp.Or(cmp.Compare(strings.Count(a.path, "."), strings.Count(b.path, ".")), cmp.Compare(a.order, b.order))
	})
	var paths []string
	for _, st := range good[:min(len(good), facetFields)] {
		paths = append(paths, st.path)
	}
	return paths
}

// eachString calls f with every string below a value and its dotted path; list elements share their list's path.
func eachString(s *jsonread.Reader, path string, f func(path, value string)) error {
	switch s.Peek() {
	case '{':
		return s.Object(func(key []byte) error {
			p := jsonread.Unquote(key)
			if path != "" {
				p = path + "." + p
			}
			return eachString(s, p, f)
		})
	case '[':
		return s.Array(func() error { return eachString(s, path, f) })
	case '"':
		v, err := s.String()
		if err == nil && path != "" {
			f(path, jsonread.Unquote(v))
		}
		return err
	}
	return s.Skip(maxDepth)
}
