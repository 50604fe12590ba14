package filter_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/filter"
)

// joinedRow is a record of a segment: where it stands in the catalogue, and what it is.
type joinedRow struct {
	id  int
	key int
	raw string
}

// drawRaw draws a record with values that repeat, and some that do not.
func drawRaw(t *rapid.T) string {
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		return `{}`
	case 1:
		return fmt.Sprintf(`{"type":%q,"n":%d}`, rapid.SampledFrom([]string{"SaaS", "saas", "ＳａａＳ", "SI", "BPO"}).Draw(t, "type"), rapid.IntRange(0, 3).Draw(t, "n"))
	case 2:
		return fmt.Sprintf(`{"type":["SaaS",%q],"listed":%v,"only":{"deep":%d}}`, rapid.StringMatching("[a-c]{1,2}").Draw(t, "text"), rapid.Bool().Draw(t, "listed"), rapid.IntRange(0, 2).Draw(t, "deep"))
	case 3:
		return fmt.Sprintf(`{"rare":%q,"n":%q}`, rapid.StringMatching("[a-z]{3}").Draw(t, "rare"), fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "n")))
	case 4:
		return fmt.Sprintf(`{"type":null,"date":"2026-0%d-01"}`, rapid.IntRange(1, 9).Draw(t, "month"))
	case 5:
		return fmt.Sprintf(`{"items":[{"a":%d,"b":%d},{"a":1}]}`, rapid.IntRange(0, 2).Draw(t, "a"), rapid.IntRange(0, 2).Draw(t, "b"))
	case 6:
		return fmt.Sprintf(`{"n":[1e999,%d],"type":%q}`, rapid.IntRange(0, 3).Draw(t, "n"), rapid.SampledFrom([]string{strings.Repeat("a", 200), strings.Repeat("ａ", 200)}).Draw(t, "long"))
	default:
		return fmt.Sprintf(`{"n":%d.5,"type":%v}`, rapid.IntRange(0, 3).Draw(t, "n"), rapid.Bool().Draw(t, "bool"))
	}
}

// TestJoinedAnswersAsOneWould makes a base and deltas at random and compares every answer with attributes of the records
// that are alive, in catalogue order.
func TestJoinedAnswersAsOneWould(t *testing.T) {
	filters := []string{
		`{}`, `{"type":"SaaS"}`, `{"type":{"ne":"SaaS"}}`, `{"$not":{"type":"si"}}`, `{"n":{"gte":1,"lt":3}}`, `{"rare":{"gte":"b"}}`,
		`{"$or":[{"listed":true},{"n":2}]}`, `{"items":{"elem":{"a":1,"b":2}}}`, `{"date":{"gte":"2026-03-01"}}`, `{"type":{"nin":["SI",null]}}`,
		`{"only.deep":{"exists":true}}`, `{"nothing":"x","only.deep":1}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		newest := map[int]int{} // id → segment that has the last word
		var segments [][]joinedRow
		gone := map[int]int{}
		next := 0
		for s := range rapid.IntRange(1, 4).Draw(t, "segments") {
			var rows []joinedRow
			taken := map[int]bool{}
			for range rapid.IntRange(0, 12).Draw(t, "rows") {
				id := rapid.IntRange(0, 15).Draw(t, "id")
				if taken[id] {
					continue
				}
				taken[id] = true
				if s > 0 && rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
					newest[id], gone[id] = s, s
					continue
				}
				delete(gone, id)
				newest[id] = s
				rows = append(rows, joinedRow{id, next*100 + rapid.IntRange(0, 2000).Draw(t, "key")*10000, drawRaw(t)})
				next++
			}
			slices.SortFunc(rows, func(a, b joinedRow) int { return cmp.Compare(a.key, b.key) })
			segments = append(segments, rows)
		}
		var parts []filter.Part
		var all, live []joinedRow
		for s, rows := range segments {
			dead := roaring.New()
			for i, r := range rows {
				if newest[r.id] != s {
					dead.AddInt(i)
				} else {
					live = append(live, r)
				}
			}
			a, err := stored(len(rows), func(i int) ([]byte, error) { return []byte(rows[i].raw), nil })
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, filter.Part{Attributes: a, Dead: dead, First: uint32(len(all))})
			all = append(all, rows...)
		}
		slices.SortFunc(live, func(a, b joinedRow) int { return cmp.Compare(a.key, b.key) })
		want, err := stored(len(live), func(i int) ([]byte, error) { return []byte(live[i].raw), nil })
		if err != nil {
			t.Fatal(err)
		}
		j := filter.Join(parts, func(a, b uint32) bool { return all[a].key < all[b].key })
		if j.Len() != len(live) || int(j.Live().GetCardinality()) != len(live) {
			t.Fatalf("%d records, want %d", j.Len(), len(live))
		}
		same := func(got []uint32, want []uint32) bool { // got are positions, want records in order
			return slices.EqualFunc(got, want, func(g, w uint32) bool { return all[g].key == live[w].key })
		}
		ordered := func(set *roaring.Bitmap) []uint32 {
			out := set.ToArray()
			slices.SortFunc(out, func(a, b uint32) int { return cmp.Compare(all[a].key, all[b].key) })
			return out
		}
		if d := gocmp.Diff(want.Paths(), j.Paths(), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("paths (-one +joined): %s", d)
		}
		for _, text := range filters {
			f, err := filter.Parse([]byte(text))
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			found, expected := j.Select(f), want.Select(f)
			if !same(ordered(found), expected.ToArray()) {
				t.Fatalf("%s selects %v, want %v", text, ordered(found), expected.ToArray())
			}
			if d := gocmp.Diff(want.Unknown(f), j.Unknown(f)); d != "" {
				t.Fatalf("%s: unknown paths (-one +joined): %s", text, d)
			}
			for _, field := range []string{"type", "n", "listed", "rare", "only.deep", "date", "nothing"} {
				limit := rapid.IntRange(1, 5).Draw(t, "limit")
				if d := gocmp.Diff(want.Facets(field, limit, expected), j.Facets(field, limit, found)); d != "" {
					t.Fatalf("%s within %s (-one +joined): %s", field, text, d)
				}
				if d := gocmp.Diff(want.Facets(field, limit, nil), j.Facets(field, limit, nil)); d != "" {
					t.Fatalf("%s (-one +joined): %s", field, d)
				}
				for _, descending := range []bool{false, true} {
					if got, expected := j.Sorted(field, descending, found, limit), want.Sorted(field, descending, expected, limit); !same(got, expected) {
						t.Fatalf("%s sorted by %s: %v, want %v", text, field, got, expected)
					}
				}
				if j.Has(field) != want.Has(field) {
					t.Fatalf("has %s: %v", field, j.Has(field))
				}
			}
		}
	})
}

// beyond is a base with more paths and values than are indexed, of which one record in fifty is dead, and a tail that has
// the dead ones again, each a new value instead of the old one.
func beyond(t testing.TB, n int, raw func(i, version int) string) (j *filter.Joined, one *filter.Attributes, at func(pos uint32) int) {
	t.Helper()
	const every = 50
	dead := roaring.New()
	for i := 0; i < n; i += every {
		dead.AddInt(i)
	}
	build := func(n int, raw func(i int) string) *filter.Attributes {
		a, err := filter.Build(n, func(i int) ([]byte, error) { return []byte(raw(i)), nil })
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	at = func(pos uint32) int {
		if int(pos) < n {
			return int(pos)
		}
		return (int(pos) - n) * every
	}
	base := build(n, func(i int) string { return raw(i, 0) })
	tail := build(int(dead.GetCardinality()), func(i int) string { return raw(i*every, 1) })
	one = build(n, func(i int) string {
		if i%every == 0 {
			return raw(i, 1)
		}
		return raw(i, 0)
	})
	parts := []filter.Part{{Attributes: base, Dead: dead}, {Attributes: tail, First: uint32(n)}}
	return filter.Join(parts, func(a, b uint32) bool { return at(a) < at(b) }), one, at
}

func TestJoinedIsExactBeyondWhatIsIndexed(t *testing.T) {
	j, one, at := beyond(t, 6000, func(i, version int) string {
		return fmt.Sprintf(`{"unique":"u%d.%d","pair":"p%d","few":%d,"type":%q,"version":%d,"k%d":%d,"o":{"k%d":"x"}}`,
			i, version, i/2, i%7, []string{"SaaS", "ＳＩ", "BPO"}[(i+version)%3], version, i, i%5, i)
	})
	places := func(positions []uint32) (out []uint32) {
		for _, p := range positions {
			out = append(out, uint32(at(p)))
		}
		return out
	}
	for _, text := range []string{
		`{"unique":["u0.0","u0.1","u1.0","u5950.1"]}`, `{"pair":{"gte":"p29"}}`, `{"version":1}`, `{"few":{"gt":2},"type":"si"}`, `{"k5900":{"exists":true}}`,
		`{"$not":{"type":["SaaS",null]}}`, `{"o.k50":"x"}`, `{}`,
	} {
		f, err := filter.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		found, want := j.Select(f), one.Select(f)
		got := places(found.ToArray())
		slices.Sort(got)
		if !slices.Equal(got, want.ToArray()) {
			t.Fatalf("%s selects %d, want %d", text, len(got), want.GetCardinality())
		}
		for _, field := range []string{"pair", "few", "type", "version", "k5900", "o.k50"} {
			for _, descending := range []bool{false, true} {
				if got, want := places(j.Sorted(field, descending, found, 100)), one.Sorted(field, descending, want, 100); !slices.Equal(got, want) {
					t.Fatalf("%s sorted by %s: %v, want %v", text, field, got, want)
				}
			}
			if d := gocmp.Diff(one.Facets(field, 10, want), j.Facets(field, 10, found)); d != "" {
				t.Fatalf("%s within %s (-one +joined): %s", field, text, d)
			}
		}
	}
	for _, field := range []string{"pair", "few", "type", "version", "k5900", "o.k50", "nothing"} {
		if d := gocmp.Diff(one.Facets(field, 10, nil), j.Facets(field, 10, nil)); d != "" {
			t.Fatalf("%s (-one +joined): %s", field, d)
		}
	}
}

// Numbers cost no string its place: they tie with more than are looked at.
func TestJoinedLooksAtAsManyStringsBesideOtherValues(t *testing.T) {
	j, one, _ := beyond(t, 4000, func(i, version int) string {
		if i%2 == 0 {
			return fmt.Sprintf(`{"v":%d}`, i)
		}
		return fmt.Sprintf(`{"v":"text %04d"}`, 4000-i)
	})
	if d := gocmp.Diff(one.Facets("v", 5, nil), j.Facets("v", 5, nil)); d != "" {
		t.Fatalf("(-one +joined): %s", d)
	}
}
