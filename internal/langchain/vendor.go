package langchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const maxName = 80 // runes of a synthesised name

// ToVendor turns document i of a LangChain index into a record of vendors.json: its metadata, then "_text" with its
// page_content. As long as "_text" is there it is the text that is embedded, so the vectors of the old index stay
// valid. A record needs an id and a name: where the metadata has neither "vendor_id" nor "id", the docstore's id becomes
// "vendor_id"; where it has no name, the first line of the text becomes "name". An id like 12.0, which is what pandas makes
// of a column of integers with a gap, becomes 12. What was done is noted in d.Converted.
func ToVendor(d *Found, i int) ([]byte, error) {
	if d.Unreadable != nil {
		return nil, d.Unreadable
	}
	fields, err := topFields(d.Metadata)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if strings.TrimSpace(d.PageContent) == "" {
		return nil, errors.New("it has no text")
	}
	fields.identify(d, i)
	if !fields.named() {
		v, _ := jsonString(nameOf(d.PageContent))
		fields.set("name", v)
	}
	out := []byte{'{'}
	for _, key := range fields.keys {
		if key != "_text" {
			out = appendMember(out, key, fields.values[key])
		}
	}
	text, err := jsonString(d.PageContent)
	if err != nil {
		return nil, err
	}
	return append(appendMember(out, "_text", text), '}'), nil
}

func appendMember(out []byte, key string, value []byte) []byte {
	if len(out) > 1 {
		out = append(out, ',')
	}
	k, _ := jsonString(key) // a string always encodes
	return append(append(append(out, k...), ':'), value...)
}

// identify sees that the record has an id, and that a whole number is written as one.
func (m *members) identify(d *Found, i int) {
	for _, key := range []string{"vendor_id", "id"} {
		if whole, ok := wholeNumber(m.values[key]); ok {
			m.set(key, whole)
			d.note(Conversion{key, "float such as 12.0", "integer, 12"})
		}
	}
	if m.names("vendor_id") || m.names("id") {
		return
	}
	id := d.ID
	if strings.TrimSpace(id) == "" {
		id = fmt.Sprintf("doc-%06d", i)
	}
	v, _ := jsonString(id)
	m.set("vendor_id", v)
	d.note(Conversion{"vendor_id", "no id in the metadata", "the docstore's id"})
}

// wholeNumber reads 12.0 as 12.
func wholeNumber(v json.RawMessage) ([]byte, bool) {
	whole, fraction, found := bytes.Cut(bytes.TrimSpace(v), []byte("."))
	ok := found && len(whole) > 0 && (whole[0] == '-' || whole[0] >= '0' && whole[0] <= '9') && len(bytes.Trim(fraction, "0")) == 0
	return whole, ok
}

func (d *Found) note(c Conversion) {
	if d.Converted == nil {
		d.Converted = map[Conversion]int{}
	}
	d.Converted[c]++
}

// members are the top fields of a JSON object in order; a field given twice counts with its last value.
type members struct {
	keys   []string
	values map[string]json.RawMessage
}

func topFields(object []byte) (*members, error) {
	m := &members{values: map[string]json.RawMessage{}}
	if len(bytes.TrimSpace(object)) == 0 {
		return m, nil
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if tok != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		key := tok.(string)
		if _, twice := m.values[key]; !twice {
			m.keys = append(m.keys, key)
		}
		m.values[key] = v
	}
	_, err = dec.Token()
	return m, err
}

// set replaces a field or puts a new one first, where a reader of the file looks for it.
func (m *members) set(key string, value []byte) {
	if _, there := m.values[key]; !there {
		m.keys = append([]string{key}, m.keys...)
	}
	m.values[key] = value
}

// names reports whether key can name a record: a string that is not blank, or an integer.
func (m *members) names(key string) bool {
	v := bytes.TrimSpace(m.values[key])
	if len(v) == 0 {
		return false
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return strings.TrimSpace(s) != ""
	}
	return (v[0] == '-' || v[0] >= '0' && v[0] <= '9') && !bytes.ContainsAny(v, ".eE")
}

// named reports whether the record has one of the fields that a catalogue takes for its name.
func (m *members) named() bool {
	for _, key := range []string{"name", "vendor_name", "company_name", "title"} {
		if m.text(key) {
			return true
		}
	}
	if basic, err := topFields(m.values["basic_info"]); err == nil {
		for _, key := range []string{"name", "vendor_name", "company_name"} {
			if basic.text(key) {
				return true
			}
		}
	}
	return false
}

func (m *members) text(key string) bool {
	var s string
	return json.Unmarshal(m.values[key], &s) == nil && strings.TrimSpace(s) != ""
}

// nameOf is the first line of text that is not blank, shortened.
func nameOf(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSpace(line)
	if utf8.RuneCountInString(line) > maxName {
		line = string([]rune(line)[:maxName])
	}
	return line
}

// jsonString encodes without escaping <, > and &, which are common in text and harmless in a file.
func jsonString(s string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
