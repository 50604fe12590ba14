package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

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
