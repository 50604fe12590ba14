package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// stored lists what is below a prefix: "key body" for a version, "key -" for a delete marker, "*" behind the latest.
func stored(t *testing.T, o store.Objects, prefix string) (out []string) {
	t.Helper()
	var all []store.Version
	err := store.ListVersions(t.Context(), o, prefix, func(v store.Version) error { all = append(all, v); return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		line := v.Key + " -"
		if !v.Marker {
			var b bytes.Buffer
			if err := store.CopyVersion(t.Context(), o, v, &b); err != nil {
				t.Fatalf("%+v: %v", v, err)
			}
			if int64(b.Len()) != v.Size {
				t.Errorf("%+v has %d bytes", v, b.Len())
			}
			line = v.Key + " " + b.String()
		}
		if v.Latest {
			line += "*"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// versions exercises what both kinds of store do; kept says that it keeps what was overwritten.
func versions(t *testing.T, o store.Objects, kept bool) {
	ctx := t.Context()
	put := func(key, body string) {
		t.Helper()
		if _, err := o.Put(ctx, key, []byte(body), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("p/a", "one")
	put("p/a", "two")
	put("p/b/x", "alone")
	put("p/c", "deleted")
	put("q/a", "elsewhere")
	if err := o.Delete(ctx, "p/c"); err != nil {
		t.Fatal(err)
	}
	want := []string{"p/a two*", "p/b/x alone*"}
	if kept {
		want = []string{"p/a one", "p/a two*", "p/b/x alone*", "p/c -*", "p/c deleted"}
	}
	if d := cmp.Diff(want, stored(t, o, "p/")); d != "" {
		t.Error(d)
	}
	if n, err := store.DropLoneMarkers(ctx, o, "p/", func(string) bool { return true }); n != 0 || err != nil {
		t.Errorf("%d markers dropped that hide something, %v", n, err)
	}
	remove := func(match func(store.Version) bool) {
		t.Helper()
		err := store.ListVersions(ctx, o, "p/", func(v store.Version) error {
			if !match(v) {
				return nil
			}
			if err := store.DeleteVersion(ctx, o, v); err != nil {
				return err
			}
			return store.DeleteVersion(ctx, o, v) // it is gone already
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	remove(func(v store.Version) bool { return !v.Latest })
	want = slices.DeleteFunc(want, func(s string) bool { return s[len(s)-1] != '*' })
	if d := cmp.Diff(want, stored(t, o, "p/")); d != "" {
		t.Errorf("without older versions: %s", d)
	}
	for _, c := range []struct {
		match func(string) bool
		left  []string
	}{
		{func(key string) bool { return key != "p/c" }, want},
		{func(key string) bool { return true }, slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "p/c -*" })},
	} {
		n, err := store.DropLoneMarkers(ctx, o, "p/", c.match)
		if err != nil || n != len(want)-len(c.left) {
			t.Errorf("%d markers dropped, %v", n, err)
		}
		if d := cmp.Diff(c.left, stored(t, o, "p/")); d != "" {
			t.Errorf("without markers that hide nothing: %s", d)
		}
	}
	remove(func(v store.Version) bool { return true })
	if left := stored(t, o, "p/"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	stop := errors.New("stop")
	if err := store.ListVersions(ctx, o, "", func(store.Version) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

func TestVersionsOfRealServers(t *testing.T) {
	realServers(t, func(t *testing.T, server *s3test.Server) {
		cfg := server.Config("bucket")
		cfg.VersionsPage = 3 // every listing takes several
		o, err := store.NewS3(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		versions(t, o, true)
		versions(t, store.Hooked(o, func(_ context.Context, _, _ string, call func() error) error { return call() }), true)
		const many = 10
		for i := range many {
			if _, err := o.Put(t.Context(), "many", fmt.Append(nil, i), store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]bool{}
		err = store.ListVersions(t.Context(), o, "many", func(v store.Version) error { seen[v.ID] = true; return nil })
		if err != nil || len(seen) != many {
			t.Errorf("%d versions, %v", len(seen), err)
		}
	})
}

func TestVersionsOfLocalStores(t *testing.T) {
	dir, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]store.Objects{"dir": dir, "mem": storetest.NewMem(nil), "keeping": storetest.NewKeepingMem(nil)} {
		t.Run(name, func(t *testing.T) {
			versions(t, o, name == "keeping")
			versions(t, store.Hooked(o, func(_ context.Context, _, _ string, call func() error) error { return call() }), name == "keeping")
		})
	}
}
