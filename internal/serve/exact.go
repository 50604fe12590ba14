package serve

import (
	"strings"
	"unicode/utf8"
)

// maxExact bounds the query that is compared with whole values: names and codes are short.
const maxExact = 128 // characters

// exact returns those of the candidates in which some value is the query itself, but for case, width and spaces: the
// vendor of that name or id first, then those with a product, a code or a tag of that name. Candidates come from the
// words of the query, so a record that holds it whole is among them unless dozens do, and then it singles out nothing.
func exact(snap *snapshot, text string, among []int64) []int64 {
	want := squeeze(text)
	if want == "" || utf8.RuneCountInString(want) > maxExact {
		return nil
	}
	var named, holding []int64
	for _, p := range among {
		doc, err := snap.docs.Doc(int(p))
		if err != nil {
			continue
		}
		switch {
		case squeeze(doc.Name) == want || squeeze(doc.ID) == want:
			named = append(named, p)
		case holds(doc.Metadata, want):
			holding = append(holding, p)
		}
	}
	return append(named, holding...)
}

// squeeze folds a name and drops its spaces.
func squeeze(s string) string { return strings.Join(strings.Fields(fold(s)), "") }

// holds reports whether a string or number within a record's JSON equals want.
func holds(raw []byte, want string) bool {
	found := false
	eachLeaf(raw, func(v string) bool {
		found = squeeze(v) == want
		return !found
	})
	return found
}

// eachLeaf calls f with every string and number within a JSON value until f returns false. Keys are not values.
func eachLeaf(raw []byte, f func(string) bool) {
	s := scanner{in: raw}
	s.leaves(f)
}

// allValues joins the strings and numbers of record i: what its words are read from.
func (s *snapshot) allValues(i int) (string, error) {
	raw, err := s.docs.Metadata(i)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	eachLeaf(raw, func(v string) bool {
		b.WriteString(v)
		b.WriteByte('\n')
		return true
	})
	return b.String(), nil
}

func (s *scanner) leaves(f func(string) bool) error {
	stop := &syntaxError{why: "stopped"}
	switch c := s.peek(); {
	case c == '{':
		return s.object(func([]byte) error { return s.leaves(f) })
	case c == '[':
		return s.array(func() error { return s.leaves(f) })
	case c == '"':
		v, err := s.str()
		if err == nil && !f(unquote(v)) {
			return stop
		}
		return err
	case c == '-' || isDigit(c):
		v, err := s.number()
		if err == nil && !f(string(v)) {
			return stop
		}
		return err
	}
	_, err := s.skip()
	return err
}
