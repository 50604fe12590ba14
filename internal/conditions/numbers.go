package conditions

import (
	"slices"
	"strconv"
	"strings"
)

// numberField is a field of numbers, and what it is called.
type numberField struct {
	path         string
	names, units []string
}

// comparison is what stands behind a number, or in English before it.
type comparison struct {
	words string
	op    string
}

var behind = []comparison{
	{"以上", "gte"}, {"以下", "lte"}, {"以内", "lte"}, {"未満", "lt"}, {"超え", "gt"}, {"超", "gt"}, {"を超える", "gt"}, {"より多い", "gt"}, {"より大きい", "gt"},
	{"より少ない", "lt"}, {"より小さい", "lt"}, {"より安い", "lt"}, {"より高い", "gt"}, {"以降", "gte"}, {"以後", "gte"}, {"以前", "lte"}, {"より前", "lt"}, {"より後", "gt"},
	{"まで", "lte"}, {"から", "gte"}, {"ormore", "gte"}, {"orless", "lte"}, {"orfewer", "lte"},
}

var before = []comparison{
	{"morethan", "gt"}, {"over", "gt"}, {"atleast", "gte"}, {"lessthan", "lt"}, {"fewerthan", "lt"}, {"under", "lt"}, {"below", "lt"}, {"atmost", "lte"},
	{"upto", "lte"}, {"since", "gte"}, {"after", "gt"}, {"before", "lt"},
}

var multipliers = []struct {
	word string
	by   float64
}{{"百万", 1e6}, {"千万", 1e7}, {"億", 1e8}, {"万", 1e4}, {"千", 1e3}, {"百", 100}}

var allUnits = []string{"円", "人", "名", "年", "週間", "週", "点", "社", "か月", "ヶ月", "ヵ月", "カ月"}

// nameReach is how many characters may lie between a field's name and its number.
const nameReach = 4

// findNumbers finds comparisons of numbers with a field's name, or a unit that only one field has, beside them.
func (f *Finder) findNumbers(q *question) []Condition {
	var out []Condition
	for at := 0; at < len(q.text); at++ {
		if classOf(q.text[at]) != digit || at > 0 && (classOf(q.text[at-1]) == digit || classOf(q.text[at-1]) == latin && !q.broken[at] && !q.englishBefore(at)) {
			continue
		}
		x, end := q.number(at)
		unit := q.anyAt(end, allUnits)
		end += len([]rune(unit))
		op, from := "", at
		for _, c := range behind {
			if n := len([]rune(c.words)); q.hasAt(end, c.words) {
				op, end = c.op, end+n
				break
			}
		}
		if op == "" {
			for _, c := range before {
				if n := len(c.words); at >= n && q.hasAt(at-n, c.words) && q.broken[at-n] {
					op, from = c.op, at-n
					break
				}
			}
		}
		if op == "" {
			at = end - 1
			continue
		}
		field, start, stop := f.fieldBeside(q, from, end, unit)
		if field == nil {
			at = end - 1
			continue
		}
		for i := start; i < stop; i++ {
			q.used[i] = true
		}
		at = stop - 1
		out = append(out, Condition{Path: field.path, Value: map[string]any{op: x}, Words: string(q.text[start:stop])})
	}
	return out
}

// englishBefore tells whether a comparison ends right before a place.
func (q *question) englishBefore(at int) bool {
	return slices.ContainsFunc(before, func(c comparison) bool { n := len(c.words); return at >= n && q.hasAt(at-n, c.words) })
}

// number reads digits, a fraction and a multiplier at a place.
func (q *question) number(at int) (x float64, end int) {
	end = at
	for end < len(q.text) && (classOf(q.text[end]) == digit || q.text[end] == '.') {
		end++
	}
	x, _ = strconv.ParseFloat(string(q.text[at:end]), 64)
	for _, m := range multipliers {
		if q.hasAt(end, m.word) {
			return x * m.by, end + len([]rune(m.word))
		}
	}
	return x, end
}

func (q *question) anyAt(at int, words []string) string {
	best := ""
	for _, w := range words {
		if q.hasAt(at, w) && len(w) > len(best) {
			best = w
		}
	}
	return best
}

// fieldBeside is the field that a number between from and end is of: one that is named before or behind it, or the only
// one with its unit. What belongs together lies between start and stop.
func (f *Finder) fieldBeside(q *question, from, end int, unit string) (field *numberField, start, stop int) {
	start, stop = from, end
	longest := 0
	for i := range f.numbers {
		n := &f.numbers[i]
		for _, name := range n.names {
			size := len([]rune(name))
			for gapped := 0; gapped <= nameReach; gapped++ {
				if b := from - gapped - size; b >= 0 && q.hasAt(b, name) && size > longest {
					field, longest, start, stop = n, size, b, end
				}
			}
			for gapped := 0; gapped <= nameReach; gapped++ {
				if b := end + gapped; q.hasAt(b, name) && size > longest && !strings.ContainsRune(name, '月') {
					field, longest, start, stop = n, size, from, b+size
				}
			}
		}
	}
	if field != nil || unit == "" {
		return field, start, stop
	}
	for i := range f.numbers {
		if slices.Contains(f.numbers[i].units, unit) {
			if field != nil {
				return nil, from, end // two could be meant
			}
			field = &f.numbers[i]
		}
	}
	return field, from, end
}
