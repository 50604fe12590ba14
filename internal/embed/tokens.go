package embed

import "unicode/utf8"

// estimateTokens is a cautious guess of what OpenAI's cl100k_base tokenizer makes of text, without its 100,000 word
// table. On Japanese and English prose it is 0 to 60 % above the true count; only text made of rare kanji, whose true
// cost is up to 3 tokens a character, is underestimated, by less than half (tokens_test.go holds true counts).
//
// Averages of cl100k_base per class, in quarter tokens so that the sum stays exact:
//
//	kanji            1.4 in prose, 2.4 over all of Unicode   7/4
//	kana, other      1.0 in prose                            1
//	half-width kana  2.0, full-width forms 1.8               2
//	hangul, symbols  2.6                                     5/2
//	emoji            2.9                                     3
//	ASCII words      1 a 4 letters, 1 a 3 in long runs, 4 a 5 in strings of mixed case
//	digits           1 a 3 digits
//	spaces           the first joins the next word, a longer run is 1
func estimateTokens(text string) int {
	quarters := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			n := asciiRun(text[i:])
			quarters += asciiQuarters(text[i : i+n])
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		quarters += runeQuarters(r)
		i += n
	}
	return (quarters + 3) / 4
}

const (
	classLetter = iota
	classDigit
	classSpace
	classOther
)

func asciiClass(c byte) int {
	switch {
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		return classLetter
	case c >= '0' && c <= '9':
		return classDigit
	case c == ' ' || c >= '\t' && c <= '\r':
		return classSpace
	}
	return classOther
}

// asciiRun is the length of the run of one class at the start of s; punctuation counts by the character.
func asciiRun(s string) int {
	class := asciiClass(s[0])
	if class == classOther {
		return 1
	}
	n := 1
	for n < len(s) && s[n] < utf8.RuneSelf && asciiClass(s[n]) == class {
		n++
	}
	return n
}

func asciiQuarters(run string) int {
	n := len(run)
	switch asciiClass(run[0]) {
	case classLetter:
		switch {
		case caseSwitches(run) >= 3: // no word
			return 4 * ((4*n + 4) / 5)
		case n > 16:
			return 4 * ((n + 2) / 3)
		}
		return 4 * ((n + 3) / 4)
	case classDigit:
		return 4 * ((n + 2) / 3)
	case classSpace:
		if run == " " {
			return 0
		}
		return 4 * ((n + 15) / 16)
	}
	return 4
}

// caseSwitches counts the places where a capital follows a small letter.
func caseSwitches(run string) (n int) {
	for i := 1; i < len(run); i++ {
		if run[i]&0x20 == 0 && run[i-1]&0x20 != 0 {
			n++
		}
	}
	return n
}

func runeQuarters(r rune) int {
	switch {
	case r >= 0x3400 && r <= 0x9fff, r >= 0xf900 && r <= 0xfaff:
		return 7
	case r >= 0x3000 && r <= 0x30ff, r < 0x800:
		return 4
	case r >= 0xff00 && r <= 0xffef:
		return 8
	case r >= 0x10000:
		return 12
	}
	return 10
}

// cutToTokens returns the longest prefix of text that ends on a rune boundary and is estimated at most limit tokens.
func cutToTokens(text string, limit int) string {
	lo, hi := 0, len(text)
	for lo < hi {
		mid := runeStart(text, (lo+hi+1)/2)
		if mid <= lo { // only one rune left between them
			_, n := utf8.DecodeRuneInString(text[lo:])
			if lo+n > hi || estimateTokens(text[:lo+n]) > limit {
				break
			}
			lo += n
			continue
		}
		if estimateTokens(text[:mid]) <= limit {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return text[:runeStart(text, lo)]
}

// cutToRunes returns the first limit characters of text.
func cutToRunes(text string, limit int) string {
	for i := range text {
		if limit--; limit < 0 {
			return text[:i]
		}
	}
	return text
}

// runeStart moves i back to the start of the rune it points into.
func runeStart(s string, i int) int {
	for i > 0 && i < len(s) && !utf8.RuneStart(s[i]) {
		i--
	}
	return i
}

func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:runeStart(s, n)] + "…"
}
