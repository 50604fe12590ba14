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
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Progress is told how many of total bytes are done. Calls are serial.
type Progress func(done, total int64)

// uploadParallel files of a snapshot travel at a time; a large one also travels in parallel parts.
const uploadParallel = 2

// metaSHA256 is the metadata key that lets a refused upload recognise its own bytes.
const metaSHA256 = "sha256"

// SnapshotInfo is what the store holds under <ts>/, complete or not.
type SnapshotInfo struct {
	ID          string
	Files       map[string]Info // by name, manifest.json and verdict.json included
	HasManifest bool            // without it this is no snapshot, only an upload
	Oldest      time.Time       // LastModified of the oldest and newest object
	Newest      time.Time
	Date        time.Time // the store's clock
}

// ListSnapshots returns everything under <ts>/ keys, oldest id first.
func ListSnapshots(ctx context.Context, objects Objects, l Layout) ([]SnapshotInfo, error) {
	var out []SnapshotInfo
	root := l.Root()
	// Ids start with the year: "2" leaves embeddings/, replicas/ and the documents out of the listing.
	err := objects.List(ctx, root+"2", func(info Info) error {
		id, name, ok := strings.Cut(strings.TrimPrefix(info.Key, root), "/")
		if _, err := snapshot.ParseID(id); err != nil || !ok {
			return nil
		}
		if n := len(out); n == 0 || out[n-1].ID != id {
			out = append(out, SnapshotInfo{ID: id, Files: map[string]Info{}, Oldest: info.LastModified})
		}
		s := &out[len(out)-1]
		s.Files[name] = info
		s.HasManifest = s.HasManifest || name == snapshot.FileManifest
		s.Date = info.Date
		if info.LastModified.Before(s.Oldest) {
			s.Oldest = info.LastModified
		}
		if info.LastModified.After(s.Newest) {
			s.Newest = info.LastModified
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return out, nil
}

// PutSnapshot uploads m's own files from dir and then, last, the manifest that makes them a snapshot. Nothing is ever
// overwritten. Each local file is hashed against the manifest while it travels: ErrCorrupt when it differs.
// Returned is the Info of the manifest. progress may be nil.
func PutSnapshot(ctx context.Context, objects Objects, l Layout, dir string, m Manifest, progress Progress) (Info, error) {
	if err := m.validate(); err != nil {
		return Info{}, fmt.Errorf("put snapshot: %w: %w", ErrInvalid, err)
	}
	data, err := MarshalManifest(m)
	if err != nil {
		return Info{}, fmt.Errorf("encode manifest: %w", err)
	}
	own := m
	own.Files = m.Own()
	meter := newMeter(progress, own.Size())
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(uploadParallel)
	for _, f := range own.Files {
		g.Go(func() error {
			if err := putSnapshotFile(gctx, objects, l.FileKey(m, f), filepath.Join(dir, f.Name), f); err != nil {
				return err
			}
			meter.add(f.Size)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Info{}, fmt.Errorf("put snapshot %s: %w", m.ID, err)
	}
	info, err := WriteBytes(ctx, objects, l.Manifest(m.ID), data, PutOptions{IfAbsent: true})
	if err != nil {
		return Info{}, fmt.Errorf("put snapshot %s: %w", m.ID, err)
	}
	return info, nil
}

// putSnapshotFile uploads one file and hashes the local bytes beside it.
func putSnapshotFile(ctx context.Context, objects Objects, key, path string, f snapshot.File) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		size, sum, err := hashFile(ctx, path, nil)
		if err != nil {
			return err
		}
		return f.Check(size, sum)
	})
	g.Go(func() error {
		_, err := WriteFile(ctx, objects, key, path, f, PutOptions{IfAbsent: true})
		return err
	})
	return g.Wait()
}

// WriteFile uploads a local file whose digest is known, with the digest as metadata, and finds out what became of
// it as WriteBytes does: a refused upload whose object carries the same size and digest is a success.
func WriteFile(ctx context.Context, objects Objects, key, path string, f snapshot.File, cond PutOptions) (Info, error) {
	meta := map[string]string{metaSHA256: f.SHA256}
	for k, v := range cond.Metadata {
		meta[k] = v
	}
	cond.Metadata = meta
	var info Info
	err := retry(ctx, key+f.SHA256, func() (err error) {
		info, err = objects.PutFile(ctx, key, path, cond)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		stored, herr := objects.Head(ctx, key)
		switch {
		case herr == nil && stored.Size == f.Size && stored.Metadata[metaSHA256] == f.SHA256:
			info = stored
			return nil
		case errors.Is(herr, ErrNotFound) && cond.IfAbsent:
			return fmt.Errorf("write %s: %w", key, ErrDeleteMarker)
		case herr != nil && !errors.Is(herr, ErrNotFound):
			return fmt.Errorf("look after a refused upload: %w", herr)
		}
		return err
	})
	return info, err
}

// VerifySnapshot reads everything of a snapshot again, its base's manifest and files and all its deltas too, and checks it
// against the manifest, and the manifest against wantSHA256 when that is not "". Nothing is kept. ErrCorrupt and ErrNotFound
// name the file.
func VerifySnapshot(ctx context.Context, objects Objects, l Layout, id, wantSHA256 string, progress Progress) error {
	m, _, err := ReadManifest(ctx, objects, l, id, wantSHA256)
	if err != nil {
		return err
	}
	if m.Base != nil {
		if _, _, err := ReadManifest(ctx, objects, l, m.Base.ID, m.Base.ManifestSHA256); err != nil {
			return fmt.Errorf("verify the base's manifest: %w", err)
		}
	}
	meter := newMeter(progress, m.Size())
	for _, f := range m.Files {
		if err := streamFile(ctx, objects, l.FileKey(m, f), f, meter); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	return nil
}

// StreamFile lets read have the bytes of one of m's files, in order, while they travel. ErrCorrupt when they are not what
// m promises, ErrNotFound when there is no such file: what read made of them, also its error, counts for nothing then.
func StreamFile(ctx context.Context, objects Objects, l Layout, m Manifest, f snapshot.File, read func(io.Reader) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := read(r)
		_, _ = io.Copy(io.Discard, r) // to the end, for the digest
		done <- err
	}()
	err := streamFile(ctx, objects, l.FileKey(m, f), f, w)
	w.CloseWithError(err)
	if rerr := <-done; err == nil {
		err = rerr
	}
	return err
}

// streamFile copies a file of a snapshot into w and checks it.
func streamFile(ctx context.Context, objects Objects, key string, f snapshot.File, w io.Writer) error {
	h := sha256.New()
	_, n, err := stream(ctx, objects, key, GetOptions{}, f.Size, io.MultiWriter(h, w))
	if err == nil {
		err = f.Check(n, hex.EncodeToString(h.Sum(nil)))
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

// HashFile returns the File entry of a local file: base name, size, SHA-256. pause, unless nil, is called now and then.
func HashFile(ctx context.Context, path string, pause func()) (snapshot.File, error) {
	size, sum, err := hashFile(ctx, path, pause)
	if err != nil {
		return snapshot.File{}, err
	}
	return snapshot.File{Name: filepath.Base(path), Size: size, SHA256: sum}, nil
}

func hashFile(ctx context.Context, path string, pause func()) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, localReader{ctx, f, pause}, make([]byte, copyBuffer))
	if err != nil {
		return 0, "", fmt.Errorf("hash %s: %w", path, err)
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}

// localReader ends a long local copy when ctx does, and pauses before each read.
type localReader struct {
	ctx   context.Context
	r     io.Reader
	pause func() // nil: never
}

func (l localReader) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.pause != nil {
		l.pause()
	}
	return l.r.Read(p)
}

// meter counts bytes towards a Progress, from any goroutine.
type meter struct {
	mu    sync.Mutex
	done  int64
	total int64
	tell  Progress
}

func newMeter(p Progress, total int64) *meter { return &meter{tell: p, total: total} }

func (m *meter) add(n int64) {
	if m.tell == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.tell(m.done, m.total)
}

func (m *meter) Write(p []byte) (int, error) {
	m.add(int64(len(p)))
	return len(p), nil
}
