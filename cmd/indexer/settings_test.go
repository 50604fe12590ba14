package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

// An indexer that takes nothing over but what is signed, and signs nothing, would build a snapshot at every pass and
// promote none: it does not start. Who only looks needs no key to sign with.
func TestWhoTakesOnlySignedSnapshotsSigns(t *testing.T) {
	private, public, err := store.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	indexer := func(args ...string) (code int, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		code = run(append([]string{"--store-dir", filepath.Join(dir, "store"), "--local-dir", filepath.Join(dir, "local"), "--manifest-keys", public.String()}, args...), &out, &errs)
		return code, errs.String()
	}
	local := []string{"--embedding-provider", "local"}
	for _, command := range [][]string{{"run", "--admin-addr", "127.0.0.1:0"}, {"reconcile", "--once"}} {
		code, stderr := indexer(append(command, local...)...)
		if code != wire.ExitUsage || !strings.Contains(stderr, "SIGNING_KEY") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit %d, %q", command, code, stderr)
		}
	}
	for _, command := range [][]string{append([]string{"reconcile", "--once", "--signing-key", private}, local...), append([]string{"gc", "--once"}, local...), {"list"}} {
		if code, stderr := indexer(command...); code == wire.ExitUsage {
			t.Errorf("%v: exit %d, %q", command[0], code, stderr)
		}
	}
}
