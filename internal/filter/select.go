package filter

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Select returns the positions of the records that match f. The bitmap is the caller's.
func (a *Attributes) Select(f Filter) *roaring.Bitmap {
	all := roaring.New()
	all.AddRange(0, uint64(a.n))
	for i := range f.conditions {
		c := &f.conditions[i]
		at := a.field(c.path)
		switch {
		case at != nil:
			all.And(a.meeting(at, c))
		case a.partial:
			a.scan(all, c)
		case c.exists == nil || *c.exists:
			return roaring.New() // no record has the path
		}
		if all.IsEmpty() {
			break
		}
	}
	return all
}

// scan keeps in among what meets a condition on a path that is not indexed. A record that cannot be read does not.
func (a *Attributes) scan(among *roaring.Bitmap, c *condition) {
	var t jsonread.Tree
	for _, pos := range among.ToArray() {
		if load(&t, a.raw, int(pos)) != nil || !c.matches(&t) {
			among.Remove(pos)
		}
	}
}

// meeting returns the records that meet a condition on at.
func (a *Attributes) meeting(at *field, c *condition) *roaring.Bitmap {
	switch {
	case c.exists != nil && *c.exists:
		return a.bitmap(at.present)
	case c.exists != nil:
		return roaring.Flip(a.bitmap(at.present), 0, uint64(a.n))
	case c.within != nil:
		if c.within.lo > c.within.hi {
			return roaring.New()
		}
		return a.numbered(at, numberKey(c.within.lo), numberKey(c.within.hi))
	}
	sets := make([]*roaring.Bitmap, 0, len(c.any))
	for _, s := range c.any {
		if set := a.equal(at, s); set != nil {
			sets = append(sets, set)
		}
	}
	if len(sets) == 1 {
		return sets[0]
	}
	return roaring.FastOr(sets...)
}

// equal returns the records that have s at the path, nil for none.
func (a *Attributes) equal(at *field, s scalar) *roaring.Bitmap {
	switch s.kind {
	case jsonread.String:
		hash := xxhash.Sum64String(s.text)
		texts := a.texts[at.texts.from:at.texts.to]
		if i, ok := slices.BinarySearchFunc(texts, hash, func(t text, hash uint64) int { return cmp.Compare(t.hash, hash) }); ok {
			return a.bitmap(texts[i].records) // a hash is either here or rare
		}
		if rare := between(a.list(at.rare), hash, hash); len(rare) > 0 {
			return a.records(rare)
		}
		return nil
	case jsonread.Number:
		key := numberKey(s.number)
		return a.numbered(at, key, key)
	default:
		return a.bitmap(at.simple[s.kind])
	}
}

// numbered returns the records that have a number from lo to hi, or a string that is one.
func (a *Attributes) numbered(at *field, lo, hi uint64) *roaring.Bitmap {
	found := a.records(between(a.list(at.numbers), lo, hi))
	if at.numerals.from < at.numerals.to {
		found.Or(a.records(between(a.list(at.numerals), lo, hi)))
	}
	return found
}

func (a *Attributes) list(e extent) []entry { return a.entries[e.from:e.to] }

// between returns the entries with lo <= key <= hi of sorted entries.
func between(e []entry, lo, hi uint64) []entry {
	from, _ := slices.BinarySearchFunc(e, newEntry(lo, 0), compareEntries)
	e = e[from:]
	to, _ := slices.BinarySearchFunc(e, hi, func(x entry, hi uint64) int {
		if x.key() <= hi {
			return -1
		}
		return 1
	})
	return e[:to]
}

// records returns the records of entries. Many are set in a plain bitmap first, which needs no sorting.
func (a *Attributes) records(e []entry) *roaring.Bitmap {
	if len(e) > a.n/64 {
		dense := make([]uint64, (a.n+63)/64)
		for i := range e {
			if pos := e[i].pos; int(pos) < a.n {
				dense[pos/64] |= 1 << (pos % 64)
			}
		}
		return roaring.FromDense(dense, true)
	}
	pos := make([]uint32, len(e))
	for i := range e {
		pos[i] = e[i].pos
	}
	slices.Sort(pos)
	return roaring.BitmapOf(pos...)
}

// matches evaluates the condition on one record. It defines what a condition means; Attributes.meeting is the fast way.
func (c *condition) matches(t *jsonread.Tree) bool {
	found := false
	t.Follow(0, c.path, func(i int) {
		found = found || c.exists != nil || c.accepts(t, i)
	})
	if c.exists != nil {
		return found == *c.exists
	}
	return found
}

// accepts tells whether value i, or an element of the list that it is, is wanted.
func (c *condition) accepts(t *jsonread.Tree, i int) bool {
	switch k := t.Kind(i); k {
	case jsonread.Array:
		for e := range t.Children(i) {
			if c.accepts(t, e) {
				return true
			}
		}
		return false
	case jsonread.Object:
		return false
	case jsonread.Number:
		return c.acceptsNumber(t.Float(i))
	case jsonread.String:
		s := t.Str(i)
		if x, ok := numeral([]byte(s)); ok && c.acceptsNumber(x) {
			return true
		}
		return slices.Contains(c.any, scalar{kind: jsonread.String, text: s})
	default:
		return slices.Contains(c.any, scalar{kind: k})
	}
}

func (c *condition) acceptsNumber(x float64) bool {
	if c.within != nil {
		return x >= c.within.lo && x <= c.within.hi
	}
	return slices.Contains(c.any, scalar{kind: jsonread.Number, number: x})
}
