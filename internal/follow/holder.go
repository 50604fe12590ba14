package follow

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// Snapshot is a view with its place in the history of promotions.
type Snapshot struct {
	*view.View
	dir      string // where its files are
	loadedAt time.Time
	bytes    int64 // resident

	// Of a published one guarded by holder.mu: the same snapshot can be promoted again under a new generation.
	pointer  store.Pointer // as read when it was published or confirmed last
	fallback bool          // an older entry of the pointer's history, served because the current one cannot be loaded
	cached   bool          // loaded without the store, not confirmed by it since
	refs     int           // the publication itself holds one
}

// view is its view, nil of no snapshot.
func (s *Snapshot) view() *view.View {
	if s == nil {
		return nil
	}
	return s.View
}

// file is where the snapshot has the bytes of f open.
func (s *Snapshot) file(f snapshot.File) (path string, ok bool) {
	if s == nil {
		return "", false
	}
	m := s.Manifest()
	for _, own := range wanted(m).Files {
		if own.Name == f.Name && own.SHA256 == f.SHA256 && own.Size == f.Size {
			return filepath.Join(s.dir, m.LocalName(own)), true
		}
	}
	return "", false
}

// holder publishes one snapshot and counts who uses it.
type holder struct {
	free func(*Snapshot) // called once per snapshot, in its own goroutine, after its last release

	mu      sync.Mutex
	current *Snapshot
	open    sync.WaitGroup // snapshots published and not freed yet
}

// Acquire returns the published snapshot with a reference, or nil. The reference is taken inside the lock that
// publishes: the snapshot cannot be freed between reading the pointer and counting the reader.
func (h *holder) Acquire() *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return nil
	}
	h.current.refs++
	return h.current
}

// Release gives back a reference from Acquire, exactly once.
func (h *holder) Release(s *Snapshot) {
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
		panic(fmt.Sprintf("snapshot %s released more often than acquired", s.ID()))
	}
}

// publish makes next (nil: nothing) the snapshot that Acquire hands out and drops the old one's publication.
func (h *holder) publish(next *Snapshot) {
	h.mu.Lock()
	old := h.current
	if next != nil {
		next.refs++
		h.open.Add(1)
	}
	h.current = next
	h.mu.Unlock()
	if old != nil {
		h.Release(old)
	}
}

// confirm records a newer pointer to the published snapshot: same bytes, another generation or nonce.
func (h *holder) confirm(p store.Pointer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil && h.current.ID() == p.ID {
		h.current.pointer, h.current.fallback, h.current.cached = p, false, false
	}
}

// Served describes the published snapshot without holding it open.
type Served struct {
	Manifest         store.Manifest
	Pointer          store.Pointer
	Fallback         bool // an older one, because the current one cannot be loaded
	Cached           bool // loaded without the store, not confirmed by it since
	LoadedAt         time.Time
	Vectors, Records int
	bytes            int64
}

// look returns what is published, ok false when nothing is.
func (h *holder) look() (v Served, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.current
	if s == nil {
		return Served{}, false
	}
	return Served{s.Manifest(), s.pointer, s.fallback, s.cached, s.loadedAt, s.Vectors(), s.Len(), s.bytes}, true
}

// ServedID is the id of the published snapshot, "" for none.
func (h *holder) ServedID() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return ""
	}
	return h.current.ID()
}

// wait returns when every snapshot that was published has been freed; publish(nil) comes first.
func (h *holder) wait() { h.open.Wait() }
