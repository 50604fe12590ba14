package filter_test

import (
	"cmp"
	"fmt"
	"slices"
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
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
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
