package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// NewKeepingMem returns an empty store that keeps every version, as a bucket of Amazon's S3 with versioning does: a
// deleted key can be created again.
func NewKeepingMem(clock func() time.Time) *Mem {
	m := NewMem(clock)
	m.keeps, m.older = true, map[string][]memObject{}
	return m
}

// keep puts aside what is about to be overwritten. m.mu is held.
func (m *Mem) keep(key string) {
	if old, ok := m.objects[key]; ok && m.keeps {
		m.older[key] = append(m.older[key], old)
	}
}

// ListVersions implements store.Versioned. A store that keeps nothing has one version of each key.
func (m *Mem) ListVersions(ctx context.Context, prefix string, each func(store.Version) error) error {
	m.mu.Lock()
	keys := slices.AppendSeq(slices.Collect(maps.Keys(m.older)), maps.Keys(m.objects))
	slices.Sort(keys)
	var all []store.Version
	for _, key := range slices.Compact(keys) {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if now, ok := m.objects[key]; ok && (m.keeps || !now.deleted) {
			all = append(all, versionOf(key, now, true))
		}
		for _, old := range slices.Backward(m.older[key]) {
			all = append(all, versionOf(key, old, false))
		}
	}
	m.mu.Unlock()
	for _, v := range all {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list versions of %s: %w", prefix, err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func versionOf(key string, o memObject, latest bool) store.Version {
	return store.Version{
		Key: key, ID: o.info.VersionID, Latest: latest, Marker: o.deleted, Size: int64(len(o.data)), LastModified: o.info.LastModified,
	}
}

// GetVersion implements store.Versioned.
func (m *Mem) GetVersion(ctx context.Context, key, id string, o store.GetOptions) (io.ReadCloser, store.Info, error) {
	m.mu.Lock()
	now, all := m.objects[key], m.older[key]
	m.mu.Unlock()
	if id == "" || now.info.VersionID == id {
		return m.Get(ctx, key, o)
	}
	i := slices.IndexFunc(all, func(v memObject) bool { return v.info.VersionID == id })
	if i < 0 || all[i].deleted {
		return nil, store.Info{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(all[i].data)), all[i].info, nil
}

// DeleteVersion implements store.Versioned.
func (m *Mem) DeleteVersion(ctx context.Context, key, id string) error {
	if id == "" {
		return m.Delete(ctx, key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects[key].info.VersionID != id {
		m.older[key] = slices.DeleteFunc(m.older[key], func(v memObject) bool { return v.info.VersionID == id })
		return nil
	}
	delete(m.objects, key)
	if n := len(m.older[key]); n > 0 {
		m.objects[key], m.older[key] = m.older[key][n-1], m.older[key][:n-1]
	}
	return nil
}

// Everything returns the bytes of all versions of all keys, by key and version.
func (m *Mem) Everything() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]byte{}
	for key, o := range m.objects {
		out[key] = bytes.Clone(o.data)
	}
	for key, all := range m.older {
		for _, o := range all {
			out[key+" "+o.info.VersionID] = bytes.Clone(o.data)
		}
	}
	return out
}
