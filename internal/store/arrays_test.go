package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestArraysComeBackAsTheyWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arrays")
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 200), 0, 8).Draw(rt, "arrays")
		if err := store.WriteArrays(path, want); err != nil {
			rt.Fatal(err)
		}
		mapped, got, err := store.OpenArrays(path)
		if err != nil {
			rt.Fatal(err)
		}
		defer mapped.Close()
		if len(got) != len(want) {
			rt.Fatalf("%d arrays, want %d", len(got), len(want))
		}
		for i := range want {
			if diff := cmp.Diff(string(want[i]), string(got[i])); diff != "" {
				rt.Errorf("array %d: %s", i, diff)
			}
		}
	})
}

// Any cut and any changed byte of the head is refused or leads to views inside of the file; the fuzzing of the rooms'
// own checks goes on from there.
func TestDamagedArraysAreRefusedOrStayInside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arrays")
	if err := store.WriteArrays(path, [][]byte{[]byte("first"), nil, []byte("third array")}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sum byte
	open := func(data []byte) (total int, err error) {
		if err := os.WriteFile(path+".bad", data, 0o600); err != nil {
			t.Fatal(err)
		}
		mapped, views, err := store.OpenArrays(path + ".bad")
		if err != nil {
			return 0, err
		}
		defer mapped.Close()
		for _, v := range views {
			for _, b := range v { // reads every byte: outside of the file this is a fault
				sum += b
			}
			total += len(v)
		}
		return total, nil
	}
	for n := range whole {
		if _, err := open(whole[:n]); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("the first %d of %d bytes: %v, want snapshot.ErrCorrupt", n, len(whole), err)
		}
	}
	for i := range 8 + 8 + 3*8 {
		bad := append([]byte(nil), whole...)
		for _, bit := range []byte{0x01, 0x10, 0x80} {
			bad[i] = whole[i] ^ bit
			if total, err := open(bad); err == nil && total > len(bad) {
				t.Errorf("byte %d: views of %d bytes in a file of %d", i, total, len(bad))
			}
		}
	}
}
