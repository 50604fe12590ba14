package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ForgetModel deletes every vector that the ledger holds of e's model at host, of any number of dims, and returns how many
// they were. A pass that is under way keeps what it has opened; the next one finds them gone and buys what it needs.
func ForgetModel(ctx context.Context, objects Objects, l Layout, e snapshot.Embedding, host string) (int, error) {
	folders := map[string][]string{}
	err := objects.List(ctx, l.Ledger(), func(info Info) error {
		folder, _, ok := strings.Cut(strings.TrimPrefix(info.Key, l.Ledger()), "/")
		if ok && len(folder) == 16 && lowerHex(folder) {
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
func forgetFolder(ctx context.Context, objects Objects, folder string, keys []string, e snapshot.Embedding, host string) (int, error) {
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
		if space := spaceOf(e, host).digest(); hex.EncodeToString(space[:8]) == folder {
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
func segmentHead(ctx context.Context, objects Objects, key string) (segmentShape, error) {
	body, _, err := objects.Get(ctx, key, GetOptions{Length: segmentHeader})
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
