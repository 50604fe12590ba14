package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// keptSnapshots of the cache: the served one, the one before it, and of compositions the newest over another base. Files that
// they share are there once.
const keptSnapshots = 3

// cache keeps the files of the snapshots that were served last:
//
//	<LocalDir>/server/lock
//	<LocalDir>/server/<store>/state.json          pointers, newest first
//	<LocalDir>/server/<store>/<lineage>/<id>/…    files of a snapshot, manifest.json included
//	<LocalDir>/server/<store>/tmp-…               downloads; renamed when every hash is right
//	<LocalDir>/server/private-…/                  of a second process beside the one that has the lock
//
// One process owns it at a time. Files are not fsynced: whoever reads them back checks the hashes.
type cache struct {
	root    string // <LocalDir>/server/<store>, or the same below private-…
	private string // removed on close; "" for the owner of the lock
	lock    *os.File
}

// cacheState is state.json.
type cacheState struct {
	FormatVersion int             `json:"format_version"`
	Pointers      []store.Pointer `json:"pointers"`
}

// openCache takes the cache for the store at url.
func openCache(localDir, url string) (*cache, error) {
	base := filepath.Join(localDir, "server")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, err
	}
	c := &cache{}
	var err error
	if c.lock, err = flock(filepath.Join(base, "lock")); errors.Is(err, unix.EWOULDBLOCK) {
		if c.private, err = os.MkdirTemp(base, "private-"); err == nil {
			base = c.private
			c.lock, err = flock(filepath.Join(base, "lock"))
		}
	} else if err == nil {
		err = dropAbandoned(base)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.root = filepath.Join(base, shortHash(url))
	if err := errors.Join(os.MkdirAll(c.root, 0o700), c.prune(c.pointers())); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *cache) close() error {
	var err error
	if c.lock != nil {
		err = c.lock.Close() // releases the lock
	}
	if c.private != "" {
		err = errors.Join(err, os.RemoveAll(c.private))
	}
	return err
}

// flock opens and locks a file without waiting.
func flock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// dropAbandoned removes the private directories of processes that were killed.
func dropAbandoned(base string) error {
	dirs, err := filepath.Glob(filepath.Join(base, "private-*"))
	for _, d := range dirs {
		if l, lerr := flock(filepath.Join(d, "lock")); lerr == nil {
			err = errors.Join(err, os.RemoveAll(d), l.Close())
		}
	}
	return err
}

func shortHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:8])
}

// dir of a snapshot. A lineage is whatever the pointer says, so only its hash becomes a path; ids are checked.
func (c *cache) dir(lineage, id string) string {
	return filepath.Join(c.root, shortHash(lineage), id)
}

// staging returns a new directory on the cache's file system.
func (c *cache) staging() (string, error) { return os.MkdirTemp(c.root, "tmp-") }

// adopt makes a complete staging directory the snapshot's.
func (c *cache) adopt(staging string, p store.Pointer) (string, error) {
	dir := c.dir(p.Lineage, p.ID)
	err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o700), os.RemoveAll(dir))
	if err == nil {
		err = os.Rename(staging, dir)
	}
	return dir, err
}

// pointers of the kept snapshots, newest first. A damaged state is none: it only saves a download.
func (c *cache) pointers() []store.Pointer {
	data, err := os.ReadFile(filepath.Join(c.root, "state.json"))
	if err != nil {
		return nil
	}
	var s cacheState
	if json.Unmarshal(data, &s) != nil || s.FormatVersion > store.FormatVersion {
		return nil
	}
	var good []store.Pointer
	for _, p := range s.Pointers {
		if _, err := snapshot.ParseID(p.ID); err == nil && len(good) < keptSnapshots {
			good = append(good, p)
		}
	}
	return good
}

// commit records p as the newest served snapshot and removes what is no longer kept. A snapshot that is not known to be
// free of what p's is free of goes, and with it whatever else lies here: copies of processes that died, of other stores.
func (c *cache) commit(p store.Pointer) error {
	kept := []store.Pointer{p}
	for _, old := range c.pointers() {
		if old.Lineage != p.Lineage || old.ID == p.ID || p.Erased != "" && old.Erased != p.Erased {
			continue
		}
		// The one before, and the newest over another base: a rollback to either needs no download.
		if len(kept) == 1 || p.Base != nil && len(kept) < keptSnapshots && baseOf(old) != baseOf(p) && baseOf(old) != baseOf(kept[1]) {
			kept = append(kept, old)
		}
	}
	if err := c.record(kept); err != nil {
		return err
	}
	err := c.prune(kept)
	if p.Erased != "" && c.private == "" {
		err = errors.Join(err, c.dropStrangers())
	}
	return err
}

// baseOf is what the snapshot is composed over: itself when it is full.
func baseOf(p store.Pointer) string {
	if p.Base == nil {
		return p.ID
	}
	return p.Base.ID
}

// dropStrangers leaves nothing beside this store's cache but what living processes use. Only the owner of the lock may.
func (c *cache) dropStrangers() error {
	base := filepath.Dir(c.root)
	err := dropAbandoned(base)
	entries, rerr := os.ReadDir(base)
	err = errors.Join(err, rerr)
	for _, e := range entries {
		if path := filepath.Join(base, e.Name()); e.IsDir() && path != c.root && !strings.HasPrefix(e.Name(), "private-") {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

func (c *cache) record(kept []store.Pointer) error {
	data, err := json.Marshal(cacheState{store.FormatVersion, kept})
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(c.root, "state.json"), data, 0o600)
}

// giveUp removes every snapshot but the served one, or but the newest when none is served; false when there was nothing
// to remove. Files go before they leave the state: on a full disk there is no other order, and a pointer without files
// only means a download.
func (c *cache) giveUp(served string) bool {
	all := c.pointers()
	kept := slices.Clone(all[:min(len(all), 1)])
	for _, p := range all {
		if p.ID == served {
			kept = []store.Pointer{p}
		}
	}
	if len(kept) == len(all) {
		return false
	}
	return errors.Join(c.prune(kept), c.record(kept)) == nil
}

// prune removes every snapshot but the kept ones, and leftover downloads. Files that are still mapped live on until
// they are unmapped.
func (c *cache) prune(kept []store.Pointer) error {
	keep := make(map[string]bool)
	for _, p := range kept {
		keep[c.dir(p.Lineage, p.ID)] = true
		keep[filepath.Dir(c.dir(p.Lineage, p.ID))] = true
	}
	entries, err := os.ReadDir(c.root)
	for _, e := range entries {
		path := filepath.Join(c.root, e.Name())
		switch {
		case !e.IsDir():
		case !keep[path] || strings.HasPrefix(e.Name(), "tmp-"):
			err = errors.Join(err, os.RemoveAll(path))
		default:
			ids, rerr := os.ReadDir(path)
			err = errors.Join(err, rerr)
			for _, id := range ids {
				if p := filepath.Join(path, id.Name()); !keep[p] {
					err = errors.Join(err, os.RemoveAll(p))
				}
			}
		}
	}
	return err
}

// verify returns the manifest of the cached snapshot that p names, after hashing the manifest and every wanted file but
// those that are open: their bytes were hashed when they were opened, and the cached file is the same one.
func (c *cache) verify(ctx context.Context, p store.Pointer, open func(snapshot.File) (path string, ok bool), pause func()) (store.Manifest, string, error) {
	dir := c.dir(p.Lineage, p.ID)
	data, err := os.ReadFile(filepath.Join(dir, snapshot.FileManifest))
	if err != nil {
		return store.Manifest{}, "", err
	}
	if store.ManifestDigest(data) != p.ManifestSHA256 {
		return store.Manifest{}, "", fmt.Errorf("cached manifest: %w", snapshot.ErrCorrupt)
	}
	m, err := store.ParseManifest(data, p.ID)
	if err != nil {
		return store.Manifest{}, "", fmt.Errorf("cached manifest: %w", err)
	}
	for _, f := range wanted(m).Files {
		path := filepath.Join(dir, m.LocalName(f))
		if at, ok := open(f); ok && sameFile(at, path) {
			continue
		}
		got, err := store.HashFile(ctx, path, pause)
		if err != nil {
			return store.Manifest{}, "", err
		}
		if got.Size != f.Size || got.SHA256 != f.SHA256 {
			return store.Manifest{}, "", fmt.Errorf("cached %s: %w", f.Name, snapshot.ErrCorrupt)
		}
	}
	return m, dir, nil
}

// sameFile says whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// reuse offers the files of kept snapshots whose recorded digest is the wanted one.
func (c *cache) reuse(f snapshot.File) (string, bool) {
	for _, p := range c.pointers() {
		for _, have := range p.Files {
			if have.Name == f.Name && have.SHA256 == f.SHA256 {
				return filepath.Join(c.dir(p.Lineage, p.ID), p.LocalName(have)), true
			}
		}
	}
	return "", false
}

// wanted leaves out of m what a server does not read.
func wanted(m store.Manifest) store.Manifest {
	files := m.Files
	m.Files = nil
	for _, f := range files {
		if f.Name != snapshot.FilePickle {
			m.Files = append(m.Files, f)
		}
	}
	return m
}
