package conditions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/spelling"
)

const (
	// maxValues of a field are conditions, each held by at most maxShare of the records: of more values, or of one that
	// nearly all have, none says much.
	maxValues = 50
	maxShare  = 0.6

	// sampled records are read to see what their texts are about; a value that topical of them speak of, or a quarter as
	// many as have it, is a topic.
	sampled = 2000
	topical = 0.02

	maxQuestion = 2048 // runes that are looked at
	maxFound    = 8    // conditions of a question
)

// Condition is what a question asks of a field.
type Condition struct {
	Path  string `json:"path"`
	Value any    `json:"value"` // as in a filter: "面談済", true, {"gte":100}, {"ne":"大阪府"}
	Words string `json:"words"` // of the question, folded
	Count int    `json:"count"` // records that meet it
}

// Synonyms are the words that people use for values, by path and value as JSON writes it (true, 7, SaaS).
type Synonyms map[string]map[string][]string

// Limits of synonyms.json, which people write.
const (
	MaxSynonyms     = 1 << 20 // bytes
	maxSynonymWords = 10_000
)

// ParseSynonyms reads synonyms.json.
func ParseSynonyms(raw []byte) (Synonyms, error) {
	if len(raw) > MaxSynonyms {
		return nil, fmt.Errorf("synonyms.json has %d bytes, more than %d", len(raw), MaxSynonyms)
	}
	var s Synonyms
	if err := json.Unmarshal(bytes.TrimPrefix(raw, []byte("\ufeff")), &s); err != nil {
		return nil, fmt.Errorf(`synonyms.json: %w; want {"path":{"value":["word"]}}`, err)
	}
	words := 0
	for _, values := range s {
		for _, list := range values {
			words += len(list)
		}
	}
	if words > maxSynonymWords {
		return nil, fmt.Errorf("synonyms.json has %d words, more than %d", words, maxSynonymWords)
	}
	return s, nil
}

// Finder finds conditions on the fields of one catalogue. Immutable and safe for concurrent use.
type Finder struct {
	attributes *filter.Attributes
	words      map[rune][]*word // by their first character, the longest first
	numbers    []numberField
}

// word stands for a value of a field.
type word struct {
	text  []rune
	path  string
	value any
	count int
	topic bool
}

// New reads the values of all fields and a sample of the n records, of which raw(i) is the JSON.
func New(a *filter.Attributes, n int, raw func(i int) ([]byte, error), synonyms Synonyms) *Finder {
	f := &Finder{attributes: a, words: map[rune][]*word{}}
	var all []*word
	for _, path := range a.Paths() {
		all = append(all, f.field(path, n, synonyms[path])...)
	}
	best := map[string]*word{} // of a word that stands for several values, the one that most records have
	for _, w := range all {
		if old := best[string(w.text)]; old == nil || w.count > old.count {
			best[string(w.text)] = w
		}
	}
	for _, w := range all {
		if best[string(w.text)] == w {
			f.words[w.text[0]] = append(f.words[w.text[0]], w)
		}
	}
	for _, list := range f.words {
		slices.SortStableFunc(list, func(x, y *word) int { return len(y.text) - len(x.text) })
	}
	f.findTopics(n, raw)
	return f
}

// field returns the words for the values of a path, and notes it when it holds numbers that have a name.
func (f *Finder) field(path string, n int, synonyms map[string][]string) []*word {
	counts := f.attributes.Facets(path, maxValues+1, nil)
	numeric := 0
	var out []*word
	for _, c := range counts {
		w := word{path: path, value: c.Value, count: c.Count}
		key := ""
		switch v := c.Value.(type) {
		case float64:
			numeric++
			key = fmt.Sprint(v)
		case bool:
			key = fmt.Sprint(v)
		case string:
			key = v
			if len(counts) <= maxValues && float64(c.Count) <= maxShare*float64(n) {
				out = append(out, w.spelled(v)...)
			}
		}
		for _, s := range append(synonyms[key], glossaryWords(path, key)...) {
			out = append(out, w.called(s)...)
		}
	}
	if numeric > 0 {
		if names, units := glossaryNumbers(path); len(names)+len(units) > 0 {
			f.numbers = append(f.numbers, numberField{path, names, units})
		}
	}
	return out
}

// spelled is w for a value as the catalogue spells it, and as people shorten it.
func (w word) spelled(value string) []*word {
	out := w.called(value)
	text := []rune(spelling.Fold(value))
	if last := len(text) - 1; last >= 2 && slices.Contains([]rune("都府県"), text[last]) {
		out = append(out, w.called(string(text[:last]))...)
	}
	return out
}

// called is w for a word; none for what is too short to mean anything.
func (w word) called(text string) []*word {
	w.text = compact([]rune(spelling.Fold(text)))
	if len(w.text) < 2 || !slices.ContainsFunc(w.text, func(r rune) bool { return classOf(r) != digit }) {
		return nil
	}
	return []*word{&w}
}

// findTopics marks the words that the records' texts are about.
func (f *Finder) findTopics(n int, raw func(i int) ([]byte, error)) {
	seen := map[*word]int{}
	read := min(n, sampled)
	var t jsonread.Tree
	for i := range read {
		data, err := raw(i * n / read)
		if err != nil || t.Parse(data, jsonread.MaxDepth) != nil {
			continue
		}
		here := map[*word]bool{}
		for v := range t.Len() {
			if t.Kind(v) != jsonread.String {
				continue
			}
			text := compact([]rune(spelling.Fold(t.Str(v))))
			for at := range text {
				if w := f.wordAt(text, at); w != nil && len(w.text) < len(text) {
					here[w] = true
				}
			}
		}
		for w := range here {
			seen[w]++
		}
	}
	for w, records := range seen {
		w.topic = float64(records) > topical*float64(read) || 4*records >= w.count
	}
}

// wordAt is the longest word that text holds at a place.
func (f *Finder) wordAt(text []rune, at int) *word {
	for _, w := range f.words[text[at]] {
		if len(w.text) <= len(text)-at && slices.Equal(w.text, text[at:at+len(w.text)]) {
			return w
		}
	}
	return nil
}

// compact leaves out what is no letter, digit or kana: ISO/IEC 27001 is isoiec27001.
func compact(text []rune) []rune {
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if classOf(r) != gap {
			out = append(out, r)
		}
	}
	return out
}
