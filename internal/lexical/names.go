package lexical

import (
	"slices"
	"strings"
)

const (
	// A name within a query is looked for at spans of up to maxSpan runs of one script, from the first maxRuns:
	// at most 64 * 8 lookups.
	maxRuns = 64
	maxSpan = 8

	// maxNamesakes is how many records a name within a query may have to tell them from the rest.
	maxNamesakes = 1000
)

// tallyNames adds the bonus of records whose name is the query or stands in it.
func (x *Index) tallyNames(t *tally, text []rune) {
	whole := compact(text)
	if len(whole) == 0 {
		return
	}
	exact := x.named(whole)
	if len(exact) == 0 {
		exact = x.named(compact([]rune(withoutForm(strings.TrimSpace(string(text))))))
	}
	for _, n := range exact {
		t.add(n.pos, exactBonus)
	}
	if len(exact) > 0 {
		return
	}
	best := make(map[uint32]float32)
	for _, span := range spans(text) {
		if found := x.named(span); len(found) <= maxNamesakes {
			share := float32(len(span)) / float32(len(whole))
			for _, n := range found {
				best[n.pos] = max(best[n.pos], share)
			}
		}
	}
	for pos, share := range best {
		t.raise(pos, namedBonus*share)
	}
}

// named returns the records that have the compact name.
func (x *Index) named(compactName []rune) []name {
	if len(compactName) == 0 {
		return nil
	}
	h := hash(compactName)
	from, _ := slices.BinarySearchFunc(x.exact, name{uint32(h >> 32), uint32(h), 0}, compareNames)
	to := from
	for to < len(x.exact) && x.exact[to].hash() == h {
		to++
	}
	return x.exact[from:to]
}

// spans cuts a folded text where its script changes and joins neighbouring pieces: the places where a name may stand
// in a sentence.
func spans(text []rune) [][]rune {
	var letters []rune // the compact text
	cuts := []int{0}   // where pieces start in it, and the end
	before := gap
	for _, r := range text {
		s := scriptOf(r)
		if s != before && len(letters) > cuts[len(cuts)-1] {
			if cuts = append(cuts, len(letters)); len(cuts) > maxRuns {
				break
			}
		}
		if s != gap {
			letters = append(letters, r)
		}
		before = s
	}
	if len(letters) > cuts[len(cuts)-1] {
		cuts = append(cuts, len(letters))
	}
	var out [][]rune
	for i := range cuts {
		for j := i + 1; j < len(cuts) && j <= i+maxSpan; j++ {
			if span := letters[cuts[i]:cuts[j]]; len(span) >= 2 && len(span) < len(letters) {
				out = append(out, span)
			}
		}
	}
	return out
}
