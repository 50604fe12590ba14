package lexical

import (
	"encoding/binary"
	"slices"
	"sort"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// deaths are the dead rows of an index. A nil one has none.
type deaths struct {
	rows  []uint32 // in order
	bits  []uint64 // by row
	terms uint64   // lengths of their texts together
	at    int      // in the log of changes
}

// without are the deaths of x when the rows in dead are.
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
	return x.changes.to(d, x.n)
}

// except are the rows that others have not.
func (d *deaths) except(others *deaths) (rows []uint32) {
	for i := range d.len() {
		if row := d.rows[i]; !others.has(row) {
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

// changes are what died and rose in an index from join to join, and in how many dead rows the frequent terms were that
// were asked for. Reading a long list of postings only to count takes a third of the time of a search: a count is kept,
// and brought forward by the few rows that changed since, for which the list can be entered in the middle.
type changes struct {
	mu     sync.Mutex
	last   *deaths
	log    []change
	from   int           // where the log starts: what came before is forgotten
	counts map[int]count // by the place of the term
}

// change is a row that died (by 1) or rose (by -1).
type change struct {
	row uint32
	by  int32
}

// count is how many dead rows had a term when the log ended there.
type count struct{ n, at int }

// to logs what leads to d; deaths equal to the last ones are those. The log is 8 bytes a change, at most one for each of n
// rows.
func (c *changes) to(d *deaths, n int) *deaths {
	c.mu.Lock()
	defer c.mu.Unlock()
	died, rose := d.except(c.last), c.last.except(d)
	if c.last != nil && len(died)+len(rose) == 0 {
		return c.last
	}
	for _, row := range died {
		c.log = append(c.log, change{row, 1})
	}
	for _, row := range rose {
		c.log = append(c.log, change{row, -1})
	}
	if more := len(c.log) - n; more > 0 {
		more += n / 2
		c.log, c.from = slices.Clone(c.log[more:]), c.from+more
	}
	d.at, c.last = c.from+len(c.log), d
	return d
}

// since returns a count of a term and the changes that lead from it to the deaths at, or back to them; ok is false when
// they are forgotten.
func (c *changes) since(term, at int) (n int, between []change, back, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.counts[term] // at first nothing was dead
	from, to := min(known.at, at), max(known.at, at)
	if from < c.from {
		return 0, nil, false, false
	}
	return known.n, c.log[from-c.from : to-c.from], known.at > at, true
}

// keep remembers a count, unless there is a later one.
func (c *changes) keep(term int, n count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[int]count)
	}
	if c.counts[term].at <= n.at {
		c.counts[term] = n
	}
}

// minCounted postings of a term are worth remembering how many of them are dead: at most a count for so many.
const minCounted = 256

// having counts the dead rows that have a term of x.
func (d *deaths) having(x *Index, term int) int {
	if d == nil {
		return 0
	}
	df := int(x.df[term])
	if df < minCounted {
		return d.count(x.postings(term))
	}
	n, between, back, ok := x.changes.since(term, d.at)
	switch {
	case ok && len(between) == 0:
		return n
	case !ok || len(between)*skipped > df:
		n = d.count(x.postings(term))
	case back:
		n -= x.among(between, term)
	default:
		n += x.among(between, term)
	}
	x.changes.keep(term, count{n, d.at})
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

// skipped postings of a list are between two skips: 8 bytes of memory for about 200 of a list that was asked.
const skipped = 128

// skip is where a list of postings can be entered: behind the posting of row.
type skip struct{ row, at uint32 }

// among adds up the changes to rows that have a term.
func (x *Index) among(changes []change, term int) (n int) {
	list := x.postings(term)
	skips := x.skipsOf(list, term)
	for _, c := range changes {
		from := skips[max(0, sort.Search(len(skips), func(i int) bool { return skips[i].row >= c.row })-1)]
		row := from.row
		for rest := list[from.at:]; len(rest) > 0; {
			v, size := binary.Uvarint(rest)
			row += uint32(v >> 3)
			if size <= 0 || row >= c.row {
				break // found, passed, or not what Build writes
			}
			rest = rest[size:]
		}
		if row == c.row {
			n += int(c.by)
		}
	}
	return n
}

// skipsOf are the skips of a list, found when it is first asked.
func (x *Index) skipsOf(list []byte, term int) []skip {
	if known, ok := x.skips.Load(term); ok {
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
	x.skips.Store(term, skips)
	return skips
}
