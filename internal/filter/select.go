package filter

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// Select returns the positions of the records that match f. The bitmap is the caller's.
func (a *Attributes) Select(f Filter) *roaring.Bitmap {
	everything := roaring.New()
	everything.AddRange(0, uint64(a.n))
	return a.meeting(&f.root, everything)
}

// meeting returns which of among meet n, in a bitmap of its own.
func (a *Attributes) meeting(n *node, among *roaring.Bitmap) *roaring.Bitmap {
	switch n.op {
	case all:
		left := among.Clone()
		for _, reading := range [...]bool{false, true} { // what reads records comes when few are left
			for i := range n.parts {
				if part := &n.parts[i]; a.reads(part) == reading && !left.IsEmpty() {
					left = a.meeting(part, left)
				}
			}
		}
		return left
	case some:
		found := roaring.New()
		for i := range n.parts {
			found.Or(a.meeting(&n.parts[i], among))
		}
		return found
	case not:
		return roaring.AndNot(among, a.meeting(&n.parts[0], among))
	case elem:
		return a.read(n, a.promising(n.path, &n.parts[0], among))
	}
	f := a.field(n.path)
	switch {
	case f == nil && a.partial:
		return a.read(n, among)
	case f == nil:
		return roaring.New() // no record has the path
	}
	sure, perhaps := a.valued(f, &n.want)
	found := roaring.And(sure, among)
	if perhaps != nil {
		found.Or(a.read(n, roaring.AndNot(roaring.And(perhaps, among), found)))
	}
	return found
}

// reads tells whether records have to be read to know which meet n.
func (a *Attributes) reads(n *node) bool {
	switch n.op {
	case elem:
		return true
	case at:
		f := a.field(n.path)
		return f == nil && a.partial || f != nil && (n.want.among != nil && f.rare.from < f.rare.to || n.want.during != nil)
	}
	return slices.ContainsFunc(n.parts, func(part node) bool { return a.reads(&part) })
}

// promising leaves out those of among of which no element can meet n, by what n wants of single paths.
func (a *Attributes) promising(path string, n *node, among *roaring.Bitmap) *roaring.Bitmap {
	switch n.op {
	case all:
		for i := range n.parts {
			among = a.promising(path, &n.parts[i], among)
		}
	case at:
		return a.meeting(&node{op: at, path: path + "." + n.path, want: n.want}, among)
	}
	return among
}

// read returns which of among meet n by reading them, about 5 us each. A record that cannot be read does not.
func (a *Attributes) read(n *node, among *roaring.Bitmap) *roaring.Bitmap {
	var t jsonread.Tree
	found := roaring.New()
	for it := among.Iterator(); it.HasNext(); {
		if pos := it.Next(); load(&t, a.raw, int(pos)) == nil && n.matches(&t, 0) {
			found.Add(pos)
		}
	}
	return found
}

// valued returns the records that have a wanted value at f, and those of which only reading tells; nil for none.
func (a *Attributes) valued(f *field, c *condition) (sure, perhaps *roaring.Bitmap) {
	switch {
	case c.exists:
		return a.bitmap(f.present), nil
	case c.within != nil:
		return a.numbered(f, c.within.lo, c.within.hi), nil
	case c.during != nil:
		lo, hi := c.during.reach(-maxApart)
		sure := a.records(between(a.list(f.dates), lo, hi))
		if from, to := c.during.reach(maxApart); from < lo || to > hi {
			perhaps = a.records(between(a.list(f.dates), from, to))
		}
		return sure, perhaps
	case c.among != nil:
		sure := roaring.New()
		for _, t := range a.texts[f.texts.from:f.texts.to] {
			if c.among.holds(spelling.Fold(a.str(t.chars))) {
				sure.Or(a.bitmap(t.records))
			}
		}
		if f.rare.from < f.rare.to {
			perhaps = a.records(a.list(f.rare))
		}
		return sure, perhaps
	}
	sets := make([]*roaring.Bitmap, 0, len(c.any))
	for _, s := range c.any {
		if set := a.equal(f, s); set != nil {
			sets = append(sets, set)
		}
	}
	if len(sets) == 1 {
		return sets[0], nil
	}
	return roaring.FastOr(sets...), nil
}

// equal returns the records that have s at the path, nil for none.
func (a *Attributes) equal(f *field, s scalar) *roaring.Bitmap {
	switch s.kind {
	case jsonread.String:
		return a.equalTo(f, xxhash.Sum64String(s.text))
	case jsonread.Number:
		return a.numbered(f, s.number, s.number)
	default:
		return a.bitmap(f.simple[s.kind])
	}
}

// equalTo returns the records that have the string of a hash at the path, nil for none.
func (a *Attributes) equalTo(f *field, hash uint64) *roaring.Bitmap {
	texts := a.texts[f.texts.from:f.texts.to]
	if i, ok := slices.BinarySearchFunc(texts, hash, func(t text, hash uint64) int { return cmp.Compare(t.hash, hash) }); ok {
		return a.bitmap(texts[i].records) // a hash is either here or rare
	}
	if rare := withKeys(a.list(f.rare), hash, hash); len(rare) > 0 {
		return a.records(rare)
	}
	return nil
}

// numbered returns the records that have a number from lo to hi, or a string that is one.
func (a *Attributes) numbered(f *field, lo, hi float64) *roaring.Bitmap {
	found := a.records(between(a.list(f.numbers), lo, hi))
	if f.numerals.from < f.numerals.to {
		found.Or(a.records(between(a.list(f.numerals), lo, hi)))
	}
	return found
}

func (a *Attributes) list(e extent) []entry { return a.entries[e.from:e.to] }

// between returns the entries of numbers from lo to hi.
func between(e []entry, lo, hi float64) []entry {
	if lo > hi {
		return nil
	}
	return withKeys(e, numberKey(lo), numberKey(hi))
}

// withKeys returns the entries with lo <= key <= hi of sorted entries.
func withKeys(e []entry, lo, hi uint64) []entry {
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

// matches evaluates a part of a filter on value i of a record. It defines what filters mean; Attributes.meeting is the
// fast way.
func (n *node) matches(t *jsonread.Tree, i int) bool {
	switch n.op {
	case all:
		return !slices.ContainsFunc(n.parts, func(part node) bool { return !part.matches(t, i) })
	case some:
		return slices.ContainsFunc(n.parts, func(part node) bool { return part.matches(t, i) })
	case not:
		return !n.parts[0].matches(t, i)
	}
	found := false
	t.Follow(i, n.path, func(v int) {
		switch {
		case found:
		case n.op == elem:
			leaves(t, v, func(e int) { found = found || t.Kind(e) == jsonread.Object && n.parts[0].matches(t, e) })
		default:
			found = n.want.exists || n.want.accepts(t, v)
		}
	})
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
		s := spelling.Fold(t.Str(i))
		if x, ok := numeral(s); ok && c.acceptsNumber(x) {
			return true
		}
		return c.acceptsText(s)
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

func (c *condition) acceptsText(s string) bool {
	switch {
	case c.during != nil:
		m, ok := parseMoment(s)
		return ok && c.during.holds(m)
	case c.among != nil:
		return c.among.holds(s)
	}
	return slices.Contains(c.any, scalar{kind: jsonread.String, text: s})
}

// maxUnknown paths are named.
const maxUnknown = 10

// Unknown returns the paths of a filter that no record has, in order: a filter on them may be a slip of the pen. Of
// catalogues with more paths than are indexed it knows none.
func (a *Attributes) Unknown(f Filter) []string {
	if a.partial {
		return nil
	}
	var out []string
	unknown(&f.root, "", a.Has, &out)
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxUnknown)]
}

// Has tells whether a record has the path. Of catalogues with more paths than are indexed it says so of all.
func (a *Attributes) Has(path string) bool { return a.partial || a.field(path) != nil }

func unknown(n *node, prefix string, has func(path string) bool, out *[]string) {
	if n.op == at || n.op == elem {
		path := prefix + n.path
		if !has(path) {
			*out = append(*out, path)
			return
		}
		prefix = path + "."
	}
	for i := range n.parts {
		unknown(&n.parts[i], prefix, has, out)
	}
}
