package vendors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// idKey is a prefix of an id's SHA-256: 128 bits keep ids of any length apart in 16 bytes each.
type idKey [16]byte

func keyOf(id string) idKey {
	sum := sha256.Sum256([]byte(id))
	return idKey(sum[:16])
}

// ids makes the ids of a catalogue unique. An id that stands once is never touched, and neither is the first record
// that has an id of its own; so what is given to the others depends on all ids of the file, and a catalogue that repeats
// one is read twice: count learns every id, assign gives them out. Where no id is repeated, count is all there is.
type ids struct {
	rules  Rules
	seen   map[idKey]uint32 // id -> its first record, from 1
	groups map[idKey]*group // ids that occur more than once
}

// group is what is known of an id that several records have.
type group struct {
	id   string
	said bool // it is in the report, or in the refusal
	own  int  // records that have it as their own id; the others were given their name

	// While ids are assigned:
	met   int  // of own
	taken bool // a record has the id, on line
	line  int
	next  int
	known map[[32]byte]int // what was kept -> its line
}

func newIDs(rules Rules) *ids {
	return &ids{rules: rules, seen: make(map[idKey]uint32), groups: make(map[idKey]*group)}
}

const ownID = 1 << 31 // in seen: the record has the id as its own

// count takes note of a record's id; first is the record that had it before, 0 for none.
func (x *ids) count(rec *found, number int) (first int) {
	key := keyOf(rec.ID)
	before, repeated := x.seen[key]
	if !repeated {
		x.seen[key] = uint32(number)
		if rec.own {
			x.seen[key] |= ownID
		}
		return 0
	}
	g := x.groups[key]
	if g == nil {
		g = &group{id: rec.ID, next: 2, known: make(map[[32]byte]int)}
		if before&ownID != 0 {
			g.own = 1
		}
		x.groups[key] = g
	}
	if rec.own {
		g.own++
	}
	return int(before &^ ownID)
}

// fate is what becomes of a record with a repeated id.
type fate struct {
	id   string // "" = it is left out
	said string // what was done, for people; "" = nothing
}

// assign gives a record, which is still in t, its final id; g is nil when its id stands once.
func (x *ids) assign(rec *found, t *jsonread.Tree) (f fate, g *group) {
	g = x.groups[keyOf(rec.ID)]
	if g == nil {
		return fate{id: rec.ID}, nil
	}
	if rec.own {
		if g.met++; x.rules.Duplicates == DuplicatesLast && g.met < g.own {
			return fate{said: "left out, a later record has the id"}, g
		}
	}
	m := meaning(t)
	if line, same := g.known[m]; same {
		return fate{said: fmt.Sprintf("left out, it is the same as line %d", line)}, g
	}
	g.known[m] = rec.Line
	if !g.taken && (rec.own || g.own == 0) {
		g.taken, g.line = true, rec.Line
		return fate{id: rec.ID}, g
	}
	for {
		id := rec.ID + "~" + strconv.Itoa(g.next)
		g.next++
		if _, exists := x.seen[keyOf(id)]; exists {
			continue
		}
		f := fate{id: id, said: "kept as " + id}
		if g.taken {
			f.said += fmt.Sprintf(", the id is that of line %d", g.line)
		}
		return f, g
	}
}

// unsuffixed is what an id was before assign, if it may have been another one.
func unsuffixed(id string) (base string, ok bool) {
	at := strings.LastIndexByte(id, '~')
	if at <= 0 || at == len(id)-1 {
		return "", false
	}
	n, err := strconv.Atoi(id[at+1:])
	return id[:at], err == nil && n >= 2
}

// meaning is a digest of t's JSON value: the same for two texts of the same value, whatever the order of their
// keys and however they spell strings and numbers.
func meaning(t *jsonread.Tree) [32]byte {
	h := sha256.New()
	digest(h, t, 0)
	return [32]byte(h.Sum(nil))
}

// digest writes value i to h so that no two values write the same: what varies in length goes after its length.
func digest(h hash.Hash, t *jsonread.Tree, i int) {
	k := t.Kind(i)
	h.Write([]byte{byte(k)})
	switch k {
	case jsonread.String:
		writeString(h, t.Str(i))
	case jsonread.Number:
		writeString(h, plainNumber(string(t.Bytes(i))))
	case jsonread.Array:
		for c := range t.Children(i) {
			digest(h, t, c)
		}
		h.Write([]byte{0xFF})
	case jsonread.Object:
		members := slices.Collect(t.Children(i))
		slices.SortFunc(members, func(x, y int) int { return strings.Compare(t.Key(x), t.Key(y)) })
		for _, c := range members {
			h.Write([]byte{0xFE})
			writeString(h, t.Key(c))
			digest(h, t, c)
		}
		h.Write([]byte{0xFF})
	}
}

func writeString(h hash.Hash, s string) {
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
	h.Write([]byte(s))
}

// plainNumber spells a JSON number in one way: digits without zeros at either end, then the power of ten. A number
// whose exponent is beyond reason stays as it is.
func plainNumber(s string) string {
	digits, negative := strings.CutPrefix(s, "-")
	digits, exponent, _ := strings.Cut(strings.ToLower(digits), "e")
	power := 0
	if exponent != "" {
		var err error
		if power, err = strconv.Atoi(exponent); err != nil || power > 1e9 || power < -1e9 {
			return s
		}
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	b := []byte(whole + fraction)
	power -= len(fraction)
	b = bytes.TrimLeft(b, "0")
	trimmed := bytes.TrimRight(b, "0")
	power += len(b) - len(trimmed)
	if len(trimmed) == 0 {
		return "0"
	}
	sign := ""
	if negative {
		sign = "-"
	}
	return sign + string(trimmed) + "e" + strconv.Itoa(power)
}
