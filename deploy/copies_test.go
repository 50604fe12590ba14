package deploy

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// TestNothingLiesAboutForAnOldServiceToLoad: beside a service that still runs, no copies of ours that it would take for its own.
func TestNothingLiesAboutForAnOldServiceToLoad(t *testing.T) {
	files, err := filepath.Glob("params/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	beside := 0
	for _, f := range files {
		var p struct{ Present, Parameters map[string]string }
		if err := json.Unmarshal([]byte(readFile(t, f)), &p); err != nil {
			t.Fatal(err)
		}
		if p.Present["Service"] == "" || p.Parameters["TakeTraffic"] == "all" {
			continue
		}
		if beside++; p.Parameters["LegacyCopies"] != "off" {
			t.Errorf("%s runs beside %s with LegacyCopies %q", f, p.Present["Service"], p.Parameters["LegacyCopies"])
		}
	}
	if beside == 0 {
		t.Error("no parameters file is of an account with an old service")
	}
}
