package lexical

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// script says how a character takes part in terms.
type script uint8

const (
	gap    script = iota // whitespace, punctuation, symbols
	spaced               // letters and digits of writing with spaces between words
	han
	katakana
	hiragana
	particle // hiragana that may be a word of its own; only where names are looked for
)

func scriptOf(r rune) script {
	switch {
	case r < 0x80:
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return spaced
		}
		return gap
	case r >= 0x4E00 && r <= 0x9FFF, r == '々', r == '〆':
		return han
	case r >= 0x30A1 && r <= 0x30FA, r >= 0x30FC && r <= 0x30FF:
		return katakana
	case r >= 0x3041 && r <= 0x309F:
		return hiragana
	case unicode.Is(unicode.Han, r):
		return han
	case unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r):
		return spaced
	}
	return gap
}

// fold appends to dst the characters of s as they are compared: without what is not seen, one kind of dash, NFKC (full-width letters and half-width kana become the
// usual ones) and lower case. Hiragana stays, because it shows where words end; hash takes it for katakana.
func fold(dst []rune, s string) []rune {
	if !plain(s) {
		if s = spelling.Usual(s); !norm.NFKC.IsNormalString(s) {
			s = norm.NFKC.String(s)
		}
	}
	for _, r := range s {
		switch {
		case r >= 0x3040 && r <= 0x9FFF: // kana and kanji, which have no case
		case r < 0x80:
			if r >= 'A' && r <= 'Z' {
				r += 'a' - 'A'
			}
		default:
			r = unicode.ToLower(r)
		}
		dst = append(dst, r)
	}
	return dst
}

// plain tells whether s holds only ASCII, kana, the usual kanji and punctuation, which NFKC leaves alone: nearly every
// Japanese text, and found out faster than by norm.
func plain(s string) bool {
	for _, r := range s {
		if r >= 0x80 && !(r >= 0x4E00 && r <= 0x9FFF) && !(r >= 0x3041 && r <= 0x3096) && !(r >= 0x30A1 && r <= 0x30FC) && !(r >= 0x3001 && r <= 0x3011) {
			return false
		}
	}
	return true
}

// hash is FNV-1a over characters, hiragana as katakana, with the finaliser of MurmurHash3. Terms use 63 bits of it: among a million different
// terms two are the same with a probability of 1e12/2^64 = 5e-8.
func hash(runes []rune) uint64 {
	h := uint64(14695981039346656037)
	for _, r := range runes {
		h = (h ^ uint64(katakanaOf(r))) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xFF51AFD7ED558CCD
	h ^= h >> 33
	h *= 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}

// katakanaOf is r, or the katakana of a hiragana, which stands 0x60 behind it.
func katakanaOf(r rune) rune {
	if r >= 0x3041 && r <= 0x3096 {
		r += 0x60
	}
	return r
}

// runEnd is where the run of one writing that starts at i ends. Kanji and kana make one run: words mix them.
func runEnd(text []rune, i int) int {
	words := scriptOf(text[i]) == spaced
	for i++; i < len(text); i++ {
		if s := scriptOf(text[i]); s == gap || (s == spaced) != words {
			break
		}
	}
	return i
}

// documentTerms calls emit with the terms of a folded text, repeats included: words of writing with spaces, joined
// words too where a code is written with hyphens (ax-200: ax, 200, ax200), and of Japanese every two neighbouring
// characters and every kanji.
func documentTerms(text []rune, emit func(uint64)) {
	terms(text, true, func(term []rune) { emit(hash(term)) })
}

// queryTerms is documentTerms for a question: single kanji only where they stand alone, because pairs say more, and each
// term with what it counts: hiragana beside other characters is mostly grammar.
func queryTerms(text []rune, emit func(h uint64, gain float64)) {
	terms(text, false, func(term []rune) { emit(hash(term), gainOf(term)) })
}

// gainOf is what a term of a question counts.
func gainOf(term []rune) float64 {
	spelled := 0
	for _, r := range term {
		if scriptOf(r) == hiragana {
			spelled++
		}
	}
	switch {
	case spelled == 0:
		return 1
	case spelled < len(term):
		return mixedGain
	}
	return kanaGain
}

func terms(text []rune, singles bool, emit func(term []rune)) {
	for i := 0; i < len(text); {
		if scriptOf(text[i]) == gap {
			i++
			continue
		}
		end := runEnd(text, i)
		if scriptOf(text[i]) == spaced {
			emit(text[i:end])
			if joined := codeAt(text, i, end); joined != nil {
				emit(joined)
			}
		} else {
			pairs(text[i:end], singles || end-i == 1, emit)
		}
		i = end
	}
}

func pairs(run []rune, singles bool, emit func(term []rune)) {
	for i := range run {
		if singles && (scriptOf(run[i]) == han || len(run) == 1) {
			emit(run[i : i+1])
		}
		if i+2 <= len(run) {
			emit(run[i : i+2])
		}
	}
}

const maxCode = 32 // characters of a joined code

// codeAt joins the word text[i:end] with the words after it as long as one hyphen, dot, slash or underscore is
// between them: the whole code at its first word, nil elsewhere and for a word alone.
func codeAt(text []rune, i, end int) []rune {
	if i > 1 && joins(text[i-1]) && scriptOf(text[i-2]) == spaced {
		return nil
	}
	var code []rune
	for end+1 < len(text) && joins(text[end]) && scriptOf(text[end+1]) == spaced {
		if code == nil {
			code = append(make([]rune, 0, maxCode), text[i:end]...)
		}
		start := end + 1
		end = runEnd(text, start)
		if code = append(code, text[start:end]...); len(code) > maxCode {
			return nil
		}
	}
	return code
}

func joins(r rune) bool { return r == '-' || r == '_' || r == '.' || r == '/' }

// legalForms are left out when names are compared: nobody types them.
var legalForms = [...]string{"株式会社", "有限会社", "合同会社", "合資会社", "合名会社", "一般社団法人", "一般財団法人", "(株)", "(有)", "(同)",
	" co., ltd.", " co.,ltd.", " co. ltd.", " corporation", " corp.", " inc.", " inc", " ltd.", " ltd", " llc", " k.k."}

// withoutForm is a folded name without its legal form, or the name itself.
func withoutForm(name string) string {
	for _, form := range legalForms {
		if rest, ok := strings.CutPrefix(name, form); ok {
			return rest
		}
		if rest, ok := strings.CutSuffix(name, form); ok {
			return rest
		}
	}
	return name
}

// compact keeps the letters and digits of a folded text: AX-200, AX 200 and ax200 are the same name.
func compact(text []rune) []rune {
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if scriptOf(r) != gap {
			out = append(out, r)
		}
	}
	return out
}
