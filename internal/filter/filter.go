package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// Filter says which records match. The zero Filter matches all.
//
// As JSON it is an object; a record matches when it meets every member. A member is a path and what is wanted there:
//
//	"type": "SaaS"                        equal: string, number, true, false, null
//	"type": ["SaaS", "SI"]                any of them; nothing equals any of []
//	"score_num": {"gte": 7}               a number within bounds: gt, gte, lt, lte, one or several
//	"founded": {"lt": "2020-04-01"}       a date within bounds, or a string, when the bound is one
//	"notes": {"exists": false}            the path leads to a value (null is one), or to none
//	"type": {"ne": "SI"}                  not equal, {"nin": ["SI", "BPO"]}: none of them; absent values are neither
//	"products": {"elem": {"price": {"lt": 10}, "code": "A-1"}}
//	                                      one object of the list meets a whole filter
//
// or one of these, at any level: "$and": [filters], "$or": [filters], "$not": filter.
//
// A path is keys joined with dots. It leads through objects and through every element of lists, and what it leads to
// may be several values, of which one has to match: "tags": "物流" matches a list that contains it, and
// "offerings.products.code" looks into all products. A key with a dot in it is written as it is: "a.b" leads to the
// member "b" of "a" as well as to the member "a.b".
//
// Strings are compared as search compares them (package spelling): without case, width and what is not seen. Numbers are
// compared as IEEE 754 doubles: 1, 1.0 and 1e0 are equal. A string in a record that is wholly a JSON number, as every number
// of a table is, also compares as that number. Dates are those of ISO 8601, see [moment].
type Filter struct{ root node }

// node is a part of a filter. The zero node matches all.
type node struct {
	op    operator
	parts []node    // of all, any, not (one) and elem (one)
	path  string    // of at and elem
	want  condition // of at
}

type operator uint8

const (
	all  operator = iota // every part
	some                 // one part
	not                  // not the part
	at                   // a value that the path leads to
	elem                 // an object that the path leads to meets the part
)

// condition is about the values of a path. Exactly one of its ways to match is set.
type condition struct {
	any    []scalar // one of these
	within *bounds
	during *period
	among  *span
	exists bool
}

// scalar is a JSON value without parts.
type scalar struct {
	kind   jsonread.Kind
	text   string  // of a string, folded
	number float64 // of a number
}

// bounds is a range of numbers, both ends included: an open end is moved to the next double.
type bounds struct {
	lo, hi float64
}

// span is a range of folded strings in the order of their characters.
type span struct {
	lo, hi         string
	hasLo, hasHi   bool
	openLo, openHi bool
}

func (s *span) holds(text string) bool {
	return !(s.hasLo && (text < s.lo || s.openLo && text == s.lo) || s.hasHi && (text > s.hi || s.openHi && text == s.hi))
}

// Limits of a filter. A request body is at most 1 MiB; these keep what it can cost in proportion.
const (
	maxConditions  = 64
	maxAlternative = 1000
	maxDepth       = 12
)

// Parse reads a filter. Errors name the path and what is wrong there.
func Parse(raw json.RawMessage) (Filter, error) {
	p := parser{}
	if err := p.Parse(raw, maxDepth); err != nil {
		return Filter{}, fmt.Errorf("filter: %s", reason(err))
	}
	if k := p.Kind(0); k != jsonread.Object {
		return Filter{}, fmt.Errorf("filter is %s, not an object", k)
	}
	root, err := p.object(0)
	if err != nil {
		return Filter{}, fmt.Errorf("filter %w", err)
	}
	if p.conditions > maxConditions {
		return Filter{}, fmt.Errorf("filter has %d conditions, more than %d", p.conditions, maxConditions)
	}
	return Filter{root}, nil
}

// reason names what is wrong with a filter's JSON; the place would be one within the filter.
func reason(err error) string {
	bad, ok := errors.AsType[*jsonread.SyntaxError](err)
	if !ok {
		return err.Error()
	}
	if more := bad.More(); more != "" {
		return bad.Reason.String() + ": " + more
	}
	return bad.Reason.String()
}

type parser struct {
	jsonread.Tree
	conditions int
}

// object reads a filter. Its errors begin with the path.
func (p *parser) object(i int) (node, error) {
	var n node
	for c := range p.Children(i) {
		key := p.Key(c)
		part, err := p.member(key, c)
		if err != nil {
			return n, fmt.Errorf("%s: %w", strconv.Quote(key), err)
		}
		n.parts = append(n.parts, part)
	}
	return n, nil
}

func (p *parser) member(key string, i int) (node, error) {
	switch key {
	case "$and", "$or":
		n := node{op: all}
		if key == "$or" {
			n.op = some
		}
		if k := p.Kind(i); k != jsonread.Array {
			return n, fmt.Errorf("want a list of filters, not %s", k)
		}
		for c := range p.Children(i) {
			part, err := p.nested(c)
			if err != nil {
				return n, err
			}
			n.parts = append(n.parts, part)
		}
		p.conditions++
		return n, nil
	case "$not":
		part, err := p.nested(i)
		return node{op: not, parts: []node{part}}, err
	}
	return p.wanted(key, i)
}

// nested is a filter within one.
func (p *parser) nested(i int) (node, error) {
	if k := p.Kind(i); k != jsonread.Object {
		return node{}, fmt.Errorf("want a filter, not %s", k)
	}
	return p.object(i)
}

// wanted reads what is wanted at a path.
func (p *parser) wanted(path string, i int) (node, error) {
	p.conditions++
	if p.Kind(i) == jsonread.Object {
		return p.operators(path, i)
	}
	n := node{op: at, path: path}
	var err error
	n.want.any, err = p.values(i)
	return n, err
}

// values reads a scalar or a list of them.
func (p *parser) values(i int) ([]scalar, error) {
	if p.Kind(i) != jsonread.Array {
		s, err := p.scalar(i)
		return []scalar{s}, err
	}
	any := []scalar{}
	for e := range p.Children(i) {
		s, err := p.scalar(e)
		if err != nil {
			return nil, err
		}
		any = append(any, s)
	}
	if len(any) > maxAlternative {
		return nil, fmt.Errorf("lists %d values, more than %d", len(any), maxAlternative)
	}
	return any, nil
}

func (p *parser) scalar(i int) (scalar, error) {
	s := scalar{kind: p.Kind(i)}
	switch s.kind {
	case jsonread.String:
		s.text = spelling.Fold(p.Str(i))
	case jsonread.Number:
		s.number = p.Float(i)
		if math.IsInf(s.number, 0) {
			return s, fmt.Errorf("number %s is too large", p.Bytes(i))
		}
	case jsonread.Array, jsonread.Object:
		return s, fmt.Errorf("a list may hold strings, numbers, booleans and null, not %s", s.kind)
	}
	return s, nil
}

const operators = "gt, gte, lt, lte, ne, nin, elem or exists"

// operators reads an object of operators, all of which are to be met.
func (p *parser) operators(path string, i int) (node, error) {
	var n node
	var within *node // the bounds are one condition: one value has to be within them all
	exists := false
	for e := range p.Children(i) {
		op, k := p.Key(e), p.Kind(e)
		part := node{op: at, path: path}
		var err error
		switch op {
		case "exists":
			if k != jsonread.True && k != jsonread.False {
				return n, fmt.Errorf("exists is %s, not true or false", k)
			}
			exists, part.want.exists = true, true
			if k == jsonread.False {
				part = node{op: not, parts: []node{part}}
			}
		case "ne":
			if k == jsonread.Array {
				return n, fmt.Errorf("ne is a list: want nin")
			}
			part.want.any, err = p.values(e)
			part = node{op: not, parts: []node{part}}
		case "nin":
			if k != jsonread.Array {
				return n, fmt.Errorf("nin is %s, not a list", k)
			}
			part.want.any, err = p.values(e)
			part = node{op: not, parts: []node{part}}
		case "elem":
			part.op = elem
			part.parts = make([]node, 1)
			part.parts[0], err = p.nested(e)
		case "gt", "gte", "lt", "lte":
			if within == nil {
				within = &part
			}
			if err := within.want.bound(op, k, p.Tree, e); err != nil {
				return n, err
			}
			continue
		default:
			return n, fmt.Errorf("unknown operator %s: want %s", strconv.Quote(op), operators)
		}
		if err != nil {
			return n, err
		}
		n.parts = append(n.parts, part)
	}
	if within != nil {
		n.parts = append(n.parts, *within)
	}
	switch {
	case len(n.parts) == 0:
		return n, fmt.Errorf("an empty object: want %s", operators)
	case exists && len(n.parts) > 1:
		return n, fmt.Errorf("exists cannot be combined with other operators")
	case len(n.parts) == 1:
		return n.parts[0], nil
	}
	return n, nil
}

// bound narrows the condition by one more bound, value i of t.
func (c *condition) bound(op string, k jsonread.Kind, t jsonread.Tree, i int) error {
	switch k {
	case jsonread.Number:
		x := t.Float(i)
		if math.IsInf(x, 0) {
			return fmt.Errorf("number %s is too large", t.Bytes(i))
		}
		if c.within == nil {
			c.within = &bounds{math.Inf(-1), math.Inf(1)}
		}
		c.within.narrow(op, x)
	case jsonread.String:
		text := spelling.Fold(t.Str(i))
		if m, ok := parseMoment(text); ok {
			if c.during == nil {
				c.during = &period{}
			}
			c.during.narrow(op, m)
		} else {
			if c.among == nil {
				c.among = &span{}
			}
			c.among.narrow(op, text)
		}
	default:
		return fmt.Errorf("%s is %s, not a number, a date or a string", op, k)
	}
	kinds := 0
	for _, set := range [...]bool{c.within != nil, c.during != nil, c.among != nil} {
		if set {
			kinds++
		}
	}
	if kinds > 1 {
		return fmt.Errorf("the bounds are of different kinds: numbers, dates or other strings")
	}
	return nil
}

func (b *bounds) narrow(op string, x float64) {
	switch op {
	case "gt":
		b.lo = max(b.lo, math.Nextafter(x, math.Inf(1)))
	case "gte":
		b.lo = max(b.lo, x)
	case "lt":
		b.hi = min(b.hi, math.Nextafter(x, math.Inf(-1)))
	case "lte":
		b.hi = min(b.hi, x)
	}
}

func (s *span) narrow(op, text string) {
	open := op == "gt" || op == "lt"
	if op == "gt" || op == "gte" {
		if !s.hasLo || text > s.lo || text == s.lo && open {
			s.lo, s.hasLo, s.openLo = text, true, open
		}
		return
	}
	if !s.hasHi || text < s.hi || text == s.hi && open {
		s.hi, s.hasHi, s.openHi = text, true, open
	}
}
