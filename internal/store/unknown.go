package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

var (
	unknownType = reflect.TypeFor[snapshot.Unknown]()
	readsItself = reflect.TypeFor[json.Unmarshaler]()
)

// keepUnknown fills the Unknown fields of v, which was decoded from data, and says whether anything was unknown.
func keepUnknown(data []byte, v reflect.Value) (bool, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return false, nil
		}
		return keepUnknown(data, v.Elem())
	case reflect.Slice:
		return keepUnknownItems(data, v)
	case reflect.Map:
		return keepUnknownValues(data, v)
	case reflect.Struct:
		return keepUnknownMembers(data, v)
	}
	return false, nil
}

func keepUnknownMembers(data []byte, v reflect.Value) (bool, error) {
	fields := map[string]reflect.Value{}
	keep, ok := documentFields(v, fields)
	if !ok {
		return false, nil
	}
	members, err := membersOf(data)
	if err != nil {
		return false, err
	}
	found := false
	for _, m := range members {
		field, known := findField(fields, m.name)
		if !known {
			found = true
			continue
		}
		below, err := keepUnknown(m.value, field)
		if err != nil {
			return false, err
		}
		found = found || below
	}
	if found && keep.IsValid() {
		var b bytes.Buffer
		if err := json.Compact(&b, data); err != nil {
			return false, err
		}
		keep.SetString(b.String())
	}
	return found, nil
}

func keepUnknownItems(data []byte, v reflect.Value) (found bool, err error) {
	var items []json.RawMessage
	if !holdsDocuments(v.Type().Elem()) || json.Unmarshal(data, &items) != nil {
		return false, nil
	}
	for i := range min(len(items), v.Len()) {
		below, err := keepUnknown(items[i], v.Index(i))
		if err != nil {
			return false, err
		}
		found = found || below
	}
	return found, nil
}

func keepUnknownValues(data []byte, v reflect.Value) (found bool, err error) {
	var items map[string]json.RawMessage
	if !holdsDocuments(v.Type().Elem()) || json.Unmarshal(data, &items) != nil {
		return false, nil
	}
	for name, item := range items {
		key := reflect.ValueOf(name).Convert(v.Type().Key())
		value := v.MapIndex(key)
		if !value.IsValid() {
			continue
		}
		whole := reflect.New(value.Type()).Elem() // a map's values cannot be set in place
		whole.Set(value)
		below, err := keepUnknown(item, whole)
		if err != nil {
			return false, err
		}
		if below {
			v.SetMapIndex(key, whole)
			found = true
		}
	}
	return found, nil
}

// putUnknown puts the unknown members of v back into data, which is v's own JSON.
func putUnknown(data []byte, v reflect.Value) ([]byte, error) {
	if !anyUnknown(v) {
		return data, nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		return putUnknown(data, v.Elem())
	case reflect.Slice:
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil || len(items) != v.Len() {
			return nil, fmt.Errorf("%d items of %d: %w", len(items), v.Len(), err)
		}
		for i := range items {
			item, err := putUnknown(items[i], v.Index(i))
			if err != nil {
				return nil, err
			}
			items[i] = item
		}
		return joinItems(items), nil
	case reflect.Map:
		members, err := membersOf(data)
		if err != nil {
			return nil, err
		}
		for i, m := range members {
			value := v.MapIndex(reflect.ValueOf(m.name).Convert(v.Type().Key()))
			if members[i].value, err = putUnknown(m.value, value); err != nil {
				return nil, err
			}
		}
		return joinMembers(members), nil
	}
	return putUnknownMembers(data, v)
}

// putUnknownMembers keeps the order in which the object was read; members that are new come last.
func putUnknownMembers(data []byte, v reflect.Value) ([]byte, error) {
	own, err := membersOf(data)
	if err != nil {
		return nil, err
	}
	fields := map[string]reflect.Value{}
	keep, _ := documentFields(v, fields)
	values := map[string]json.RawMessage{}
	for _, m := range own {
		value := m.value
		if field, ok := fields[m.name]; ok {
			if value, err = putUnknown(value, field); err != nil {
				return nil, err
			}
		}
		values[m.name] = value
	}
	var out []member
	sources := []reflect.Value{keep}
	sources = append(sources, embeddedUnknown(v)...)
	for _, source := range sources {
		if !source.IsValid() || source.String() == "" {
			continue
		}
		was, err := membersOf([]byte(source.String()))
		if err != nil {
			return nil, err
		}
		for _, m := range was {
			value, mine := values[m.name]
			_, known := findField(fields, m.name)
			switch {
			case mine:
				if field, ok := fields[m.name]; ok && unchanged(m.value, field) {
					value = m.value
				}
				out = append(out, member{m.name, value})
				delete(values, m.name)
			case !known:
				out = append(out, m)
			}
		}
	}
	for _, m := range own {
		if value, left := values[m.name]; left {
			out = append(out, member{m.name, value})
		}
	}
	return joinMembers(out), nil
}

// unchanged says whether v, of structs that keep nothing themselves, is still what was read from data.
func unchanged(data []byte, v reflect.Value) bool {
	t := v.Type()
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if !holdsDocuments(t) {
		return false
	}
	if _, keeps := t.FieldByName("Unknown"); keeps {
		return false
	}
	was := reflect.New(v.Type())
	return json.Unmarshal(data, was.Interface()) == nil && reflect.DeepEqual(was.Elem().Interface(), v.Interface())
}

// documentFields collects the fields of a struct by their names in JSON, those of embedded structs too, and returns
// its own Unknown. ok is false for a struct that is no document's: a time.
func documentFields(v reflect.Value, fields map[string]reflect.Value) (keep reflect.Value, ok bool) {
	if !holdsDocuments(v.Type()) {
		return keep, false
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Type == unknownType:
			keep = v.Field(i)
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			documentFields(v.Field(i), fields)
		case f.IsExported():
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				name = f.Name
			}
			fields[name] = v.Field(i)
		}
	}
	return keep, true
}

// embeddedUnknown are the Unknown fields of embedded structs: a manifest's in a pointer.
func embeddedUnknown(v reflect.Value) (out []reflect.Value) {
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Anonymous && f.Type.Kind() == reflect.Struct {
			if keep := v.Field(i).FieldByName("Unknown"); keep.IsValid() {
				out = append(out, keep)
			}
		}
	}
	return out
}

// findField finds a field as encoding/json does: by its name, else whatever the case.
func findField(fields map[string]reflect.Value, name string) (reflect.Value, bool) {
	if f, ok := fields[name]; ok {
		return f, true
	}
	for known, f := range fields {
		if strings.EqualFold(known, name) {
			return f, true
		}
	}
	return reflect.Value{}, false
}

// holdsDocuments says whether a type is, or points to, a struct that is read member by member: a time reads itself.
func holdsDocuments(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(readsItself)
}

// anyUnknown says whether v or anything in it has unknown members.
func anyUnknown(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && anyUnknown(v.Elem())
	case reflect.Slice:
		if holdsDocuments(v.Type().Elem()) {
			for i := range v.Len() {
				if anyUnknown(v.Index(i)) {
					return true
				}
			}
		}
	case reflect.Map:
		if holdsDocuments(v.Type().Elem()) {
			for _, key := range v.MapKeys() {
				if anyUnknown(v.MapIndex(key)) {
					return true
				}
			}
		}
	case reflect.Struct:
		if !holdsDocuments(v.Type()) {
			return false
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.Type() == unknownType && f.String() != "" || f.Type() != unknownType && anyUnknown(f) {
				return true
			}
		}
	}
	return false
}

// member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// membersOf splits an object, in order. null is an object without members.
func membersOf(data []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		if err == nil && t == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("not an object: %w", err)
	}
	var out []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: name.(string)} // the decoder lets nothing else stand here
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func joinMembers(members []member) []byte {
	b := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, quoteName(m.name)...), ':'), m.value...)
	}
	return append(b, '}')
}

func quoteName(name string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(name) // a string into memory
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func joinItems(items []json.RawMessage) []byte {
	b := []byte{'['}
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item...)
	}
	return append(b, ']')
}
