package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/golden"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// peopleBudget is how many bytes of people's files one look reads: a few seconds, so that hundreds of versions of a large
// catalogue do not keep a pass from promoting. The next look goes on.
const peopleBudget = 512 << 20

// peopleLook finds the purged records in what people wrote: every version of the catalogue, of drop-ins and of golden.json.
type peopleLook struct {
	objects store.Objects
	layout  store.Layout
	rules   vendors.Rules
	limits  vendors.Limits
	dir     string // for a file without a name while a version is read
	named   func([16]byte) bool
	seen    map[string]bool // versions that were read already, and whether they hold one; a cache
	budget  int64           // bytes left to read; one version is always read
	unread  int
}

// find returns the versions that hold a purged record, or cannot be read, oldest key first.
func (l *peopleLook) find(ctx context.Context) (found []store.PeopleFile, err error) {
	for _, key := range []string{l.layout.Source, l.layout.DropIns(), l.layout.Golden()} {
		var all []store.Version
		err := store.ListVersions(ctx, l.objects, key, func(v store.Version) error {
			if (v.Key == key || key == l.layout.DropIns() && v.Key != l.layout.Source && !strings.HasSuffix(v.Key, "/")) && !v.Marker {
				all = append(all, v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, v := range all {
			why, err := l.why(ctx, v)
			if errors.Is(err, store.ErrNotFound) {
				continue // it went meanwhile
			}
			if err != nil {
				return nil, err
			}
			if why != "" {
				found = append(found, store.PeopleFile{Key: v.Key, Version: v.ID, Current: v.Latest, Why: why})
			}
		}
	}
	return found, nil
}

// why a version counts, "" when it does not.
func (l *peopleLook) why(ctx context.Context, v store.Version) (string, error) {
	id := fmt.Sprintf("%s %s %d %d", v.Key, v.ID, v.Size, v.LastModified.UnixNano())
	if holds, known := l.seen[id]; known && !holds {
		return "", nil
	}
	if l.budget <= 0 {
		l.unread++
		return "", nil
	}
	l.budget -= v.Size
	read := l.catalogue
	if v.Key == l.layout.Golden() {
		read = l.golden
	}
	why, err := read(ctx, v)
	if err == nil {
		l.seen[id] = why != ""
	}
	return why, err
}

// catalogue reads a version of the source. Repeated ids count as the indexer tells them apart; a version that is no
// catalogue may hold anybody.
func (l *peopleLook) catalogue(ctx context.Context, v store.Version) (string, error) {
	f, err := nameless(l.dir)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := store.CopyVersion(ctx, l.objects, v, f); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	rules := l.rules
	rules.Duplicates = vendors.DefaultRules().Duplicates
	n := 0
	begin := func() error { n = 0; return nil }
	_, err = vendors.Read(f, rules, l.limits, begin, func(r vendors.Record) error {
		if l.named(snapshot.IDHash(r.ID)) {
			n++
		}
		return ctx.Err()
	})
	var bad *vendors.CatalogueError
	switch {
	case errors.As(err, &bad):
		return "it cannot be read as a catalogue, so it may hold one", nil
	case err != nil:
		return "", err
	case n == 1:
		return "1 purged record stands in it", nil
	case n > 0:
		return fmt.Sprintf("%d purged records stand in it", n), nil
	}
	return "", nil
}

// golden reads a version of golden.json.
func (l *peopleLook) golden(ctx context.Context, v store.Version) (string, error) {
	if v.Size > golden.MaxSize {
		return "it is too large for golden.json, so it may hold one", nil
	}
	var b bytes.Buffer
	if err := store.CopyVersion(ctx, l.objects, v, &b); err != nil {
		return "", err
	}
	queries, err := golden.Parse(b.Bytes())
	if err != nil {
		return "it cannot be read as golden.json, so it may hold one", nil
	}
	for i, q := range queries {
		if namesAny(q.Expect, l.named) {
			return fmt.Sprintf("entry %d expects a purged record", i+1), nil
		}
	}
	return "", nil
}

func namesAny(ids []string, named func([16]byte) bool) bool {
	for _, id := range ids {
		if named(snapshot.IDHash(id)) {
			return true
		}
	}
	return false
}

// nameless is a temporary file that is gone when the process is, however it ends: what people wrote must not be left on a
// disk.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "version-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
