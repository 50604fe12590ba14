package golden

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ParseLines reads JSON Lines: the entries of golden.json, one a line.
func ParseLines(data []byte) ([]Query, error) {
	if err := readable(data); err != nil {
		return nil, err
	}
	var out []Query
	for i, line := range bytes.Split(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var q Query
		if err := q.parse(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		out = append(out, q)
	}
	return bounded(out)
}

// ParseCSV reads a table with the columns query and expect (ids, with spaces between them), and note if there is one.
func ParseCSV(data []byte) ([]Query, error) {
	if err := readable(data); err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	query, expect, note := slices.Index(header, "query"), slices.Index(header, "expect"), slices.Index(header, "note")
	if query < 0 || expect < 0 {
		return nil, fmt.Errorf("the header is %q; it needs the columns query and expect", header)
	}
	var out []Query
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return bounded(out)
		}
		if err != nil {
			return nil, err
		}
		q := Query{Text: cells[query], Grades: map[string]int{}, K: defaultK}
		for _, id := range strings.Fields(cells[expect]) {
			if q.Grades[id] == 0 {
				q.Expect = append(q.Expect, id)
			}
			q.Grades[id] = best
		}
		if note >= 0 {
			q.Note = cells[note]
		}
		if line, _ := r.FieldPos(0); strings.TrimSpace(q.Text) == "" || len(q.Expect) == 0 {
			return nil, fmt.Errorf("line %d: needs a query and at least one id", line)
		}
		out = append(out, q)
	}
}

func readable(data []byte) error {
	switch {
	case len(data) > MaxSize:
		return fmt.Errorf("is larger than %d bytes", MaxSize)
	case !utf8.Valid(data):
		return errors.New("is not UTF-8; was it saved as Shift_JIS or UTF-16?")
	}
	return nil
}

func bounded(all []Query) ([]Query, error) {
	switch {
	case len(all) == 0:
		return nil, errors.New("holds no query")
	case len(all) > MaxQueries:
		return nil, fmt.Errorf("has %d queries, at most %d are asked", len(all), MaxQueries)
	}
	return all, nil
}
