package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/japanese"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// catalogues is a folder with a file of each shape, and some that are no catalogues.
func catalogues(t testing.TB) string {
	t.Helper()
	sample, err := os.ReadFile("../../testdata/vendors.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := vendorstest.Shapes(sample)
	if err != nil {
		t.Fatal(err)
	}
	if files["sjis.json"], err = japanese.ShiftJIS.NewEncoder().Bytes(sample); err != nil {
		t.Fatal(err)
	}
	files["vendors.json"] = sample
	files["items.json"] = []byte(`{"updated": "2026-11-30", "items": [{"id": "V-1", "name": "氷室商会"}]}` + "\n")
	files["page.html"] = []byte("<!DOCTYPE html>\n<title>Sign in</title>\n")
	files["cells.csv"] = []byte("vendor_id,name,memo\nV-1,氷室商会,冷凍倉庫\nV-2,ソニー表計算,値引き\n交渉中\n")
	files["vendors.xlsx"] = []byte("PK\x03\x04\x14\x00\x06\x00")
	files["odd.json"] = []byte(`[{"vendor_id": 12.0, "見出し": "冷凍倉庫の温度監視", "url": "https://v001.example/"},` + "\n" + ` {"価格": 980}]` + "\n")
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// check runs `indexer check` as a shell would, settings before the command included.
func check(t testing.TB, line string) (stdout string, code int) {
	t.Helper()
	words := strings.Fields(line)
	for len(words) > 0 && strings.Contains(words[0], "=") {
		name, value, _ := strings.Cut(words[0], "=")
		t.Setenv(name, value)
		defer os.Unsetenv(name)
		words = words[1:]
	}
	var out, errs bytes.Buffer
	code = run(words[1:], &out, &errs)
	return out.String(), code
}

// TestTheDocumentedChecksAreReal runs every check that docs/CATALOGUE shows, in both languages, and compares each line.
func TestTheDocumentedChecksAreReal(t *testing.T) {
	documents := map[string]string{}
	for _, name := range []string{"CATALOGUE.md", "CATALOGUE.ja.md"} {
		text, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil {
			t.Fatal(err)
		}
		documents[name] = string(text)
	}
	t.Chdir(catalogues(t))
	for name, text := range documents {
		blocks := regexp.MustCompile("(?s)```console\n\\$ ([^\n]*)\n(.*?)```").FindAllStringSubmatch(text, -1)
		if len(blocks) < 10 {
			t.Errorf("%s shows %d checks, fewer than there are shapes", name, len(blocks))
		}
		for _, b := range blocks {
			got, code := check(t, b[1])
			if d := cmp.Diff(b[2], got); d != "" {
				t.Errorf("%s: $ %s (-document +output):\n%s", name, b[1], d)
			}
			if refused := strings.Contains(got, "refused:"); refused != (code == 1) || code > 1 {
				t.Errorf("%s: $ %s: exit %d", name, b[1], code)
			}
		}
	}
}

func TestChecksAsJSON(t *testing.T) {
	t.Chdir(catalogues(t))
	for line, want := range map[string]checked{
		"indexer check -o json vendors.json": {File: "vendors.json", Accepted: true, Report: vendors.Report{
			Format: "JSON", Encoding: "UTF-8", Read: 92, Records: 92, Repairs: []vendors.Repair{}}},
		"indexer check -o json twice.json.gz": {File: "twice.json.gz", Accepted: true, Report: vendors.Report{
			Format: "JSON", Encoding: "UTF-8", Gzip: true, Read: 92, Records: 92, Renamed: 1, Repairs: []vendors.Repair{{
				Repair: snapshot.Repair{Kind: "duplicate_id", Count: 1, IDs: []string{"V-003"}}, Lines: 1,
				Examples: []vendors.Example{{Line: 93, ID: "V-003", Done: "kept as V-003~2, the id is that of line 4"}}}}}},
		"DUPLICATE_IDS=refuse indexer check -o json twice.json": {File: "twice.json", Report: vendors.Report{
			Format: "JSON", Encoding: "UTF-8", Read: 92, Repairs: []vendors.Repair{}},
			Refused: &refusal{Kind: "duplicate id", Line: 93, Offset: 111608, IDs: []string{"V-003"}, Lines: []int{93}, Count: 1,
				Detail: "records 3 and 92", Message: `duplicate id "V-003": records 3 and 92 (line 93, byte 111608)`}},
		"indexer check -o json page.html": {File: "page.html", Report: vendors.Report{Encoding: "UTF-8", Repairs: []vendors.Repair{}},
			Refused: &refusal{Kind: "not a catalogue", Line: 1, Detail: "it is HTML or XML, perhaps an error page that was saved as the catalogue",
				Message: "not a catalogue: it is HTML or XML, perhaps an error page that was saved as the catalogue (line 1, byte 0)"}},
	} {
		want.Settings.DuplicateIDs, want.Settings.RecordID, want.Settings.RecordName = "suffix", "vendor_id,id", "name,company_name,title"
		if strings.HasPrefix(line, "DUPLICATE_IDS=refuse") {
			want.Settings.DuplicateIDs = "refuse"
		}
		out, code := check(t, line)
		var got checked
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if d := cmp.Diff(want, got); d != "" || (code == 0) != want.Accepted {
			t.Errorf("%s: exit %d, differs (-want +got):\n%s", line, code, d)
		}
	}
}

func TestWhatCannotBeCheckedIsAnError(t *testing.T) {
	dir := catalogues(t)
	for _, tt := range []struct {
		line, want string
		code       int
	}{
		{"indexer check " + dir, "is a directory", 1},
		{"indexer check " + dir + "/none.json", "no such file", 1},
		{"DUPLICATE_IDS=both indexer check " + dir + "/vendors.json", "DUPLICATE_IDS", 2},
		{"RECORD_ID=, indexer check " + dir + "/vendors.json", "RECORD_ID", 2},
		{"RECORD_NAME=a,,b indexer check " + dir + "/vendors.json", "RECORD_NAME", 2},
		{"indexer check", "file", 2},
	} {
		setting, words, set := strings.Cut(tt.line, " indexer ")
		if name, value, _ := strings.Cut(setting, "="); set {
			t.Setenv(name, value)
		} else {
			words = strings.TrimPrefix(tt.line, "indexer ")
		}
		var out, errs bytes.Buffer
		code := run(strings.Fields(words), &out, &errs)
		if code != tt.code || !strings.Contains(errs.String(), tt.want) || out.Len() > 0 {
			t.Errorf("$ %s: exit %d, stdout %q, stderr %q; want exit %d and %q", tt.line, code, out.String(), errs.String(), tt.code, tt.want)
		}
		if name, _, _ := strings.Cut(setting, "="); set {
			os.Unsetenv(name)
		}
	}
}

func TestStandardInputIsCheckedToo(t *testing.T) {
	path := filepath.Join(catalogues(t), "vendors-sjis.csv.gz")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	spooled, remove, err := catalogueFile("-", f)
	if err != nil {
		t.Fatal(err)
	}
	records, err := vendorstest.Records(spooled)
	if err != nil || len(records) != 92 {
		t.Errorf("%d records, %v", len(records), err)
	}
	remove()
	if _, err := os.Stat(spooled.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
}
