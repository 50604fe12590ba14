package conditions

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// class is what writing a character is of: words seldom go on where it changes.
type class uint8

const (
	gap class = iota
	digit
	latin
	han
	kana // katakana
	hira
)

func classOf(r rune) class {
	switch {
	case r >= '0' && r <= '9':
		return digit
	case r >= 'a' && r <= 'z':
		return latin
	case r >= 0x3041 && r <= 0x309F:
		return hira
	case r >= 0x30A1 && r <= 0x30FA, r >= 0x30FC && r <= 0x30FF:
		return kana
	case unicode.Is(unicode.Han, r), r == '々':
		return han
	case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsNumber(r):
		return latin
	}
	return gap
}

// question is a folded question without its gaps, and numbers without their commas.
type question struct {
	text   []rune
	broken []bool // whether a gap was before the character; one more for the end
	used   []bool // characters that belong to a condition
}

func newQuestion(s string) *question {
	q := &question{}
	gapped := true
	all := []rune(spelling.Fold(s))
	all = all[:min(len(all), maxQuestion)]
	within := func(i int) bool { // a number
		return i > 0 && i+1 < len(all) && classOf(all[i-1]) == digit && classOf(all[i+1]) == digit
	}
	for i, r := range all {
		switch {
		case r == ',' && within(i):
			continue
		case r == '.' && within(i):
		case classOf(r) == gap:
			gapped = true
			continue
		}
		q.text, q.broken = append(q.text, r), append(q.broken, gapped)
		gapped = false
	}
	q.broken = append(q.broken, true)
	q.used = make([]bool, len(q.text)+1)
	return q
}

// words are how many there are with gaps between them.
func (q *question) words() int {
	n := 0
	for _, b := range q.broken[:len(q.text)] {
		if b {
			n++
		}
	}
	return n
}

func (q *question) hasAt(at int, s string) bool {
	r := []rune(s)
	return len(r) <= len(q.text)-at && slices.Equal(r, q.text[at:at+len(r)])
}

// begins tells whether a word can begin at a place: after a gap, another condition, or where writing changes, but not
// behind a prefix that turns it around.
func (q *question) begins(at int) bool {
	if q.broken[at] || q.used[at-1] {
		return true
	}
	before := q.text[at-1]
	if strings.ContainsRune("未非不無", before) {
		return false
	}
	return classOf(before) != classOf(q.text[at])
}

// ends tells the same of the end of a word.
func (q *question) ends(at int) bool {
	return q.broken[at] || classOf(q.text[at-1]) != classOf(q.text[at]) || classOf(q.text[at]) == hira && strings.ContainsRune("のをはがにでとも", q.text[at])
}

// Endings make a value a condition. excluding turns it around.
var (
	excluding = []string{"以外", "ではない", "でない", "じゃない", "を除く", "を除いた", "を除き", "の会社以外", "企業以外"}
	endings   = []string{
		"企業", "会社", "ベンダー", "業者", "事業者", "業界", "業種", "業向け", "向け", "むけ", "業", "系", "のみ", "だけ", "限定", "済み", "済の", "中の",
		"の会社", "の企業", "のベンダー", "の業者", "の事業者", "の業界", "の業種", "な会社", "に本社", "本社", "拠点", "製品のみ",
		"を取得", "取得済", "取得", "認証", "に対応した会社", "の案件", "の先", "のところ", "の所",
	}
)

// Find returns the conditions in a question: comparisons of numbers first, then values, in the order of the question.
func (f *Finder) Find(text string) []Condition {
	q := newQuestion(text)
	var out []Condition
	out = append(out, f.findNumbers(q)...)
	several := q.words() > 1
	for at := 0; at < len(q.text); at++ {
		if q.used[at] || !q.begins(at) {
			continue
		}
		w := f.wordAt(q.text, at)
		if w == nil {
			continue
		}
		end := at + len(w.text)
		without, ending := q.ending(end)
		whole := q.broken[at] && q.broken[end] // typed as a word
		switch {
		case without > 0, ending > 0:
		case !q.ends(end):
			continue
		case w.topic && !(whole && several):
			continue
		}
		c := Condition{Path: w.path, Value: w.value}
		if without > 0 {
			c.Value, ending = map[string]any{"ne": w.value}, without
		}
		c.Words = string(q.text[at : end+ending])
		for i := at; i < end+ending; i++ {
			q.used[i] = true
		}
		out = append(out, c)
		at = end + ending - 1
	}
	out = out[:min(len(out), maxFound)]
	for i := range out {
		out[i].Count = int(f.attributes.Select(Filter(out[i : i+1])).GetCardinality())
	}
	return out
}

// Outside leaves out what was found in the words of a name: 上場 in the question 上場支援会計は is no condition when a company
// is called so.
func Outside(found []Condition, name string) []Condition {
	letters := string(compact([]rune(spelling.Fold(name))))
	return slices.DeleteFunc(found, func(c Condition) bool { return strings.Contains(letters, c.Words) })
}

// ending is how many characters at a place exclude what stands before, or make it a condition.
func (q *question) ending(at int) (without, ending int) {
	if at > 0 && q.text[at-1] == '済' && q.hasAt(at, "み") {
		ending = 1
	}
	for _, s := range endings {
		if n := len([]rune(s)); q.hasAt(at, s) && (q.ends(at+n) || classOf(q.text[at+n-1]) == hira || s == "業") {
			ending = max(ending, n)
		}
	}
	for _, s := range excluding {
		for _, from := range [...]int{at, at + ending} {
			if q.hasAt(from, s) {
				without = max(without, from-at+len([]rune(s)))
			}
		}
	}
	return without, ending
}

// Filter asks for all of the conditions: of equal paths one of the values, of others each.
func Filter(found []Condition) filter.Filter {
	equal := map[string][]any{}
	parts := []any{}
	for _, c := range found {
		if _, operators := c.Value.(map[string]any); operators {
			parts = append(parts, map[string]any{c.Path: c.Value})
		} else {
			equal[c.Path] = append(equal[c.Path], c.Value)
		}
	}
	for path, values := range equal {
		parts = append(parts, map[string]any{path: values})
	}
	raw, err := json.Marshal(map[string]any{"$and": parts})
	if err != nil {
		panic(err) // strings, numbers and booleans
	}
	parsed, err := filter.Parse(raw)
	if err != nil {
		panic(err) // at most maxFound conditions of the forms above
	}
	return parsed
}
