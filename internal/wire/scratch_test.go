package wire

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// left lists what is below dir, by its name without what makes it unique.
func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestScratchOfProcessesThatWereKilledGoes(t *testing.T) {
	s := Store{LocalDir: t.TempDir()}
	dir := filepath.Join(s.LocalDir, "indexer")
	for _, name := range []string{"scratch/source", "plan-1/source", "diff-1/x/documents.jsonl", "eval-1/x/documents.jsonl", "import-1/segment", "private-1/scratch/source", "ledger/aa/1.seg", "theirs/file"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("personal"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	owner, release, err := s.Scratch("indexer")
	if err != nil || owner != dir {
		t.Fatalf("%s, %v", owner, err)
	}
	if names := left(t, dir); !slices.Equal(names, []string{"ledger", "lock", "theirs"}) {
		t.Errorf("left: %v", names)
	}

	// Beside the owner: a folder of one's own, which nobody drops while it is used.
	beside, releaseBeside, err := s.Scratch("indexer")
	if err != nil || filepath.Dir(beside) != dir {
		t.Fatalf("%s, %v", beside, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "plan-of-the-owner"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "private-dead", "scratch"), 0o700); err != nil {
		t.Fatal(err)
	}
	third, releaseThird, err := s.Scratch("indexer")
	if err != nil || third == beside {
		t.Fatalf("%s, %v", third, err)
	}
	want := []string{"ledger", "lock", "plan-of-the-owner", filepath.Base(beside), filepath.Base(third), "theirs"}
	slices.Sort(want)
	if names := left(t, dir); !slices.Equal(names, want) {
		t.Errorf("left %v, want %v", names, want)
	}
	releaseBeside()
	releaseThird()
	release()
	if _, release, err = s.Scratch("indexer"); err != nil {
		t.Fatal(err)
	}
	release()
	if names := left(t, dir); !slices.Equal(names, []string{"ledger", "lock", "theirs"}) {
		t.Errorf("at the end: %v", names)
	}
}
