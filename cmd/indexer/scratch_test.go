package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/wire"
)

// What a command that was killed left, records of a snapshot among it, is gone once another one begins.
func TestCommandsDropWhatKilledOnesLeft(t *testing.T) {
	a := &app{store: wire.Store{LocalDir: t.TempDir()}}
	left := filepath.Join(a.store.LocalDir, commandScratch, "eval-killed", "documents.jsonl")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("personal"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, release, err := a.scratch("diff")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	release()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a command left its own: %v", err)
	}
}
