package langchain

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryReleaseIsRead reads what real releases of LangChain saved: testdata/versions.py made the files. Its classes
// moved between modules, and pydantic changed how it pickles.
func TestEveryReleaseIsRead(t *testing.T) {
	want := []Document{
		{"", "株式会社氷室", []byte(`{"vendor_id":"V-001","type":["物流","SaaS"],"engagement":{"status":"面談済","score":7},"source":null}`)},
		{"", "株式会社氷室", []byte(`{"vendor_id":"V-001","type":[],"capital":1.5,"listed":false}`)},
		{"", "Tōkyō Foods 😀", []byte(`{"id":3}`)},
	}
	files, err := filepath.Glob("testdata/versions/*.pkl")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(data)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for i := range got {
			if len(got[i].ID) != 36 {
				t.Errorf("%s: the id of document %d is %q", file, i, got[i].ID)
			}
			got[i].ID = ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}
