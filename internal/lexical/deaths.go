package lexical

import (
	"encoding/binary"
	"sort"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// deaths are the dead rows of an index, and in how many of them the frequent terms are that were asked for. Reading a long
// list of postings only to count takes a third of the time of a search, so that a count is kept, and after an edit made
// of the one before: of the few rows that died since, the list says at once whether it has them. A nil one has no rows.
type deaths struct {
	rows  []uint32 // in order
	bits  []uint64 // by row
	terms uint64   // lengths of their texts together

	counts  *counts
	earlier *counts  // of the deaths that the index was joined with before; nil for none
	born    []uint32 // rows that were not dead then
	risen   []uint32 // rows that were
}

// without are the deaths of x when the rows in dead are.
func (x *Index) without(dead *roaring.Bitmap) *deaths {
	if dead == nil || dead.IsEmpty() {
		return nil
	}
	d := &deaths{rows: dead.ToArray(), bits: make([]uint64, (x.n+63)/64), counts: &counts{}}
	for i, row := range d.rows {
		if int(row) >= x.n {
			d.rows = d.rows[:i]
			break
		}
		d.bits[row>>6] |= 1 << (row & 63)
		d.terms += uint64(x.lengths[row])
	}
	if last := x.deaths.Load(); last != nil {
		d.earlier, d.born, d.risen = last.counts, d.except(last), last.except(d)
		if len(d.born)+len(d.risen) == 0 {
			return last
		}
	}
	x.deaths.Store(d)
	return d
}

// except are the rows that others have not.
func (d *deaths) except(others *deaths) (rows []uint32) {
	for _, row := range d.rows {
		if !others.has(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

func (d *deaths) len() int {
	if d == nil {
		return 0
	}
	return len(d.rows)
}

func (d *deaths) length() uint64 {
	if d == nil {
		return 0
	}
	return d.terms
}

func (d *deaths) has(row uint32) bool {
	return d != nil && int(row>>6) < len(d.bits) && d.bits[row>>6]>>(row&63)&1 != 0
}

// minCounted postings of a term are worth remembering how many of them are dead.
const minCounted = 256

// having counts the dead rows that have a term of x.
func (d *deaths) having(x *Index, at int) int {
	if d == nil {
		return 0
	}
	df := int(x.df[at])
	if df < minCounted {
		return d.count(x.postings(at))
	}
	n, ok := d.counts.get(at)
	if ok {
		return n
	}
	born, risen := d.rows, []uint32(nil)
	if n, ok = d.earlier.get(at); ok {
		born, risen = d.born, d.risen
	}
	if (len(born)+len(risen))*skipped < df {
		n += x.among(born, at) - x.among(risen, at)
	} else {
		n = d.count(x.postings(at))
	}
	d.counts.put(at, n)
	return n
}

// count counts the postings of dead rows.
func (d *deaths) count(list []byte) (n int) {
	var row uint64
	for len(list) > 0 {
		v, size := uint64(list[0]), 1
		if v >= 0x80 {
			v, size = binary.Uvarint(list)
		}
		row += v >> 3
		if size <= 0 || row>>6 >= uint64(len(d.bits)) {
			return n // not what Build writes
		}
		list = list[size:]
		n += int(d.bits[row>>6] >> (row & 63) & 1)
	}
	return n
}

// counts are numbers by the place of their term: at most one for minCounted postings.
type counts struct {
	mu sync.Mutex
	n  map[int]int
}

func (c *counts) get(at int) (n int, ok bool) {
	if c == nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok = c.n[at]
	return n, ok
}

func (c *counts) put(at, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[int]int)
	}
	c.n[at] = n
}

// skipped postings of a list are between two skips: 8 bytes of memory for about 200 of a list that was asked.
const skipped = 128

// skip is where a list of postings can be entered: behind the posting of row.
type skip struct{ row, at uint32 }

// among counts the rows that have a term.
func (x *Index) among(rows []uint32, at int) (n int) {
	if len(rows) == 0 {
		return 0
	}
	list := x.postings(at)
	skips := x.skipsOf(list, at)
	for _, want := range rows {
		from := skips[max(0, sort.Search(len(skips), func(i int) bool { return skips[i].row >= want })-1)]
		row := from.row
		for rest := list[from.at:]; len(rest) > 0; {
			v, size := binary.Uvarint(rest)
			row += uint32(v >> 3)
			if size <= 0 || row >= want {
				break // found, passed, or not what Build writes
			}
			rest = rest[size:]
		}
		if row == want {
			n++
		}
	}
	return n
}

// skipsOf are the skips of a list, found when it is first asked.
func (x *Index) skipsOf(list []byte, at int) []skip {
	if known, ok := x.skips.Load(at); ok {
		return known.([]skip)
	}
	skips := []skip{{}}
	var row uint32
	for i, from := 1, 0; from < len(list); i++ {
		v, size := binary.Uvarint(list[from:])
		if size <= 0 {
			break // not what Build writes
		}
		row += uint32(v >> 3)
		if from += size; i%skipped == 0 {
			skips = append(skips, skip{row, uint32(from)})
		}
	}
	x.skips.Store(at, skips)
	return skips
}
