package serve

import (
	"container/heap"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/text/unicode/norm"
)

// Okapi BM25 (Robertson, Zaragoza, "The Probabilistic Relevance Framework", 2009) with its usual constants.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

// lexicon finds records by the words in them: Latin words and numbers whole, everything written without spaces
// (Japanese) by overlapping pairs of characters, which needs no dictionary and finds any name of two characters or
// more. Postings are delta-coded: about two bytes for each distinct term of a record. Immutable, safe for concurrent use.
type lexicon struct {
	n        int
	postings map[uint64][]byte // term hash → uvarint(Δposition<<2 | min(tf,4)-1)…; tf beyond 4 changes a score little
	lengths  []uint16          // terms in each record, capped
	mean     float64
	bytes    int64
	scratch  sync.Pool // *tally
}

// tally accumulates the scores of one query.
type tally struct {
	score   []float32 // by position; zero outside touched
	touched []uint32
}

// buildLexicon reads the texts of n records in catalogue order.
func buildLexicon(n int, text func(i int) (string, error)) (*lexicon, error) {
	x := &lexicon{n: n, lengths: make([]uint16, n)}
	type list struct {
		last uint32
		data []byte
	}
	lists := make(map[uint64]*list)
	counts := make(map[uint64]int)
	var total int
	var b [binary.MaxVarintLen64]byte
	for i := range n {
		t, err := text(i)
		if err != nil {
			return nil, err
		}
		clear(counts)
		length := 0
		eachTerm(t, func(term uint64) {
			counts[term]++
			length++
		})
		total += length
		x.lengths[i] = uint16(min(length, math.MaxUint16))
		for term, tf := range counts {
			l := lists[term]
			if l == nil {
				l = &list{}
				lists[term] = l
			}
			delta := uint64(uint32(i)-l.last)<<2 | uint64(min(tf, 4)-1)
			l.data = append(l.data, b[:binary.PutUvarint(b[:], delta)]...)
			l.last = uint32(i)
		}
	}
	x.mean = max(float64(total)/float64(max(n, 1)), 1)
	x.postings = make(map[uint64][]byte, len(lists))
	for term, l := range lists {
		x.postings[term] = slices.Clip(l.data)
		x.bytes += int64(len(l.data)) + 48 // a map entry with its slice header
	}
	x.bytes += int64(2 * n)
	x.scratch.New = func() any { return &tally{score: make([]float32, n)} }
	return x, nil
}

// search returns at most k positions among allow (nil: all) that share a term with the query, best first; equal
// scores are in catalogue order.
func (x *lexicon) search(query string, k int, allow *roaring.Bitmap) []int64 {
	t := x.scratch.Get().(*tally)
	defer func() {
		for _, p := range t.touched {
			t.score[p] = 0
		}
		t.touched = t.touched[:0]
		x.scratch.Put(t)
	}()
	seen := make(map[uint64]bool)
	eachTerm(query, func(term uint64) {
		if !seen[term] {
			seen[term] = true
			x.add(t, x.postings[term])
		}
	})
	top := make(best, 0, k+1)
	for _, p := range t.touched {
		if allow != nil && !allow.Contains(p) {
			continue
		}
		h := scored{p, t.score[p]}
		if len(top) < k {
			heap.Push(&top, h)
		} else if h.better(top[0]) {
			top[0] = h
			heap.Fix(&top, 0)
		}
	}
	slices.SortFunc(top, func(a, b scored) int {
		if a.better(b) {
			return -1
		}
		return 1
	})
	out := make([]int64, len(top))
	for i, h := range top {
		out[i] = int64(h.pos)
	}
	return out
}

// add scores one term's postings.
func (x *lexicon) add(t *tally, list []byte) {
	df := 0
	for _, c := range list {
		if c < 0x80 { // the last byte of a varint
			df++
		}
	}
	idf := math.Log(1 + (float64(x.n)-float64(df)+0.5)/(float64(df)+0.5))
	var pos uint32
	for len(list) > 0 {
		v, n := binary.Uvarint(list)
		list = list[n:]
		pos += uint32(v >> 2)
		tf := float64(v&3) + 1
		norm := bm25K1 * (1 - bm25B + bm25B*float64(x.lengths[pos])/x.mean)
		if t.score[pos] == 0 {
			t.touched = append(t.touched, pos)
		}
		t.score[pos] += float32(idf * tf * (bm25K1 + 1) / (tf + norm))
	}
}

type scored struct {
	pos   uint32
	score float32
}

func (a scored) better(b scored) bool {
	return a.score > b.score || a.score == b.score && a.pos < b.pos
}

// best is a heap with the worst on top.
type best []scored

func (b best) Len() int           { return len(b) }
func (b best) Less(i, j int) bool { return b[j].better(b[i]) }
func (b best) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *best) Push(v any)        { *b = append(*b, v.(scored)) }
func (b *best) Pop() any          { old := *b; v := old[len(old)-1]; *b = old[:len(old)-1]; return v }

// fold brings spellings together that people do not tell apart: compatibility forms (full-width letters, half-width
// kana), case.
func fold(s string) string { return strings.ToLower(norm.NFKC.String(s)) }

// eachTerm calls f with the hash of every term of s, in order, repeats included.
func eachTerm(s string, f func(uint64)) {
	s = fold(s)
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case !isWordRune(r):
			s = s[size:]
		case spaced(r):
			end := runEnd(s, spaced)
			f(termHash(s[:end]))
			s = s[end:]
		default:
			end := runEnd(s, func(r rune) bool { return isWordRune(r) && !spaced(r) })
			eachPair(s[:end], f)
			s = s[end:]
		}
	}
}

// eachPair calls f for every two neighbouring characters, or for the only one.
func eachPair(run string, f func(uint64)) {
	_, size := utf8.DecodeRuneInString(run)
	if size == len(run) {
		f(termHash(run))
		return
	}
	for from := 0; ; {
		_, a := utf8.DecodeRuneInString(run[from:])
		_, b := utf8.DecodeRuneInString(run[from+a:])
		if b == 0 {
			return
		}
		f(termHash(run[from : from+a+b]))
		from += a
	}
}

func runEnd(s string, in func(rune) bool) int {
	for i, r := range s {
		if !in(r) {
			return i
		}
	}
	return len(s)
}

func isWordRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) || r == 'ー'
}

// spaced reports scripts that put spaces between words.
func spaced(r rune) bool {
	return isWordRune(r) && (r < 0x2E80 || 0xAC00 <= r && r <= 0xD7AF)
}

// termHash is FNV-1a, 64 bits: among a million terms two collide with a probability of 3·10⁻⁸.
func termHash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
