package view_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// When the nearest are nearly all dead there are as many results as ever, with a second look and no third.
func TestTheDeadDoNotPushTheLivingOut(t *testing.T) {
	w := followtest.New(t)
	all := followtest.Versioned(1, 80)
	dir := t.TempDir()
	m := w.Write(dir, all)
	base, err := view.Open(m, dir, new(followtest.Openers), followtest.Embedder, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	q := followtest.Gram("冷凍倉庫")
	nearest, scores, err := base.Search(q, len(all), nil)
	if err != nil {
		t.Fatal(err)
	}
	const dead, k = 60, 5
	var gone, left []string
	for i, raw := range all {
		if at := slices.Index(nearest, int64(i)); at < dead {
			d, err := base.Doc(i)
			if err != nil {
				t.Fatal(err)
			}
			gone = append(gone, d.ID)
		} else {
			left = append(left, raw)
		}
	}
	next := t.TempDir()
	edited := w.WriteDelta(next, m, strings.Repeat("0", 64), 0, followtest.Change{Gone: gone}, left)
	for _, f := range edited.Files {
		from := filepath.Join(dir, f.Name)
		if f.From == "" {
			from = filepath.Join(next, f.Name)
		}
		to := filepath.Join(next, edited.LocalName(f))
		_ = os.Remove(to) // what the delta was made of
		if err := os.Link(from, to); err != nil {
			t.Fatal(err)
		}
	}
	v, err := view.Open(edited, next, new(followtest.Openers), followtest.Embedder, base)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	pos, got, err := v.Search(q, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(nearest[dead:dead+k], pos) + cmp.Diff(scores[dead:dead+k], got); d != "" {
		t.Error(d)
	}
}
