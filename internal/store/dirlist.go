package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// List implements Objects. It holds the entries of one directory per level in memory.
func (d *Dir) List(ctx context.Context, prefix string, each func(Info) error) error {
	// The directory part of the prefix is where the walk starts; the rest filters names there.
	start := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if start != "" {
		if err := CheckKey(strings.TrimSuffix(start, "/")); err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
	}
	if err := d.absent(); !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	if err := d.walk(ctx, start, prefix, each); err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	return nil
}

// walk lists dir ("" or ending in a slash). Names sort as keys do: a directory counts with its slash, so that
// "a-b" comes before "a/b".
func (d *Dir) walk(ctx context.Context, dir, prefix string, each func(Info) error) error {
	entries, err := os.ReadDir(filepath.Join(d.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return denied(err)
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key := dir + e.Name()
		switch {
		case key == dirPrivate:
			continue
		case e.IsDir():
			key += "/"
		case !e.Type().IsRegular() && e.Type()&fs.ModeSymlink == 0:
			continue
		}
		// Wanted below the prefix, or on the way to it.
		if strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key) && strings.HasSuffix(key, "/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(key, "/") {
			if err := d.walk(ctx, key, prefix, each); err != nil {
				return err
			}
			continue
		}
		st, err := os.Stat(filepath.Join(d.root, filepath.FromSlash(key)))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return denied(err)
		}
		if err := each(Info{Key: key, Size: st.Size(), LastModified: st.ModTime(), Date: time.Now()}); err != nil {
			return err
		}
	}
	return nil
}
