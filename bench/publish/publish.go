// Package publish publishes given vectors as the current snapshot of a store, so that the real server can be measured
// on them. It writes what an indexer writes, without the embedding.
package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/taksuehiro/vectorstore/internal/arrays"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Prefix is where snapshots are written: the servers' default.
const Prefix = "vectorstore/prod"

// Embedding is the spec of the vectors. Servers can call this provider (with any key) but never have to: the queries
// are vectors.
func Embedding(dims int) snapshot.Embedding {
	return snapshot.Embedding{Provider: "openai", Model: "text-embedding-3-small", Dims: dims, Version: "1"}
}

// Snapshot writes a snapshot of an index with made-up records and promotes it. Record i has the id strconv.Itoa(i).
// scratch is a directory on the store's disk for the files on their way.
func Snapshot(ctx context.Context, objects store.Objects, ix *vecindex.Index, scratch string) (store.Manifest, error) {
	dir, err := os.MkdirTemp(scratch, "snapshot-")
	if err != nil {
		return store.Manifest{}, err
	}
	defer os.RemoveAll(dir)
	m, err := files(ctx, ix, dir)
	if err != nil {
		return store.Manifest{}, fmt.Errorf("write snapshot: %w", err)
	}
	l := store.NewLayout(Prefix, "")
	if _, err := store.PutSnapshot(ctx, objects, l, dir, m, nil); err != nil {
		return store.Manifest{}, err
	}
	return m, promote(ctx, objects, l, m)
}

// files writes the snapshot's files into dir.
func files(ctx context.Context, ix *vecindex.Index, dir string) (store.Manifest, error) {
	path := filepath.Join(dir, snapshot.FileIndex)
	if err := ix.WriteFile(path); err != nil {
		return store.Manifest{}, err
	}
	index, err := store.HashFile(ctx, path, nil)
	if err != nil {
		return store.Manifest{}, err
	}
	docs, err := writeDocuments(dir, ix.Len())
	if err != nil {
		return store.Manifest{}, err
	}
	sides, err := sideFiles(ctx, dir)
	if err != nil {
		return store.Manifest{}, err
	}
	docs = append(docs, sides...)
	spec := snapshot.Spec{Embedding: Embedding(ix.Dims()), Metric: "inner_product", TextTemplate: "v1", IndexKind: ix.Params().Kind}
	now := time.Now().UTC()
	return store.Manifest{
		FormatVersion: store.FormatVersion,
		ID:            snapshot.NewID(now, "", uuid.NewString()),
		CreatedAt:     now,
		Source:        store.Source{Key: Prefix + "/vendors.json", ETag: "bench", SHA256: index.SHA256, Records: ix.Len()},
		Spec:          spec,
		SpecDigest:    spec.Digest(),
		Index:         ix.Params(),
		Files:         append([]snapshot.File{index}, docs...),
		Stats:         store.Stats{Vectors: ix.Len(), Added: ix.Len()},
		Builder:       "bench",
	}, nil
}

// writeDocuments writes n records of about 250 bytes.
func writeDocuments(dir string, n int) ([]snapshot.File, error) {
	w, err := documents.NewWriter(dir)
	if err != nil {
		return nil, err
	}
	types := []string{"SaaS", "SI", "logistics", "maker"}
	for i := range n {
		id := strconv.Itoa(i)
		name := "Vendor " + id
		text := name + ": cold storage monitoring, sensors and alerts for warehouses and trucks"
		meta := fmt.Appendf(nil, `{"vendor_id":%q,"name":%q,"type":%q,"score_num":%d,"engagement":{"status":"met","year":%d}}`,
			id, name, types[i%len(types)], i%10, 2015+i%10)
		if err := w.Add(id, name, text, meta, sha256.Sum256(meta)); err != nil {
			_, closing := w.Close()
			return nil, errors.Join(err, closing)
		}
	}
	return w.Close()
}

// sideFiles writes the indexes of words and filters.
func sideFiles(ctx context.Context, dir string) ([]snapshot.File, error) {
	docs, err := documents.Open(dir)
	if err != nil {
		return nil, err
	}
	defer docs.Close()
	attrs, err := filter.Build(docs.Len(), docs.Metadata)
	if err != nil {
		return nil, err
	}
	words, err := lexical.Build(docs.Len(), nil, func(i int) (snapshot.Words, error) {
		id, name, raw, err := docs.Record(i)
		if err != nil {
			return snapshot.Words{}, err
		}
		w, err := vendors.WordsOf(id, name, raw)
		return w, err
	})
	if err != nil {
		return nil, err
	}
	var files []snapshot.File
	for name, content := range map[string][][]byte{snapshot.FileFilters: attrs.Arrays(), snapshot.FileWords: words.Arrays()} {
		path := filepath.Join(dir, name)
		if err := arrays.Write(path, content); err != nil {
			return nil, err
		}
		f, err := store.HashFile(ctx, path, nil)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// promote points current at m, creating the pointer or raising its generation.
func promote(ctx context.Context, objects store.Objects, l store.Layout, m store.Manifest) error {
	_, digest, err := store.ReadManifest(ctx, objects, l, m.ID, "")
	if err != nil {
		return err
	}
	next := store.Pointer{
		Kind: store.KindPointer, Manifest: m, ManifestSHA256: digest, Lineage: uuid.NewString(), Generation: 1,
		PromotedAt: time.Now().UTC(), Reason: "bench", Nonce: store.NewNonce(), History: []store.Promotion{},
	}
	cond := store.PutOptions{IfAbsent: true}
	switch old, info, err := store.ReadPointer(ctx, objects, l, ""); {
	case err == nil:
		next.Lineage, next.Generation, cond = old.Lineage, old.Generation+1, store.PutOptions{IfMatch: info.ETag}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	_, err = store.WriteDoc(ctx, objects, l.Pointer(), next, cond)
	return err
}
