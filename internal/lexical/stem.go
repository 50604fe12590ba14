package lexical

import (
	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
)

// stem is the stem of an English word as a term, by Porter's second algorithm (snowballstem.org); 0 for other writing.
func stem(word []rune) uint64 {
	if len(word) < 3 || len(word) > maxTypo {
		return 0
	}
	for _, r := range word {
		if r < 'a' || r > 'z' {
			return 0
		}
	}
	env := snowballstem.NewEnv(string(word))
	english.Stem(env)
	return hash(append([]rune{stemMark}, []rune(env.Current())...))
}

// stems calls emit with the stems of the words in a folded text.
func stems(text []rune, emit func(uint64)) {
	for i := 0; i < len(text); {
		if scriptOf(text[i]) != spaced {
			i++
			continue
		}
		end := runEnd(text, i)
		if h := stem(text[i:end]); h != 0 {
			emit(h)
		}
		i = end
	}
}
