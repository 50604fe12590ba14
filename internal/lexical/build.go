package lexical

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const (
	// nameWeight is how many times an occurrence in the name or in a keyword counts.
	nameWeight = 3

	// maxFieldRunes of a text and maxKeywords of a record are indexed: 20,000 characters are at most 40,000 terms
	// in scratch memory.
	maxFieldRunes = 20_000
	maxKeywords   = 200
)

// Index finds records by the words in them. It is immutable and safe for concurrent use.
type Index struct {
	n       int
	terms   []uint64 // hashes, sorted
	ends    []uint64 // where each term's postings end in data
	df      []uint32 // records of each term
	data    []byte   // postings: uvarint((position - last position) << 3 | frequency class)
	lengths []uint16 // terms in each record
	total   uint64   // of lengths
	exact   []name   // sorted
	names   nameTable
	tallies tallies
	alone   *Joined  // this index by itself
	changes changes  // of its dead rows in a Joined
	skips   sync.Map // of the terms that were asked for: see skipsOf
}

// name is the hash of a compact name and a record that has it; three words of 32 bits pack without padding.
type name struct{ hi, lo, pos uint32 }

func (x name) hash() uint64 { return uint64(x.hi)<<32 | uint64(x.lo) }

func compareNames(a, b name) int {
	if c := cmp.Compare(a.hash(), b.hash()); c != 0 {
		return c
	}
	return cmp.Compare(a.pos, b.pos)
}

// Build indexes n records; fields(i) is called once for each, in order. It takes about twice the memory of the index
// while it runs, on one core. With read, records are found by how their words sound too; nil leaves that to what is
// written in katakana.
func Build(n int, read Reader, fields func(i int) (snapshot.Words, error)) (*Index, error) {
	if n < 0 || n > math.MaxInt32 {
		return nil, fmt.Errorf("lexical: %d records: want 0..%d", n, math.MaxInt32)
	}
	b := builder{
		read: read, phrases: make(map[string][]uint64),
		terms: make(map[uint64]uint32), index: &Index{n: n, lengths: make([]uint16, n)},
	}
	for i := range n {
		f, err := fields(i)
		if err != nil {
			return nil, fmt.Errorf("read record %d: %w", i, err)
		}
		b.add(uint32(i), f)
	}
	return b.finish(), nil
}

// builder collects postings by term, in order of records.
type builder struct {
	read    Reader
	phrases map[string][]uint64 // how they sound
	index   *Index
	terms   map[uint64]uint32 // hash -> its list
	lists   []list
	arena   arena
	forms   []nameForm // of names
	runes   []rune
	found   []uint64 // terms of the record at hand; the lowest bit tells a name's from a text's
}

// list is the postings of one term in a chain of blocks that double in size.
type list struct {
	hash       uint64
	head, tail uint64 // addresses of blocks
	size, fill uint32 // payload of the tail block, and how much of it is used
	bytes      uint32
	df, last   uint32
}

func (b *builder) add(pos uint32, f snapshot.Words) {
	b.found = b.found[:0]
	inText := func(h uint64) { b.found = append(b.found, h&^1) }
	b.fold(f.Text)
	documentTerms(b.runes, inText)
	length := len(b.found) // what sounds or means the same is no further word
	stems(b.runes, inText)
	b.heardTerms(b.runes, inText)
	b.names(pos, f)
	b.index.lengths[pos] = uint16(min(length, math.MaxUint16))
	b.index.total += uint64(b.index.lengths[pos])

	slices.Sort(b.found)
	for i := 0; i < len(b.found); {
		term := b.found[i] &^ 1
		tf := 0
		for ; i < len(b.found) && b.found[i]&^1 == term; i++ {
			tf += 1 + int(b.found[i]&1)*(nameWeight-1)
		}
		b.post(term, pos, tf)
	}
}

func (b *builder) fold(s string) {
	if limit := 4 * maxFieldRunes; len(s) > limit {
		s = s[:limit] // a character cut in half folds to U+FFFD, which is in no term
	}
	b.runes = fold(b.runes[:0], s)
	b.runes = b.runes[:min(len(b.runes), maxFieldRunes)]
}

func (b *builder) names(pos uint32, f snapshot.Words) {
	b.name(pos, f.Name)
	b.forms = appendForms(b.forms, pos, b.runes)
	if sound := b.heardName(withoutForm(string(b.runes))); len(sound) > 1 {
		b.forms = append(b.forms, nameForm{string(sound[:min(len(sound), maxNameRunes)]), pos})
	}
	for _, k := range f.Keywords[:min(len(f.Keywords), maxKeywords)] {
		b.name(pos, k)
	}
}

func (b *builder) name(pos uint32, s string) {
	b.fold(s)
	if len(b.runes) == 0 {
		return
	}
	inName := func(h uint64) { b.found = append(b.found, h|1) }
	documentTerms(b.runes, inName)
	stems(b.runes, inName)
	b.heardTerms(b.runes, inName)
	whole := compact(b.runes)
	bare := withoutForm(string(b.runes))
	short := compact([]rune(bare))
	for i, n := range [][]rune{whole, short, b.heardName(bare)} {
		if len(n) > 0 && (i != 1 || len(n) != len(whole)) {
			h := hash(n)
			b.index.exact = append(b.index.exact, name{uint32(h >> 32), uint32(h), pos})
		}
	}
}

// post adds one posting.
func (b *builder) post(term uint64, pos uint32, tf int) {
	at, ok := b.terms[term]
	if !ok {
		at = uint32(len(b.lists))
		b.terms[term] = at
		b.lists = append(b.lists, list{hash: term})
	}
	l := &b.lists[at]
	var buf [binary.MaxVarintLen64]byte
	enc := buf[:binary.PutUvarint(buf[:], uint64(pos-l.last)<<3|uint64(frequencyClass(tf)))]
	l.last = pos
	l.df++
	l.bytes += uint32(len(enc))
	for len(enc) > 0 {
		if l.fill == l.size {
			b.grow(l)
		}
		n := copy(b.arena.block(l.tail)[link+int(l.fill):link+int(l.size)], enc)
		l.fill += uint32(n)
		enc = enc[n:]
	}
}

func (b *builder) grow(l *list) {
	size := min(max(2*l.size, 8), 1024)
	next := b.arena.alloc(link + int(size))
	if l.size == 0 {
		l.head = next
	} else {
		binary.LittleEndian.PutUint64(b.arena.block(l.tail), next)
	}
	l.tail, l.size, l.fill = next, size, 0
}

// frequencies are the weighted frequencies that the eight classes stand for.
var frequencies = [8]float32{1, 2, 3, 4, 6, 8, 12, 16}

func frequencyClass(tf int) int {
	c := 0
	for c+1 < len(frequencies) && float32(tf) >= frequencies[c+1] {
		c++
	}
	return c
}

// finish puts the lists behind one another, in order of their terms.
func (b *builder) finish() *Index {
	x := b.index
	b.terms = nil
	slices.SortFunc(b.lists, func(p, q list) int { return cmp.Compare(p.hash, q.hash) })
	var size uint64
	for i := range b.lists {
		size += uint64(b.lists[i].bytes)
	}
	x.data = make([]byte, 0, size)
	x.terms = make([]uint64, len(b.lists))
	x.ends = make([]uint64, len(b.lists))
	x.df = make([]uint32, len(b.lists))
	for i := range b.lists {
		l := &b.lists[i]
		left := int(l.bytes)
		for addr, payload := l.head, 8; left > 0; payload = min(2*payload, 1024) {
			block := b.arena.block(addr)
			n := min(left, payload)
			x.data = append(x.data, block[link:link+n]...)
			left -= n
			addr = binary.LittleEndian.Uint64(block)
		}
		x.terms[i], x.ends[i], x.df[i] = l.hash, uint64(len(x.data)), l.df
	}
	slices.SortFunc(x.exact, compareNames)
	x.exact = slices.Clone(slices.Compact(x.exact))
	x.names = sortNames(b.forms)
	x.alone = Join([]Part{{Index: x}}, nil)
	return x
}

// Len is how many records there are.
func (x *Index) Len() int { return x.n }

// SizeBytes is what the index takes in memory, without what searches borrow: 4 bytes per record and search.
func (x *Index) SizeBytes() int64 {
	return int64(len(x.data)) + 20*int64(len(x.terms)) + 2*int64(len(x.lengths)) + 12*int64(len(x.exact)) + x.names.size()
}

const (
	link     = 8 // bytes at the start of a block that hold the address of the next
	pageSize = 1 << 20
)

// arena hands out small blocks from large pages: no allocation per term.
type arena struct {
	pages [][]byte
	used  int // of the last page
}

func (a *arena) alloc(n int) (address uint64) {
	if len(a.pages) == 0 || a.used+n > pageSize {
		a.pages = append(a.pages, make([]byte, pageSize))
		a.used = 0
	}
	address = uint64(len(a.pages)-1)<<20 | uint64(a.used)
	a.used += n
	return address
}

// block is the memory from address to the end of its page.
func (a *arena) block(address uint64) []byte { return a.pages[address>>20][address&(pageSize-1):] }
