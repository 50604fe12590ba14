package langchain

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// The values of a pickle of the known shape. Anything else has no representation here.
type (
	unset struct{} // a number of the memo that holds nothing
	class string   // one of the allowed names, as module.name
	list  struct{ items []any }
	tuple []any
	// dict keeps the order of insertion. Keys are strings, ints or UUIDs.
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
	out       []byte
	limit     int
	field     []string // keys on the way down
	converted map[Conversion]int
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
	case scalar:
		return b.scalar(v, depth)
	case *object:
		if text, ok := uuidText(v); ok {
			return b.scalar(scalar{classUUID, text}, depth)
		}
		return fmt.Errorf("metadata%s: a %s has no place in JSON", b.at(), v.class)
	case pyBytes:
		return fmt.Errorf("metadata%s: bytes have no place in JSON", b.at())
	case class:
		return &RefusedError{Name: string(v)}
	default:
		return fmt.Errorf("metadata%s: a %T has no place in JSON", b.at(), v)
	}
	return nil
}

// at is where in the metadata the builder is, for messages.
func (b *jsonBuilder) at() string {
	if len(b.field) == 0 {
		return ""
	}
	return "." + strings.Join(b.field, ".")
}

func (b *jsonBuilder) note(from class, to string) {
	if b.converted == nil {
		b.converted = map[Conversion]int{}
	}
	b.converted[Conversion{strings.Join(b.field, "."), string(from), to}]++
}

// scalar writes what stands for a value that JSON does not have.
func (b *jsonBuilder) scalar(s scalar, depth int) error {
	value, to := s.value, "number"
	switch v := value.(type) {
	case nil:
		to = "null"
	case string:
		to = "string"
	case time.Duration:
		value, to = duration(v), "string"
	case bool:
		to = "boolean"
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			value, to = nil, "null"
		}
	}
	b.note(s.from, to)
	return b.add(value, depth)
}

func (b *jsonBuilder) float(v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		b.note(notFinite, "null")
		b.out = append(b.out, "null"...)
		return nil
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
		last[b.key(k)] = i
	}
	b.out = append(b.out, '{')
	comma := false
	for _, k := range d.keys {
		key := b.key(k)
		i, ok := last[key]
		if !ok {
			continue
		}
		delete(last, key)
		if comma {
			b.out = append(b.out, ',')
		}
		comma = true
		if err := b.string(key); err != nil {
			return err
		}
		b.out = append(b.out, ':')
		b.field = append(b.field, key)
		if _, isString := k.(string); !isString {
			b.note("a key that is no string", "string")
		}
		if err := b.add(d.values[i], depth+1); err != nil {
			return err
		}
		b.field = b.field[:len(b.field)-1]
	}
	b.out = append(b.out, '}')
	return nil
}

// key is a dict's key as JSON has it: a string.
func (b *jsonBuilder) key(k any) string {
	s, _ := docstoreID(k) // "" for a UUID that has lost its number
	return s
}
