package vendors

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// TextTemplate is the version of the text that is made of a record. Vectors of texts of different versions are not
// comparable.
const TextTemplate = "v1"

const (
	// MaxTextRunes bounds the text made of a record. Embedding models take about 8,000 tokens, and a Japanese
	// character is at most 1.3 of them: 6,000 * 1.3 = 7,800.
	MaxTextRunes = 6000

	// MaxVerbatimText bounds a "_text" in bytes.
	MaxVerbatimText = 64 << 10
)

// fieldOrder gives the fields that say most about a vendor first, in case the text is cut.
func fieldOrder(key []byte) int {
	switch string(key) {
	case "name":
		return 0
	case "description", "description_short", "summary", "overview":
		return 1
	case "basic_info":
		return 2
	case "type", "category", "categories", "industry", "industries":
		return 3
	case "offerings", "products", "services", "solutions":
		return 4
	case "capabilities", "features", "strengths", "use_cases", "technologies":
		return 5
	case "tags", "keywords":
		return 6
	case "delivery", "region", "regions", "certifications":
		return 7
	}
	return 8
}

// ordered is an object member in the order of the text.
type ordered struct {
	node int
	rank int
}

// embedded is the text that is embedded: "_text" when there is one, else what the template makes of the record. No provider
// embeds nothing, and what was left out stays out: of a record without a word it is the names of its fields.
func (b *builder) embedded() (string, *fault) {
	if i, ok := b.Member(0, "_text"); ok && b.Kind(i) != jsonread.Null {
		if k := b.Kind(i); k != jsonread.String {
			return "", &fault{kind: KindShape, detail: `"_text" is ` + k.String() + ", not a string"}
		}
		if s := b.Str(i); strings.TrimSpace(s) != "" {
			return cutBytes(s, MaxVerbatimText), nil
		}
	}
	b.template()
	if len(b.text) == 0 {
		b.put("-")
		for c := range b.Children(0) {
			b.put(" " + tidy(b.Key(c)))
		}
	}
	return string(b.text), nil
}

// template writes the text that the package comment describes.
func (b *builder) template() {
	b.text, b.runes = b.text[:0], 0
	if b.head.name != "" {
		b.put(tidy(b.head.name))
	}
	if b.head.description != "" {
		b.put("\n")
		b.put(tidy(b.head.description))
	}
	b.lines(0)
	b.text = bytes.TrimPrefix(b.text, []byte("\n")) // of a record without a name
}

func cutBytes(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// put appends s as far as there is room.
func (b *builder) put(s string) {
	room := MaxTextRunes - b.runes
	if len(s) > room { // bytes, so that short strings need no counting here
		n := 0
		for i := range s {
			if n == room {
				s = s[:i]
				break
			}
			n++
		}
	}
	b.runes += utf8.RuneCountInString(s)
	b.text = append(b.text, s...)
}

// sorted appends the members of object i to b.order in the order of the text and returns where they start.
func (b *builder) sorted(i int) (start int) {
	start = len(b.order)
	for c := range b.Children(i) {
		key := b.KeyText(c)
		if c != b.skip[0] && c != b.skip[1] && !silent(key) {
			b.order = append(b.order, ordered{c, fieldOrder(key)})
		}
	}
	slices.SortFunc(b.order[start:], func(x, y ordered) int {
		if x.rank != y.rank {
			return x.rank - y.rank
		}
		return bytes.Compare(b.KeyText(x.node), b.KeyText(y.node))
	})
	return start
}

// lines writes a line for each field of object i that holds text, and the lines of the objects within.
func (b *builder) lines(i int) {
	start := b.sorted(i)
	end := len(b.order)
	for at := start; at < end && b.runes < MaxTextRunes; at++ {
		c := b.order[at].node
		if b.Kind(c) == jsonread.Object {
			b.lines(c)
			continue
		}
		b.line(b.Key(c), c)
	}
	b.order = b.order[:start]
}

func (b *builder) label(key string) string {
	if b.bare {
		return "\n"
	}
	return "\n" + tidy(key) + ": "
}

// line writes "label: values" for a string or a list; objects in a list get a line each.
func (b *builder) line(label string, i int) {
	sep := b.label(label)
	switch b.Kind(i) {
	case jsonread.String:
		b.leaf(&sep, i)
	case jsonread.Array:
		for c := range b.Children(i) {
			if b.Kind(c) == jsonread.Object {
				own := b.label(label)
				b.flat(&own, c)
				continue
			}
			b.flat(&sep, c)
		}
	}
}

// flat writes every text below i into the current line.
func (b *builder) flat(sep *string, i int) {
	switch b.Kind(i) {
	case jsonread.String:
		b.leaf(sep, i)
	case jsonread.Array:
		for c := range b.Children(i) {
			b.flat(sep, c)
		}
	case jsonread.Object:
		start := b.sorted(i)
		end := len(b.order)
		for at := start; at < end; at++ {
			b.flat(sep, b.order[at].node)
		}
		b.order = b.order[:start]
	}
}

// leaf writes one value; sep is what goes before it and becomes the separator within the line.
func (b *builder) leaf(sep *string, i int) {
	if b.runes >= MaxTextRunes {
		return
	}
	s := tidy(b.Str(i))
	if meaningless(s) {
		return
	}
	b.put(*sep)
	b.put(s)
	*sep = ", "
}

// tidy is s in NFKC, with every run of whitespace and control characters as one space and none at the ends.
func tidy(s string) string {
	if plain(s) {
		return s
	}
	if !norm.NFKC.IsNormalString(s) {
		s = norm.NFKC.String(s)
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// plain tells whether s is tidy already, for nearly every string of a Japanese catalogue: it holds only printable
// ASCII, kana, the usual kanji and punctuation, which NFKC leaves alone, and single spaces between them.
func plain(s string) bool {
	space := true // a space at the start is not tidy
	for _, r := range s {
		switch {
		case r == ' ':
			if space {
				return false
			}
			space = true
			continue
		case r > ' ' && r < 0x7f,
			r >= 0x4E00 && r <= 0x9FFF,
			r >= 0x3041 && r <= 0x3096, r >= 0x30A1 && r <= 0x30FC,
			r >= 0x3001 && r <= 0x3011:
		default:
			return false
		}
		space = false
	}
	return s == "" || !space
}
