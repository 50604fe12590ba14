package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// reversed is a catalogue of one record a line in another order.
func reversed(catalogue []byte) []byte {
	lines := strings.Split(strings.Trim(string(catalogue), "[]\n"), ",\n")
	slices.Reverse(lines)
	return []byte("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}

// TestCataloguesOfEveryShapeAreServed takes a team's catalogues as they are: repeated ids, no ids, tables, Shift_JIS, JSON
// Lines, each compressed too. No other order and no other form of the same records buys a text again.
func TestCataloguesOfEveryShapeAreServed(t *testing.T) {
	t.Parallel()
	shapes, err := vendorstest.Shapes(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	first := "株式会社ホクト低温ロジテック"
	for _, tt := range []struct {
		shape, again string // the same records once more
		records      int
		clean        string   // what CatalogueClean says, "" = it is True
		ids          []string // that are served
		query        string
		want         []string // ids that are found, best first
	}{
		{"twice.json", "reversed", 92, "repeated ids: 1 (V-003), 1 record renamed, 0 left out", []string{"V-001", "V-003", "V-003~2", "V-091"}, first, []string{"V-001"}},
		{"repeated.json", "reversed", 103, "repeated ids: 13 (V-001, V-006, V-011, V-016, V-021, V-026, V-031, V-036, V-041, V-046 and 3 more), 12 records renamed, 4 left out",
			[]string{"V-001", "V-021~2", "V-061~2", "V-061~3", "V-091"}, "V-061", []string{"V-061", "V-061~2", "V-061~3"}},
		{"pages.json", "pages.json.gz", 92, "records without an id: 92", []string{first}, first, []string{first}},
		{"vendors.csv", "vendors-sjis.csv", 92, "records without an id: 92", []string{first}, first, []string{first}},
		{"vendors-sjis.csv", "vendors.csv.gz", 92, "Shift_JIS", []string{first}, first, []string{first}},
		{"vendors.jsonl", "vendors.jsonl.gz", 92, "", []string{"V-001", "V-092"}, first, []string{"V-001"}},
	} {
		t.Run(tt.shape, func(t *testing.T) {
			t.Parallel()
			b := dirBackend(t)
			srv, env := buying(t, b, embedtest.Options{})
			env = with(env, "GATE_MAX_REMOVED", "0") // not one id may go
			b.put(t, b.layout.Source, shapes[tt.shape])
			b.put(t, b.layout.Golden(), fmt.Appendf(nil, `[{"query":%q,"expect":[%q],"k":100}]`, first, tt.ids[len(tt.ids)-1]))
			once(t, env)
			p := b.pointer(t)
			if p.Source.Records != tt.records || p.Stats.Vectors != tt.records {
				t.Errorf("%d records, %d vectors, want %d", p.Source.Records, p.Stats.Vectors, tt.records)
			}
			c := condition(statusOf(t, b), reconcile.CatalogueClean)
			if (c.Status == "True") != (tt.clean == "") || !strings.Contains(c.Message, tt.clean) {
				t.Errorf("CatalogueClean is %s: %s; want %q", c.Status, c.Message, tt.clean)
			}
			s := harness.StartServer(t, env)
			s.Await(t, "server ready", 1)
			serves(t, s, tt.ids, tt.query, tt.want)

			again := shapes[tt.again]
			if tt.again == "reversed" {
				again = reversed(shapes[tt.shape])
			}
			bought := srv.Stats().Texts
			b.put(t, b.layout.Source, again)
			out, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--dry-run", "-o", "json")
			if plan := decode[reconcile.PlanReport](t, out); code != 0 || plan.Texts != 0 || plan.Added != 0 || plan.Removed != 0 {
				t.Errorf("dry run: exit %d, %+v %s", code, plan, stderr)
			}
			once(t, env)
			p = b.pointer(t)
			if srv.Stats().Texts != bought || p.Stats.Embedded != 0 || p.Stats.Added != 0 || p.Stats.Removed != 0 {
				t.Errorf("%d texts were bought again, the manifest says %+v", srv.Stats().Texts-bought, p.Stats)
			}
			harness.AwaitHealth(t, s, "snapshot", p.ID)
			serves(t, s, tt.ids, tt.query, tt.want)
			refusesStrictly(t, env, tt.clean)
		})
	}
}

func once(t *testing.T, env map[string]string) {
	t.Helper()
	if _, stderr, code := harness.Run(t, "indexer", env, "reconcile", "--once"); code != 0 {
		t.Fatalf("reconcile: exit %d %s", code, stderr)
	}
}

// serves checks that records are there under their ids, and that a query finds some.
func serves(t *testing.T, s *harness.Server, ids []string, query string, want []string) {
	t.Helper()
	for _, id := range ids {
		if a := harness.Get(t, s.URL+"/vendors/"+url.PathEscape(id)); a.Code != http.StatusOK {
			t.Errorf("GET /vendors/%s: %d %.200s", id, a.Code, a.Body)
		}
	}
	f, err := harness.Search(s.URL, fmt.Sprintf(`{"query":%q,"k":5}`, query))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range f.Results {
		if got = append(got, r.ID); strings.Contains(r.ID, "~") && strings.HasPrefix(r.ID, fmt.Sprint(r.Metadata["vendor_id"], "~")) == false {
			t.Errorf("%s has vendor_id %v", r.ID, r.Metadata["vendor_id"])
		}
	}
	head := slices.Sorted(slices.Values(got[:min(len(want), len(got))]))
	if !slices.Equal(head, slices.Sorted(slices.Values(want))) {
		t.Errorf("%s found %v, want %v first", query, got, want)
	}
}

// refusesStrictly: DUPLICATE_IDS=refuse names the ids of a catalogue that repeats some.
func refusesStrictly(t *testing.T, env map[string]string, clean string) {
	t.Helper()
	if !strings.HasPrefix(clean, "repeated ids") {
		return
	}
	_, stderr, code := harness.Run(t, "indexer", with(env, "DUPLICATE_IDS", "refuse"), "reconcile", "--once", "--yes")
	if code != 1 || !strings.Contains(stderr, `duplicate id \"V-0`) {
		t.Errorf("DUPLICATE_IDS=refuse: exit %d %s", code, stderr)
	}
}

// TestNumbersOfATableAreNumbersToFilters serves a CSV, in which every cell is a string.
func TestNumbersOfATableAreNumbersToFilters(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, []byte("id,name,score.total,code\nA,氷室商会,12.50,007\nB,北辰倉庫,7,7\nC,雲海運輸,,12.5\nD,白鷺物流,70,x\n"))
	once(t, b.env)
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)
	for filter, want := range map[string]string{
		`{"score.total":{"gte":7,"lt":13}}`: "A B", `{"score.total":{"gt":12.5}}`: "D", `{"score.total":12.5}`: "A", `{"score.total":"7"}`: "B",
		`{"score.total":{"exists":false}}`: "C", `{"code":7}`: "B", `{"code":"007"}`: "A", `{"code":{"lte":12.5}}`: "B C",
	} {
		f, err := harness.Search(s.URL, `{"filter":`+filter+`}`)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range f.Results {
			got = append(got, r.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %v, want %s", filter, got, want)
		}
	}
	a := harness.Get(t, s.URL+"/vendors/A")
	if !bytes.Contains(a.Body, []byte(`"score":{"total":"12.50"},"code":"007"`)) {
		t.Errorf("the record is %s", a.Body)
	}
}
