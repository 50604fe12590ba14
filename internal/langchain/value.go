package langchain

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
)

// The values of a pickle of the known shape. Anything else has no representation here.
type (
	unset struct{} // a number of the memo that holds nothing
	class string   // one of the allowed names, as module.name
	list  struct{ items []any }
	tuple []any
	// dict keeps the order of insertion. Keys are strings or ints.
	dict struct {
		keys   []any
		values []any
	}
	set    struct{ items []any }
	object struct {
		class class
		state any
	}
)

// get returns the last value under key, as a dict has only that one.
func (d *dict) get(key string) (any, bool) {
	for i := len(d.keys) - 1; i >= 0; i-- {
		if d.keys[i] == key {
			return d.values[i], true
		}
	}
	return nil, false
}

var errTooLarge = errors.New("too large")

// jsonBuilder turns a value into JSON. Its size is bounded: values may be shared, so a few bytes of pickle can stand
// for any amount of JSON, or for a list that contains itself.
type jsonBuilder struct {
	out   []byte
	limit int
}

func (b *jsonBuilder) add(v any, depth int) error {
	if len(b.out) > b.limit {
		return fmt.Errorf("metadata: %w, over %d bytes", errTooLarge, b.limit)
	}
	if depth > maxNesting {
		return fmt.Errorf("metadata: nested over %d deep", maxNesting)
	}
	switch v := v.(type) {
	case nil:
		b.out = append(b.out, "null"...)
	case bool:
		b.out = strconv.AppendBool(b.out, v)
	case int64:
		b.out = strconv.AppendInt(b.out, v, 10)
	case *big.Int:
		b.out = v.Append(b.out, 10)
	case float64:
		return b.float(v)
	case string:
		return b.string(v)
	case *list:
		return b.array(v.items, depth)
	case tuple:
		return b.array(v, depth)
	case *set:
		return b.array(v.items, depth)
	case *dict:
		return b.object(v, depth)
	default:
		return fmt.Errorf("metadata: %T has no place in JSON", v)
	}
	return nil
}

func (b *jsonBuilder) float(v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return errors.New("metadata: a number that is not finite has no place in JSON")
	}
	out, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b.out = append(b.out, out...)
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		b.out = append(b.out, ".0"...) // a float stays one
	}
	return nil
}

func (b *jsonBuilder) string(v string) error {
	out, err := jsonString(v)
	b.out = append(b.out, out...)
	return err
}

func (b *jsonBuilder) array(items []any, depth int) error {
	b.out = append(b.out, '[')
	for i, item := range items {
		if i > 0 {
			b.out = append(b.out, ',')
		}
		if err := b.add(item, depth+1); err != nil {
			return err
		}
	}
	b.out = append(b.out, ']')
	return nil
}

// object writes each key once, with the value set last, where it was set first, as a dict would show it.
func (b *jsonBuilder) object(d *dict, depth int) error {
	last := make(map[string]int, len(d.keys))
	for i, k := range d.keys {
		key, ok := k.(string)
		if !ok {
			return fmt.Errorf("metadata: key %v is not a string", k)
		}
		last[key] = i
	}
	b.out = append(b.out, '{')
	comma := false
	for _, k := range d.keys {
		i, ok := last[k.(string)]
		if !ok {
			continue
		}
		delete(last, k.(string))
		if comma {
			b.out = append(b.out, ',')
		}
		comma = true
		if err := b.string(k.(string)); err != nil {
			return err
		}
		b.out = append(b.out, ':')
		if err := b.add(d.values[i], depth+1); err != nil {
			return err
		}
	}
	b.out = append(b.out, '}')
	return nil
}
