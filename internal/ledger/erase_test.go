package ledger_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// vectorBytes is how a vector stands in a segment.
func vectorBytes(i int) []byte {
	var b []byte
	for _, x := range vectorOf(i) {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// anywhere lists where the vector of i stands, in the store and in the local copy.
func (r *ledgerRig) anywhere(i int) (places []string) {
	for _, key := range r.mem.Keys("") {
		if bytes.Contains(r.mem.Data(key), vectorBytes(i)) {
			places = append(places, key)
		}
	}
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, vectorBytes(i)) {
			places = append(places, path)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return places
}

func erase(r *ledgerRig, g *ledger.Ledger, before func() error, keep ...int) (int, error) {
	needed := map[ledger.Key]bool{}
	for _, i := range keep {
		needed[ledgerKey(i)] = true
	}
	return g.Erase(r.t.Context(), func(k ledger.Key) bool { return needed[k] }, func(context.Context) error { return before() })
}

func goOn() error { return nil }

func TestEraseLeavesOnlyWhatIsKept(t *testing.T) {
	r := newLedgerRig(t)
	other := embedding
	other.Model = "another"
	if err := r.openSpace(other).Flush(t.Context(), []ledger.Key{{1}}, vectorOf(1), other.Dims); err != nil {
		t.Fatal(err)
	}
	g := r.open()
	r.flushed(g, 0, 1, 2)
	untouched := r.flushed(g, 3, 4)
	bad := r.flushed(g, 5)
	compact(t, g, 1<<60, upTo(5)...) // dates 5 as unused
	if n, err := erase(r, g, goOn, 0, 2, 3, 4); err != nil || n == 0 {
		t.Fatalf("%d, %v", n, err)
	}
	for _, gone := range []int{1, 5} {
		if at := r.anywhere(gone); len(at) > 0 {
			t.Errorf("vector %d is still in %v", gone, at)
		}
	}
	holds(t, g, 6, 0, 2, 3, 4)
	holds(t, r.reopen(), 6, 0, 2, 3, 4)
	if len(r.mem.Data(untouched)) == 0 || len(r.mem.Data(bad)) != 0 {
		t.Errorf("a segment of kept rows must stay, one without must go: %v", r.mem.Keys(""))
	}
	if n, err := erase(r, r.open(), goOn, 0, 2, 3, 4); n != 0 || err != nil {
		t.Errorf("again: %d, %v; want nothing to do", n, err)
	}
}

func TestEraseGoesOnWhereItWasStopped(t *testing.T) {
	stop := errors.New("stop")
	for deletions := range 4 {
		r := newLedgerRig(t)
		g := r.open()
		r.flushed(g, 0, 1)
		r.flushed(g, 1, 2, 3)
		damaged := r.flushed(g, 7)
		r.mem.Corrupt(damaged, func(b []byte) []byte { b[len(b)-1]++; return b })
		g = r.reopen()
		left := deletions
		_, err := erase(r, g, func() error {
			if left--; left < 0 {
				return stop
			}
			return nil
		}, 0, 3)
		if deletions < 3 && !errors.Is(err, stop) {
			t.Fatalf("stopped before deletion %d: %v", deletions, err)
		}
		r.dir = t.TempDir()
		if _, err := erase(r, r.open(), goOn, 0, 3); err != nil {
			t.Fatal(err)
		}
		for _, gone := range []int{1, 2, 7} {
			if at := r.anywhere(gone); len(at) > 0 {
				t.Errorf("stopped before deletion %d: vector %d is still in %v", deletions, gone, at)
			}
		}
		holds(t, r.reopen(), 8, 0, 3)
	}
}

func TestEraseLeavesALedgerThatAnotherWriterChanged(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	key := r.flushed(g, 1)
	if err := r.mem.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := erase(r, g, goOn); !errors.Is(err, store.ErrConflict) {
		t.Errorf("%v", err)
	}
}
