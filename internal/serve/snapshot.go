package serve

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// view is everything that answers from one state of the catalogue. Immutable once published, but for pointer,
// which holder guards: the same snapshot can be promoted again under a new generation.
type view struct {
	manifest store.Manifest
	pointer  store.Pointer // as read when it was published or confirmed last
	fallback bool          // an older entry of the pointer's history, served because the current one cannot be loaded
	cached   bool          // loaded without the store, not confirmed by it since
	loadedAt time.Time
	index    snapshot.Index
	docs     *store.Docs
	mapped   []*store.Arrays // that attrs and words are views of
	attrs    *filter.Attributes
	words    Lexical // nil: not wired
	fuse     func(k int, semantic, lexical []int64, lexicalScores []float32) ([]int64, []float32)
	embedder Embedder
	filters  []string // paths that the page offers to filter by
	lane     *lane
	dir      string // local directory of its files

	indexBytes int64 // resident, 0 when not opened

	refs int // guarded by holder.mu; the publication itself holds one
}

func (s *view) id() string { return s.manifest.ID }
func (s *view) dims() int  { return s.index.Dims() }

// close frees what the snapshot holds, also when it was opened in part. Of a published one only holder calls it, after
// the last release.
func (s *view) close() error {
	var err error
	if s.index != nil {
		err = s.index.Close()
	}
	if s.docs != nil {
		err = errors.Join(err, s.docs.Close())
	}
	for _, m := range s.mapped {
		err = errors.Join(err, m.Close())
	}
	return err
}

// holder publishes one snapshot and counts who uses it.
type holder struct {
	free func(*view) // called once per snapshot, in its own goroutine, after its last release

	mu      sync.Mutex
	current *view
	open    sync.WaitGroup // snapshots published and not freed yet
}

// acquire returns the published snapshot with a reference, or nil. The reference is taken inside the lock that
// publishes: the snapshot cannot be freed between reading the pointer and counting the reader.
func (h *holder) acquire() *view {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return nil
	}
	h.current.refs++
	return h.current
}

// release gives back a reference from acquire, exactly once.
func (h *holder) release(s *view) {
	h.mu.Lock()
	s.refs--
	refs := s.refs
	h.mu.Unlock()
	switch {
	case refs == 0:
		// Unmapping a large index takes milliseconds that the last reader should not wait for.
		go func() {
			defer h.open.Done()
			h.free(s)
		}()
	case refs < 0:
		panic(fmt.Sprintf("snapshot %s released more often than acquired", s.id()))
	}
}

// publish makes next (nil: nothing) the snapshot that acquire hands out and drops the old one's publication.
func (h *holder) publish(next *view) {
	h.mu.Lock()
	old := h.current
	if next != nil {
		next.refs++
		h.open.Add(1)
	}
	h.current = next
	h.mu.Unlock()
	if old != nil {
		h.release(old)
	}
}

// confirm records a newer pointer to the published snapshot: same bytes, another generation or nonce.
func (h *holder) confirm(p store.Pointer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil && h.current.id() == p.ID {
		h.current.pointer, h.current.fallback, h.current.cached = p, false, false
	}
}

// held describes the published snapshot without holding it open.
type held struct {
	manifest         store.Manifest
	pointer          store.Pointer
	fallback, cached bool
	loadedAt         time.Time
	vectors, records int
	indexBytes       int64
}

// look returns what is published, ok false when nothing is.
func (h *holder) look() (v held, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.current
	if s == nil {
		return held{}, false
	}
	return held{s.manifest, s.pointer, s.fallback, s.cached, s.loadedAt, s.index.Len(), s.docs.Len(), s.indexBytes}, true
}

// id of the published snapshot, "" for none.
func (h *holder) id() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return ""
	}
	return h.current.id()
}

// wait returns when every snapshot that was published has been freed; publish(nil) comes first.
func (h *holder) wait() { h.open.Wait() }
