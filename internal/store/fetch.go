package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Downloads travel as ranges of rangeSize, defaultParallel at a time, each with a buffer of copyBuffer:
// 4 × 256 KiB of memory whatever the size of the file.
const (
	rangeSize       = 8 << 20
	defaultParallel = 4
	copyBuffer      = 256 << 10
)

// FetchOptions of Fetch. The zero value is usable.
type FetchOptions struct {
	// Reuse offers a local file that may already hold the bytes of a File; it is hashed like a download, and
	// downloaded when it differs.
	Reuse func(snapshot.File) (path string, ok bool)
	// Open offers a local file that holds the bytes of a File, was checked and is kept open since: it is not hashed again.
	Open     func(snapshot.File) (path string, ok bool)
	Parallel int // ranges in flight; default 4
	Progress Progress
	// Around runs the work of each goroutine that is started, so that the caller can say at what priority; nil just
	// calls it.
	Around func(work func() error) error
	// Pause is called now and then by each of them and by the caller's, which may sleep in it; nil does nothing.
	Pause func()
}

// Fetch brings the files of m (leave out of m.Files what is not wanted) into dir, under Manifest.LocalName, and returns only when the size and
// SHA-256 of every one were checked, by one goroutine that hashes what has arrived while the rest is on its way.
// ErrCorrupt and ErrNotFound name the file. After an error dir holds leftovers for the caller to remove; files are
// not fsynced, so a cache must check the digests again after a restart.
func Fetch(ctx context.Context, objects Objects, l Layout, m Manifest, dir string, o FetchOptions) error {
	meter := newMeter(o.Progress, m.Size())
	var missing []snapshot.File
	for _, f := range m.Files {
		if err := checkFile(f); err != nil {
			return fmt.Errorf("fetch %s: %w: %w", m.ID, snapshot.ErrCorrupt, err)
		}
		ok, err := reuse(ctx, f, filepath.Join(dir, m.LocalName(f)), o)
		if err != nil {
			return fmt.Errorf("fetch %s: %w", m.ID, err)
		}
		if ok {
			meter.add(f.Size)
		} else {
			missing = append(missing, f)
		}
	}
	parallel := o.Parallel
	if parallel < 1 {
		parallel = defaultParallel
	}
	if err := download(ctx, objects, l, m, missing, dir, parallel, o, meter); err != nil {
		return fmt.Errorf("fetch %s: %w", m.ID, err)
	}
	return nil
}

// reuse puts an already present file at path, when one is offered and its bytes are the right ones.
func reuse(ctx context.Context, f snapshot.File, path string, o FetchOptions) (bool, error) {
	if o.Open != nil {
		if from, ok := o.Open(f); ok && os.Link(from, path) == nil {
			return true, nil
		}
	}
	if o.Reuse == nil {
		return false, nil
	}
	from, ok := o.Reuse(f)
	if !ok {
		return false, nil
	}
	size, sum, err := hashFile(ctx, from, o.Pause)
	if ctx.Err() != nil {
		return false, err
	}
	if err != nil || f.Check(size, sum) != nil {
		return false, nil // it is only an offer
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if os.Link(from, path) == nil {
		return true, nil
	}
	// Another file system: copy, and hash the copy.
	in, err := os.Open(from)
	if err != nil {
		return false, nil
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(out, localReader{ctx, in, o.Pause})
	if err := errors.Join(err, out.Close()); err != nil {
		return false, err
	}
	size, sum, err = hashFile(ctx, path, o.Pause)
	return err == nil && f.Check(size, sum) == nil, err
}

// part is one range of one file; done closes when its bytes are in the local file.
type part struct {
	file           int
	offset, length int64
	done           chan struct{}
}

// download fills dir with files of m. Ranges start in file order, so the hasher, which
// follows in the same order, waits only for what is on its way.
func download(ctx context.Context, objects Objects, l Layout, m Manifest, files []snapshot.File, dir string, parallel int,
	o FetchOptions, meter *meter,
) error {
	around := o.Around
	if around == nil {
		around = func(work func() error) error { return work() }
	}
	local := make([]*os.File, len(files))
	defer func() {
		for _, f := range local {
			if f != nil {
				f.Close()
			}
		}
	}()
	var parts []part
	for i, f := range files {
		// Not O_TRUNC over an existing inode: it may be a link into another snapshot's cache.
		path := filepath.Join(dir, m.LocalName(f))
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		local[i] = out
		for at := int64(0); at == 0 || at < f.Size; at += rangeSize {
			parts = append(parts, part{i, at, min(rangeSize, f.Size-at), make(chan struct{})})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	todo := make(chan part)
	g.Go(func() error {
		defer close(todo)
		for _, p := range parts {
			select {
			case todo <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range min(parallel, len(parts)) {
		g.Go(func() error {
			return around(func() error {
				buf := make([]byte, copyBuffer)
				for p := range todo {
					if err := fetchPart(ctx, objects, l.FileKey(m, files[p.file]), files[p.file], p, local[p.file], buf, o.Pause, meter); err != nil {
						return err
					}
					close(p.done)
				}
				return nil
			})
		})
	}
	g.Go(func() error {
		return around(func() error { return hashParts(ctx, files, parts, local, o.Pause) })
	})
	err := g.Wait()
	for i, f := range local {
		if f == nil {
			continue
		}
		err = errors.Join(err, f.Close())
		local[i] = nil
	}
	return err
}

// fetchPart downloads one range and tries again when the connection breaks. A file of no bytes is asked for its
// size only: a range of it cannot be satisfied.
func fetchPart(ctx context.Context, objects Objects, key string, f snapshot.File, p part, out io.WriterAt, buf []byte, pause func(), meter *meter) error {
	if f.Size == 0 {
		info, err := objects.Head(ctx, key)
		if err == nil && info.Size != 0 {
			err = fmt.Errorf("%w: %s has %d bytes, the manifest says 0", snapshot.ErrCorrupt, f.Name, info.Size)
		}
		return err
	}
	got := int64(0) // of this range, over all attempts
	err := retry(ctx, f.SHA256, func() error {
		body, info, err := objects.Get(ctx, key, GetOptions{Offset: p.offset + got, Length: p.length - got})
		if err != nil {
			return err
		}
		defer body.Close()
		if info.Size != f.Size {
			return fmt.Errorf("%w: %s has %d bytes, the manifest says %d", snapshot.ErrCorrupt, f.Name, info.Size, f.Size)
		}
		w := io.MultiWriter(io.NewOffsetWriter(out, p.offset+got), meter)
		n, err := io.CopyBuffer(w, io.LimitReader(localReader{ctx, body, pause}, p.length-got), buf)
		got += n
		if err == nil && got < p.length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		return nil
	})
	return err
}

// hashParts checks every file against the manifest, reading each range back (from the page cache) once it is there.
func hashParts(ctx context.Context, files []snapshot.File, parts []part, local []*os.File, pause func()) error {
	buf := make([]byte, copyBuffer)
	h := sha256.New()
	for _, p := range parts {
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if p.offset == 0 {
			h.Reset()
		}
		n, err := io.CopyBuffer(h, localReader{ctx, io.NewSectionReader(local[p.file], p.offset, p.length), pause}, buf)
		if err != nil {
			return err
		}
		if f := files[p.file]; p.offset+n >= f.Size || n < p.length {
			if err := f.Check(p.offset+n, hex.EncodeToString(h.Sum(nil))); err != nil {
				return err
			}
		}
	}
	return nil
}

// MaxSource bounds the catalogue file in bytes; its parser has a lower limit of its own.
const MaxSource = 8 << 30

// sourceRestarts is how often a download starts over because the object changed under it.
const sourceRestarts = 3

// FetchSource downloads the object at key, which people may replace at any moment, into path, and returns its Info
// and lower-case hex SHA-256. A download that broke off goes on with If-Match, so the bytes are of one version; when
// the object changes meanwhile it starts over, at last giving up with ErrConflict. o carries IfNoneMatch
// (→ ErrNotModified, path untouched). The file is scratch: not fsynced.
func FetchSource(ctx context.Context, objects Objects, key, path string, o GetOptions) (Info, string, error) {
	for try := 1; ; try++ {
		info, sum, err := fetchOnce(ctx, objects, key, path, o)
		if err == nil {
			return info, sum, nil
		}
		if !errors.Is(err, ErrConflict) || o.IfMatch != "" || try == sourceRestarts {
			return info, "", fmt.Errorf("fetch %s: %w", key, err)
		}
	}
}

func fetchOnce(ctx context.Context, objects Objects, key, path string, o GetOptions) (Info, string, error) {
	w := &lazyFile{path: path}
	h := sha256.New()
	info, n, err := stream(ctx, objects, key, o, MaxSource, io.MultiWriter(w, h))
	if err == nil && n == 0 {
		_, err = w.Write(nil) // an empty object makes an empty file
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return info, "", err
	}
	return info, hex.EncodeToString(h.Sum(nil)), nil
}

// stream copies a whole object of at most limit bytes into w, in order. A broken body is continued from where it
// broke, under If-Match; ErrConflict says that the object changed. Returned are the object's Info and the bytes written.
func stream(ctx context.Context, objects Objects, key string, o GetOptions, limit int64, w io.Writer) (info Info, n int64, err error) {
	buf := make([]byte, copyBuffer)
	err = retry(ctx, key, func() error {
		opts := o
		if n > 0 {
			opts = GetOptions{IfMatch: info.ETag, Offset: n}
		}
		body, got, err := objects.Get(ctx, key, opts)
		if err != nil {
			return err
		}
		defer body.Close()
		info = got
		if info.Size > limit {
			return fmt.Errorf("read %s: %w: %d bytes, the limit is %d", key, snapshot.ErrCorrupt, info.Size, limit)
		}
		for {
			r, rerr := body.Read(buf)
			if r > 0 {
				if _, werr := w.Write(buf[:r]); werr != nil {
					return werr
				}
				n += int64(r)
			}
			switch {
			case rerr == nil:
			case errors.Is(rerr, io.EOF) && n == info.Size:
				return nil
			case errors.Is(rerr, io.EOF):
				return fmt.Errorf("read %s: %w after %d of %d bytes", key, io.ErrUnexpectedEOF, n, info.Size)
			case n == info.Size && !errors.Is(rerr, ErrConflict): // all there, and refused: a checksum
				return fmt.Errorf("read %s: %w: %w", key, snapshot.ErrCorrupt, rerr)
			default:
				return fmt.Errorf("read %s: %w", key, rerr)
			}
		}
	})
	return info, n, err
}

// lazyFile creates its file at the first write, so that a 304 leaves an older one alone.
type lazyFile struct {
	path string
	f    *os.File
}

func (l *lazyFile) Write(p []byte) (int, error) {
	if l.f == nil {
		f, err := os.Create(l.path)
		if err != nil {
			return 0, err
		}
		l.f = f
	}
	return l.f.Write(p)
}

func (l *lazyFile) Close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
