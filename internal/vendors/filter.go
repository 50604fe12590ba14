package vendors

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
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
	kind   kind
	text   string  // kindString
	number float64 // kindNumber
}

// bounds is a range of numbers, both ends included: an open end is moved to the next double.
type bounds struct {
	lo, hi float64
}

// Limits of a filter. A request body is at most 1 MiB; these keep what it can cost in proportion.
const (
	maxConditions  = 64
	maxAlternative = 1000
	maxFilterDepth = 4
)

// ParseFilter reads a filter. Errors name the path and what is wrong there.
func ParseFilter(raw json.RawMessage) (Filter, error) {
	var t tree
	if len(raw) > maxRecord {
		return Filter{}, fmt.Errorf("filter: %s", KindRecordSize)
	}
	if f := t.parse(raw, maxFilterDepth); f != nil {
		return Filter{}, fmt.Errorf("filter: %w", &CatalogueError{Kind: f.kind, Detail: f.detail})
	}
	if k := t.nodes[0].kind; k != kindObject {
		return Filter{}, fmt.Errorf("filter is %s, not an object", k)
	}
	var f Filter
	var err error
	t.children(0, func(c int) {
		if err != nil {
			return
		}
		var cond condition
		cond, err = parseCondition(&t, c)
		f.conditions = append(f.conditions, cond)
	})
	if err != nil {
		return Filter{}, err
	}
	if len(f.conditions) > maxConditions {
		return Filter{}, fmt.Errorf("filter has %d conditions, more than %d", len(f.conditions), maxConditions)
	}
	return f, nil
}

func parseCondition(t *tree, i int) (condition, error) {
	c := condition{path: t.key(i)}
	var err error
	switch t.nodes[i].kind {
	case kindObject:
		err = c.parseOperators(t, i)
	case kindArray:
		c.any = []scalar{}
		t.children(i, func(e int) {
			if err == nil {
				var s scalar
				s, err = parseScalar(t, e)
				c.any = append(c.any, s)
			}
		})
		if err == nil && len(c.any) > maxAlternative {
			err = fmt.Errorf("lists %d values, more than %d", len(c.any), maxAlternative)
		}
	default:
		var s scalar
		s, err = parseScalar(t, i)
		c.any = []scalar{s}
	}
	if err != nil {
		return c, fmt.Errorf("filter %s: %w", strconv.Quote(c.path), err)
	}
	return c, nil
}

func parseScalar(t *tree, i int) (scalar, error) {
	s := scalar{kind: t.nodes[i].kind}
	switch s.kind {
	case kindString:
		s.text = t.str(i)
	case kindNumber:
		s.number = t.number(i)
		if math.IsInf(s.number, 0) {
			return s, fmt.Errorf("number %s is too large", t.bytesOf(i))
		}
	case kindArray, kindObject:
		return s, fmt.Errorf("a list may hold strings, numbers, booleans and null, not %s", s.kind)
	}
	return s, nil
}

// number is the double nearest to number i, infinite when it is beyond them all. Zero has no sign.
func (t *tree) number(i int) float64 {
	f, _ := strconv.ParseFloat(string(t.bytesOf(i)), 64) // the syntax is known to be good; out of range gives ±Inf
	return f + 0                                         // -0 + 0 = 0
}

func (c *condition) parseOperators(t *tree, i int) error {
	var err error
	count := 0
	t.children(i, func(e int) {
		if err == nil {
			err = c.parseOperator(t, e)
		}
		count++
	})
	switch {
	case err != nil:
		return err
	case count == 0:
		return fmt.Errorf("an empty object: want gt, gte, lt, lte or exists")
	case c.exists != nil && c.within != nil:
		return fmt.Errorf("exists cannot be combined with bounds")
	}
	return nil
}

func (c *condition) parseOperator(t *tree, i int) error {
	op, n := t.key(i), t.nodes[i]
	switch op {
	case "exists":
		if n.kind != kindTrue && n.kind != kindFalse {
			return fmt.Errorf("exists is %s, not true or false", n.kind)
		}
		exists := n.kind == kindTrue
		c.exists = &exists
		return nil
	case "gt", "gte", "lt", "lte":
	default:
		return fmt.Errorf("unknown operator %s: want gt, gte, lt, lte or exists", strconv.Quote(op))
	}
	if n.kind != kindNumber {
		return fmt.Errorf("%s is %s, not a number", op, n.kind)
	}
	if c.within == nil {
		c.within = &bounds{math.Inf(-1), math.Inf(1)}
	}
	x := t.number(i)
	if math.IsInf(x, 0) {
		return fmt.Errorf("number %s is too large", t.bytesOf(i))
	}
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

// matches evaluates the condition on one record. It defines what a condition means; Attributes.meeting is the fast way.
func (c *condition) matches(t *tree) bool {
	found := false
	t.follow(0, c.path, func(i int) {
		found = found || c.exists != nil || c.accepts(t, i)
	})
	if c.exists != nil {
		return found == *c.exists
	}
	return found
}

// accepts tells whether value i, or an element of the list that it is, is wanted.
func (c *condition) accepts(t *tree, i int) bool {
	switch n := &t.nodes[i]; n.kind {
	case kindArray:
		found := false
		t.children(i, func(e int) { found = found || c.accepts(t, e) })
		return found
	case kindObject:
		return false
	case kindNumber:
		return c.acceptsNumber(t.number(i))
	case kindString:
		s := t.str(i)
		if x, ok := numeral([]byte(s)); ok && c.acceptsNumber(x) {
			return true
		}
		return slices.Contains(c.any, scalar{kind: kindString, text: s})
	default:
		return slices.Contains(c.any, scalar{kind: n.kind})
	}
}

func (c *condition) acceptsNumber(x float64) bool {
	if c.within != nil {
		return x >= c.within.lo && x <= c.within.hi
	}
	return slices.Contains(c.any, scalar{kind: kindNumber, number: x})
}

// numeral is the number that a string wholly is, written as JSON writes numbers: 007 and "7 " are none.
func numeral(s []byte) (x float64, ok bool) {
	if len(s) == 0 || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return 0, false
	}
	r := jsonread.Over(s)
	if whole, err := r.Number(); err != nil || len(whole) != len(s) {
		return 0, false
	}
	x, _ = strconv.ParseFloat(string(s), 64) // out of range gives ±Inf
	return x + 0, true
}

// follow calls visit with every value that path leads to from value i.
func (t *tree) follow(i int, path string, visit func(i int)) {
	switch t.nodes[i].kind {
	case kindArray:
		t.children(i, func(c int) {
			if t.nodes[c].kind >= kindArray {
				t.follow(c, path, visit)
			}
		})
	case kindObject:
		t.children(i, func(c int) {
			key := t.key(c)
			switch {
			case key == path:
				visit(c)
			case len(key) < len(path) && path[len(key)] == '.' && path[:len(key)] == key:
				t.follow(c, path[len(key)+1:], visit)
			}
		})
	}
}
