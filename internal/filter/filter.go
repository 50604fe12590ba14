// Package filter says which records of a catalogue meet conditions, and counts the values they have.
//
// A question's filter goes one way: [Parse] reads its JSON into conditions (filter.go), [Attributes.Select] turns them into
// a bitmap of positions (select.go), with the arrays that stand for all values of all records (attributes.go) and that
// [Build] makes of the records (build.go). [Attributes.Facets] counts over the same arrays (facets.go).
package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Filter says which records match: those that meet every one of its conditions. The zero Filter matches all.
//
// As JSON it is an object from paths to what is wanted there:
//
//	"type": "SaaS"                  equal: string, number, true, false, null
//	"type": ["SaaS", "SI"]          any of them; nothing equals any of []
//	"score_num": {"gte": 7}         a number within bounds: gt, gte, lt, lte, one or several
//	"notes": {"exists": false}      the path leads to a value (null is one), or to none
//
// A path is keys joined with dots. It leads through objects and through every element of lists, and what it leads to
// may be several values, of which one has to match: "tags": "物流" matches a list that contains it, and
// "offerings.products.code" looks into all products. A key with a dot in it is written as it is: "a.b" leads to the
// member "b" of "a" as well as to the member "a.b".
//
// Strings are equal when all their characters are. Numbers are compared as IEEE 754 doubles: 1, 1.0 and 1e0 are equal. A
// string in a record that is wholly a JSON number, as every number of a table is, also compares as that number.
type Filter struct {
	conditions []condition
}

// condition is about one path. Exactly one of its ways to match is set.
type condition struct {
	path   string
	any    []scalar // one of these
	within *bounds
	exists *bool
}

// scalar is a JSON value without parts.
type scalar struct {
	kind   jsonread.Kind
	text   string  // of a string
	number float64 // of a number
}

// bounds is a range of numbers, both ends included: an open end is moved to the next double.
type bounds struct {
	lo, hi float64
}

// Limits of a filter. A request body is at most 1 MiB; these keep what it can cost in proportion.
const (
	maxConditions  = 64
	maxAlternative = 1000
	maxDepth       = 4
)

// Parse reads a filter. Errors name the path and what is wrong there.
func Parse(raw json.RawMessage) (Filter, error) {
	var t jsonread.Tree
	if err := t.Parse(raw, maxDepth); err != nil {
		return Filter{}, fmt.Errorf("filter: %s", flaw(err))
	}
	if k := t.Kind(0); k != jsonread.Object {
		return Filter{}, fmt.Errorf("filter is %s, not an object", k)
	}
	var f Filter
	for i := range t.Children(0) {
		c := condition{path: t.Key(i)}
		if err := c.parse(&t, i); err != nil {
			return Filter{}, fmt.Errorf("filter %s: %w", strconv.Quote(c.path), err)
		}
		f.conditions = append(f.conditions, c)
	}
	if len(f.conditions) > maxConditions {
		return Filter{}, fmt.Errorf("filter has %d conditions, more than %d", len(f.conditions), maxConditions)
	}
	return f, nil
}

// flaw names what is wrong with a filter's JSON; the place would be one within the filter.
func flaw(err error) string {
	bad, ok := errors.AsType[*jsonread.SyntaxError](err)
	if !ok {
		return err.Error()
	}
	if more := bad.More(); more != "" {
		return bad.Reason.String() + ": " + more
	}
	return bad.Reason.String()
}

func (c *condition) parse(t *jsonread.Tree, i int) error {
	switch t.Kind(i) {
	case jsonread.Object:
		return c.parseOperators(t, i)
	case jsonread.Array:
		c.any = []scalar{}
		for e := range t.Children(i) {
			s, err := parseScalar(t, e)
			if err != nil {
				return err
			}
			c.any = append(c.any, s)
		}
		if len(c.any) > maxAlternative {
			return fmt.Errorf("lists %d values, more than %d", len(c.any), maxAlternative)
		}
		return nil
	}
	s, err := parseScalar(t, i)
	c.any = []scalar{s}
	return err
}

func parseScalar(t *jsonread.Tree, i int) (scalar, error) {
	s := scalar{kind: t.Kind(i)}
	switch s.kind {
	case jsonread.String:
		s.text = t.Str(i)
	case jsonread.Number:
		s.number = t.Float(i)
		if math.IsInf(s.number, 0) {
			return s, fmt.Errorf("number %s is too large", t.Bytes(i))
		}
	case jsonread.Array, jsonread.Object:
		return s, fmt.Errorf("a list may hold strings, numbers, booleans and null, not %s", s.kind)
	}
	return s, nil
}

func (c *condition) parseOperators(t *jsonread.Tree, i int) error {
	for e := range t.Children(i) {
		if err := c.parseOperator(t, e); err != nil {
			return err
		}
	}
	switch {
	case c.exists == nil && c.within == nil:
		return fmt.Errorf("an empty object: want gt, gte, lt, lte or exists")
	case c.exists != nil && c.within != nil:
		return fmt.Errorf("exists cannot be combined with bounds")
	}
	return nil
}

func (c *condition) parseOperator(t *jsonread.Tree, i int) error {
	op, k := t.Key(i), t.Kind(i)
	switch op {
	case "exists":
		if k != jsonread.True && k != jsonread.False {
			return fmt.Errorf("exists is %s, not true or false", k)
		}
		exists := k == jsonread.True
		c.exists = &exists
		return nil
	case "gt", "gte", "lt", "lte":
	default:
		return fmt.Errorf("unknown operator %s: want gt, gte, lt, lte or exists", strconv.Quote(op))
	}
	if k != jsonread.Number {
		return fmt.Errorf("%s is %s, not a number", op, k)
	}
	bound, err := parseScalar(t, i)
	if err != nil {
		return err
	}
	if c.within == nil {
		c.within = &bounds{math.Inf(-1), math.Inf(1)}
	}
	x := bound.number
	switch op {
	case "gt":
		c.within.lo = max(c.within.lo, math.Nextafter(x, math.Inf(1)))
	case "gte":
		c.within.lo = max(c.within.lo, x)
	case "lt":
		c.within.hi = min(c.within.hi, math.Nextafter(x, math.Inf(-1)))
	case "lte":
		c.within.hi = min(c.within.hi, x)
	}
	return nil
}
