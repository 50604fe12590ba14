package sentence

import (
	"bytes"
	"math"
	"strings"
	"unicode/utf8"
)

// Pieces with a meaning of their own.
const (
	pieceUnknown = 0
	pieceBegin   = 1
	pieceEnd     = 2
)

// tokenizer cuts a text into pieces as SentencePiece does with the model's file: characters are replaced by its map (NFKC
// and more), spaces become U+2581, and of all ways to cut what results, the one with the greatest sum of scores is taken.
type tokenizer struct {
	scores  []float32
	unknown float32 // the score of a character that is no piece
	longest int     // piece, in characters

	// trie has the pieces as paths of characters: an open-addressing table of edges. An entry is parent<<39 | character<<18
	// | child; no child is 0, the root. piece is what ends at a node, or -1.
	trie  []uint64
	piece []int32

	// units is a double array (Darts-clone) over bytes whose values are offsets in replacements, each ended by a zero.
	units        []uint32
	replacements []byte
}

const (
	nodeBits = 18
	runeBits = 21
	trieBits = 19
	trieMask = 1<<trieBits - 1
)

func newTokenizer(offsets []uint32, scores []float32, text []byte, units []uint32, replacements []byte) *tokenizer {
	t := &tokenizer{scores: scores, unknown: math.MaxFloat32, trie: make([]uint64, 1<<trieBits), piece: []int32{-1}, units: units, replacements: replacements}
	for id, score := range scores {
		t.unknown = min(t.unknown, score)
		node, n := 0, 0
		for _, r := range string(text[offsets[id]:offsets[id+1]]) {
			slot, child := t.child(node, r)
			if child == 0 {
				child = len(t.piece)
				t.piece = append(t.piece, -1)
				t.trie[slot] = (uint64(node)<<runeBits|uint64(r))<<nodeBits | uint64(child)
			}
			node = child
			n++
		}
		t.piece[node] = int32(id)
		t.longest = max(t.longest, n)
	}
	t.unknown -= 10
	return t
}

// child is the node that r leads to from node, 0 for none, and the slot where it stands or belongs.
func (t *tokenizer) child(node int, r rune) (slot, child int) {
	edge := uint64(node)<<runeBits | uint64(r)
	for slot = int(edge * 0x9E3779B97F4A7C15 >> (64 - trieBits)); ; slot = (slot + 1) & trieMask {
		switch e := t.trie[slot]; {
		case e == 0:
			return slot, 0
		case e>>nodeBits == edge:
			return slot, int(e & (1<<nodeBits - 1))
		}
	}
}

// replace is what the longest key of the map that text begins with becomes, and that key's length; the first
// character itself when there is none.
func (t *tokenizer) replace(text string) (to []byte, n int) {
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & 0x200 >> 6) }
	node, value := offset(t.units[0]), uint32(0)
	for i := range len(text) {
		node ^= uint32(text[i])
		if int(node) >= len(t.units) || t.units[node]&0x800000FF != uint32(text[i]) {
			break
		}
		unit := t.units[node]
		node ^= offset(unit)
		if unit&0x100 != 0 {
			n, value = i+1, t.units[node]&0x7FFFFFFF
		}
	}
	if n == 0 || int(value) >= len(t.replacements) {
		_, n = utf8.DecodeRuneInString(text)
		return append(to, text[:n]...), n
	}
	to = t.replacements[value:]
	return to[:bytes.IndexByte(to, 0)], n
}

// space is what a space becomes.
const space = '▁'

// normalise appends the characters of text after replacement: spaces are marked, runs of them are one, none is at the end,
// and one is put before the text.
func (t *tokenizer) normalise(text string, out []rune) []rune {
	text = strings.ToValidUTF8(text, "\uFFFD")
	start := len(out)
	after := true // a space: the text's beginning counts as one
	for len(text) > 0 {
		to, n := t.replace(text)
		text = text[n:]
		if after {
			to = bytes.TrimLeft(to, " ")
		}
		if len(to) == 0 {
			continue
		}
		if len(out) == start {
			out = append(out, space)
		}
		for _, r := range string(to) {
			if r == ' ' {
				r = space
			}
			out = append(out, r)
		}
		after = to[len(to)-1] == ' '
	}
	for len(out) > start && out[len(out)-1] == space {
		out = out[:len(out)-1]
	}
	return out
}

// lattice is the memory of a search for the best cut.
type lattice struct {
	runes []rune
	ends  []end // at each place of runes, and one past them
}

// end is the best way to arrive at a place: the sum of scores, and where the last piece begins.
type end struct {
	score float64
	from  int32
	piece int32
}

// cut appends the pieces of text to ids, between the marks of its beginning and end.
func (t *tokenizer) cut(text string, l *lattice, ids []int32) []int32 {
	l.runes = t.normalise(text, l.runes[:0])
	ids = append(ids, pieceBegin)
	n := len(l.runes)
	if n == 0 {
		return append(ids, pieceUnknown, pieceEnd)
	}
	l.ends = append(l.ends[:0], end{})
	for range n {
		l.ends = append(l.ends, end{score: math.Inf(-1)})
	}
	for i := range n {
		base, node, single := l.ends[i].score, 0, false
		for j := i; j < min(i+t.longest, n); j++ {
			if _, node = t.child(node, l.runes[j]); node == 0 {
				break
			}
			if id := t.piece[node]; id >= 0 {
				single = single || j == i
				l.reach(j+1, end{base + float64(t.scores[id]), int32(i), id})
			}
		}
		if !single {
			l.reach(i+1, end{base + float64(t.unknown), int32(i), pieceUnknown})
		}
	}
	first := len(ids)
	for at := n; at > 0; at = int(l.ends[at].from) {
		ids = append(ids, l.ends[at].piece)
	}
	for i, j := first, len(ids)-1; i < j; i, j = i+1, j-1 {
		ids[i], ids[j] = ids[j], ids[i]
	}
	return append(ids, pieceEnd)
}

func (l *lattice) reach(at int, e end) {
	if e.score > l.ends[at].score {
		l.ends[at] = e
	}
}
