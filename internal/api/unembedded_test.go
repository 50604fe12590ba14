package api

import (
	"fmt"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
)

// Of the catalogue's five records the last two have no vector: V-004 and V-005.
func bare(t *testing.T, plain bool) *replica {
	w := followtest.New(t)
	w.Bare, w.Plain = 2, plain
	p := w.Publish(followtest.Catalogue())
	r := start(t, w)
	r.serving(p.ID)
	return r
}

func TestRecordsWithoutVectorsAreFoundByWordsAndLastByMeaning(t *testing.T) {
	for _, plain := range []bool{false, true} {
		r := bare(t, plain)
		for body, want := range map[string]string{
			// By meaning: last, only to fill min(k, matching), score 0.
			`{"query":"ゼロトラストの認証基盤","mode":"semantic","k":5}`:                                          "all, V-004 and V-005 last with 0",
			`{"query":"ゼロトラストの認証基盤","mode":"semantic","k":3}`:                                          "3 with vectors",
			`{"query":"ゼロトラストの認証基盤","mode":"semantic","k":5,"filter":{"vendor_id":["V-005","V-001"]}}`: "V-001 V-005",
			`{"query":"ゼロトラストの認証基盤","mode":"semantic","k":5,"filter":{"vendor_id":"V-005"}}`:           "V-005",
			`{"query":"ゼロトラストの認証基盤","mode":"semantic","k":1,"filter":{"vendor_id":["V-005","V-001"]}}`: "V-001",
			// By words.
			`{"query":"セキュアゲート","mode":"lexical","k":1}`:                         "V-005",
			`{"query":"セキュアゲート","k":1}`:                                          "V-005",
			`{"query":"GateKey 3","k":1}`:                                        "V-005",
			`{"query":"セキュアゲート","k":5,"filter":{"vendor_id":["V-005","V-004"]}}`: "V-005 V-004",
			`{"filter":{"vendor_id":["V-005","V-004","V-001"]}}`:                 "V-001 V-004 V-005",
		} {
			a := r.search(body)
			ids := a.ids()
			switch want {
			case "all, V-004 and V-005 last with 0":
				if len(ids) != 5 || !slices.Equal(ids[3:], []string{"V-004", "V-005"}) || a.Results[3].Score != 0 || a.Results[4].Score != 0 {
					t.Errorf("%s: %v", body, ids)
				}
			case "3 with vectors":
				if len(ids) != 3 || slices.Contains(ids, "V-004") || slices.Contains(ids, "V-005") {
					t.Errorf("%s: %v", body, ids)
				}
			default:
				if got := fmt.Sprint(ids); got != "["+want+"]" {
					t.Errorf("%s: got %s, want %s", body, got, want)
				}
			}
		}
		if a := r.search(`{"query":"セキュアゲート","k":5}`); len(a.ids()) != 5 {
			t.Errorf("hybrid: %v", a.ids())
		}
	}
}

func TestHealthCountsVectorsAndRecords(t *testing.T) {
	r := bare(t, false)
	if h := getJSON[healthBody](r, "/health"); h.Vectors != 3 || h.Records != 5 {
		t.Errorf("health %+v", h)
	}
}
