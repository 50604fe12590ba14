package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// breaking is a store whose bodies end early. broke is called after each break.
type breaking struct {
	store.Objects
	every int64
	broke func()
}

func (b breaking) Get(ctx context.Context, key string, o store.GetOptions) (io.ReadCloser, store.Info, error) {
	body, info, err := b.Objects.Get(ctx, key, o)
	if err != nil {
		return nil, info, err
	}
	left := info.Size - o.Offset
	if left <= b.every {
		return body, info, nil
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(body, b.every), errReader{b.broke})), info, nil
}

type errReader struct{ broke func() }

func (r errReader) Read([]byte) (int, error) {
	if r.broke != nil {
		r.broke()
	}
	return 0, errLost
}

func TestFetchSourceContinuesABrokenDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		data := bytes.Repeat([]byte("0123456789"), 100)
		if _, err := mem.Put(t.Context(), "src", data, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "src")
		_, sum, err := store.FetchSource(t.Context(), breaking{mem, 300, nil}, "src", path, store.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(path)
		if !bytes.Equal(got, data) || sum != store.ManifestDigest(data) {
			t.Errorf("got %d bytes with sha256 %s", len(got), sum)
		}
	})
}

func TestFetchSourceNeverMixesTwoVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		put := func(c string) {
			if _, err := mem.Put(t.Context(), "src", bytes.Repeat([]byte(c), 1000), store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		put("a")
		path := filepath.Join(t.TempDir(), "src")
		edits := 0
		o := breaking{mem, 600, func() {
			if edits++; edits == 1 {
				put("b")
			}
		}}
		if _, _, err := store.FetchSource(t.Context(), o, "src", path, store.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(path)
		if !bytes.Equal(got, bytes.Repeat([]byte("b"), 1000)) {
			t.Errorf("got %d bytes from %q to %q", len(got), got[0], got[len(got)-1])
		}
		o.broke = func() { put("c") } // never at rest
		if _, _, err := store.FetchSource(t.Context(), o, "src", path, store.GetOptions{}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a source that never rests: %v", err)
		}
	})
}

func TestFetchSourceOfAnUnchangedObjectTouchesNothing(t *testing.T) {
	mem := storetest.NewMem(nil)
	info, err := mem.Put(t.Context(), "src", []byte("new"), store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err = store.FetchSource(t.Context(), mem, "src", path, store.GetOptions{IfNoneMatch: info.ETag})
	if got, _ := os.ReadFile(path); !errors.Is(err, store.ErrNotModified) || string(got) != "old" {
		t.Errorf("%v, file %q", err, got)
	}
	if _, _, err := store.FetchSource(t.Context(), mem, "none", path, store.GetOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("missing source: %v", err)
	}
	if _, err := mem.Put(t.Context(), "empty", nil, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.FetchSource(t.Context(), mem, "empty", path, store.GetOptions{}); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
		t.Errorf("empty source: %q, %v", got, err)
	}
}
