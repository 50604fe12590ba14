package reconcile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// goldenQuery is one entry of golden.json, which people write: a query and what it must find. Whatever they misspell
// must not pass for a test that was made.
type goldenQuery struct {
	query  string
	expect []string // ids that must be in the top k, at least one
	k      int
}

const (
	goldenSize    = 1 << 20 // of golden.json
	goldenQueries = 1000
	goldenShown   = 3 // misses spelled out in the message
	goldenK       = 5 // unless the entry says another, or expects more
	goldenMaxK    = 100
	goldenGrade   = 3 // the best grade; 0 is of no use
)

// judgeGolden asks people's own queries: every expected id must be in the top k. An id that the catalogue lacks is said
// and not held against the candidate, unless its entry expects no other: then it tested nothing.
func (p *pass) judgeGolden(ctx context.Context, j *judged) error {
	if p.goldenETag == "" {
		return nil
	}
	data, err := p.loadGolden(ctx)
	if err != nil {
		return err
	}
	queries, err := parseGolden(data)
	if err != nil {
		j.add(CheckGoldenFile, VerdictHeld, 0, 1, ReasonGoldenInvalid+": "+err.Error())
		return nil
	}
	passed, asked := 0, 0
	var misses []string
	for i, q := range queries {
		if p.erase.mark != "" && namesAny(q.expect, p.erase.named) {
			continue // what it expects was purged: its words and ids must not be written anew
		}
		asked++
		ok, miss, err := p.ask(ctx, j, q)
		if err != nil {
			return err
		}
		if ok {
			passed++
		}
		if miss != "" {
			misses = append(misses, fmt.Sprintf("entry %d, %q: %s", i+1, q.query, miss))
		}
	}
	message := fmt.Sprintf("%d of %d golden queries pass", passed, asked)
	if len(queries) == 0 {
		message = "golden.json has no entries: nothing was asked"
	}
	for _, miss := range misses[:min(len(misses), goldenShown)] {
		message += "; " + miss
	}
	if more := len(misses) - goldenShown; more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	value := 1.0
	if asked > 0 {
		value = share(passed, asked)
	}
	j.add(CheckGolden, passIf(passed == asked, VerdictHeld), value, 1, message)
	return nil
}

// loadGolden reads the version of golden.json that the verdict will be keyed by, one byte beyond goldenSize at most.
func (p *pass) loadGolden(ctx context.Context) ([]byte, error) {
	body, _, err := p.Objects.Get(ctx, p.Layout.Golden(), store.GetOptions{IfMatch: p.goldenETag})
	if err != nil {
		return nil, fail(Verified, goldenUnreadable, transient, fmt.Errorf("read golden.json: %w", err))
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, goldenSize+1))
	if err != nil {
		return nil, fail(Verified, goldenUnreadable, transient, fmt.Errorf("read golden.json: %w", err))
	}
	return data, nil
}

// ask runs one golden query. ok: it passes. miss says what was not found or is not there, "" = nothing.
func (p *pass) ask(ctx context.Context, j *judged, q goldenQuery) (ok bool, miss string, err error) {
	v, err := p.goldenVector(ctx, q.query)
	if err != nil {
		return false, "", err
	}
	positions, _, err := j.index.Search(v, min(q.k, j.index.Len()), nil)
	if err != nil {
		return false, "", failf(Verified, searchFailed, inputs, "search golden query: %w", err)
	}
	found := map[string]bool{}
	for _, pos := range positions {
		if pos >= 0 {
			found[j.docs.ID(int(pos))] = true
		}
	}
	var absent, missed []string
	for _, id := range q.expect {
		if found[id] {
			continue
		}
		if _, there := j.docs.Find(id); there {
			missed = append(missed, id)
		} else {
			absent = append(absent, id)
		}
	}
	var parts []string
	if len(missed) > 0 {
		parts = append(parts, fmt.Sprintf("lacks %s in its top %d", quoted(missed), q.k))
	}
	if len(absent) > 0 {
		parts = append(parts, "the catalogue has no "+quoted(absent))
	}
	return len(missed) == 0 && len(absent) < len(q.expect), strings.Join(parts, ", "), nil
}

// quoted lists a few ids.
func quoted(ids []string) string {
	var out []string
	for _, id := range ids[:min(len(ids), goldenShown)] {
		out = append(out, strconv.Quote(id))
	}
	if more := len(ids) - goldenShown; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// parseGolden reads golden.json: UTF-8, with or without a byte order mark, an array of entries. Errors name the entry,
// counted from 1.
func parseGolden(data []byte) ([]goldenQuery, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var entries []json.RawMessage
	switch {
	case len(data) > goldenSize:
		return nil, fmt.Errorf("golden.json is larger than %d bytes", goldenSize)
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
	if len(entries) > goldenQueries {
		return nil, fmt.Errorf("golden.json has %d entries, at most %d are asked", len(entries), goldenQueries)
	}
	out := make([]goldenQuery, len(entries))
	for i, raw := range entries {
		if err := out[i].parse(raw); err != nil {
			return nil, fmt.Errorf("golden.json, entry %d: %w", i+1, err)
		}
	}
	return out, nil
}

// parse reads one entry. Keys are exact, and each stands once: encoding/json would forgive both.
func (q *goldenQuery) parse(raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("is not an object with query and expect")
	}
	var graded []string
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
			q.query, err = goldenText(value)
		case "expect":
			q.expect, err = goldenIDs(value)
		case "grades":
			graded, err = goldenGrades(value)
		case "k":
			q.k, err = goldenTop(value)
		case "note":
		default:
			return fmt.Errorf("the key %.80q is not known; an entry has query, expect, k, grades and note", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if q.expect == nil {
		q.expect = graded
	}
	switch {
	case q.query == "":
		return errors.New("has no query")
	case len(q.expect) == 0:
		return errors.New("expects no id, so it would test nothing")
	}
	q.k = cmp.Or(q.k, max(goldenK, min(len(q.expect), goldenMaxK)))
	if len(q.expect) > q.k {
		return fmt.Errorf("expects %d ids among the first %d", len(q.expect), q.k)
	}
	return nil
}

func goldenText(raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil || strings.TrimSpace(s) == "" {
		return "", errors.New("is not a text")
	}
	return s, nil
}

// goldenIDs reads a list of ids; a number is the id that it is written as. None is nil.
func goldenIDs(raw json.RawMessage) (ids []string, err error) {
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

// goldenGrades reads grades by id and returns the ids that are of use, best first.
func goldenGrades(raw json.RawMessage) (ids []string, err error) {
	var grades map[string]float64
	if json.Unmarshal(raw, &grades) != nil {
		return nil, errors.New(`is not an object of grades, as {"V-001":3}`)
	}
	for id, g := range grades {
		if g != float64(int(g)) || g < 0 || g > goldenGrade || id == "" {
			return nil, fmt.Errorf("%.80q has the grade %v; grades are 0 to %d", id, g, goldenGrade)
		}
		if g > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(grades[b], grades[a]), cmp.Compare(a, b))
	})
	return ids, nil
}

// goldenTop reads k; 0 and null are the default.
func goldenTop(raw json.RawMessage) (int, error) {
	var k float64
	if json.Unmarshal(raw, &k) != nil || k != float64(int(k)) || k < 0 || k > goldenMaxK {
		return 0, fmt.Errorf("%.80s is not 1 to %d", raw, goldenMaxK)
	}
	return int(k), nil
}
