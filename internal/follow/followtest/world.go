// Package followtest is for tests of what serves: a store with an indexer that is as small as the protocol allows, and an
// exact index that complains when it is used after its end.
package followtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/snapshot/snapshottest"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// World is a store with a minimal indexer: it publishes snapshots the way the protocol says.
type World struct {
	Objects    store.Objects
	Layout     store.Layout
	Newest     string // id of the snapshot that was built last
	Lineage    string
	History    []store.Promotion
	Generation int64
	Erased     string // what new pointers say was purged

	WriteIndex func(path string, dims int, rows []float32) error
	Provider   string                  // of embeddings
	Bare       int                     // this many of the last records have no vector
	Plain      bool                    // snapshots carry neither words.idx nor filters.idx
	Spoil      func([][]byte) [][]byte // what is written instead of their arrays

	t  testing.TB
	mu sync.Mutex
}

// New returns a world in a directory of the test.
func New(t testing.TB) *World {
	t.Helper()
	d, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &World{t: t, Objects: d, Layout: store.NewLayout("vectorstore/prod", ""), Lineage: "lineage-1", WriteIndex: snapshottest.WriteFile, Provider: "local"}
}

// Catalogue is the default one: names, kinds, scores, tags, a product each.
func Catalogue() []string {
	return []string{
		`{"vendor_id":"V-001","name":"北斗ロジスティクス","description":"冷凍倉庫の温度監視と低温輸送","type":"物流","score_num":8,"tags":["倉庫","低温"],"engagement":{"status":"面談済"},"active":true}`,
		`{"vendor_id":"V-002","name":"Sakura Cloud","description":"会計のSaaS。請求書の自動処理","type":"SaaS","score_num":7,"tags":["会計"],"engagement":{"status":"未接触"},"active":true}`,
		`{"vendor_id":"V-003","name":"青葉システムズ","description":"製造業の生産管理システム開発","type":"SI","score_num":5,"products":[{"name":"ライン眼"}],"engagement":{"status":"面談済"},"active":false}`,
		`{"vendor_id":"V-004","name":"みなと翻訳","description":"契約書の英訳、和訳、法律文書","type":"サービス","tags":["翻訳","法務"],"engagement":{"status":"契約中"}}`,
		`{"vendor_id":"V-005","name":"セキュアゲート","description":"ゼロトラストの認証基盤","type":"SaaS","score_num":9,"products":[{"name":"GateKey 3","code":"GK-3000"}],"active":true}`,
	}
}

// Build uploads a snapshot of records and returns its manifest and digest.
func (w *World) Build(records []string) (store.Manifest, string) {
	w.t.Helper()
	dir := w.t.TempDir()
	m := w.Write(dir, records)
	_, err := store.PutSnapshot(context.Background(), w.Objects, w.Layout, dir, m, nil)
	w.must(err)
	data, err := store.MarshalManifest(m)
	w.must(err)
	return m, store.ManifestDigest(data)
}

// Write writes the files of a snapshot of records to dir and returns its manifest.
func (w *World) Write(dir string, records []string) store.Manifest {
	w.t.Helper()
	var rows []float32
	docs, err := documents.NewWriter(dir)
	w.must(err)
	read, err := vendorstest.Records(strings.NewReader("[" + strings.Join(records, ",") + "]"))
	w.must(err)
	for i, rec := range read {
		w.must(docs.Add(rec.ID, rec.Name, rec.Answer, rec.Raw, rec.Digest))
		if i < len(records)-w.Bare {
			rows = append(rows, Gram(rec.Text)...)
		}
	}
	files, err := docs.Close()
	w.must(err)
	index := filepath.Join(dir, snapshot.FileIndex)
	w.must(w.WriteIndex(index, Dims, rows))
	f, err := store.HashFile(context.Background(), index, nil)
	w.must(err)
	files = append(files, w.arrays(dir)...)
	if w.Bare > 0 {
		path := filepath.Join(dir, snapshot.FileUnembedded)
		w.must(os.WriteFile(path, []byte("{}"), 0o600)) // a replica knows by its being there
		f, err := store.HashFile(context.Background(), path, nil)
		w.must(err)
		files = append(files, f)
	}
	spec := snapshot.Spec{
		Embedding: snapshot.Embedding{Provider: w.Provider, Model: embed.LocalModel, Dims: Dims, Version: "1"},
		Metric:    "inner_product", TextTemplate: vendors.TextTemplate, IndexKind: "flat",
	}
	w.mu.Lock()
	id := snapshot.NewID(time.Now(), w.Newest, fmt.Sprint(len(records)))
	w.Newest = id
	w.mu.Unlock()
	return store.Manifest{
		FormatVersion: store.FormatVersion, ID: id, CreatedAt: time.Now().UTC(),
		Source: store.Source{Key: w.Layout.Source, ETag: "e", SHA256: strings.Repeat("0", 64), Records: len(records)},
		Spec:   spec, SpecDigest: spec.Digest(), Index: snapshot.IndexParams{Kind: "flat"},
		Files: append([]snapshot.File{f}, files...), Stats: store.Stats{Vectors: len(records) - w.Bare}, Builder: "test",
	}
}

// arrays writes what replicas map to search by words and filters, unless the World is one of an older release.
func (w *World) arrays(dir string) (files []snapshot.File) {
	if w.Plain {
		return nil
	}
	docs, err := documents.Open(dir)
	w.must(err)
	defer docs.Close()
	attrs, err := filter.Build(docs.Len(), docs.Metadata)
	w.must(err)
	words, err := lexical.Build(docs.Len(), nil, func(i int) (snapshot.Words, error) {
		id, name, raw, err := docs.Record(i)
		w.must(err)
		return vendors.WordsOf(id, name, raw)
	})
	w.must(err)
	for name, flat := range map[string][][]byte{snapshot.FileFilters: attrs.Arrays(), snapshot.FileWords: words.Arrays()} {
		if w.Spoil != nil {
			flat = w.Spoil(flat)
		}
		path := filepath.Join(dir, name)
		w.must(arrays.Write(path, flat))
		f, err := store.HashFile(context.Background(), path, nil)
		w.must(err)
		files = append(files, f)
	}
	return files
}

// Promote points at a snapshot.
func (w *World) Promote(m store.Manifest, digest string) store.Pointer {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Generation++
	p := store.Pointer{
		Kind: store.KindPointer, Manifest: m, ManifestSHA256: digest, Lineage: w.Lineage, Generation: w.Generation, Epoch: 1,
		PromotedAt: time.Now().UTC(), Reason: "test", Erased: w.Erased, Nonce: store.NewNonce(), History: w.History,
	}
	w.Put(p)
	w.History = append([]store.Promotion{{ID: m.ID, Generation: w.Generation}}, w.History...)[:min(len(w.History)+1, store.HistoryLength)]
	return p
}

// Put writes a pointer as it is.
func (w *World) Put(p store.Pointer) {
	w.t.Helper()
	_, info, err := store.ReadPointer(context.Background(), w.Objects, w.Layout, "")
	cond := store.PutOptions{IfMatch: info.ETag}
	if errors.Is(err, store.ErrNotFound) {
		cond = store.PutOptions{IfAbsent: true}
	}
	_, err = store.WriteDoc(context.Background(), w.Objects, w.Layout.Pointer(), p, cond)
	w.must(err)
}

// Publish builds a snapshot of records and promotes it.
func (w *World) Publish(records []string) store.Pointer {
	w.t.Helper()
	return w.Promote(w.Build(records))
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Damage rewrites a stored file in place, behind the store's back.
func (w *World) Damage(key string, change func([]byte) []byte) {
	w.t.Helper()
	path := strings.TrimPrefix(w.Objects.URL(key), "file://")
	data, err := os.ReadFile(path)
	w.must(err)
	w.must(os.WriteFile(path+".new", change(slices.Clone(data)), 0o600))
	w.must(os.Rename(path+".new", path))
}

// Flip changes a bit, for Damage.
func Flip(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }

// Versioned is a catalogue of n records that say which version they are of.
func Versioned(v, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`{"vendor_id":"V-%d-%03d","name":"vendor %d","description":"冷凍倉庫 %d","version":%d}`, v, i, i, i*7, v))
	}
	return out
}

// Eventually polls cond until it holds; the time is a bound for hopelessness, not an expectation.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}
