package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Put implements Objects.
func (d *Dir) Put(ctx context.Context, key string, data []byte, o PutOptions) (Info, error) {
	if len(data) > MaxPut {
		return Info{}, fmt.Errorf("put %s: %d bytes, the limit is %d", key, len(data), MaxPut)
	}
	return d.put(ctx, key, bytes.NewReader(data), o)
}

// PutFile implements Objects. The file is copied.
func (d *Dir) PutFile(ctx context.Context, key, path string, o PutOptions) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	defer f.Close()
	return d.put(ctx, key, localReader{ctx, f, nil}, o)
}

func (d *Dir) put(ctx context.Context, key string, from io.Reader, o PutOptions) (Info, error) {
	info, err := d.write(ctx, key, from, o)
	if err != nil {
		return Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	return info, nil
}

// write brings the bytes to disk before it takes the lock: what happens under it takes no longer than a rename.
func (d *Dir) write(ctx context.Context, key string, from io.Reader, o PutOptions) (Info, error) {
	path, err := d.path(key)
	if err != nil {
		return Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	if err := d.prepare(); err != nil {
		return Info{}, err
	}
	tmp, err := d.createTmp()
	if err != nil {
		return Info{}, denied(err)
	}
	defer func() {
		os.Remove(tmp.Name()) // gone already after a success
		tmp.Close()
	}()
	if _, err := io.Copy(tmp, from); err != nil {
		return Info{}, err
	}
	if err := tmp.Sync(); err != nil {
		return Info{}, err
	}
	unlock, err := d.lock(ctx)
	if err != nil {
		return Info{}, err
	}
	defer unlock()
	if err := d.checkPut(key, o); err != nil {
		return Info{}, err
	}
	if err := makeDirs(d.root, filepath.Dir(path)); err != nil {
		return Info{}, denied(err)
	}
	if err := d.writeMeta(key, tmp, o.Metadata); err != nil {
		return Info{}, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return Info{}, denied(err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return Info{}, err
	}
	info, _, _, err := d.describe(tmp, key)
	return info, err
}

// checkPut applies the condition of a write to what is there. The lock is held.
func (d *Dir) checkPut(key string, o PutOptions) error {
	if !o.IfAbsent && o.IfMatch == "" {
		return nil
	}
	info, err := d.head(key)
	switch {
	case errors.Is(err, ErrNotFound) && o.IfAbsent:
		return nil
	case err != nil: // ErrNotFound under IfMatch included
		return err
	case o.IfAbsent || info.ETag != o.IfMatch:
		return ErrConflict
	}
	return nil
}

// Delete implements Objects. Directories that become empty go too.
func (d *Dir) Delete(ctx context.Context, key string) error {
	path, err := d.path(key)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if err := d.prepare(); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	unlock, err := d.lock(ctx)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	defer unlock()
	st, err := os.Lstat(path)
	if err == nil && st.IsDir() {
		return nil // not an object
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("delete %s: %w", key, denied(err))
	}
	os.Remove(d.metaPath(key))
	prune(filepath.Join(d.root, dirMeta), filepath.Dir(d.metaPath(key)))
	prune(d.root, filepath.Dir(path))
	return nil
}

// prune removes empty directories from dir up to, and without, root.
func prune(root, dir string) {
	for strings.HasPrefix(dir, root+string(filepath.Separator)) && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}

// lock serialises writers: first the goroutines of this Dir, then the processes. Waiting ends with ctx, so a process
// that was stopped while it held the lock costs the others a timeout, not their life.
func (d *Dir) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case d.local <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() {
		if err != nil {
			<-d.local
		}
	}()
	f, err := os.OpenFile(filepath.Join(d.root, dirLock), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, denied(err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close(); <-d.local }, nil // closing releases it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), ctx.Err())
		}
	}
}

// createTmp makes a temporary file on the same file system and locks it for as long as it is open, so that no other
// process takes it for a leftover.
func (d *Dir) createTmp() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(d.root, dirTmp), "write-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), f.Chmod(0o644)); err != nil {
		os.Remove(f.Name())
		f.Close()
		return nil, err
	}
	return f, nil
}

// tmpAge is older than the moment between creating and locking a temporary file.
const tmpAge = time.Minute

// cleanTmp removes temporary files that nobody holds. What it cannot remove stays for another time.
func (d *Dir) cleanTmp(now time.Time) {
	names, _ := filepath.Glob(filepath.Join(d.root, dirTmp, "write-*"))
	for _, name := range names {
		st, err := os.Lstat(name)
		if err != nil || now.Sub(st.ModTime()) < tmpAge {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.Remove(name)
		}
		f.Close()
	}
}

// writeMeta stores the metadata of the file that is about to be renamed to key. Written before the rename: a crash in
// between leaves metadata that matches no file, which counts as none.
func (d *Dir) writeMeta(key string, tmp *os.File, metadata map[string]string) error {
	path := d.metaPath(key)
	if len(metadata) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return denied(err)
		}
		return nil
	}
	st, err := tmp.Stat()
	if err != nil {
		return err
	}
	lower := make(map[string]string, len(metadata))
	for k, v := range metadata {
		lower[strings.ToLower(k)] = v
	}
	data, err := json.Marshal(dirMetadata{File: statETag(st), Metadata: lower})
	if err != nil {
		return err
	}
	f, err := d.createTmp()
	if err != nil {
		return denied(err)
	}
	defer f.Close()
	_, err = f.Write(data)
	if err == nil {
		err = errors.Join(f.Sync(), os.MkdirAll(filepath.Dir(path), 0o755))
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return denied(err)
	}
	return syncDir(filepath.Dir(path))
}

// makeDirs creates dir below root and syncs the parent of each directory that it made.
func makeDirs(root, dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == root {
		return err
	}
	if err := makeDirs(root, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// denied adds the sentinel to an error of permission.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}
