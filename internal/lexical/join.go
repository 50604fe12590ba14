package lexical

import (
	"math"
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// Part is one of the indexes that a catalogue is joined from.
type Part struct {
	*Index
	Dead  *roaring.Bitmap // rows that are no longer in the catalogue, nil for none; not to be changed any more
	First uint32          // position of its first row
}

// Joined answers from several indexes what one index of their live records would, to the last bit: a term counts where
// live records have it, a name is as distinctive as live records make it, and what only dead rows have does not exist.
// It is immutable and safe for concurrent use.
type Joined struct {
	parts  []part
	n      int     // live records
	mean   float64 // length of their texts
	size   int     // positions
	spare  int     // more of them that a tally has room for, so that the next Joined finds it in the pool
	tail   uint32  // positions below are in order, others in that of before
	before func(a, b uint32) bool
	tails  sketch // what parts behind the first have
}

type part struct {
	*Index
	first uint32
	dead  *deaths // nil for none
}

// Join joins parts, in order of their positions, the largest best first: looking into the others takes no time while they
// have nothing of what is looked for. It takes time for the dead rows, and for the terms of all parts but the first.
// Records of equal score are in the order of before, which compares positions and has the rows of the first part in their
// own order; nil is the order of positions.
func Join(parts []Part, before func(a, b uint32) bool) *Joined {
	j := &Joined{parts: make([]part, len(parts)), tail: math.MaxUint32, before: before}
	var total uint64
	for i, p := range parts {
		dead := p.Index.without(p.Dead)
		j.parts[i] = part{p.Index, p.First, dead}
		j.n += p.n - dead.len()
		j.size = max(j.size, int(p.First)+p.n)
		total += p.total - dead.length()
	}
	j.mean = meanLength(total, j.n)
	if len(parts) > 1 {
		j.spare = j.size / 8
		if before != nil {
			j.tail = parts[1].First
		}
		j.tails = newSketch(parts[1:])
	}
	return j
}

// meanLength is of n texts with so many terms together.
func meanLength(total uint64, n int) float64 { return max(float64(total)/float64(max(n, 1)), 1) }

// having are the parts that may have a term or the hash of a name.
func (j *Joined) having(hash uint64) []part {
	if j.tails.may(hash) {
		return j.parts
	}
	return j.parts[:1]
}

// df is how many live records have a term, and where the first part has it, -1 when it does not.
func (j *Joined) df(term uint64) (df, at int) {
	at = j.parts[0].find(term)
	for i := range j.having(term) {
		p, in := &j.parts[i], at
		if i > 0 {
			in = p.find(term)
		}
		if in >= 0 {
			df += p.live(in)
		}
	}
	return df, at
}

// has tells whether a live record has a term.
func (j *Joined) has(term uint64) bool {
	term &^= 1
	for i := range j.having(term) {
		p := &j.parts[i]
		if at := p.find(term); at >= 0 && (int(p.df[at]) > p.dead.len() || p.live(at) > 0) {
			return true
		}
	}
	return false
}

// live is how many live rows have a term.
func (p *part) live(at int) int {
	return max(0, int(p.df[at])-p.dead.having(p.Index, at))
}

// dead tells whether a position is of a dead row.
func (j *Joined) dead(pos uint32) bool {
	for i := len(j.parts) - 1; i >= 0; i-- {
		if p := &j.parts[i]; pos >= p.first {
			return p.dead.has(pos - p.first)
		}
	}
	return true
}

// find is where a term is, -1 when it is not there.
func (x *Index) find(term uint64) int {
	if at, ok := slices.BinarySearch(x.terms, term); ok {
		return at
	}
	return -1
}

// postings are those of a term.
func (x *Index) postings(at int) []byte {
	from := uint64(0)
	if at > 0 {
		from = x.ends[at-1]
	}
	return x.data[from:x.ends[at]]
}

// sketch tells of most hashes that they are in none of some parts: a mistyped word has a thousand spellings, which would
// be looked for in every part. It is a Bloom filter (1970) of one bit a hash.
type sketch []uint64

// sketchBits a hash: one in 16 that is nowhere is looked for in vain.
const sketchBits = 16

func newSketch(parts []Part) sketch {
	n := 0
	for _, p := range parts {
		n += len(p.terms) + len(p.exact)
	}
	s := make(sketch, 1<<bits.Len(uint(n*sketchBits/64)))
	for _, p := range parts {
		for _, h := range p.terms {
			s.add(h)
		}
		for _, n := range p.exact {
			s.add(n.hash())
		}
	}
	return s
}

// at is where the bit of a hash is; the lowest bit of terms says nothing.
func (s sketch) at(hash uint64) (word uint64, bit uint64) {
	return hash >> 7 & uint64(len(s)-1), 1 << (hash >> 1 & 63)
}

func (s sketch) add(hash uint64) {
	word, bit := s.at(hash)
	s[word] |= bit
}

func (s sketch) may(hash uint64) bool {
	if len(s) == 0 {
		return false
	}
	word, bit := s.at(hash)
	return s[word]&bit != 0
}
