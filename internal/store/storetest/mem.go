// Package storetest holds what tests of the store and of its users share: a store in memory, faults in front of any
// store, and the contract that every implementation of store.Objects fulfils.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Mem is a store in memory. ETags change with every write, even of equal bytes. The clock is the store's: it stamps
// LastModified and Date. Safe for concurrent use, and inside a testing/synctest bubble.
type Mem struct {
	clock func() time.Time

	mu        sync.Mutex
	objects   map[string]memObject
	writes    int
	versioned bool
	keeps     bool                   // what is overwritten and deleted
	older     map[string][]memObject // newest last
}

type memObject struct {
	data    []byte
	info    store.Info
	deleted bool // a delete marker of a versioned store
}

// NewMem returns an empty store. A nil clock means time.Now.
func NewMem(clock func() time.Time) *Mem {
	if clock == nil {
		clock = time.Now
	}
	return &Mem{clock: clock, objects: map[string]memObject{}}
}

// NewVersionedMem returns an empty store whose Delete leaves a delete marker: the key then answers ErrNotFound to
// reads and ErrConflict to IfAbsent.
func NewVersionedMem(clock func() time.Time) *Mem {
	m := NewMem(clock)
	m.versioned = true
	return m
}

// URL is mem:///<key>.
func (m *Mem) URL(key string) string { return "mem:///" + key }

// Get implements store.Objects.
func (m *Mem) Get(ctx context.Context, key string, o store.GetOptions) (io.ReadCloser, store.Info, error) {
	obj, err := m.find(ctx, "get", key)
	if err != nil {
		return nil, store.Info{}, err
	}
	switch {
	case o.IfNoneMatch != "" && o.IfNoneMatch == obj.info.ETag:
		return nil, obj.info, fmt.Errorf("get %s: %w", key, store.ErrNotModified)
	case o.IfMatch != "" && o.IfMatch != obj.info.ETag:
		return nil, obj.info, fmt.Errorf("get %s: %w", key, store.ErrConflict)
	case o.Offset < 0 || o.Length < 0 || o.Offset > 0 && o.Offset >= obj.info.Size:
		return nil, obj.info, fmt.Errorf("get %s: %w: range %d+%d of %d bytes", key, snapshot.ErrCorrupt, o.Offset, o.Length, obj.info.Size)
	}
	data := obj.data[o.Offset:]
	if o.Length > 0 {
		data = data[:min(o.Length, int64(len(data)))]
	}
	return io.NopCloser(bytes.NewReader(data)), obj.info, nil
}

// Head implements store.Objects.
func (m *Mem) Head(ctx context.Context, key string) (store.Info, error) {
	obj, err := m.find(ctx, "head", key)
	return obj.info, err
}

func (m *Mem) find(ctx context.Context, op, key string) (memObject, error) {
	if err := ctx.Err(); err != nil {
		return memObject{}, fmt.Errorf("%s %s: %w", op, key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, ok := m.objects[key]
	if !ok || obj.deleted {
		return memObject{}, fmt.Errorf("%s %s: %w", op, key, store.ErrNotFound)
	}
	obj.info.Date = m.clock()
	obj.info.Metadata = maps.Clone(obj.info.Metadata)
	return obj, nil
}

// Put implements store.Objects.
func (m *Mem) Put(ctx context.Context, key string, data []byte, o store.PutOptions) (store.Info, error) {
	if len(data) > store.MaxPut {
		return store.Info{}, fmt.Errorf("put %s: %d bytes, the limit is %d", key, len(data), store.MaxPut)
	}
	return m.put(ctx, key, bytes.Clone(data), o)
}

// PutFile implements store.Objects. The whole file is held in memory.
func (m *Mem) PutFile(ctx context.Context, key, path string, o store.PutOptions) (store.Info, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return store.Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	return m.put(ctx, key, data, o)
}

func (m *Mem) put(ctx context.Context, key string, data []byte, o store.PutOptions) (store.Info, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	if err := ctx.Err(); err != nil {
		return store.Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.objects[key]
	switch {
	case o.IfAbsent && ok && !(m.keeps && old.deleted):
		return store.Info{}, fmt.Errorf("put %s: %w", key, store.ErrConflict)
	case o.IfMatch != "" && (!ok || old.deleted):
		return store.Info{}, fmt.Errorf("put %s: %w", key, store.ErrNotFound)
	case o.IfMatch != "" && old.info.ETag != o.IfMatch:
		return store.Info{}, fmt.Errorf("put %s: %w", key, store.ErrConflict)
	}
	m.writes++
	now := m.clock()
	info := store.Info{
		Key:          key,
		ETag:         fmt.Sprintf(`"mem-%d"`, m.writes),
		Size:         int64(len(data)),
		LastModified: now,
		Date:         now,
	}
	if m.versioned || m.keeps {
		info.VersionID = fmt.Sprintf("v%d", m.writes)
	}
	for k, v := range o.Metadata {
		if info.Metadata == nil {
			info.Metadata = map[string]string{}
		}
		info.Metadata[strings.ToLower(k)] = v
	}
	m.keep(key)
	m.objects[key] = memObject{data: data, info: info}
	info.Metadata = maps.Clone(info.Metadata)
	return info, nil
}

// Delete implements store.Objects.
func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; m.keeps && ok {
		m.keep(key)
		m.writes++
		m.objects[key] = memObject{deleted: true, info: store.Info{Key: key, VersionID: fmt.Sprintf("v%d", m.writes), LastModified: m.clock()}}
	} else if m.versioned {
		m.objects[key] = memObject{deleted: true}
	} else {
		delete(m.objects, key)
	}
	return nil
}

// List implements store.Objects: the keys that exist when it is called, without those deleted meanwhile.
func (m *Mem) List(ctx context.Context, prefix string, each func(store.Info) error) error {
	for _, key := range m.Keys(prefix) {
		obj, err := m.find(ctx, "list", key)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			continue
		}
		obj.info.Metadata, obj.info.VersionID = nil, ""
		if err := each(obj.info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Keys returns the keys that start with prefix, sorted.
func (m *Mem) Keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key, obj := range m.objects {
		if strings.HasPrefix(key, prefix) && !obj.deleted {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Data returns a copy of the bytes under key, nil when there are none: a look that no hook and no clock sees.
func (m *Mem) Data(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.objects[key].data)
}

// Corrupt changes bytes in place, as a bad disk would: same ETag, same times. It reports whether the key exists.
func (m *Mem) Corrupt(key string, change func([]byte) []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, ok := m.objects[key]
	if !ok || obj.deleted {
		return false
	}
	obj.data = change(bytes.Clone(obj.data))
	obj.info.Size = int64(len(obj.data))
	m.objects[key] = obj
	return true
}
