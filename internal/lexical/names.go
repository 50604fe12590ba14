package lexical

import (
	"slices"
	"strings"
)

const (
	// A name within a query is looked for at spans of up to maxSpan pieces, from the first maxPieces: at most
	// 64 * 10 lookups.
	maxPieces = 64
	maxSpan   = 10

	// maxNamesakes is how many records a name within a query may have to tell them from the rest.
	maxNamesakes = 1000
)

// tallyNames adds the bonus of records whose name is the query, begins with it or stands in it.
func (j *Joined) tallyNames(t *tally, text []rune) {
	whole := compact(text)
	if len(whole) == 0 {
		return
	}
	exact := j.named(t, whole)
	if len(exact) == 0 {
		exact = j.named(t, compact([]rune(withoutForm(strings.TrimSpace(string(text))))))
	}
	if len(exact) == 0 {
		exact = j.named(t, j.heardName(text))
	}
	for _, pos := range exact {
		t.add(pos, exactBonus)
	}
	if len(exact) > 0 {
		return
	}
	begun := j.begun(text)
	for pos, share := range begun {
		t.raise(pos, commonShare*share)
		t.add(pos, prefixBonus)
	}
	named := make(map[uint32]bool)
	shares := make(map[uint32]float32)
	for _, span := range spans(text) {
		found := j.named(t, span)
		if len(found) == 0 || len(found) > maxNamesakes {
			continue
		}
		distinctive := j.distinctive(span, len(found))
		for _, pos := range found {
			if _, ok := begun[pos]; ok {
				continue
			}
			named[pos] = named[pos] || distinctive
			shares[pos] = max(shares[pos], float32(len(span))/float32(len(whole)))
		}
	}
	for pos, share := range shares {
		t.raise(pos, commonShare*share)
		if named[pos] {
			t.add(pos, namedBonus)
		}
	}
}

// distinctive tells whether a name that so many records have means them rather than a thing in general: one of its
// terms is in hardly any other record. コールドアイ is, 在庫管理 is not.
func (j *Joined) distinctive(span []rune, namesakes int) bool {
	rare := false
	queryTerms(span, func(h uint64, _ float64) {
		if df, _ := j.df(h &^ 1); 0 < df && df <= 2*namesakes {
			rare = true
		}
	})
	return rare
}

// named returns the records that have the compact name, until it is called again.
func (j *Joined) named(t *tally, compactName []rune) []uint32 {
	t.named = t.named[:0]
	if len(compactName) == 0 {
		return nil
	}
	h := hash(compactName)
	parts := j.having(h)
	for i := range parts {
		p := &parts[i]
		at, _ := slices.BinarySearchFunc(p.exact, name{uint32(h >> 32), uint32(h), 0}, compareNames)
		for ; at < len(p.exact) && p.exact[at].hash() == h && int(p.exact[at].pos) < p.n; at++ {
			if row := p.exact[at].pos; !p.dead.has(row) {
				t.named = append(t.named, p.first+row)
			}
		}
	}
	return t.named
}

// spans cuts a folded text where its script changes and around particles, and joins neighbouring pieces: the places
// where a name may stand in a sentence.
func spans(text []rune) [][]rune {
	var letters []rune // the compact text
	cuts := []int{0}   // where pieces start in it, and the end
	before := gap
	for _, r := range text {
		s := scriptOf(r)
		if s == hiragana && strings.ContainsRune("のをはがにでとも", r) {
			s = particle
		}
		if (s != before || s == particle) && len(letters) > cuts[len(cuts)-1] {
			if cuts = append(cuts, len(letters)); len(cuts) > maxPieces {
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
