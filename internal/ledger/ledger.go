// Package ledger remembers every vector that was paid for, in append-only segments under embeddings/<space>/ of the
// store (segment.go), one folder per embedding space. The objects are what is durable; a local copy serves the reads.
//
// Memory is bounded by the index: 24 bytes per vector in a map, about 50 MB for 1 M vectors; the vectors themselves
// stay in files (6 GB for 1 M of 1,536 dims). Flush holds one batch, Compact one row.
//
// One process writes at a time, because one indexer holds the lease. Two that write at once (a leader that was
// stopped and came back) cannot hurt each other: segments are only ever added under new names, a merge is complete
// before what it replaces goes, and what it replaces stays for a grace. At worst vectors are stored twice until the
// next merge.
package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Key identifies a vector: which text, embedded by what.
type Key [32]byte

// spaceOf is a digest of everything but the text that decides a vector.
func spaceOf(e snapshot.Embedding, host string) [32]byte {
	data, err := json.Marshal(struct {
		Provider string `json:"provider"`
		Host     string `json:"host"` // of the provider's base URL, "" in process
		Model    string `json:"model"`
		Dims     int    `json:"dims"`
		Version  string `json:"version"`
	}{e.Provider, host, e.Model, e.Dims, e.Version})
	if err != nil {
		panic(err) // strings and an int only
	}
	return sha256.Sum256(data)
}

// NewKey is the key of text embedded by e at host. The text counts byte by byte, with the prefix that is put before
// it.
func NewKey(text string, e snapshot.Embedding, host string) Key {
	space, sum := spaceOf(e, host), sha256.Sum256([]byte(e.DocumentPrefix+text))
	return sha256.Sum256(append(space[:], sum[:]...))
}

// MarshalText and UnmarshalText write a key in hex.
func (k Key) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

func (k *Key) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(k)) {
		return fmt.Errorf("a ledger key of %d digits", len(text))
	}
	_, err := hex.Decode(k[:], text)
	return err
}

// Ledger is the vectors of one embedding space. Safe for concurrent use.
type Ledger struct {
	objects store.Objects
	prefix  string // embeddings/<space>/
	all     string // embeddings/
	dir     string
	space   [32]byte
	dims    int
	most    int // rows of one segment

	buffers sync.Pool // of *[]byte, one vector each

	writing sync.Mutex // Flush and Compact, one at a time

	mu       sync.RWMutex
	segments []*segment // nil: merged into another one
	index    map[[16]byte]rowAt
	damaged  map[string]error    // segments whose bytes are wrong; nothing of them is used
	written  []string            // segments that this Ledger wrote
	unused   map[[16]byte]uint32 // since which day nothing needs an entry, see expire.go
}

// rowAt says where a vector is. The index goes by the first 16 bytes of a key, which is a SHA-256.
type rowAt struct{ segment, row uint32 }

const (
	loads = 4 // segments are fetched and checked at a time
	opens = 5 // tries before Open gives up: each time something was merged meanwhile
)

// folderPattern is the name of a space's folder: the beginning of its digest.
var folderPattern = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Open reads the ledger of one embedding space into dir, which it owns: only segments that dir lacks are
// downloaded. Every segment is checked against its SHA-256; damaged ones are left out (see Damaged) and cost only
// their own vectors. An error means that the store could not be read, never that it holds damage.
func Open(ctx context.Context, objects store.Objects, l store.Layout, dir string, e snapshot.Embedding, host string) (*Ledger, error) {
	if e.Dims < 1 {
		return nil, fmt.Errorf("open ledger: %d dims", e.Dims)
	}
	space := spaceOf(e, host)
	folder := hex.EncodeToString(space[:8])
	g := &Ledger{
		objects: objects, all: l.Ledger(), prefix: l.Ledger() + folder + "/",
		dir: filepath.Join(dir, folder), space: space, dims: e.Dims, most: rowsPerSegment(e.Dims),
	}
	g.buffers.New = func() any {
		buf := make([]byte, 4*e.Dims)
		return &buf
	}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	// A segment that was listed and is gone was merged meanwhile: look again.
	for try := 1; ; try++ {
		err := g.load(ctx)
		if err == nil {
			return g, nil
		}
		g.Close()
		if !errors.Is(err, store.ErrNotFound) || try == opens {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
	}
}

// contents is what a folder holds by name.
type contents struct {
	segments map[string]store.Info
	other    map[string]store.Info // unused, retired
}

func (g *Ledger) list(ctx context.Context) (contents, error) {
	l := contents{segments: map[string]store.Info{}, other: map[string]store.Info{}}
	err := g.objects.List(ctx, g.prefix, func(info store.Info) error {
		name := strings.TrimPrefix(info.Key, g.prefix)
		if segmentPattern.MatchString(name) {
			l.segments[name] = info
		} else {
			l.other[name] = info
		}
		return nil
	})
	return l, err
}

// unlisted adds segments that the local folder knows and the listing lacks, but the store has: a listing may lag, and
// what it hides would be bought again.
func (g *Ledger) unlisted(ctx context.Context, l contents) error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := l.segments[e.Name()]; ok || !segmentPattern.MatchString(e.Name()) {
			continue
		}
		info, err := g.objects.Head(ctx, g.prefix+e.Name())
		switch {
		case err == nil:
			l.segments[e.Name()] = info
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	return nil
}

// opened is a segment on its way into the index.
type opened struct {
	*segment
	keys []Key
}

// load lists the folder and opens everything in it.
func (g *Ledger) load(ctx context.Context) error {
	g.segments, g.index, g.damaged = nil, map[[16]byte]rowAt{}, map[string]error{}
	listing, err := g.list(ctx)
	if err == nil {
		err = g.unlisted(ctx, listing)
	}
	if err != nil {
		return err
	}
	if _, ok := listing.other[retiredName]; ok { // it is in use again
		if err := g.objects.Delete(ctx, g.prefix+retiredName); err != nil {
			return err
		}
	}
	if err := g.readUnused(ctx, listing); err != nil {
		return err
	}
	var mu sync.Mutex
	var all []opened
	work, cctx := errgroup.WithContext(ctx)
	work.SetLimit(loads)
	for _, name := range slices.Sorted(maps.Keys(listing.segments)) { // whoever opens it reads in the same order
		work.Go(func() error {
			s, err := g.open(cctx, name)
			mu.Lock()
			defer mu.Unlock()
			if s.segment != nil {
				all = append(all, s)
			}
			if errors.Is(err, snapshot.ErrCorrupt) {
				g.damaged[name] = err
				err = nil
			}
			return err
		})
	}
	err = work.Wait()
	g.take(all)
	if err != nil {
		return err
	}
	return g.cleanDir()
}

// take puts verified segments into the index, except those that another of them replaces.
func (g *Ledger) take(all []opened) {
	replaced := map[string]bool{}
	for _, s := range all {
		for _, name := range s.inputs {
			replaced[name] = true
			delete(g.damaged, name) // seen, and waiting for its removal
		}
	}
	slices.SortFunc(all, func(a, b opened) int { return strings.Compare(a.name, b.name) })
	for _, s := range all {
		if replaced[s.name] {
			s.file.Close()
			continue
		}
		g.add(s)
	}
}

// add puts a segment into the index; the newest holder of a key counts. The caller has mu, or the only reference.
func (g *Ledger) add(s opened) {
	id := uint32(len(g.segments))
	g.segments = append(g.segments, s.segment)
	for row, key := range s.keys {
		g.index[[16]byte(key[:16])] = rowAt{id, uint32(row)}
	}
}

// open verifies the local copy of a segment, or fetches it; twice, because it may have been hurt on its way, before
// ErrCorrupt is the answer. A segment of a newer format is left alone: no segment and no error.
func (g *Ledger) open(ctx context.Context, name string) (opened, error) {
	path := filepath.Join(g.dir, name)
	for try := 0; ; try++ {
		s, keys, err := openSegment(path, g.space, g.dims)
		switch {
		case err == nil:
			return opened{s, keys}, nil
		case errors.Is(err, snapshot.ErrNewer):
			return opened{}, nil
		case !errors.Is(err, snapshot.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist), try == 2:
			return opened{}, err
		}
		tmp := path + ".tmp"
		if _, _, err := store.FetchSource(ctx, g.objects, g.prefix+name, tmp, store.GetOptions{}); err != nil {
			return opened{}, err
		}
		if err := os.Rename(tmp, path); err != nil {
			return opened{}, err
		}
	}
}

// cleanDir removes what is not the local copy of a segment in use: damaged and replaced ones, leftovers of a crash,
// and the copies of other embedding spaces, which could be fetched again.
func (g *Ledger) cleanDir() error {
	mine := map[string]bool{}
	for _, s := range g.segments {
		mine[s.name] = true
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !mine[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(g.dir, e.Name())))
		}
	}
	parent, own := filepath.Split(g.dir)
	folders, lerr := os.ReadDir(parent)
	err = errors.Join(err, lerr)
	for _, e := range folders {
		if name := e.Name(); name != own && folderPattern.MatchString(name) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(parent, name)))
		}
	}
	return err
}

// Has tells whether the vector of a key is there.
func (g *Ledger) Has(k Key) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, ok := g.index[[16]byte(k[:16])]
	return ok
}

// Get copies the vector of a key into dst, which has as many entries as the space has dims. false: it is not there.
func (g *Ledger) Get(k Key, dst []float32) (bool, error) {
	if len(dst) != g.dims {
		return false, fmt.Errorf("read ledger: room for %d numbers, vectors have %d", len(dst), g.dims)
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	at, ok := g.index[[16]byte(k[:16])]
	if !ok {
		return false, nil
	}
	buf := g.buffers.Get().(*[]byte)
	defer g.buffers.Put(buf)
	if err := g.segments[at.segment].vector(int(at.row), dst, *buf); err != nil {
		return false, err
	}
	return true, nil
}

// Len is the number of vectors.
func (g *Ledger) Len() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.index)
}

// Damaged names the segments that were left out, with the reason, in order. Compact replaces them.
func (g *Ledger) Damaged() []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []string
	for name, err := range g.damaged {
		out = append(out, name+": "+err.Error())
	}
	slices.Sort(out)
	return out
}

// Close closes the local copy; the ledger must not be used afterwards.
func (g *Ledger) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, s := range g.segments {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	g.segments, g.index = nil, nil
	return errors.Join(errs...)
}

// Flush stores a batch: vectors is row-major, len(keys) × dims. When it returns without an error, the batch is an
// object in the store and readable here. Keys that are there already are left out.
func (g *Ledger) Flush(ctx context.Context, keys []Key, vectors []float32, dims int) error {
	if dims != g.dims || len(vectors) != len(keys)*dims {
		return fmt.Errorf("flush ledger: %d numbers for %d keys of %d dims, the ledger has %d", len(vectors), len(keys), dims, g.dims)
	}
	for i, x := range vectors {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("flush ledger: vector %d holds %v", i/dims, x)
		}
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	rows := g.missing(keys)
	for len(rows) > 0 {
		part := rows[:min(g.most, len(rows))]
		rows = rows[len(part):]
		partKeys := make([]Key, len(part))
		for i, row := range part {
			partKeys[i] = keys[row]
		}
		s, err := g.write(ctx, nil, partKeys, func(i int) ([]float32, error) {
			return vectors[part[i]*dims:][:dims], nil
		})
		if err != nil {
			return fmt.Errorf("flush ledger: %w", err)
		}
		g.mu.Lock()
		g.add(s)
		g.mu.Unlock()
	}
	return nil
}

// missing returns the positions of keys that are not in the ledger, each key once.
func (g *Ledger) missing(keys []Key) []int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var rows []int
	seen := make(map[Key]bool, len(keys))
	for i, key := range keys {
		if _, ok := g.index[[16]byte(key[:16])]; !ok && !seen[key] {
			seen[key] = true
			rows = append(rows, i)
		}
	}
	return rows
}

// write makes one segment: a local file, then the object, then the local copy under its name. After an error the
// object may exist; it holds nothing wrong, and the next Open finds it.
func (g *Ledger) write(ctx context.Context, inputs []string, keys []Key, vector func(int) ([]float32, error)) (opened, error) {
	tmp, f, err := writeSegment(g.dir, time.Now(), g.space, g.dims, inputs, keys, vector)
	if err != nil {
		return opened{}, err
	}
	path := filepath.Join(g.dir, f.Name)
	if _, err := store.WriteFile(ctx, g.objects, g.prefix+f.Name, tmp, f, store.PutOptions{IfAbsent: true}); err != nil {
		return opened{}, errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return opened{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return opened{}, err
	}
	g.mu.Lock()
	g.written = append(g.written, g.prefix+f.Name)
	g.mu.Unlock()
	s := &segment{name: f.Name, file: file, rows: len(keys), dims: g.dims, inputs: inputs, size: f.Size}
	return opened{s, keys}, nil
}
