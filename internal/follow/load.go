package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// Phases of a swap, as labels.
const (
	phaseDownload = "download"
	phaseVerify   = "verify"
	phaseOpen     = "open"
	phaseWarm     = "warm"
)

// Why a snapshot was not taken, in heartbeats and /snapshot.
const (
	ReasonHash      = "hash_mismatch"
	ReasonMissing   = "missing"
	ReasonMemory    = "memory"
	ReasonOpen      = "open"
	ReasonEmbedding = "embedding"
	ReasonDisk      = "disk"
	ReasonUnsigned  = "unsigned" // no known key signed the manifest
	ReasonStore     = "store"    // the store did not answer; nothing is wrong with the snapshot
)

// loadError carries the reason of a failed load.
type loadError struct {
	reason string
	err    error
}

func (e *loadError) Error() string { return e.err.Error() }
func (e *loadError) Unwrap() error { return e.err }

// reasonOf classifies an error of a load.
func reasonOf(err error) string {
	var le *loadError
	var te *tightError
	switch {
	case errors.As(err, &le):
		return le.reason
	case errors.As(err, &te):
		return ReasonMemory
	case errors.Is(err, snapshot.ErrCorrupt):
		return ReasonHash
	case errors.Is(err, store.ErrNotFound):
		return ReasonMissing
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EROFS):
		return ReasonDisk
	}
	return ReasonStore
}

// warmFor bounds the warm-up: a slow first search is better than a late swap.
const warmFor = 2 * time.Second

// stallAfter ends a download of which nothing has arrived for so long: a connection may hang without an error, and
// the follower would wait for it for good.
const stallAfter = time.Minute

var errStalled = errors.New("the download stalled")

// loader turns a pointer into an opened snapshot.
type loader struct {
	deps    Deps
	cache   *cache
	m       *metrics
	served  func() string    // id of the published snapshot, "" for none
	near    func() *Snapshot // the published snapshot with a reference, nil for none
	release func(*Snapshot)
	// makeRoom is asked when old and new do not fit together: it retires the old one and returns when its memory is
	// free, or says that it must stay.
	makeRoom func(*tightError) error
}

// load brings the snapshot of p from the cache or the store and opens it. polite: something is being served, so
// leave it the cores. With offline only the cache is asked.
func (l *loader) load(ctx context.Context, p store.Pointer, polite, offline bool) (*Snapshot, error) {
	near := l.near()
	defer func() {
		if near != nil {
			l.release(near)
		}
	}()
	start := time.Now()
	m, dir, err := l.cache.verify(ctx, p, near.file, l.deps.Pause)
	if err == nil {
		l.m.phase(phaseVerify, start)
	}
	if err != nil && offline {
		return nil, err
	}
	if err != nil {
		m, p.ManifestSHA256, err = store.ReadManifest(ctx, l.deps.Objects, l.deps.Layout, p.ID, p.ManifestSHA256)
		if err != nil {
			return nil, err
		}
	}
	if p.Signature, err = l.signed(ctx, p, m, dir, offline); err != nil {
		return nil, err
	}
	if !m.Spec.EmbeddingKnown() {
		return nil, &loadError{ReasonEmbedding, errors.New("a newer release embedded it in a way that this one does not know")}
	}
	embedder, err := l.deps.Embedder(m.Spec.Embedding)
	if err != nil {
		return nil, &loadError{ReasonEmbedding, err}
	}
	if near != nil && !near.SharesBase(m) {
		l.release(near)
		near = nil
	}
	err = l.room(m, near)
	if near != nil && reasonOf(err) == ReasonMemory {
		l.release(near) // it may have to go
		near, err = nil, l.room(m, nil)
	}
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir, err = l.download(ctx, p, m, near, polite)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			// The disk may hold two snapshots and not three: what is served matters more than what was.
			if l.cache.giveUp(l.served()) {
				dir, err = l.download(ctx, p, m, near, polite)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	opening := time.Now()
	v, err := view.Open(m, dir, l.deps.Indexes, embedder, near.view())
	l.m.phase(phaseOpen, opening)
	if errors.Is(err, snapshot.ErrCorrupt) {
		return nil, err // by its content, which the digests of its files do not tell
	}
	if err != nil {
		return nil, &loadError{ReasonOpen, err}
	}
	p.Manifest = m
	s := &Snapshot{View: v, dir: dir, loadedAt: time.Now(), bytes: v.SizeBytes(), pointer: p}
	l.m.opened(v.Opened())
	if near == nil { // else it is warm
		l.warm(ctx, v)
	}
	return s, nil
}

// signed sees that a known key signed the manifest, before anything that it names is read, and returns the signature. The
// pointer carries a copy of it, so that the local cache can be checked while the store is away. An entry of its history
// does not, nor does the pointer of a release that knows no signatures, and a copy may be wrong: manifest.sig has the last
// word. dir is of the cached snapshot, "" for none.
func (l *loader) signed(ctx context.Context, p store.Pointer, m store.Manifest, dir string, offline bool) (*store.Signature, error) {
	keys := l.deps.Keys
	if len(keys) == 0 {
		return p.Signature, nil
	}
	data, err := l.manifestBytes(ctx, p, m, dir)
	if err != nil {
		return nil, err
	}
	signature := p.Signature
	err = keys.Verify(data, signature)
	if err != nil && !offline {
		if signature, err = store.ReadSignature(ctx, l.deps.Objects, l.deps.Layout, p.ID); err != nil {
			return nil, err
		}
		err = keys.Verify(data, signature)
	}
	if err != nil {
		return nil, &loadError{ReasonUnsigned, err}
	}
	return signature, nil
}

// room checks the predicted memory of m, beside everything this process holds now, against the limit. What is shared with
// near is there already.
func (l *loader) room(m store.Manifest, near *Snapshot) error {
	limit := l.deps.MemoryLimit()
	need := int64(0)
	shares := near != nil
	if vectors := m.Stats.Vectors; !shares {
		if m.Base != nil {
			vectors = m.Base.Vectors
		}
		need = l.deps.Indexes.PredictBytes(m.Index, vectors, m.Spec.Embedding.Dims)
	}
	held := map[string]bool{}
	if shares {
		for _, d := range near.Manifest().Deltas {
			held[d.SHA256] = true
		}
	}
	for _, d := range m.Deltas {
		if !held[d.SHA256] {
			need += 4 * int64(d.Rows) * int64(m.Spec.Embedding.Dims)
		}
	}
	_, words := m.File(snapshot.FileWords)
	_, filters := m.File(snapshot.FileFilters)
	if (!words || !filters) && !shares {
		// They will be built: a pair of Japanese characters is 6 bytes of text and about 2 of postings; filters hold
		// less. While they are built the garbage collector may let twice that stand. Mapped files take none: the
		// system drops their pages when memory is short.
		docs, _ := m.File(snapshot.FileDocuments)
		need += docs.Size
	}
	limitGoHeap(limit, l.m.residentBytes()+need)
	err := fits(need, l.deps.MemoryUsed(), limit)
	if err != nil {
		debug.FreeOSMemory() // garbage need not stand in the way
		err = fits(need, l.deps.MemoryUsed(), limit)
	}
	var tight *tightError
	if errors.As(err, &tight) && near == nil {
		return l.makeRoom(tight)
	}
	return err
}

// download fetches the wanted files into the cache, every hash checked; what near has open was checked when it was opened.
func (l *loader) download(ctx context.Context, p store.Pointer, m store.Manifest, near *Snapshot, polite bool) (string, error) {
	defer l.m.phase(phaseDownload, time.Now())
	tmp, err := l.cache.staging()
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallAfter, func() { cancel(errStalled) })
	defer stalled.Stop()
	o := store.FetchOptions{Reuse: l.cache.reuse, Open: near.file, Progress: func(_, _ int64) { stalled.Reset(stallAfter) }}
	if polite {
		o.Parallel, o.Around, o.Pause = 1, lowly, l.deps.Pause // one range hashed while the next arrives
	}
	if err := store.Fetch(ctx, l.deps.Objects, l.deps.Layout, wanted(m), tmp, o); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return "", err
	}
	data, err := l.manifestBytes(ctx, p, m, "")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, snapshot.FileManifest), data, 0o600); err != nil {
		return "", err
	}
	return l.cache.adopt(tmp, p)
}

// manifestBytes returns the bytes that p names, from the cached snapshot in dir unless that is "". A newer indexer's
// manifest may hold fields that this binary does not know, so its own marshalling is right only when the digest says so.
func (l *loader) manifestBytes(ctx context.Context, p store.Pointer, m store.Manifest, dir string) ([]byte, error) {
	if dir != "" {
		data, err := os.ReadFile(filepath.Join(dir, snapshot.FileManifest))
		if err != nil {
			return nil, err
		}
		return data, named(data, p)
	}
	data, err := store.MarshalManifest(m)
	if err != nil || store.ManifestDigest(data) == p.ManifestSHA256 {
		return data, err
	}
	body, _, err := l.deps.Objects.Get(ctx, l.deps.Layout.Manifest(m.ID), store.GetOptions{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if data, err = io.ReadAll(io.LimitReader(body, store.MaxDocument)); err != nil {
		return nil, err
	}
	return data, named(data, p)
}

// named returns snapshot.ErrCorrupt unless p names these bytes of a manifest.
func named(data []byte, p store.Pointer) error {
	if store.ManifestDigest(data) != p.ManifestSHA256 {
		return fmt.Errorf("manifest of %s: %w: its digest is not the pointer's", p.ID, snapshot.ErrCorrupt)
	}
	return nil
}

// warm runs recent queries and stored vectors, so that the first visitors do not pay for cold caches and pages.
func (l *loader) warm(ctx context.Context, v *view.View) {
	defer l.m.phase(phaseWarm, time.Now())
	deadline := time.Now().Add(warmFor)
	k := min(10, v.Vectors())
	over := func() bool { return time.Now().After(deadline) || ctx.Err() != nil }
	if l.deps.Recent != nil {
		for _, q := range l.deps.Recent(v.Embedding()) {
			if over() {
				return
			}
			_, _, _ = v.Search(q, k, nil)
			l.deps.Pause()
		}
	}
	const samples = 16
	q := make([]float32, v.Dims())
	for i := range min(samples, v.Vectors()) {
		if over() {
			return
		}
		if v.Vector(i*v.Vectors()/min(samples, v.Vectors()), q) == nil {
			_, _, _ = v.Search(q, k, nil)
			l.deps.Pause()
		}
	}
}

// politely runs f in a goroutine that is lowly.
func politely(f func()) {
	go func() { _ = lowly(func() error { f(); return nil }) }()
}

// lowly runs f at low priority: hashing, parsing and FAISS's reading then take the time that queries leave. The
// goroutine keeps its thread, whose priority cannot be raised again, and both end together.
func lowly(f func() error) error {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19) // refused: then at normal priority
	return f()
}
