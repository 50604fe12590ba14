package api

import (
	"html/template"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// marker finds the words of a question in a text. Strings are compared as search compares them (package spelling).
//
// Writing with spaces and katakana is marked by words, and so is hiragana where the question has nothing else; kanji by
// pairs, so that 冷凍倉庫の温度 marks 冷凍 in 冷凍車 too. Particles and endings, which every sentence has, are not marked.
type marker struct {
	words [][]rune // longest first
	pairs map[[2]rune]bool
}

// maxMarked words of a question are looked for.
const maxMarked = 16

// writing is a kind of characters that words are made of.
type writing uint8

const (
	none writing = iota
	spaced
	kanji
	katakana
	hiragana
)

func writingOf(r rune) writing {
	switch {
	case unicode.Is(unicode.Han, r), r == '々':
		return kanji
	case unicode.Is(unicode.Katakana, r), r == 'ー':
		return katakana
	case unicode.Is(unicode.Hiragana, r):
		return hiragana
	case unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r):
		return spaced
	}
	return none
}

func newMarker(question string) *marker {
	m := &marker{pairs: make(map[[2]rune]bool)}
	var kana [][]rune
	text := []rune(spelling.Fold(question))
	for i := 0; i < len(text); {
		kind, from := writingOf(text[i]), i
		for i++; i < len(text) && writingOf(text[i]) == kind; i++ {
			if kind == kanji {
				m.pairs[[2]rune{text[i-1], text[i]}] = true
			}
		}
		switch word := text[from:i]; {
		case kind == none || kind == kanji && len(word) > 1:
		case kind == hiragana:
			kana = append(kana, word)
		case len(word) > 1 || kind == kanji && len(text) == 1:
			m.words = append(m.words, word)
		}
	}
	if len(m.words) == 0 && len(m.pairs) == 0 {
		m.words = slices.DeleteFunc(kana, func(w []rune) bool { return len(w) < 2 })
	}
	slices.SortStableFunc(m.words, func(a, b []rune) int { return len(b) - len(a) })
	m.words = m.words[:min(len(m.words), maxMarked)]
	return m
}

// span is a part of a text, in bytes.
type span struct{ from, to int }

// spans are the parts of text to be marked, in order and apart.
func (m *marker) spans(text string) []span {
	folded, at := foldedRunes(text)
	var out []span
	mark := func(from, to int) { // of folded
		s := span{at[from].from, at[to-1].to}
		if last := len(out) - 1; last >= 0 && s.from <= out[last].to {
			out[last].to = max(out[last].to, s.to)
			return
		}
		out = append(out, s)
	}
	for i := range folded {
		if i+1 < len(folded) && m.pairs[[2]rune{folded[i], folded[i+1]}] {
			mark(i, i+2)
		}
		within := i > 0 && writingOf(folded[i]) == spaced && writingOf(folded[i-1]) == spaced
		for _, w := range m.words {
			if !within && len(folded)-i >= len(w) && slices.Equal(folded[i:i+len(w)], w) {
				mark(i, i+len(w))
				break
			}
		}
	}
	return out
}

// foldedRunes folds a text and tells which part of it each character comes from.
func foldedRunes(text string) (folded []rune, at []span) {
	for i := 0; i < len(text); {
		n := max(norm.NFKC.NextBoundaryInString(text[i:], true), 1)
		for _, r := range spelling.Fold(text[i : i+n]) {
			folded, at = append(folded, r), append(at, span{i, i + n})
		}
		i += n
	}
	return folded, at
}

// html escapes text and puts what is marked into mark elements.
func (m *marker) html(text string) template.HTML {
	var b strings.Builder
	done := 0
	for _, s := range m.spans(text) {
		b.WriteString(template.HTMLEscapeString(text[done:s.from]))
		b.WriteString("<mark>" + template.HTMLEscapeString(text[s.from:s.to]) + "</mark>")
		done = s.to
	}
	b.WriteString(template.HTMLEscapeString(text[done:]))
	return template.HTML(b.String()) //nolint:gosec // every piece was escaped
}

// A snippet has at most snippetLength characters of the text, and snippetLead of them before the first mark. As JSON it
// takes at most snippetSize bytes: six for a character, and thirteen for a mark around it.
const (
	snippetLength = 240
	snippetLead   = 40
	snippetSize   = (6+13)*snippetLength + 32
)

// snippet is the part of text around the first mark as HTML.
func (m *marker) snippet(text string) string {
	from := 0
	if marks := m.spans(text); len(marks) > 0 {
		from = back(text, marks[0].from, snippetLead)
	}
	to := from
	for range snippetLength {
		_, n := utf8.DecodeRuneInString(text[to:])
		to += n
	}
	if to == len(text) && from > 0 { // what is left is short: show more of what comes before
		from = back(text, to, snippetLength)
	}
	out := string(m.html(text[from:to]))
	if from > 0 {
		out = "…" + out
	}
	if to < len(text) {
		out += "…"
	}
	return out
}

// back is n characters before i.
func back(text string, i, n int) int {
	for ; n > 0 && i > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(text[:i])
		i -= size
	}
	return i
}
