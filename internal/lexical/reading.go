package lexical

import "slices"

// Reader says how Japanese text is read. Safe for concurrent use.
type Reader interface {
	// Read cuts a text into its words, in order and without gaps.
	Read(text string) []Reading
}

// Reading is a word of a text.
type Reading struct {
	Surface   string // as it is written
	Kana      string // how it is read, in katakana; "" where that is not known
	Base      string // of a verb or adjective: its base form as it is written, "" where that is not known
	Content   bool   // noun, verb or adjective
	Inflected bool   // verb or adjective
}

// What begins the terms and names that are not as they are written. No folded text holds them.
const (
	heardMark = 1 // as it sounds, loosely
	stemMark  = 2 // an English word's stem
)

const (
	// maxHeard characters of kana in a question are taken apart, in pieces of at most maxHeardWord.
	maxHeard     = 64
	maxHeardWord = 12
	// minHeard kana of a question, as typed, can be a word: two and less are everywhere.
	minHeard = 3
)

// heard is how a word sounds, as a term.
func heard(kana []rune) uint64 {
	return hash(loose([]rune{heardMark}, kana))
}

// kanaOf is how a word is read: by the dictionary, or as it is written when that is kana.
func (r Reading) kanaOf() []rune {
	if r.Kana != "" {
		return []rune(r.Kana)
	}
	if text := fold(nil, r.Surface); isKana(text) {
		return text
	}
	return nil
}

// heardTerms calls emit with how the words of a folded text sound, verbs and adjectives in their base form too. Without a
// Reader these are its words in katakana.
func (b *builder) heardTerms(text []rune, emit func(uint64)) {
	if b.read == nil {
		for i := 0; i < len(text); i++ {
			if start := i; scriptOf(text[i]) == katakana {
				for i+1 < len(text) && scriptOf(text[i+1]) == katakana {
					i++
				}
				if i > start {
					emit(heard(text[start : i+1]))
				}
			}
		}
		return
	}
	for from := 0; from < len(text); {
		end := phraseEnd(text, from)
		phrase := string(text[from:end])
		from = end
		terms, known := b.phrases[phrase]
		if !known {
			terms = b.heardIn(phrase)
			if len(b.phrases) == maxPhrases {
				clear(b.phrases)
			}
			b.phrases[phrase] = terms
		}
		for _, h := range terms {
			emit(h)
		}
	}
}

// maxPhrases are remembered: the dictionary takes 200 us for a record, and phrases come again and again.
const maxPhrases = 1 << 16

// phraseEnd is where the phrase that starts at from ends: before the kanji, katakana or letters that follow hiragana, and
// at whatever is no letter. Words seldom go on there.
func phraseEnd(text []rune, from int) int {
	before := scriptOf(text[from])
	for i := from + 1; i < len(text); i++ {
		s := scriptOf(text[i])
		if s == gap && before != gap || s != gap && before == gap || before == hiragana && s != hiragana {
			return i
		}
		before = s
	}
	return len(text)
}

// heardIn are the terms of a phrase.
func (b *builder) heardIn(phrase string) []uint64 {
	var out []uint64
	var before []rune // the noun in front: 議事 of 議事録
	for _, r := range b.read.Read(phrase) {
		kana := r.kanaOf()
		if !r.Content || len(kana) == 0 {
			before = nil
			continue
		}
		if n := len(before) + len(kana); before != nil && !r.Inflected && n <= maxHeardWord {
			out = append(out, heard(append(slices.Clip(before), kana...)))
		}
		if before = kana; r.Inflected {
			before = nil
		}
		if len(kana) > 1 {
			out = append(out, heard(kana))
		}
		if r.Base != "" && r.Base != r.Surface {
			if base := b.read.Read(r.Base); len(base) == 1 && len(base[0].kanaOf()) > 1 {
				out = append(out, heard(base[0].kanaOf()))
			}
		}
	}
	return out
}

// heardName is how a whole name sounds, nil when that is not known: letters and digits in it stay as they are.
func (b *builder) heardName(name string) []rune {
	if b.read == nil {
		return nil
	}
	out := []rune{heardMark}
	for _, r := range b.read.Read(name) {
		kana := r.kanaOf()
		if kana == nil {
			if kana = compact(fold(nil, r.Surface)); slices.ContainsFunc(kana, func(c rune) bool { return scriptOf(c) == han }) {
				return nil
			}
		}
		out = append(out, kana...)
	}
	if len(out) == 1 {
		return nil
	}
	return loose(out[:1], out[1:])
}

// heardQuery is a question that is kana or romaji throughout, in katakana; nil for others. Kana between kanji is mostly
// grammar, and a Latin word that records hold is that word.
func (j *Joined) heardQuery(text []rune) []rune {
	var out []rune
	for i := 0; i < len(text); {
		if scriptOf(text[i]) == gap {
			i++
			continue
		}
		end := runEnd(text, i)
		word := text[i:end]
		if scriptOf(text[i]) == spaced {
			kana, ok := romaji(word)
			if !ok || j.has(hash(word)) {
				return nil
			}
			word = kana
		} else if !isKana(word) {
			return nil
		}
		if out = append(out, word...); len(out) > maxHeard {
			return nil
		}
		i = end
	}
	return out
}

// heardName is a question as names are heard, nil when it is not typed so or says less than minHeard sounds: ああああ is one.
func (j *Joined) heardName(text []rune) []rune {
	if sound := loose([]rune{heardMark}, j.heardQuery(text)); len(sound)-1 >= minHeard {
		return sound
	}
	return nil
}

// heardWords calls emit with the words that are heard in kana, cut so that the longest fit.
func (j *Joined) heardWords(kana []rune, emit func(uint64)) {
	type cut struct {
		score, from int
		word        uint64
	}
	best := make([]cut, len(kana)+1)
	for end := 1; end <= len(kana); end++ {
		best[end] = cut{best[end-1].score, end - 1, 0}
		for from := max(0, end-maxHeardWord); from < end; from++ {
			n := end - from
			if n < minHeard && n < len(kana) {
				break
			}
			if score := best[from].score + n*n; score > best[end].score {
				if word := heard(kana[from:end]); j.has(word) {
					best[end] = cut{score, from, word}
				}
			}
		}
	}
	for end := len(kana); end > 0; end = best[end].from {
		if best[end].word != 0 {
			emit(best[end].word)
		}
	}
}
