package lexical

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"strings"
)

const (
	// A query of minPrefix characters or more finds the names that begin with it, when they are maxPrefixed at most:
	// with more it tells nothing apart, like 株式会社.
	minPrefix   = 3
	maxPrefixed = 10

	// maxNameRunes of a name are kept.
	maxNameRunes = 100
)

// nameTable holds the names of all records as they are compared, sorted: a row for each name, one more without its legal
// form, and each of these once more with its hiragana as katakana where it has any.
type nameTable struct {
	text []byte
	ends []uint64 // where each ends in text
	pos  []uint32 // whose it is
}

// nameForm is one of its rows under construction.
type nameForm struct {
	text string
	pos  uint32
}

// inKatakana begins the rows that hold a name with its hiragana as katakana; names have no such character.
const inKatakana = "\x00"

// appendForms adds the rows of a folded name.
func appendForms(to []nameForm, pos uint32, folded []rune) []nameForm {
	whole := letters(folded)
	short := letters([]rune(withoutForm(string(folded))))
	for i, form := range []string{whole, short} {
		if form == "" || i == 1 && form == whole {
			continue
		}
		to = append(to, nameForm{form, pos})
		if katakana := strings.Map(katakanaOf, form); katakana != form {
			to = append(to, nameForm{inKatakana + katakana, pos})
		}
	}
	return to
}

// letters is a folded text as names are compared: letters and digits alone.
func letters(folded []rune) string {
	out := compact(folded)
	return string(out[:min(len(out), maxNameRunes)])
}

func sortNames(all []nameForm) nameTable {
	slices.SortFunc(all, func(a, b nameForm) int { return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.pos, b.pos)) })
	size := 0
	for _, n := range all {
		size += len(n.text)
	}
	out := nameTable{make([]byte, 0, size), make([]uint64, len(all)), make([]uint32, len(all))}
	for i, n := range all {
		out.text = append(out.text, n.text...)
		out.ends[i], out.pos[i] = uint64(len(out.text)), n.pos
	}
	return out
}

// fit tells whether the arrays can be of one index.
func (n nameTable) fit() bool {
	last := uint64(0)
	if k := len(n.ends); k > 0 {
		last = n.ends[k-1]
	}
	return len(n.ends) == len(n.pos) && last == uint64(len(n.text)) && slices.IsSorted(n.ends)
}

func (n nameTable) size() int64 { return int64(len(n.text)) + 12*int64(len(n.ends)) }

func (n nameTable) at(i int) []byte {
	from := uint64(0)
	if i > 0 {
		from = n.ends[i-1]
	}
	return n.text[from:n.ends[i]]
}

// beginning adds the records whose names begin with prefix to found, and for each how much of its name that is; it stops
// when they are more than maxPrefixed.
func (j *Joined) beginning(prefix string, found map[uint32]float32) {
	for i := range j.parts {
		p, n := &j.parts[i], &j.parts[i].names
		from := sort.Search(len(n.ends), func(i int) bool { return string(n.at(i)) >= prefix })
		for i := from; i < len(n.ends) && len(found) <= maxPrefixed && bytes.HasPrefix(n.at(i), []byte(prefix)); i++ {
			if row := n.pos[i]; int(row) < p.n && !p.dead.has(row) {
				pos := p.first + row
				found[pos] = max(found[pos], float32(len(prefix))/float32(len(n.at(i))))
			}
		}
	}
}

// begun returns the records whose name begins with a query, and how much of the name that is: as it is typed, or, when
// none does, whatever kana it is typed in.
func (j *Joined) begun(text []rune) map[uint32]float32 {
	prefix := letters(text)
	if len(text) < minPrefix || prefix == "" {
		return nil
	}
	found := make(map[uint32]float32)
	if j.beginning(prefix, found); len(found) == 0 {
		katakana := strings.Map(katakanaOf, prefix)
		j.beginning(katakana, found)
		j.beginning(inKatakana+katakana, found)
	}
	if sound := j.heardName(text); len(found) == 0 && sound != nil {
		j.beginning(string(sound), found)
	}
	if len(found) > maxPrefixed {
		return nil
	}
	return found
}
