package lexical

// What a question can be wrong in: one letter too many, too few, another one, or two neighbours in the wrong order
// (Damerau 1964: four of five misspellings). Words that some record holds are taken as they are, and so are codes: another digit is another thing.
const (
	minTypo  = 5   // letters of a word that may be mistyped; shorter ones are near to too many others
	minTypoK = 4   // the same of kana
	maxTypo  = 24  // longer ones are no words
	maxTypos = 4   // words of a question that are tried, about 1,500 lookups each for kana
	typoGain = 0.7 // of what a word counts that is written right
)

const (
	latinLetters = "abcdefghijklmnopqrstuvwxyz"
	kanaLetters  = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワンガギグゲゴザジズゼゾダデドバビブベボパピプペポァィェォャュョッ"
)

// near calls try with every spelling that is one mistake away from word, until it has been called for all. The slice
// is reused.
func near(word []rune, letters string, try func(spelling []rune)) {
	buf := make([]rune, 0, len(word)+1)
	for i := range len(word) + 1 {
		if i < len(word) {
			try(append(append(buf, word[:i]...), word[i+1:]...))
		}
		if i+1 < len(word) && word[i] != word[i+1] {
			try(append(append(buf, word[:i]...), append([]rune{word[i+1], word[i]}, word[i+2:]...)...))
		}
		for _, r := range letters {
			if i < len(word) && word[i] != r {
				try(append(append(append(buf, word[:i]...), r), word[i+1:]...))
			}
			try(append(append(append(buf, word[:i]...), r), word[i:]...))
		}
	}
}

// mistyped calls emit with the terms that the words of a question may have been meant as.
func (j *Joined) mistyped(text []rune, emit func(uint64)) {
	tried := 0
	for i := 0; i < len(text) && tried < maxTypos; {
		s := scriptOf(text[i])
		end := i + 1
		for end < len(text) && scriptOf(text[end]) == s {
			end++
		}
		word := text[i:end]
		i = end
		if len(word) > maxTypo {
			continue
		}
		switch {
		case s == spaced && len(word) >= minTypo && stem(word) != 0 && !j.has(hash(word)) && !j.has(stem(word)):
			tried++
			near(word, latinLetters, func(spelling []rune) {
				if h := hash(spelling); j.has(h) {
					emit(h)
				}
			})
		case s == katakana:
			sound := loose([]rune{heardMark}, word)
			if len(sound)-1 < minTypoK || j.has(hash(sound)) {
				continue
			}
			tried++
			near(sound[1:], kanaLetters, func(spelling []rune) {
				if h := hash(append([]rune{heardMark}, spelling...)); j.has(h) {
					emit(h)
				}
			})
		}
	}
}
