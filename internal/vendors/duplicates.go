package vendors

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
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
func (x *ids) assign(rec *found, t *tree) (f fate, g *group) {
	g = x.groups[keyOf(rec.ID)]
	if g == nil {
		return fate{id: rec.ID}, nil
	}
	if rec.own {
		if g.met++; x.rules.Duplicates == DuplicatesLast && g.met < g.own {
			return fate{said: "left out, a later record has the id"}, g
		}
	}
	m := t.meaning()
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
