package embed

import (
	"math"
	"slices"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// Weights of features, in 1/64. They were chosen on the sample catalogue and on Japanese writing in general: content
// is carried by kanji compounds and katakana words, grammar by hiragana.
const (
	weightWord      = 64 // a whole word of letters or digits
	weightWordGram  = 14 // three characters of one, its ends marked
	weightKatakana  = 64 // a whole katakana word
	weightKata2     = 10
	weightKata3     = 24
	weightHan1      = 14
	weightHan2      = 64
	weightHan3      = 28
	weightHiragana  = 8 // a whole hiragana word of three or more
	weightHira3     = 4
	weightOkurigana = 12 // a kanji and the hiragana after it
	weightTerm      = 48 // a meaning that localTerms knows
	generic         = 5  // what weights of generic words are divided by
)

const (
	// maxLocalRunes of a text are looked at. Long texts average out anyway; at most about 3 features a character
	// keeps the scratch memory below 20,000 * 3 * 16 B = 1 MB.
	maxLocalRunes = 20_000

	// spread is how many components a feature goes to. Inner products keep their mean with any number; a few make
	// it unlikely that one collision decides.
	spread = 4
)

// script classes of characters.
type script uint8

const (
	blank script = iota // whitespace, punctuation, symbols
	word                // letters and digits of scripts with n-grams of their own: Latin, digits, Cyrillic, Hangul
	katakana
	hiragana
	han
)

func scriptOf(r rune) script {
	switch {
	case r < 0x80:
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return word
		}
		return blank
	case r >= 0x4E00 && r <= 0x9FFF, r == '々', r == '〆':
		return han
	case r >= 0x30A1 && r <= 0x30FA, r >= 0x30FC && r <= 0x30FF:
		return katakana
	case r >= 0x3041 && r <= 0x309F:
		return hiragana
	case unicode.Is(unicode.Han, r):
		return han
	case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
		return word
	}
	return blank
}

// kana folds hiragana to katakana, so that a word is the same in both.
func kana(r rune) rune {
	if r >= 0x3041 && r <= 0x3096 {
		return r + 0x60
	}
	return r
}

// feature is something a text contains: the hash of its kind and characters, and what one occurrence weighs.
type feature struct {
	hash   uint64
	weight int32
}

// extractor turns texts into vectors, reusing its memory.
type extractor struct {
	runes    []rune
	features []feature
	sums     []int64
	generic  map[uint64]struct{} // shared, read only
	terms    *termTrie           // shared, read only
}

// encode implements encoder.
func (x *extractor) encode(texts []string, out []float32) (tokens int) {
	dims := len(out) / len(texts)
	for i, text := range texts {
		x.vector(text, out[i*dims:(i+1)*dims])
		tokens += estimate(text)
	}
	return tokens
}

// isGeneric tells whether w is a word that tells nothing apart.
func (x *extractor) isGeneric(w []rune) bool {
	_, ok := x.generic[gramHash('s', w)]
	return ok
}

// vector writes the unit vector of text to out.
//
// Every number up to the last division is an integer, so that no order of additions and no fused multiply-add can make
// machines differ; the square root is exactly rounded by IEEE 754, and conversions forbid fusing.
func (x *extractor) vector(text string, out []float32) {
	x.normalise(text)
	x.features = x.features[:0]
	x.extract()
	x.terms.find(x.runes, func(meaning uint64) { x.add(meaning, weightTerm) })
	slices.SortFunc(x.features, func(a, b feature) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return int(b.weight - a.weight)
	})
	if cap(x.sums) < len(out) {
		x.sums = make([]int64, len(out))
	}
	x.sums = x.sums[:len(out)]
	clear(x.sums)
	for i := 0; i < len(x.features); {
		f := x.features[i]
		n := 1
		for i+n < len(x.features) && x.features[i+n].hash == f.hash {
			n++
		}
		x.spread(f.hash, int64(f.weight)*damped(n))
		i += n
	}
	unit(x.sums, out)
}

// damped is the square root of a count in 1/256, rounded down: twice the same word is not twice the meaning.
func damped(n int) int64 { return int64(math.Sqrt(float64(min(n, 1<<16)) * 65536)) }

// spread adds v to or subtracts it from a few components chosen by the hash.
func (x *extractor) spread(hash uint64, v int64) {
	n := uint64(len(x.sums))
	for range spread {
		hash = mix(hash + 0x9E3779B97F4A7C15)
		// The high 32 bits choose the component (Lemire's multiply-shift), the lowest bit the sign.
		at := (hash >> 32) * n >> 32
		if hash&1 == 0 {
			x.sums[at] += v
		} else {
			x.sums[at] -= v
		}
	}
}

// unit writes sums scaled to length 1. A text without features, or one whose features cancel out, becomes the first
// unit vector: as far from everything as from itself, but valid everywhere.
func unit(sums []int64, out []float32) {
	var squares float64
	for _, s := range sums {
		v := float64(s)
		squares += float64(v * v)
	}
	if squares == 0 {
		clear(out)
		out[0] = 1
		return
	}
	length := math.Sqrt(squares)
	for i, s := range sums {
		out[i] = float32(float64(s) / length)
	}
}

// mix is the finaliser of MurmurHash3 (public domain): every input bit reaches every output bit.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xFF51AFD7ED558CCD
	h ^= h >> 33
	h *= 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}

// normalise fills x.runes: spelling.Usual, NFKC (full-width letters and half-width kana become the usual ones), lower case.
func (x *extractor) normalise(text string) {
	text = spelling.Usual(text)
	if !norm.NFKC.IsNormalString(text) {
		if len(text) > 4*maxLocalRunes {
			text = text[:4*maxLocalRunes]
		}
		text = norm.NFKC.String(text)
	}
	x.runes = x.runes[:0]
	for _, r := range text {
		if len(x.runes) == maxLocalRunes {
			break
		}
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		} else if r >= 0x80 {
			r = unicode.ToLower(r)
		}
		x.runes = append(x.runes, r)
	}
}

func (x *extractor) add(hash uint64, weight int32) {
	x.features = append(x.features, feature{hash, weight})
}

// gramHash hashes characters under the name of what they are: w word, g its grams, k kana, h kanji, t meanings, s words of a
// list. Kana is folded.
func gramHash(what byte, runes []rune) uint64 {
	h := uint64(what) * 0x9E3779B97F4A7C15
	for _, r := range runes {
		h = (h ^ uint64(kana(r))) * 0x100000001B3
		h ^= h >> 29
	}
	return mix(h)
}

// extract cuts the text into runs of one script and adds the features of each.
func (x *extractor) extract() {
	r := x.runes
	lineStart := true
	for i := 0; i < len(r); {
		s := scriptOf(r[i])
		if s == blank {
			lineStart = lineStart && r[i] != ' ' || r[i] == '\n'
			i++
			continue
		}
		end := i + 1
		for end < len(r) && (scriptOf(r[end]) == s || s == hiragana && r[end] == 'ー') {
			end++
		}
		if s == word && lineStart {
			// A label that the text template put at the start of a line ("products: ") says nothing.
			if after := labelEnd(r, i); after > 0 {
				i, lineStart = after, false
				continue
			}
		}
		lineStart = false
		switch s {
		case word:
			x.word(r[i:end])
			end = x.code(i, end)
		case katakana:
			x.katakana(r[i:end])
		case han:
			x.han(r[i:end])
			if end < len(r) && scriptOf(r[end]) == hiragana {
				x.add(gramHash('h', r[end-1:end+1]), weightOkurigana)
			}
		case hiragana:
			x.hiragana(r[i:end])
		}
		i = end
	}
}

// labelEnd is where the text after "label: " at i begins, 0 when there is no such label.
func labelEnd(r []rune, i int) int {
	for n := i; n < len(r) && n < i+40; n++ {
		switch c := r[n]; {
		case c == ':' && n+1 < len(r) && r[n+1] == ' ':
			return n + 2
		case c >= 'a' && c <= 'z' || c == '_' || c >= '0' && c <= '9':
		default:
			return 0
		}
	}
	return 0
}

// word adds a word and its trigrams.
func (x *extractor) word(w []rune) {
	weight, gram := int32(weightWord), int32(weightWordGram)
	if x.isGeneric(w) {
		weight, gram = weight/generic/2, gram/generic/2
	} else if len(w) == 1 {
		weight /= 4
	}
	x.add(gramHash('w', w), weight)
	var g [3]rune
	for i := -1; len(w) > 2 && i+1 < len(w); i++ {
		for j := range g {
			g[j] = '\x01'
			if i+j >= 0 && i+j < len(w) {
				g[j] = w[i+j]
			}
		}
		x.add(gramHash('g', g[:]), gram)
	}
}

// code adds a word that goes on after a hyphen or the like in one piece too, so that ax-200, AX200 and "ax 200" meet,
// and returns where it ends.
func (x *extractor) code(start, end int) int {
	r := x.runes
	joined := append(make([]rune, 0, 32), r[start:end]...)
	for end+1 < len(r) && (r[end] == '-' || r[end] == '_' || r[end] == '.' || r[end] == '/') && scriptOf(r[end+1]) == word && len(joined) < 32 {
		part := end + 1
		for end = part; end < len(r) && scriptOf(r[end]) == word; end++ {
		}
		x.word(r[part:end])
		joined = append(joined, r[part:end]...)
	}
	if len(joined) > 0 && len(joined) != end-start {
		x.add(gramHash('w', joined), weightWord)
	}
	return end
}

func (x *extractor) katakana(w []rune) {
	weight, two, three := int32(weightKatakana), int32(weightKata2), int32(weightKata3)
	stem := w
	if len(w) > 3 && w[len(w)-1] == 'ー' { // サーバー and サーバ
		stem = w[:len(w)-1]
	}
	if x.isGeneric(stem) {
		weight, two, three = weight/generic, two/generic, three/generic
	}
	x.add(gramHash('k', stem), weight)
	x.grams(stem, 2, two)
	x.grams(stem, 3, three)
}

func (x *extractor) han(w []rune) {
	for i := range w {
		x.add(gramHash('h', w[i:i+1]), weightHan1)
	}
	before := false // the pair before was generic
	for i := 0; i+2 <= len(w); i++ {
		two, three := int32(weightHan2), int32(weightHan3)
		common := x.isGeneric(w[i : i+2])
		if common {
			two /= generic
		}
		x.add(gramHash('h', w[i:i+2]), two)
		if i > 0 {
			if common || before {
				three /= generic
			}
			x.add(gramHash('h', w[i-1:i+2]), three)
		}
		before = common
	}
}

func (x *extractor) hiragana(w []rune) {
	if len(w) < 3 || x.isGeneric(w) {
		return
	}
	x.add(gramHash('k', w), weightHiragana)
	x.grams(w, 3, weightHira3)
}

// grams adds the n-grams of a kana word unless that is w itself, which was added as a whole.
func (x *extractor) grams(w []rune, n int, weight int32) {
	if len(w) == n {
		return
	}
	for i := 0; i+n <= len(w); i++ {
		x.add(gramHash('k', w[i:i+n]), weight)
	}
}
