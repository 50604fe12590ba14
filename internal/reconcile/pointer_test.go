package reconcile

import (
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Why what is found under the pointer's key is not believed. Generation 7 of lineage l, snapshot 4, is what was left there a
// minute ago.
func TestWhichPointerIsDoubted(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	left := store.Pointer{Lineage: "l", Generation: 7, PromotedAt: now.Add(-time.Minute)}
	left.ID = snapshotID(4)
	whole := memory{pointer: &left, highest: store.Height{Lineage: "l", Generation: 7}}
	blank := memory{}
	end := memory{highest: store.Height{Lineage: "l", Generation: store.MaxGeneration}}
	height := memory{highest: store.Height{Lineage: "l", Generation: 7}} // by the lease alone
	at := func(lineage string, generation int64, n int) found {
		p := store.Pointer{Lineage: lineage, Generation: generation}
		p.ID = snapshotID(n)
		return found{&p, "etag"}
	}
	for _, c := range []struct {
		what string
		m    memory
		f    found
		want reason
	}{
		{"as it was left", whole, at("l", 7, 4), ""},
		{"promoted by an operator since", whole, at("l", 8, 5), ""},
		{"nothing", whole, found{}, pointerDeleted},
		{"nothing, and nothing is remembered", blank, found{}, pointerDeleted},
		{"no pointer", whole, found{etag: "etag"}, pointerInvalid},
		{"any, and nothing is remembered", blank, at("k", 99, 9), ""},
		{"of an earlier day", whole, at("l", 6, 3), pointerOlder},
		{"of an earlier day, by the lease alone", height, at("l", 6, 3), pointerOlder},
		{"as high, by the lease alone", height, at("l", 7, 9), ""},
		{"of another lineage", whole, at("k", 8, 4), pointerForeign},
		{"of another lineage, after the end of the last", end, at("k", 1, 4), ""},
		{"the same generation, another snapshot", whole, at("l", 7, 5), pointerEdited},
		{"as far ahead as a minute allows", whole, at("l", store.Plausible(7, left.PromotedAt, now), 5), ""},
		{"farther ahead", whole, at("l", store.Plausible(7, left.PromotedAt, now)+1, 5), pointerAhead},
	} {
		if got := c.m.doubt(c.f, now); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
