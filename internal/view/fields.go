package view

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// FieldValues is how many different values a field of View.Fields has at most.
const FieldValues = 40

// What else makes a field worth a filter on the page: short values that many records share.
const (
	maxFields   = 6
	sampleSize  = 500 // records looked at, spread over the catalogue
	valueLength = 16  // characters of a value on average, at most
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

// pickFields chooses the paths that the page offers as filters.
func pickFields(n int, raw func(i int) ([]byte, error)) []string {
	stats := make(map[string]*fieldStat)
	sampled := min(n, sampleSize)
	for i := range sampled {
		r, err := raw(i * n / sampled)
		if err != nil {
			continue
		}
		s := jsonread.Over(r)
		_ = s.Strings(func(path, value string) {
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
			if len(st.values) <= FieldValues {
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
		if d := len(st.values); d >= 2 && d <= FieldValues && st.mentions >= 3*d &&
			2*st.records >= sampled && st.length <= valueLength*st.mentions && 4*st.numeric < st.mentions {
			good = append(good, st)
		}
	}
	slices.SortFunc(good, func(a, b *fieldStat) int {
		return cmp.Or(cmp.Compare(strings.Count(a.path, "."), strings.Count(b.path, ".")), cmp.Compare(a.order, b.order))
	})
	var paths []string
	for _, st := range good[:min(len(good), maxFields)] {
		paths = append(paths, st.path)
	}
	return paths
}
