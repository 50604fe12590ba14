package reconcile

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// deltaManifest is that of snapshot of[len(of)-1], a delta over the others, the first of which is a full one.
func deltaManifest(of ...int) store.Manifest {
	sha := strings.Repeat("0", 64)
	spec := snapshot.Spec{Embedding: snapshot.Embedding{Provider: "p", Model: "m", Dims: 1}}
	id := snapshotID(of[len(of)-1])
	m := store.Manifest{
		FormatVersion: store.FormatDelta, ID: id, Spec: spec, SpecDigest: spec.Digest(), ContentDigest: sha,
		Base: &store.Base{ID: snapshotID(of[0]), ManifestSHA256: sha},
	}
	for _, name := range []string{snapshot.FileIndex, snapshot.FileDocuments} {
		m.Files = append(m.Files, snapshot.File{Name: name, SHA256: sha, From: m.Base.ID})
	}
	for _, n := range of[1:] {
		f := snapshot.File{Name: snapshot.FileDelta, SHA256: sha}
		if f.From = snapshotID(n); f.From == id {
			f.From = ""
		}
		m.Deltas = append(m.Deltas, store.DeltaRef{ID: snapshotID(n), SHA256: sha})
		m.Files = append(m.Files, f)
	}
	return m
}

// A leader does not look at what the pointer, over which it promotes, names too; an operator looks at everything.
func TestLeaderLooksAtWhatItsPointerDoesNotName(t *testing.T) {
	for name, c := range map[string]struct {
		epoch int64
		from  []int // nil: there is no pointer
		want  []string
	}{
		"leader":             {3, []int{1, 2}, []string{"3/delta", "4/delta"}},
		"leader, other base": {3, []int{0, 2}, []string{"1/documents.jsonl", "1/index.faiss", "3/delta", "4/delta"}},
		"leader, no pointer": {3, nil, []string{"1/documents.jsonl", "1/index.faiss", "2/delta", "3/delta", "4/delta"}},
		"operator":           {0, []int{1, 2}, []string{"1/documents.jsonl", "1/index.faiss", "2/delta", "3/delta", "4/delta"}},
	} {
		t.Run(name, func(t *testing.T) {
			mem, layout := storetest.NewMem(nil), store.NewLayout("p", "")
			m := deltaManifest(1, 2, 3, 4)
			data, err := store.MarshalManifest(m)
			if err != nil {
				t.Fatal(err)
			}
			put := func(key string, data []byte) store.Info {
				info, err := mem.Put(t.Context(), key, data, store.PutOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return info
			}
			put(layout.Manifest(m.ID), data)
			for _, f := range m.Files {
				put(layout.FileKey(m, f), nil)
			}
			p := promotion{layout: layout, by: "us", epoch: c.epoch, manifest: m, sha: store.ManifestDigest(data)}
			if c.from != nil {
				p.over.pointer = &store.Pointer{Manifest: deltaManifest(c.from...), Lineage: "l", Generation: 1}
				p.over.etag = put(layout.Pointer(), []byte("what it read")).ETag
			}
			var mu sync.Mutex
			var looked []string
			p.objects = store.Hooked(mem, func(_ context.Context, op, key string, call func() error) error {
				id, file, _ := strings.Cut(strings.TrimPrefix(key, layout.Root()), "/")
				mu.Lock()
				defer mu.Unlock()
				if op == store.OpHead && file != snapshot.FileManifest {
					looked = append(looked, numberOf(id)+"/"+file)
				}
				return call()
			})
			if _, _, err := p.apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if slices.Sort(looked); !slices.Equal(looked, c.want) {
				t.Errorf("looked at %v, want %v", looked, c.want)
			}
		})
	}
}
