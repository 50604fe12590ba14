package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The build context is an allow-list, and `make binaries` runs on nothing but it: a makefile, package or embedded file
// that is left out fails here in a second, and not after minutes of an image build.
func TestContextHoldsAllThatTheBuildReads(t *testing.T) {
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &stage{build: &build{repo: repo}, root: dir, workdir: "/"}
	ignored, err := s.ignore()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.copyContext(".", dir, ignored); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"make", "--dry-run", "binaries", "VERSION=" + wantVersion, "COMMIT=unknown"},
		{"go", "list", "-deps", "./cmd/indexer", "./cmd/server"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		// As in the build: no workspace, no flags and no make of this test around it.
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "MAKEFLAGS=", "MAKELEVEL=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	for _, gone := range []string{"deploy/params", "testdata", "docs", "README.md"} {
		if _, err := os.Stat(filepath.Join(dir, gone)); err == nil {
			t.Errorf("%s is in the build context", gone)
		}
	}
}
