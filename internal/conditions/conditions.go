package conditions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

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

// Attributes tell of the fields of a catalogue's records: [filter.Attributes], or [filter.Joined].
type Attributes interface {
	Paths() []string
	Has(path string) bool
	Facets(path string, limit int, among *roaring.Bitmap) []filter.FacetCount
	Select(f filter.Filter) *roaring.Bitmap
}

// Finder finds conditions on the fields of one catalogue. Immutable and safe for concurrent use.
type Finder struct {
	attributes Attributes
	own        []*word          // for the catalogue's values
	words      map[rune][]*word // by their first character, the longest first
	numbers    []numberField
	many       map[string]bool // paths of more than maxValues values
}

// word stands for a value of a field.
type word struct {
	text  []rune
	path  string
	value any
	count int
	topic bool
	given bool // by people
}

// New reads the values of all fields and a sample of the n records, of which raw(i) is the JSON.
func New(a Attributes, n int, raw func(i int) ([]byte, error)) *Finder {
	f := &Finder{attributes: a, many: map[string]bool{}}
	for _, path := range a.Paths() {
		counts := a.Facets(path, maxValues+1, nil)
		f.many[path] = len(counts) > maxValues
		f.own = append(f.own, f.field(path, counts, n)...)
	}
	f.words = byFirst(f.own)
	f.findTopics(n, raw)
	return f
}

// Over is the finder for a catalogue of n records that differs little from f's, made in a fraction of New's time: fields that
// had too many values for conditions still have, and what the texts are about is what it was.
func (f *Finder) Over(a Attributes, n int) *Finder {
	out := &Finder{attributes: a, many: f.many}
	for _, path := range a.Paths() {
		if !f.many[path] {
			out.own = append(out.own, out.field(path, a.Facets(path, maxValues+1, nil), n)...)
			continue
		}
		for _, w := range f.own {
			if w.path == path {
				own := *w
				out.own = append(out.own, &own)
			}
		}
		for _, number := range f.numbers {
			if number.path == path {
				out.numbers = append(out.numbers, number)
			}
		}
	}
	for _, w := range out.own {
		w.topic = false
		if i := slices.IndexFunc(f.words[w.text[0]], func(o *word) bool { return slices.Equal(o.text, w.text) }); i >= 0 {
			w.topic = f.words[w.text[0]][i].topic
		}
	}
	out.words = byFirst(out.own)
	return out
}

// With is the finder that knows the words people gave to values, too. They go before its own, and are never topics.
func (f *Finder) With(synonyms Synonyms) *Finder {
	out := *f
	all := slices.Clone(f.own)
	for path, values := range synonyms {
		if !f.attributes.Has(path) {
			continue
		}
		for _, c := range f.attributes.Facets(path, maxValues+1, nil) {
			for _, text := range values[keyOf(c.Value)] {
				all = append(all, word{path: path, value: c.Value, count: c.Count, given: true}.called(text)...)
			}
		}
	}
	out.words = byFirst(all)
	return &out
}

// keyOf is a value as it is written as a key: true, 7, SaaS.
func keyOf(v any) string { return fmt.Sprint(v) }

// byFirst sorts words by their first character, the longest first. Of a word that stands for several values people's choice
// counts, else the one that most records have.
func byFirst(all []*word) map[rune][]*word {
	best := map[string]*word{}
	for _, w := range all {
		if old := best[string(w.text)]; old == nil || w.before(old) {
			best[string(w.text)] = w
		}
	}
	out := map[rune][]*word{}
	for _, w := range best {
		out[w.text[0]] = append(out[w.text[0]], w)
	}
	for _, list := range out {
		slices.SortFunc(list, func(x, y *word) int { return len(y.text) - len(x.text) })
	}
	return out
}

func (w *word) before(o *word) bool {
	if w.given != o.given {
		return w.given
	}
	return cmp.Or(cmp.Compare(w.count, o.count), cmp.Compare(o.path, w.path), cmp.Compare(keyOf(o.value), keyOf(w.value))) > 0
}

// field returns the words for the values of a path, which counts are, and notes it when it holds numbers that have a name.
func (f *Finder) field(path string, counts []filter.FacetCount, n int) []*word {
	numeric := 0
	var out []*word
	for _, c := range counts {
		w := word{path: path, value: c.Value, count: c.Count}
		switch v := c.Value.(type) {
		case float64:
			numeric++
		case string:
			if len(counts) <= maxValues && float64(c.Count) <= maxShare*float64(n) {
				out = append(out, w.spelled(v)...)
			}
		}
		for _, s := range glossaryWords(path, keyOf(c.Value)) {
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
