package lexical

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/RoaringBitmap/roaring/v2"
)

// Okapi BM25 (Robertson, Zaragoza: The Probabilistic Relevance Framework, 2009) with its usual constants.
const (
	k1 = 1.2
	b  = 0.75
)

const (
	// maxQueryRunes of a query are looked at, and the maxQueryTerms rarest of its terms: common ones decide little.
	maxQueryRunes = 2048
	maxQueryTerms = 128

	// maxPostings are read for one query, about 10 ns each: 40 ms at most. Rare terms come first, so what is left
	// out is the most common terms of a very large catalogue. The first term is always read whole.
	maxPostings = 4_000_000

	// What words alone score is below 1. namedBonus puts records whose name stands in the query before those,
	// prefixBonus records whose name begins with the query before these, exactBonus records whose name is the query
	// before all.
	namedBonus  = 1
	prefixBonus = 2
	exactBonus  = 3

	mixedGain = 0.5
	kanaGain  = 0.2

	// commonShare is how far towards 1 a name within the query moves a score when its words are too common to
	// mean that record, times its share of the query.
	commonShare = 0.5
)

// Search returns the positions of at most k records that share terms with the query, best first and at equal score
// in catalogue order, and their scores: BM25 as a share of what the query could reach if all of its words were in a
// record, below 1; from 1 when a name or keyword of the record stands in the query and is distinctive; from 2 when its name
// begins with the query and few names do; from 3 exactly when a name or keyword is the whole query, up to case, width,
// kana, punctuation and legal form. reach is what the query could reach, in words that no record holds: how much there is
// to know. allow, when not nil, says which positions may be returned.
func (x *Index) Search(query string, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, reach float64) {
	return x.alone.Search(query, k, allow)
}

// Search is [Index.Search] over the records of all parts.
func (j *Joined) Search(query string, k int, allow *roaring.Bitmap) (pos []int64, scores []float32, reach float64) {
	if k <= 0 || j.n == 0 {
		return nil, nil, 0
	}
	text := foldQuery(query)
	tallies := &j.parts[0].tallies
	t := tallies.take(j.size, j.spare)
	defer tallies.put(t)
	reach = j.tally(t, text)
	j.tallyNames(t, text)
	pos, scores = j.best(t, k, allow)
	return pos, scores, reach
}

// Split takes the score of a record apart: how its names answer (0 not at all, 1 one stands in the query, 2 one begins
// with it, 3 one is the query), and the share of the query that its words are.
func Split(score float32) (names int, share float32) {
	names = min(int(score), exactBonus)
	return names, min(score-float32(names), 1)
}

// foldQuery folds at most maxQueryRunes characters.
func foldQuery(query string) []rune {
	n := 0
	for i := range query {
		if n++; n > maxQueryRunes {
			query = query[:i]
			break
		}
	}
	if !utf8.ValidString(query) {
		query = string([]rune(query))
	}
	return fold(make([]rune, 0, len(query)), query)
}

// wanted is a term of a query.
type wanted struct {
	term uint64
	df   int
	at   int // in the terms of the first part; -1 when it is not there
	idf  float64
}

// tally adds the BM25 scores of the query's terms and returns what they could reach.
func (j *Joined) tally(t *tally, text []rune) float64 {
	terms, reach := j.wanted(text)
	for _, w := range terms {
		reach += w.idf * (k1 + 1)
	}
	read := 0
	for i, w := range terms {
		if read += w.df; i > 0 && read > maxPostings {
			break
		}
		j.tallyTerm(t, w, reach)
	}
	return reach / (j.idf(0) * (k1 + 1))
}

// wanted finds the query's terms that occur in records, rarest first. missed is what its other terms would reach if they
// did: the more of a question no record knows, the less the rest of it means. Terms that stand for how words sound, are
// stemmed or mistyped make up for those that are not there as they are written.
func (j *Joined) wanted(text []rune) (out []wanted, missed float64) {
	gain := 1.0
	want := func(h uint64) bool {
		df, at := j.df(h &^ 1)
		if df > 0 {
			out = append(out, wanted{h &^ 1, df, at, gain * j.idf(float64(df))})
		}
		return df > 0
	}
	unknown := make(map[uint64]bool)
	queryTerms(text, func(h uint64, g float64) {
		if gain = g; !want(h) && !unknown[h] {
			unknown[h] = true
			missed += gain * j.idf(0) * (k1 + 1)
		}
	})
	asWritten := len(out)
	gain = 1
	meant := func(h uint64) { want(h) }
	stems(text, meant)
	if kana := j.heardQuery(text); kana != nil {
		j.heardWords(kana, meant)
	}
	gain = typoGain
	j.mistyped(text, meant)
	for _, w := range out[asWritten:] {
		missed = max(0, missed-w.idf*(k1+1))
	}
	slices.SortFunc(out, func(p, q wanted) int {
		if c := cmp.Compare(p.df, q.df); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(p.term, q.term), cmp.Compare(q.idf, p.idf))
	})
	out = slices.CompactFunc(out, func(p, q wanted) bool { return p.term == q.term })
	return out[:min(len(out), maxQueryTerms)], missed
}

func (j *Joined) idf(df float64) float64 { return math.Log(1 + (float64(j.n)-df+0.5)/(df+0.5)) }

func (j *Joined) tallyTerm(t *tally, w wanted, reach float64) {
	gain := float32(w.idf * (k1 + 1) / reach)
	long := float32(k1 * b / j.mean)
	for i := range j.having(w.term) {
		p, at := &j.parts[i], w.at
		if i > 0 {
			at = p.find(w.term)
		}
		if at >= 0 {
			p.tallyTerm(t, at, gain, long)
		}
	}
}

// tallyTerm adds what a term scores in the rows of the part, dead ones too: best leaves them out.
func (p *part) tallyTerm(t *tally, at int, gain, long float32) {
	list, lengths, touched := p.postings(at), p.lengths, t.touched
	score := t.score[p.first:][:len(lengths)]
	var row uint32
	for len(list) > 0 {
		v := uint64(list[0])
		n := 1
		if v >= 0x80 {
			v, n = binary.Uvarint(list)
		}
		row += uint32(v >> 3)
		if n <= 0 || int(row) >= len(lengths) {
			break // not what Build writes
		}
		list = list[n:]
		tf := frequencies[v&7]
		if score[row] == 0 {
			touched = append(touched, p.first+row)
		}
		score[row] += gain * tf / (tf + k1*(1-b) + long*float32(lengths[row]))
	}
	t.touched = touched
}

// tally is the scores of one search: by position, zero outside touched.
type tally struct {
	score   []float32
	touched []uint32
	named   []uint32 // of Joined.named
}

func (t *tally) add(pos uint32, s float32) {
	if t.score[pos] == 0 {
		t.touched = append(t.touched, pos)
	}
	t.score[pos] += s
}

// raise moves a score below 1 the given part of the way to 1.
func (t *tally) raise(pos uint32, part float32) {
	t.add(pos, part*(1-t.score[pos]))
}

// tallies are reused: 4 bytes per record and concurrent search.
type tallies struct{ pool sync.Pool }

// take returns one of at least n records; a new one has spare more, for when there are more.
func (p *tallies) take(n, spare int) *tally {
	if t, ok := p.pool.Get().(*tally); ok && len(t.score) >= n {
		return t
	}
	return &tally{score: make([]float32, n+spare)}
}

func (p *tallies) put(t *tally) {
	for _, pos := range t.touched {
		t.score[pos] = 0
	}
	t.touched = t.touched[:0]
	p.pool.Put(t)
}

// best returns the k best allowed positions.
func (j *Joined) best(t *tally, k int, allow *roaring.Bitmap) ([]int64, []float32) {
	k = min(k, len(t.touched))
	top := make([]hit, 0, k)
	all, tail := t.score, j.tail
	for _, pos := range t.touched {
		h := hit{pos, all[pos]}
		if len(top) == k && (h.score < top[0].score || h.score == top[0].score && top[0].pos < pos && pos < tail) {
			continue // what ahead would say of most, without a call
		}
		if len(top) == k && !j.ahead(h, top[0]) || allow != nil && !allow.Contains(pos) || j.dead(pos) {
			continue
		}
		top = j.push(top, h, k)
	}
	slices.SortFunc(top, func(p, q hit) int {
		if j.ahead(p, q) {
			return -1
		}
		return 1
	})
	pos := make([]int64, len(top))
	scores := make([]float32, len(top))
	for i, h := range top {
		pos[i], scores[i] = int64(h.pos), h.score
	}
	return pos, scores
}

type hit struct {
	pos   uint32
	score float32
}

// ahead tells whether a comes before b in an answer.
func (j *Joined) ahead(a, b hit) bool {
	return a.score > b.score || a.score == b.score && j.earlier(a.pos, b.pos)
}

// earlier tells whether a stands before b in the catalogue.
func (j *Joined) earlier(a, b uint32) bool {
	if max(a, b) < j.tail {
		return a < b
	}
	return j.before(a, b)
}

// push puts h on a heap of at most k hits with the last on top, replacing that when the heap is full.
func (j *Joined) push(heap []hit, h hit, k int) []hit {
	if len(heap) < k {
		heap = append(heap, h)
		for i := len(heap) - 1; i > 0; {
			parent := (i - 1) / 2
			if !j.ahead(heap[parent], heap[i]) {
				break
			}
			heap[parent], heap[i] = heap[i], heap[parent]
			i = parent
		}
		return heap
	}
	heap[0] = h
	for i := 0; ; {
		last := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(heap); c++ {
			if j.ahead(heap[last], heap[c]) {
				last = c
			}
		}
		if last == i {
			return heap
		}
		heap[i], heap[last] = heap[last], heap[i]
		i = last
	}
}
