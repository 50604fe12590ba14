package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// LedgerKey identifies a vector: which text, embedded by what.
type LedgerKey [32]byte

// ledgerSpace is everything but the text that decides a vector.
type ledgerSpace struct {
	Provider string `json:"provider"`
	Host     string `json:"host"` // of the provider's base URL, "" in process
	Model    string `json:"model"`
	Dims     int    `json:"dims"`
	Version  string `json:"version"`
}

func (s ledgerSpace) digest() [32]byte {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and an int only
	}
	return sha256.Sum256(data)
}

func spaceOf(e snapshot.Embedding, host string) ledgerSpace {
	return ledgerSpace{Provider: e.Provider, Host: host, Model: e.Model, Dims: e.Dims, Version: e.Version}
}

// NewLedgerKey is the key of text embedded by e at host. The text counts byte by byte, with the prefix that is put before
// it.
func NewLedgerKey(text string, e snapshot.Embedding, host string) LedgerKey {
	space, sum := spaceOf(e, host).digest(), sha256.Sum256([]byte(e.DocumentPrefix+text))
	return sha256.Sum256(append(space[:], sum[:]...))
}

// Ledger remembers every vector that was paid for, in append-only segments under embeddings/<space>/ (see
// ledgersegment.go), one folder per embedding space. The objects are what is durable; a local copy serves the reads.
//
// Memory is bounded by the index: 24 bytes per vector in a map, about 50 MB for 1 M vectors; the vectors themselves
// stay in files (6 GB for 1 M of 1,536 dims). Flush holds one batch, Compact one row.
//
// One process writes at a time, because one indexer holds the lease. Two that write at once (a leader that was
// stopped and came back) cannot hurt each other: segments are only ever added under new names, a merge is complete
// before what it replaces goes, and what it replaces stays for a grace. At worst vectors are stored twice until the
// next merge.
//
// Safe for concurrent use.
type Ledger struct {
	objects Objects
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
	index    map[[16]byte]ledgerRow
	damaged  map[string]error    // segments whose bytes are wrong; nothing of them is used
	written  []string            // segments that this Ledger wrote
	unused   map[[16]byte]uint32 // since which day nothing needs an entry, see ledgerexpiry.go
}

// ledgerRow says where a vector is. The index goes by the first 16 bytes of a key, which is a SHA-256.
type ledgerRow struct{ segment, row uint32 }

// ledgerLoads segments are fetched and checked at a time.
const ledgerLoads = 4

// OpenLedger reads the ledger of one embedding space into dir, which it owns: only segments that dir lacks are
// downloaded. Every segment is checked against its SHA-256; damaged ones are left out (see Damaged) and cost only
// their own vectors. An error means that the store could not be read, never that it holds damage.
func OpenLedger(ctx context.Context, objects Objects, l Layout, dir string, e snapshot.Embedding, host string) (*Ledger, error) {
	if e.Dims < 1 {
		return nil, fmt.Errorf("open ledger: %d dims", e.Dims)
	}
	space := spaceOf(e, host).digest()
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
		if !errors.Is(err, ErrNotFound) || try == attempts {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
	}
}

// ledgerListing is what a folder holds by name.
type ledgerListing struct {
	segments map[string]Info
	other    map[string]Info // unused, retired
}

func (g *Ledger) list(ctx context.Context) (ledgerListing, error) {
	l := ledgerListing{segments: map[string]Info{}, other: map[string]Info{}}
	err := g.objects.List(ctx, g.prefix, func(info Info) error {
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
func (g *Ledger) unlisted(ctx context.Context, l ledgerListing) error {
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
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	return nil
}

// opened is a segment on its way into the index.
type opened struct {
	*segment
	keys []LedgerKey
}

// load lists the folder and opens everything in it.
func (g *Ledger) load(ctx context.Context) error {
	g.segments, g.index, g.damaged = nil, map[[16]byte]ledgerRow{}, map[string]error{}
	listing, err := g.list(ctx)
	if err == nil {
		err = g.unlisted(ctx, listing)
	}
	if err != nil {
		return err
	}
	if _, ok := listing.other[ledgerRetired]; ok { // it is in use again
		if err := g.objects.Delete(ctx, g.prefix+ledgerRetired); err != nil {
			return err
		}
	}
	if err := g.readUnused(ctx, listing); err != nil {
		return err
	}
	var mu sync.Mutex
	var all []opened
	work, cctx := errgroup.WithContext(ctx)
	work.SetLimit(ledgerLoads)
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
		g.index[[16]byte(key[:16])] = ledgerRow{id, uint32(row)}
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
		if _, _, err := FetchSource(ctx, g.objects, g.prefix+name, tmp, GetOptions{}); err != nil {
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
		if name := e.Name(); name != own && len(name) == len(own) && lowerHex(name) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(parent, name)))
		}
	}
	return err
}

// Has tells whether the vector of a key is there.
func (g *Ledger) Has(k LedgerKey) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, ok := g.index[[16]byte(k[:16])]
	return ok
}

// Get copies the vector of a key into dst, which has as many entries as the space has dims. false: it is not there.
func (g *Ledger) Get(k LedgerKey, dst []float32) (bool, error) {
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
