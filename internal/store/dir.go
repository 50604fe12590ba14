package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Dir is an object store in a local directory: the object under key is the plain file <root>/<key>, so people can
// read and write files there with any program. Several processes may use one root.
//
// Our own writes go to a temporary file, fsync, rename, fsync of the directory, so a reader sees the old bytes or the
// new ones. Conditional writes hold an advisory lock on <root>/.vectorstore/lock between looking and renaming; other
// programs do not take it, so a file that people write themselves must not be one of ours.
//
// A file is not an object: "a" and "a/b" cannot both exist.
//
// # ETags
//
// Up to MaxDocument bytes the ETag is the SHA-256 of the content: two writes of a CAS document always differ in their
// nonce, so it never comes back, and saving the catalogue without changing it changes nothing. Larger files are not
// read for their ETag: it is made of inode, size and modification time in nanoseconds, as make or git would do.
//
// # Metadata
//
// It lies beside the objects in <root>/.vectorstore/meta/<key>.json, bound to the inode, size and time of the file
// that it describes. When the file was replaced by another program, or we crashed between the two writes, the file
// has no metadata; it never has that of another.
type Dir struct {
	root  string
	local chan struct{} // one slot: the lock between goroutines, before the one between processes
}

const (
	dirPrivate = ".vectorstore" // never listed, never a key
	dirTmp     = dirPrivate + "/tmp"
	dirMeta    = dirPrivate + "/meta"
	dirLock    = dirPrivate + "/lock"
)

// NewDir opens the store at root and removes temporary files that crashed processes left. It does not create root: a
// directory that is not there, because it is not mounted or its name is misspelt, is no empty store. While it is
// missing every operation is refused.
func NewDir(root string) (*Dir, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open directory store: %w", err)
	}
	if st, err := os.Stat(root); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("open directory store: %s is not a directory", root)
	}
	d := &Dir{root: root, local: make(chan struct{}, 1)}
	d.cleanTmp(time.Now())
	return d, nil
}

// absent is why something is not found: it does not exist, or the whole store does not.
func (d *Dir) absent() error {
	if _, err := os.Stat(d.root); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the directory %s does not exist: create it, or name another", ErrRefused, d.root)
	}
	return ErrNotFound
}

// prepare makes the directories that writing needs, in a root that exists.
func (d *Dir) prepare() error {
	for _, dir := range []string{dirPrivate, dirTmp, dirMeta} {
		err := os.Mkdir(filepath.Join(d.root, dir), 0o755)
		if errors.Is(err, fs.ErrNotExist) {
			return d.absent()
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return denied(err)
		}
	}
	return nil
}

// URL is file://<root>/<key>.
func (d *Dir) URL(key string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(d.root) + "/" + key}).String()
}

func (d *Dir) path(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if key == dirPrivate || strings.HasPrefix(key, dirPrivate+"/") {
		return "", fmt.Errorf("%w %.80q: reserved", ErrInvalidKey, key)
	}
	return filepath.Join(d.root, filepath.FromSlash(key)), nil
}

// Get implements Objects. A file that changes while it is read ends in ErrConflict instead of io.EOF.
func (d *Dir) Get(ctx context.Context, key string, o GetOptions) (io.ReadCloser, Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, Info{}, err
	}
	f, err := d.open(key)
	if err != nil {
		return nil, Info{}, fmt.Errorf("get %s: %w", key, err)
	}
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	info, data, st, err := d.describe(f, key)
	if err == nil {
		err = o.check(info)
	}
	if err != nil {
		return nil, info, fmt.Errorf("get %s: %w", key, err)
	}
	length := info.Size - o.Offset
	if o.Length > 0 {
		length = min(length, o.Length)
	}
	if data != nil || info.Size == 0 {
		return io.NopCloser(bytes.NewReader(data[o.Offset : o.Offset+length])), info, nil
	}
	body := &dirBody{f: f, st: st, r: io.NewSectionReader(f, o.Offset, length)}
	f = nil
	return body, info, nil
}

// check applies the conditions and the range of a read to what is stored.
func (o GetOptions) check(info Info) error {
	switch {
	case o.IfNoneMatch != "" && o.IfNoneMatch == info.ETag:
		return ErrNotModified
	case o.IfMatch != "" && o.IfMatch != info.ETag:
		return ErrConflict
	case o.Offset < 0 || o.Length < 0 || o.Offset > 0 && o.Offset >= info.Size:
		return fmt.Errorf("%w: range %d+%d of %d bytes", snapshot.ErrCorrupt, o.Offset, o.Length, info.Size)
	}
	return nil
}

// dirBody reads a file that was too large to be read at once.
type dirBody struct {
	f  *os.File
	st fs.FileInfo
	r  io.Reader
}

func (b *dirBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		st, serr := b.f.Stat()
		if serr != nil {
			return n, serr
		}
		if !sameFile(b.st, st) {
			return n, fmt.Errorf("%w: the file changed while it was read", ErrConflict)
		}
	}
	return n, err
}

func (b *dirBody) Close() error { return b.f.Close() }

// Head implements Objects.
func (d *Dir) Head(ctx context.Context, key string) (Info, error) {
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	info, err := d.head(key)
	if err != nil {
		return Info{}, fmt.Errorf("head %s: %w", key, err)
	}
	return info, nil
}

func (d *Dir) head(key string) (Info, error) {
	f, err := d.open(key)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, _, _, err := d.describe(f, key)
	return info, err
}

// open opens the regular file under key. Anything else there is no object.
func (d *Dir) open(key string) (*os.File, error) {
	path, err := d.path(key)
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: opening a FIFO that somebody put there must not hang.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, d.absent()
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err != nil || st.Mode().IsRegular():
	case st.IsDir():
		err = fmt.Errorf("%w: %s is a directory, not a file", ErrNotFound, path)
	default:
		err = fmt.Errorf("%w: %s is no ordinary file", ErrNotFound, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readTries is how often a small file that changes under our hands is read again: 5 × 10 ms.
const readTries = 5

// describe returns the Info of an open file, and its content when it is small.
func (d *Dir) describe(f *os.File, key string) (Info, []byte, fs.FileInfo, error) {
	for try := 1; ; try++ {
		before, err := f.Stat()
		if err != nil {
			return Info{}, nil, nil, err
		}
		info := Info{Key: key, Size: before.Size(), LastModified: before.ModTime(), Date: time.Now()}
		info.Metadata = d.readMeta(key, before)
		if before.Size() > MaxDocument {
			info.ETag = statETag(before)
			return info, nil, before, nil
		}
		data := make([]byte, before.Size())
		n, err := io.ReadFull(io.NewSectionReader(f, 0, before.Size()), data)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return Info{}, nil, nil, err
		}
		after, err := f.Stat()
		if err != nil {
			return Info{}, nil, nil, err
		}
		if int64(n) == before.Size() && sameFile(before, after) {
			info.ETag = contentETag(data)
			return info, data, before, nil
		}
		if try == readTries {
			return Info{}, nil, nil, fmt.Errorf("%w: the file changes while it is read", ErrConflict)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func contentETag(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

func statETag(st fs.FileInfo) string {
	return fmt.Sprintf(`"%x-%x-%x"`, inode(st), st.Size(), st.ModTime().UnixNano())
}

func inode(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino
	}
	return 0
}

// sameFile: nobody wrote between two looks, as far as inode, size and time tell.
func sameFile(a, b fs.FileInfo) bool { return statETag(a) == statETag(b) }

// dirMetadata is a file in .vectorstore/meta.
type dirMetadata struct {
	File     string            `json:"file"` // statETag of the file it belongs to
	Metadata map[string]string `json:"metadata"`
}

func (d *Dir) metaPath(key string) string {
	return filepath.Join(d.root, dirMeta, filepath.FromSlash(key)+".json")
}

func (d *Dir) readMeta(key string, st fs.FileInfo) map[string]string {
	data, err := os.ReadFile(d.metaPath(key))
	if err != nil {
		return nil
	}
	var m dirMetadata
	if json.Unmarshal(data, &m) != nil || m.File != statETag(st) {
		return nil
	}
	return m.Metadata
}

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

// cleanTmp removes temporary files that nobody holds, and returns how many it left for another time.
func (d *Dir) cleanTmp(now time.Time) (left int) {
	names, _ := filepath.Glob(filepath.Join(d.root, dirTmp, "write-*"))
	for _, name := range names {
		st, err := os.Lstat(name)
		if err != nil {
			continue // it has its name by now
		}
		if now.Sub(st.ModTime()) < tmpAge {
			left++ // not to be locked: its writer is about to
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && os.Remove(name) != nil {
			left++
		}
		f.Close()
	}
	return left
}

// DropInterrupted implements Interruptible.
func (d *Dir) DropInterrupted() (left int) { return d.cleanTmp(time.Now()) }

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
