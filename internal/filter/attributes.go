package filter

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Version is raised when the meaning of the arrays of Attributes changes. Others are not opened: whoever
// has the records builds them again.
const Version = 3

// Attributes answers filters and counts values over the records of one catalogue. It is immutable and safe for
// concurrent use. It keeps the function it was made with, and calls it for paths and texts beyond the bounds.
//
// It is a handful of flat arrays, so that a snapshot can carry it and a replica map it: nothing is decoded when it is
// opened, and a search reads the one or two bitmaps that its filter names.
//
// Strings are folded (package spelling) and told apart by their 64-bit XXH64 hash: among a million values of a path, two are confused with a
// probability of 1e12/2^65 = 3e-8.
type Attributes struct {
	n       int
	raw     func(i int) ([]byte, error)
	partial bool    // there are paths beyond maxPaths
	fields  []field // by name
	texts   []text  // of one field behind the other, by hash
	entries []entry
	chars   []byte // names of fields, strings
	bitmaps []byte // roaring bitmaps in their portable format
}

// extent is a range of another array. It holds no padding, as all that follows: the arrays are written as they are.
type extent struct{ from, to uint64 }

// field is everything that one path leads to.
type field struct {
	name     extent    // in chars
	present  extent    // in bitmaps: the path leads to a value
	simple   [3]extent // in bitmaps, by kind: null, false, true; empty for none
	texts    extent    // in texts: strings with a bitmap
	rare     extent    // in entries: the other strings by hash
	numbers  extent    // in entries, in order
	numerals extent    // in entries, in order: strings that are numbers
	dates    extent    // in entries, in order: strings that are moments, by their local time
}

// text is a string that many records share.
type text struct {
	hash    uint64
	count   uint64 // records
	chars   extent
	records extent // in bitmaps
}

// entry is a key of 64 bits and a record that has it.
type entry struct {
	hi, lo, pos uint32
}

func (e entry) key() uint64 { return uint64(e.hi)<<32 | uint64(e.lo) }

func newEntry(key uint64, pos uint32) entry { return entry{uint32(key >> 32), uint32(key), pos} }

func compareEntries(a, b entry) int {
	if a.key() != b.key() {
		return cmp.Compare(a.key(), b.key())
	}
	return cmp.Compare(a.pos, b.pos)
}

// numberKey maps doubles to integers in the same order.
func numberKey(f float64) uint64 {
	bits := math.Float64bits(f)
	if bits>>63 == 0 {
		return bits | 1<<63
	}
	return ^bits
}

func keyNumber(key uint64) float64 {
	if key>>63 == 1 {
		return math.Float64frombits(key &^ (1 << 63))
	}
	return math.Float64frombits(^key)
}

// numeral is the number that a folded string wholly is, written as JSON writes numbers: 007 and "7 " are none.
func numeral(s string) (x float64, ok bool) {
	if len(s) == 0 || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return 0, false
	}
	r := jsonread.Over([]byte(s))
	if whole, err := r.Number(); err != nil || len(whole) != len(s) {
		return 0, false
	}
	x, _ = strconv.ParseFloat(s, 64) // out of range gives ±Inf
	return x + 0, true
}

// Arrays returns the arrays that Open takes: views, not to be changed.
func (a *Attributes) Arrays() [][]byte {
	head := []uint64{Version, uint64(a.n), 0}
	if a.partial {
		head[2] = 1
	}
	return [][]byte{arrays.Bytes(head), arrays.Bytes(a.fields), arrays.Bytes(a.texts), arrays.Bytes(a.entries), a.chars, a.bitmaps}
}

// Open opens what Arrays returned, for the same records. The arrays are kept, as raw is: both must stay as
// they are for as long as the Attributes is used. Arrays of another version or of other records are an error.
func Open(flat [][]byte, n int, raw func(i int) ([]byte, error)) (*Attributes, error) {
	if len(flat) != 6 {
		return nil, fmt.Errorf("attributes: %d arrays, want 6", len(flat))
	}
	head, err := arrays.Of[uint64](flat[0])
	if err != nil || len(head) != 3 || head[0] != Version {
		return nil, fmt.Errorf("attributes: not of version %d", Version)
	}
	if head[1] != uint64(n) {
		return nil, fmt.Errorf("attributes of %d records, want %d", head[1], n)
	}
	a := &Attributes{n: n, raw: raw, partial: head[2] != 0, chars: flat[4], bitmaps: flat[5]}
	var errs [3]error
	a.fields, errs[0] = arrays.Of[field](flat[1])
	a.texts, errs[1] = arrays.Of[text](flat[2])
	a.entries, errs[2] = arrays.Of[entry](flat[3])
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	return a, a.check()
}

// check tells whether every range lies where it belongs. What the ranges hold is read later, with care.
func (a *Attributes) check() error {
	good := true
	within := func(e extent, size int) { good = good && e.from <= e.to && e.to <= uint64(size) }
	for i := range a.fields {
		f := &a.fields[i]
		within(f.name, len(a.chars))
		within(f.present, len(a.bitmaps))
		for _, s := range f.simple {
			within(s, len(a.bitmaps))
		}
		within(f.texts, len(a.texts))
		within(f.rare, len(a.entries))
		within(f.numbers, len(a.entries))
		within(f.numerals, len(a.entries))
		within(f.dates, len(a.entries))
	}
	for i := range a.texts {
		within(a.texts[i].chars, len(a.chars))
		within(a.texts[i].records, len(a.bitmaps))
	}
	if !good {
		return errors.New("attributes: a range is out of bounds")
	}
	return nil
}

// SizeBytes is about what the Attributes takes in memory, or of the file that it is mapped from.
func (a *Attributes) SizeBytes() int64 {
	var n int64
	for _, array := range a.Arrays() {
		n += int64(len(array))
	}
	return n
}

// load reads record i into t.
func load(t *jsonread.Tree, raw func(i int) ([]byte, error), i int) error {
	in, err := raw(i)
	if err != nil {
		return fmt.Errorf("read record %d: %w", i, err)
	}
	if err := t.Parse(in, jsonread.MaxDepth); err != nil {
		return fmt.Errorf("record %d: %w", i, err)
	}
	return nil
}

// field finds a path, nil for none.
func (a *Attributes) field(path string) *field {
	i, ok := slices.BinarySearchFunc(a.fields, path, func(f field, path string) int {
		return cmp.Compare(a.str(f.name), path)
	})
	if !ok {
		return nil
	}
	return &a.fields[i]
}

// str is a view: see Open for how long it lives.
func (a *Attributes) str(e extent) string {
	return unsafe.String(unsafe.SliceData(a.chars[e.from:e.to]), int(e.to-e.from))
}

// bitmap reads a bitmap in place; it copies itself when it is changed. A damaged one is empty.
func (a *Attributes) bitmap(e extent) *roaring.Bitmap {
	b := roaring.New()
	if e.from == e.to {
		return b
	}
	if _, err := b.FromBuffer(a.bitmaps[e.from:e.to]); err != nil {
		return roaring.New()
	}
	return b
}

// Paths returns the paths that are indexed, in order.
func (a *Attributes) Paths() []string {
	out := make([]string, len(a.fields))
	for i := range a.fields {
		out[i] = strings.Clone(a.str(a.fields[i].name))
	}
	return out
}
