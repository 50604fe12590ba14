package lexical

import (
	"encoding/binary"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// deaths are the dead rows of an index, and in how many of them the terms are that were asked for. A nil one has none.
type deaths struct {
	rows   []uint32 // in order
	bits   []uint64 // by row
	terms  uint64   // lengths of their texts together
	counts counts
}

func (x *Index) without(dead *roaring.Bitmap) *deaths {
	if dead == nil || dead.IsEmpty() {
		return nil
	}
	d := &deaths{rows: dead.ToArray(), bits: make([]uint64, (x.n+63)/64)}
	for i, row := range d.rows {
		if int(row) >= x.n {
			d.rows = d.rows[:i]
			break
		}
		d.bits[row>>6] |= 1 << (row & 63)
		d.terms += uint64(x.lengths[row])
	}
	return d
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

// having counts the dead rows that have a term.
func (d *deaths) having(x *Index, at int) int {
	if d == nil {
		return 0
	}
	if x.df[at] < minCounted {
		return d.count(x.postings(at))
	}
	n, ok := d.counts.get(at)
	if !ok {
		n = d.count(x.postings(at))
		d.counts.put(at, n)
	}
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

// counts are numbers by the place of their term.
type counts struct {
	mu sync.Mutex
	n  map[int]int
}

func (c *counts) get(at int) (n int, ok bool) {
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
