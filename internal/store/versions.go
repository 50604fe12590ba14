package store

import (
	"context"
	"errors"
	"io"
	"time"
)

// Version is one of the versions that are stored under a key.
type Version struct {
	Key          string
	ID           string // "" in a store that keeps one version only
	Latest       bool   // what a read of the key finds
	Marker       bool   // a delete marker, which has no bytes
	Size         int64
	LastModified time.Time
}

// Versioned is an Objects that may keep what was overwritten or deleted.
type Versioned interface {
	// ListVersions calls each for every version of every key that starts with prefix, delete markers among them, in byte
	// order of the keys. It stops at the first error of each.
	ListVersions(ctx context.Context, prefix string, each func(Version) error) error
	// GetVersion reads one version as Get does.
	GetVersion(ctx context.Context, key, id string, o GetOptions) (io.ReadCloser, Info, error)
	// DeleteVersion removes one version for good; a missing one is not an error. Of the latest it makes the one before
	// it the latest.
	DeleteVersion(ctx context.Context, key, id string) error
}

// ListVersions lists the versions of a store of either kind: one that keeps a single version of each has those.
func ListVersions(ctx context.Context, objects Objects, prefix string, each func(Version) error) error {
	if v, ok := objects.(Versioned); ok {
		return v.ListVersions(ctx, prefix, each)
	}
	return objects.List(ctx, prefix, func(i Info) error {
		return each(Version{Key: i.Key, Latest: true, Size: i.Size, LastModified: i.LastModified})
	})
}

// DeleteVersion removes a version that ListVersions found.
func DeleteVersion(ctx context.Context, objects Objects, v Version) error {
	if kept, ok := objects.(Versioned); ok {
		return kept.DeleteVersion(ctx, v.Key, v.ID)
	}
	return objects.Delete(ctx, v.Key)
}

// DropLoneMarkers removes delete markers below prefix of keys that match, where nothing but the marker is left under the
// key: there is nothing to hide any more, and versitygw keeps the bytes of what was deleted in them.
func DropLoneMarkers(ctx context.Context, objects Objects, prefix string, match func(key string) bool) (dropped int, err error) {
	markers, holds := map[string][]Version{}, map[string]bool{}
	err = ListVersions(ctx, objects, prefix, func(v Version) error {
		switch {
		case !match(v.Key):
		case v.Marker:
			markers[v.Key] = append(markers[v.Key], v)
		default:
			holds[v.Key] = true
		}
		return nil
	})
	for key, all := range markers {
		for _, v := range all {
			if err == nil && !holds[key] {
				err = DeleteVersion(ctx, objects, v)
				dropped++
			}
		}
	}
	return dropped, err
}

// Interruptible is an Objects in which writers that were killed leave bytes that no listing shows. S3 has the like, uploads
// of parts, which not every server can list: a lifecycle rule ends those.
type Interruptible interface {
	// DropInterrupted removes them, and returns how many are too young to be told from those of a writer that lives.
	DropInterrupted() (left int)
}

// DropInterrupted removes what killed writers left, where that can be told.
func DropInterrupted(objects Objects) (left int) {
	if i, ok := objects.(Interruptible); ok {
		return i.DropInterrupted()
	}
	return 0
}

// CopyVersion writes the bytes of a version that ListVersions found to w. ErrNotFound: it went meanwhile.
func CopyVersion(ctx context.Context, objects Objects, v Version, w io.Writer) error {
	if _, ok := objects.(Versioned); ok && v.ID != "" {
		objects = atVersion{objects, v.ID}
	}
	_, _, err := stream(ctx, objects, v.Key, GetOptions{}, MaxSource, w)
	return err
}

// atVersion reads one version where Get would read the latest.
type atVersion struct {
	Objects
	id string
}

func (a atVersion) Get(ctx context.Context, key string, o GetOptions) (io.ReadCloser, Info, error) {
	v, ok := a.Objects.(Versioned)
	if !ok {
		return nil, Info{}, errors.New("the store keeps no versions")
	}
	return v.GetVersion(ctx, key, a.id, o)
}
