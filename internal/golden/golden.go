package golden

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Query is a question and what it must find.
type Query struct {
	Text   string
	Expect []string       // ids that must be in the first K, at least one; by falling grade
	Grades map[string]int // of each id that is of use: 1..3
	K      int
	Note   string // why it is asked, or which group it belongs to
}

const (
	MaxSize    = 1 << 20 // bytes of a file
	MaxQueries = 1000
	defaultK   = 5 // unless the entry says another, or expects more
	maxK       = 100
	best       = 3 // the best grade; 0 is of no use
)

// Parse reads golden.json: UTF-8, with or without a byte order mark, an array of entries. Errors name the entry, counted
// from 1.
func Parse(data []byte) ([]Query, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var entries []json.RawMessage
	switch {
	case len(data) > MaxSize:
		return nil, fmt.Errorf("golden.json is larger than %d bytes", MaxSize)
	case !utf8.Valid(data):
		return nil, errors.New("golden.json is not UTF-8; was it saved as Shift_JIS or UTF-16?")
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("golden.json is empty; without golden queries delete it")
	case !bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")):
		return nil, errors.New(`golden.json is not an array of entries, as [{"query":"…","expect":["V-001"]}]`)
	}
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("golden.json: %w", err)
	}
	if len(entries) > MaxQueries {
		return nil, fmt.Errorf("golden.json has %d entries, at most %d are asked", len(entries), MaxQueries)
	}
	out := make([]Query, len(entries))
	for i, raw := range entries {
		if err := out[i].parse(raw); err != nil {
			return nil, fmt.Errorf("golden.json, entry %d: %w", i+1, err)
		}
	}
	return out, nil
}

// parse reads one entry. Keys are exact, and each stands once: encoding/json would forgive both.
func (q *Query) parse(raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("is not an object with query and expect")
	}
	var graded []string
	var grades map[string]int
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		if seen[name] {
			return fmt.Errorf("the key %q stands twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		switch name {
		case "query":
			q.Text, err = readText(value)
		case "expect":
			q.Expect, err = readIDs(value)
		case "grades":
			graded, grades, err = readGrades(value)
		case "k":
			q.K, err = readK(value)
		case "note":
			_ = json.Unmarshal(value, &q.Note) // whatever people write there
		default:
			return fmt.Errorf("the key %.80q is not known; an entry has query, expect, k, grades and note", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if q.Expect == nil {
		q.Expect = graded
	}
	if q.Grades = grades; len(grades) == 0 {
		q.Grades = make(map[string]int, len(q.Expect))
		for _, id := range q.Expect {
			q.Grades[id] = best
		}
	}
	switch {
	case q.Text == "":
		return errors.New("has no query")
	case len(q.Expect) == 0:
		return errors.New("expects no id, so it would test nothing")
	}
	q.K = cmp.Or(q.K, max(defaultK, min(len(q.Expect), maxK)))
	if len(q.Expect) > q.K {
		return fmt.Errorf("expects %d ids among the first %d", len(q.Expect), q.K)
	}
	return nil
}

func readText(raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil || strings.TrimSpace(s) == "" {
		return "", errors.New("is not a text")
	}
	return s, nil
}

// readIDs reads a list of ids; a number is the id that it is written as. None is nil.
func readIDs(raw json.RawMessage) (ids []string, err error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, errors.New(`is not a list of ids, as ["V-001"]`)
	}
	for _, raw := range list {
		var id string
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			id = strconv.FormatInt(n, 10)
		} else if json.Unmarshal(raw, &id) != nil || id == "" {
			return nil, fmt.Errorf("%.80s is no id", raw)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// readGrades reads grades by id and returns those that are of use, and their ids, best first.
func readGrades(raw json.RawMessage) (ids []string, grades map[string]int, err error) {
	var all map[string]float64
	if json.Unmarshal(raw, &all) != nil {
		return nil, nil, errors.New(`is not an object of grades, as {"V-001":3}`)
	}
	grades = make(map[string]int, len(all))
	for id, g := range all {
		if g != float64(int(g)) || g < 0 || g > best || id == "" {
			return nil, nil, fmt.Errorf("%.80q has the grade %v; grades are 0 to %d", id, g, best)
		}
		if g > 0 {
			ids = append(ids, id)
			grades[id] = int(g)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(grades[b], grades[a]), cmp.Compare(a, b))
	})
	return ids, grades, nil
}

// readK reads k; 0 and null are the default.
func readK(raw json.RawMessage) (int, error) {
	var k float64
	if json.Unmarshal(raw, &k) != nil || k != float64(int(k)) || k < 0 || k > maxK {
		return 0, fmt.Errorf("%.80s is not 1 to %d", raw, maxK)
	}
	return int(k), nil
}
