package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

var layout = store.NewLayout("vectorstore/prod", "")

const testID = "20260102T030405Z-0123abcd"

// writeFiles makes files of the given sizes with random content, and their entries.
func writeFiles(t *testing.T, dir string, sizes map[string]int) []snapshot.File {
	t.Helper()
	var files []snapshot.File
	rng := rand.NewChaCha8([32]byte{1})
	for name, size := range sizes {
		data := make([]byte, size)
		rng.Read(data)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := store.HashFile(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b snapshot.File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

func testManifest(files []snapshot.File) store.Manifest {
	m := store.Manifest{
		FormatVersion: store.FormatVersion,
		ID:            testID,
		CreatedAt:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Source:        store.Source{Key: "k", ETag: `"e"`, SHA256: strings.Repeat("0", 64), Records: 1},
		Spec:          snapshot.Spec{Embedding: snapshot.Embedding{Provider: "openai", Model: "m", Dims: 8, Version: "v1"}, Metric: "inner_product", TextTemplate: "v1", IndexKind: "auto"},
		Files:         files,
	}
	m.SpecDigest = m.Spec.Digest()
	return m
}

// putSnapshot uploads a snapshot of three files, one of them empty and one of several ranges.
func putSnapshot(t *testing.T, o store.Objects) (store.Manifest, string) {
	t.Helper()
	dir := t.TempDir()
	m := testManifest(writeFiles(t, dir, map[string]int{snapshot.FileIndex: 20<<20 + 7, snapshot.FileDocuments: 1000, snapshot.FileOffsets: 0}))
	if _, err := store.PutSnapshot(t.Context(), o, layout, dir, m, nil); err != nil {
		t.Fatal(err)
	}
	return m, dir
}

func TestSnapshotTravelsWholeAndVerified(t *testing.T) {
	mem := storetest.NewMem(nil)
	m, dir := putSnapshot(t, mem)
	data, err := store.MarshalManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	got, digest, err := store.ReadManifest(t.Context(), mem, layout, m.ID, store.ManifestDigest(data))
	if err != nil || digest != store.ManifestDigest(data) || !cmp.Equal(got, m) {
		t.Fatalf("manifest %s: %v\n%s", digest, err, cmp.Diff(m, got))
	}
	for _, parallel := range []int{0, 1, 7} {
		to := t.TempDir()
		var last, calls int64
		err := store.Fetch(t.Context(), mem, layout, m, to, store.FetchOptions{Parallel: parallel, Progress: func(done, total int64) {
			if done < last || total != m.Size() {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last, calls = done, calls+1
		}})
		if err != nil || last != m.Size() || calls < 3 {
			t.Fatalf("fetch: %v, %d of %d bytes in %d calls", err, last, m.Size(), calls)
		}
		for _, f := range m.Files {
			if !sameContent(t, filepath.Join(dir, f.Name), filepath.Join(to, f.Name)) {
				t.Errorf("%s differs", f.Name)
			}
		}
	}
	if err := store.VerifySnapshot(t.Context(), mem, layout, m.ID, store.ManifestDigest(data), nil); err != nil {
		t.Error(err)
	}
}

func sameContent(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

func TestFetchAndVerifyRefuseDamageAndNameTheFile(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"flipped bit": func(b []byte) []byte { b[17] ^= 4; return b },
		"cut off":     func(b []byte) []byte { return b[:len(b)-1] },
		"longer":      func(b []byte) []byte { return append(b, 0) },
		"empty":       func([]byte) []byte { return nil },
	} {
		for _, file := range []string{snapshot.FileIndex, snapshot.FileDocuments} {
			mem := storetest.NewMem(nil)
			m, _ := putSnapshot(t, mem)
			mem.Corrupt(layout.File(m.ID, file), change)
			err := store.Fetch(t.Context(), mem, layout, m, t.TempDir(), store.FetchOptions{})
			if !errors.Is(err, snapshot.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), file) {
				t.Errorf("%s: fetch %s: %v", name, file, err)
			}
			err = store.VerifySnapshot(t.Context(), mem, layout, m.ID, "", nil)
			if !errors.Is(err, snapshot.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), file) {
				t.Errorf("%s: verify %s: %v", name, file, err)
			}
		}
	}
	mem := storetest.NewMem(nil)
	m, _ := putSnapshot(t, mem)
	if err := mem.Delete(t.Context(), layout.File(m.ID, snapshot.FileOffsets)); err != nil {
		t.Fatal(err)
	}
	err := store.Fetch(t.Context(), mem, layout, m, t.TempDir(), store.FetchOptions{})
	if !errors.Is(err, store.ErrNotFound) || !strings.Contains(fmt.Sprint(err), snapshot.FileOffsets) {
		t.Errorf("fetch a missing file: %v", err)
	}
}

func TestFetchReusesLocalFilesOnlyWhenTheirBytesAreRight(t *testing.T) {
	mem := storetest.NewMem(nil)
	m, dir := putSnapshot(t, mem)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[string]bool{}
	o := store.Hooked(mem, func(_ context.Context, _, key string, call func() error) error {
		mu.Lock()
		got[key] = true
		mu.Unlock()
		return call()
	})
	to := t.TempDir()
	err := store.Fetch(t.Context(), o, layout, m, to, store.FetchOptions{Reuse: func(f snapshot.File) (string, bool) {
		if f.Name == snapshot.FileDocuments {
			return wrong, true
		}
		return filepath.Join(dir, f.Name), f.Name == snapshot.FileIndex
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got[layout.File(m.ID, snapshot.FileIndex)] || !got[layout.File(m.ID, snapshot.FileDocuments)] {
		t.Errorf("asked the store for %v", got)
	}
	for _, f := range m.Files {
		if !sameContent(t, filepath.Join(dir, f.Name), filepath.Join(to, f.Name)) {
			t.Errorf("%s differs", f.Name)
		}
	}
	if data, _ := os.ReadFile(wrong); !bytes.Equal(data, make([]byte, 1000)) {
		t.Error("the offered file was written to")
	}
}

func TestPutSnapshotWritesTheManifestLastAndOnlyOverWholeFiles(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing file": os.Remove,
		"changed file": func(path string) error { return os.WriteFile(path, make([]byte, 1000), 0o644) },
		"longer file":  func(path string) error { return os.WriteFile(path, make([]byte, 2000), 0o644) },
	} {
		mem, dir := storetest.NewMem(nil), t.TempDir()
		m := testManifest(writeFiles(t, dir, map[string]int{snapshot.FileIndex: 5000, snapshot.FileDocuments: 1000}))
		if err := spoil(filepath.Join(dir, snapshot.FileDocuments)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.PutSnapshot(t.Context(), mem, layout, dir, m, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if mem.Data(layout.Manifest(m.ID)) != nil {
			t.Errorf("%s: there is a manifest", name)
		}
	}
	var order []string
	o := onPutKeys(storetest.NewMem(nil), &order)
	m, _ := putSnapshot(t, o)
	if n := len(order); n != 4 || order[n-1] != layout.Manifest(m.ID) {
		t.Errorf("written in the order %v", order)
	}
}

func onPutKeys(o store.Objects, keys *[]string) store.Objects {
	var mu sync.Mutex
	return store.Hooked(o, func(_ context.Context, op, key string, call func() error) error {
		err := call()
		mu.Lock()
		defer mu.Unlock()
		if op == store.OpPut || op == store.OpPutFile {
			*keys = append(*keys, key)
		}
		return err
	})
}

func TestPutSnapshotSurvivesLostAnswersAndFinishesAnInterruptedUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		o := onPut(mem, func(n int, call func() error) error {
			err := call()
			if n%2 == 1 {
				return errLost
			}
			return err
		})
		m, dir := putSnapshot(t, o)
		if err := store.VerifySnapshot(t.Context(), mem, layout, m.ID, "", nil); err != nil {
			t.Error(err)
		}
		// The same upload again changes nothing and succeeds; another one under the same id does not.
		if _, err := store.PutSnapshot(t.Context(), mem, layout, dir, m, nil); err != nil {
			t.Errorf("again: %v", err)
		}
		m.Files = writeFiles(t, dir, map[string]int{snapshot.FileIndex: 5})
		if _, err := store.PutSnapshot(t.Context(), mem, layout, dir, m, nil); !errors.Is(err, store.ErrConflict) {
			t.Errorf("other files under the same id: %v", err)
		}
	})
}

func TestListSnapshotsShowsCompleteAndIncompleteOnes(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	mem := storetest.NewMem(func() time.Time { return now })
	put := func(key string) {
		now = now.Add(time.Minute)
		if _, err := mem.Put(t.Context(), key, []byte("x"), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const other = "20260102T030406Z-00000000"
	put(layout.Pointer())
	put(layout.Lease())
	put(layout.File(testID, snapshot.FileIndex))
	put(layout.File(other, snapshot.FileIndex))
	put(layout.Manifest(testID))
	put(layout.Root() + "20260102T030407Z-zzzzzzzz/index.faiss")
	put(layout.Root() + "2026-notes.txt")
	put("vectorstore/prod-2/" + testID + "/manifest.json")
	got, err := store.ListSnapshots(t.Context(), mem, layout)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d snapshots: %v", len(got), err)
	}
	if s := got[0]; s.ID != testID || !s.HasManifest || len(s.Files) != 2 || s.Newest.Sub(s.Oldest) != 2*time.Minute || s.Date.IsZero() {
		t.Errorf("first: %+v", s)
	}
	if s := got[1]; s.ID != other || s.HasManifest || len(s.Files) != 1 {
		t.Errorf("second: %+v", s)
	}
}

// putJSON stores what nobody of ours would write.
func putJSON(t *testing.T, o store.Objects, key string, doc any) store.Info {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	info, err := o.Put(t.Context(), key, data, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestReadManifestRefusesWhatReadersMustNotTrust(t *testing.T) {
	good := testManifest([]snapshot.File{{Name: snapshot.FileIndex, Size: 5, SHA256: strings.Repeat("a", 64)}})
	for name, change := range map[string]func(*store.Manifest){
		"another id":          func(m *store.Manifest) { m.ID = "20260102T030406Z-00000000" },
		"a path as name":      func(m *store.Manifest) { m.Files[0].Name = "../evil" },
		"a hidden name":       func(m *store.Manifest) { m.Files[0].Name = ".bashrc" },
		"itself as a file":    func(m *store.Manifest) { m.Files[0].Name = snapshot.FileManifest },
		"a negative size":     func(m *store.Manifest) { m.Files[0].Size = -1 },
		"no digest":           func(m *store.Manifest) { m.Files[0].SHA256 = "" },
		"no files":            func(m *store.Manifest) { m.Files = nil },
		"a file twice":        func(m *store.Manifest) { m.Files = append(m.Files, m.Files[0]) },
		"another spec digest": func(m *store.Manifest) { m.Spec.IndexKind = "hnsw" },
		"no dims":             func(m *store.Manifest) { m.Spec.Embedding.Dims = 0; m.SpecDigest = m.Spec.Digest() },
	} {
		mem, m := storetest.NewMem(nil), good
		m.Files = slices.Clone(good.Files)
		change(&m)
		putJSON(t, mem, layout.Manifest(testID), m)
		if _, _, err := store.ReadManifest(t.Context(), mem, layout, testID, ""); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("%s: %v, want snapshot.ErrCorrupt", name, err)
		}
	}
	mem := storetest.NewMem(nil)
	if _, err := store.WriteDoc(t.Context(), mem, layout.Manifest(testID), good, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.ReadManifest(t.Context(), mem, layout, testID, strings.Repeat("b", 64)); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("bytes of another digest: %v", err)
	}
	if _, _, err := store.ReadManifest(t.Context(), mem, layout, "../"+testID, ""); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("a path as id: %v", err)
	}
}

func TestReadPointerTellsInvalidFromMissingAndUnchanged(t *testing.T) {
	mem := storetest.NewMem(nil)
	if _, _, err := store.ReadPointer(t.Context(), mem, layout, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no pointer: %v", err)
	}
	good := store.Pointer{
		Kind:           store.KindPointer,
		Manifest:       testManifest([]snapshot.File{{Name: snapshot.FileIndex, Size: 5, SHA256: strings.Repeat("a", 64)}}),
		ManifestSHA256: strings.Repeat("b", 64), Lineage: "l", Generation: 1, Nonce: store.NewNonce(),
		History: []store.Promotion{{ID: testID}},
	}
	info, err := store.WriteDoc(t.Context(), mem, layout.Pointer(), good, store.PutOptions{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := store.ReadPointer(t.Context(), mem, layout, "")
	if err != nil || !cmp.Equal(got, good) {
		t.Errorf("%v\n%s", err, cmp.Diff(good, got))
	}
	if _, _, err := store.ReadPointer(t.Context(), mem, layout, info.ETag); !errors.Is(err, store.ErrNotModified) {
		t.Errorf("unchanged: %v", err)
	}
	for name, change := range map[string]func(*store.Pointer){
		"a manifest copied over it": func(p *store.Pointer) { p.Kind = "" },
		"no digest":                 func(p *store.Pointer) { p.ManifestSHA256 = "" },
		"no lineage":                func(p *store.Pointer) { p.Lineage = "" },
		"generation 0":              func(p *store.Pointer) { p.Generation = 0 },
		"a path as id":              func(p *store.Pointer) { p.ID = "../../etc" },
		"a path in the history":     func(p *store.Pointer) { p.History = []store.Promotion{{ID: "../../etc"}} },
		"the last generation":       func(p *store.Pointer) { p.Generation = math.MaxInt64 },
		"the last epoch":            func(p *store.Pointer) { p.Epoch = math.MaxInt64 },
		"a huge history":            func(p *store.Pointer) { p.History = slices.Repeat([]store.Promotion{{ID: testID}}, 1000) },
		"a lineage of 200 bytes":    func(p *store.Pointer) { p.Lineage = strings.Repeat("l", 200) },
		"lines in the reason":       func(p *store.Pointer) { p.Reason = "a\nb" },
		"more records than memory":  func(p *store.Pointer) { p.Stats.Vectors = math.MaxInt64 },
		"files that overflow": func(p *store.Pointer) {
			p.Files = []snapshot.File{{Name: "a", Size: math.MaxInt64, SHA256: strings.Repeat("a", 64)}}
		},
		"a search too wide": func(p *store.Pointer) { p.Index.EfSearch = math.MaxInt64 },
	} {
		p := good
		change(&p)
		info := putJSON(t, mem, layout.Pointer(), p)
		if _, err := store.WriteDoc(t.Context(), storetest.NewMem(nil), layout.Pointer(), p, store.PutOptions{}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s was written: %v", name, err)
		}
		_, got, err := store.ReadPointer(t.Context(), mem, layout, "")
		if !errors.Is(err, store.ErrPointerInvalid) || !errors.Is(err, snapshot.ErrCorrupt) || got.ETag != info.ETag {
			t.Errorf("%s: %v with ETag %s, want ErrPointerInvalid with %s", name, err, got.ETag, info.ETag)
		}
	}
}
