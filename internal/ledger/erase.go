package ledger

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Erase leaves nothing in the ledger but the vectors that keep names, at once: no grace for what was replaced, no days
// for what is not needed now. The ledger knows texts by their digests only, so which vectors were a certain record's
// cannot be told; that no other than a living record's is left can. A text that a living record has too keeps its
// vector. Every other embedding space goes whole. What a later build needs of it is bought again.
//
// New segments are written before the old ones are deleted, so a crash at any point costs nothing, and Erase again finds
// out from the store what is left to do. before is asked before each deletion. It returns how many objects it deleted,
// and store.ErrConflict when another writer changed the ledger meanwhile: open it again.
func (g *Ledger) Erase(ctx context.Context, keep func(Key) bool, before func(context.Context) error) (deleted int, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("erase from the ledger: %w", err)
		}
	}()
	listing, err := g.list(ctx)
	if err != nil {
		return 0, err
	}
	if !g.current(listing) {
		return 0, store.ErrConflict
	}
	found, inputs, err := g.unkept(keep)
	if err != nil {
		return 0, err
	}
	if len(inputs) > 0 || len(g.damaged) > 0 {
		if err := g.merge(ctx, inputs, found, &CompactReport{}); err != nil {
			return 0, err
		}
	}
	g.unused = map[[16]byte]uint32{}
	return g.deleteOthers(ctx, before)
}

// unkept looks at every row: only the newest holder of a key that is kept stays. inputs are the segments that hold more.
func (g *Ledger) unkept(keep func(Key) bool) (found map[uint32]surveyed, inputs []uint32, err error) {
	found = map[uint32]surveyed{}
	for id, s := range g.segments {
		if s == nil {
			continue
		}
		keys, err := s.keys()
		if err != nil {
			return nil, nil, err
		}
		var f surveyed
		for row, key := range keys {
			at := rowAt{uint32(id), uint32(row)}
			switch {
			case g.index[[16]byte(key[:16])] != at:
			case keep(key):
				f.live = append(f.live, liveRow{at, key})
			default:
				f.expired = append(f.expired, key)
			}
		}
		if len(f.live) < s.rows {
			found[uint32(id)] = f
			inputs = append(inputs, uint32(id))
		}
	}
	slices.SortFunc(inputs, func(a, b uint32) int { return strings.Compare(g.segments[a].name, g.segments[b].name) })
	return found, inputs[:min(len(inputs), maxInputs)], nil
}

// deleteOthers deletes everything below embeddings/ but the segments in use.
func (g *Ledger) deleteOthers(ctx context.Context, before func(context.Context) error) (deleted int, err error) {
	used := map[string]bool{}
	for _, s := range g.segments {
		if s != nil {
			used[g.prefix+s.name] = true
		}
	}
	var gone []string
	err = g.objects.List(ctx, g.all, func(i store.Info) error {
		if !used[i.Key] {
			gone = append(gone, i.Key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, key := range gone {
		if err := before(ctx); err != nil {
			return deleted, err
		}
		if err := g.objects.Delete(ctx, key); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// Segments are the keys of the segments in use.
func (g *Ledger) Segments() []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	names := map[string]bool{}
	for _, s := range g.segments {
		if s != nil {
			names[g.prefix+s.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Written are the keys of the segments that this Ledger wrote, whether they are still in use or not.
func (g *Ledger) Written() []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return slices.Clone(g.written)
}

// ForgetModel deletes every vector that the ledger holds of e's model at host, of any number of dims, and returns how many
// they were. A pass that is under way keeps what it has opened; the next one finds them gone and buys what it needs.
func ForgetModel(ctx context.Context, objects store.Objects, l store.Layout, e snapshot.Embedding, host string) (int, error) {
	folders := map[string][]string{}
	err := objects.List(ctx, l.Ledger(), func(info store.Info) error {
		folder, _, ok := strings.Cut(strings.TrimPrefix(info.Key, l.Ledger()), "/")
		if ok && folderPattern.MatchString(folder) {
			folders[folder] = append(folders[folder], info.Key)
		}
		return nil
	})
	vectors := 0
	for folder, keys := range folders {
		if err != nil {
			break
		}
		var rows int
		rows, err = forgetFolder(ctx, objects, folder, keys, e, host)
		vectors += rows
	}
	if err != nil {
		return vectors, fmt.Errorf("forget %s: %w", e.Model, err)
	}
	return vectors, nil
}

// forgetFolder deletes a folder of e's model. A folder's name is the digest of its space, in which only the dims are
// unknown: the head of any segment tells them.
func forgetFolder(ctx context.Context, objects store.Objects, folder string, keys []string, e snapshot.Embedding, host string) (int, error) {
	rows, mine := 0, false
	for _, key := range keys {
		if !segmentPattern.MatchString(key[strings.LastIndexByte(key, '/')+1:]) {
			continue
		}
		shape, err := segmentHead(ctx, objects, key)
		if err != nil {
			return 0, err
		}
		e.Dims = shape.dims
		if space := spaceOf(e, host); hex.EncodeToString(space[:8]) == folder {
			mine = true
			rows += shape.rows
		}
	}
	if !mine {
		return 0, nil
	}
	slices.Sort(keys) // segments before `retired` and `unused`: a run that is cut short finds the rest by them
	for _, key := range keys {
		if err := objects.Delete(ctx, key); err != nil {
			return 0, err
		}
	}
	return rows, nil
}

// segmentHead reads what the head of a segment says, zero for one that is too short to have any.
func segmentHead(ctx context.Context, objects store.Objects, key string) (segmentShape, error) {
	body, _, err := objects.Get(ctx, key, store.GetOptions{Length: segmentHeader})
	if err != nil {
		return segmentShape{}, err
	}
	defer body.Close()
	head := make([]byte, segmentHeader)
	switch _, err := io.ReadFull(body, head); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return segmentShape{}, nil
	case err != nil:
		return segmentShape{}, err
	}
	return shapeOf(head), nil
}
