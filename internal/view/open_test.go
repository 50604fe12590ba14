package view_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// written opens the files that a world writes of records.
func written(t testing.TB, w *followtest.World, records []string) (*view.View, error) {
	t.Helper()
	dir := t.TempDir()
	return view.Open(w.Write(dir, records), dir, new(followtest.Openers), followtest.Embedder, nil)
}

func selected(t *testing.T, v *view.View, text string) []uint32 {
	t.Helper()
	f, err := filter.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.Select(f).ToArray()
}

// Words and filters come from the snapshot; where it has none, or some that this release does not know, they are made
// from the records. Nobody sees a difference in the answers.
func TestWordsAndFiltersAreMappedOrMade(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w *followtest.World)
		mapped int
	}{
		"mapped":                       {func(*followtest.World) {}, 2},
		"of an older release":          {func(w *followtest.World) { w.Plain = true }, 0},
		"of another version":           {func(w *followtest.World) { w.Spoil = raiseVersion }, 0},
		"of a release with other ones": {func(w *followtest.World) { w.Spoil = func(a [][]byte) [][]byte { return a[:2] } }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := followtest.New(t)
			tt.change(w)
			v, err := written(t, w, followtest.Catalogue())
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if got := v.Mapped(); got != tt.mapped {
				t.Errorf("%d files of arrays are mapped, want %d", got, tt.mapped)
			}
			if pos, _, _ := v.Words("会計", 5, nil); !slices.Equal(pos, []int64{1}) {
				t.Errorf("the words are found in %v", pos)
			}
			if got := selected(t, v, `{"type":["SaaS"]}`); !slices.Equal(got, []uint32{1, 4}) {
				t.Errorf("the filter finds %v", got)
			}
		})
	}
}

func raiseVersion(arrays [][]byte) [][]byte {
	out := slices.Clone(arrays)
	out[0] = slices.Clone(out[0])
	out[0][0]++
	return out
}

// What a view answers is what the records say, also of those without a vector, which come last.
func TestAViewAnswersFromItsRecords(t *testing.T) {
	w := followtest.New(t)
	w.Bare = 2
	v, err := written(t, w, followtest.Catalogue())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Len() != 5 || v.Vectors() != 3 || v.Dims() != followtest.Dims || v.ID() != w.Newest || !v.Shares() || v.SizeBytes() != 4*3*followtest.Dims {
		t.Errorf("%d records, %d x %d vectors in %d bytes, of %s", v.Len(), v.Vectors(), v.Dims(), v.SizeBytes(), v.ID())
	}
	q, err := v.EmbedQuery(context.Background(), "製造業の生産管理")
	if err != nil {
		t.Fatal(err)
	}
	if pos, _, err := v.Search(q, 1, nil); err != nil || pos[0] != 2 {
		t.Errorf("nearest is %v, %v", pos, err)
	}
	pos, ok := v.Find("V-005")
	doc, err := v.Doc(pos)
	if !ok || pos != 4 || err != nil || doc.Name != "セキュアゲート" || !strings.Contains(string(v.Line(pos)), string(doc.Metadata)) {
		t.Errorf("V-005 is %d: %+v, %v", pos, doc, err)
	}
	want := []filter.FacetCount{{Value: "SaaS", Count: 2}, {Value: "SI", Count: 1}}
	if got := v.Facets("type", 2, nil); !cmp.Equal(got, want) {
		t.Errorf("types %v, want %v", got, want)
	}
	if got := v.Facets("nothing", 2, nil); got == nil || len(got) != 0 {
		t.Errorf("no field has %v, want an empty list", got)
	}
}

// Files that do not belong together are not opened, and what was opened of them is closed again.
func TestFilesThatDoNotFitAreRefused(t *testing.T) {
	for name, change := range map[string]func(dir string, m *store.Manifest){
		"fewer vectors than the manifest says": func(_ string, m *store.Manifest) { m.Stats.Vectors++ },
		"other dimensions":                     func(_ string, m *store.Manifest) { m.Spec.Embedding.Dims++ },
		"fewer vectors than records": func(dir string, m *store.Manifest) {
			if err := snapshottest.WriteFile(filepath.Join(dir, snapshot.FileIndex), followtest.Dims, make([]float32, 4*followtest.Dims)); err != nil {
				t.Fatal(err)
			}
			m.Stats.Vectors = 4
		},
	} {
		w, dir, o := followtest.New(t), t.TempDir(), &counting{}
		m := w.Write(dir, followtest.Catalogue())
		change(dir, &m)
		if _, err := view.Open(m, dir, followtest.Opening(nil, o.open), followtest.Embedder, nil); err == nil || o.opened != 1 || o.closed != 1 {
			t.Errorf("%s: %v, %d opened, %d closed", name, err, o.opened, o.closed)
		}
	}
}

// counting counts what becomes of indexes.
type counting struct{ opened, closed int }

type countedIndex struct {
	snapshot.Index
	o *counting
}

func (o *counting) open(path string, p snapshot.IndexParams) (snapshot.Index, error) {
	x, err := new(followtest.Openers).Open(path, p)
	o.opened++
	return countedIndex{x, o}, err
}

func (x countedIndex) Close() error {
	x.o.closed++
	return x.Index.Close()
}
