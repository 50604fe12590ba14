package arrays_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestArraysComeBackAsTheyWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arrays")
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 200), 0, 8).Draw(rt, "arrays")
		if err := arrays.Write(path, want); err != nil {
			rt.Fatal(err)
		}
		mapped, got, err := arrays.Open(path)
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
	if err := arrays.Write(path, [][]byte{[]byte("first"), nil, []byte("third array")}); err != nil {
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
		mapped, views, err := arrays.Open(path + ".bad")
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

func TestElementsAreViewsOfTheirBytes(t *testing.T) {
	want := []uint32{1, 2, 1 << 31}
	array := arrays.Bytes(want)
	got, err := arrays.Of[uint32](array)
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	got[1] = 7
	if want[1] != 7 {
		t.Error("a copy, not a view")
	}
	for name, bad := range map[string][]byte{"cut off": array[:7], "not aligned": array[1:9]} {
		if got, err := arrays.Of[uint32](bad); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}
