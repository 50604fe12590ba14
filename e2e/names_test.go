package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// Names are found as people type them: the beginning of one, and without what stands in it unseen.
func TestNamesAreFoundAsTheyAreTyped(t *testing.T) {
	t.Parallel()
	unseen := []map[string]string{
		{"id": "IVS", "name": "葛\U000E0100城物産", "description": "農産物"},
		{"id": "IVS2", "name": "辻\U000E0101本工務店", "description": "工事"},
		{"id": "ZWSP", "name": "桜\u200b木電機", "description": "電気"},
		{"id": "SHY", "name": "栄\u00ad和興業", "description": "運送"},
		{"id": "MINUS", "name": "AX\u2212200計器", "description": "計測"},
		{"id": "NDASH", "name": "BX\u2013300計器", "description": "計測"},
	}
	for i := range 200 {
		unseen = append(unseen, map[string]string{"id": fmt.Sprint("V-", i), "name": fmt.Sprintf("試験会社%d号", i), "description": fmt.Sprintf("%d番の倉庫と配送を管理する", i)})
	}
	hidden, err := json.Marshal(map[string]any{"vendors": unseen})
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"hybrid", "lexical"}
	for _, c := range []struct {
		catalogue string
		modes     []string
		first     map[string]string
	}{
		{`{"vendors":[{"id":"001","name":"ベンダーA"},{"id":"002","name":"ベンダーB (updated)"}]}`, words,
			map[string]string{"ベンダーB": "002", "べんだーｂ": "002", "ベンダーB (up": "002", "ベンダーB (updated)": "002", "ベンダーA": "001"}},
		{string(hidden), append(words, "semantic"),
			map[string]string{"葛城": "IVS", "葛城物": "IVS", "辻本": "IVS2", "桜木": "ZWSP", "桜\u200b木電機": "ZWSP", "栄和興": "SHY", "AX200": "MINUS", "ax-200": "MINUS", "BX300": "NDASH"}},
	} {
		b := dirBackend(t)
		b.put(t, b.layout.Source, []byte(c.catalogue))
		if _, stderr, code := harness.Run(t, "indexer", b.env, "reconcile", "--once"); code != 0 {
			t.Fatal(stderr)
		}
		s := harness.StartServer(t, b.env)
		s.Await(t, "server ready", 1)
		for query, want := range c.first {
			for _, mode := range c.modes {
				body, _ := json.Marshal(map[string]any{"query": query, "mode": mode, "k": 3})
				found, err := harness.Search(s.URL, string(body))
				if err != nil || len(found.Results) == 0 || found.Results[0].ID != want {
					t.Errorf("%s: %+q finds %+v, want %s first: %v", mode, query, found.Results, want, err)
				}
			}
		}
		s.Signal(2)
	}
}
