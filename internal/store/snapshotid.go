package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// snapshotTime is the time part of a snapshot id: sorting ids as strings sorts them by time until the year 9999.
const snapshotTime = "20060102T150405Z"

const snapshotIDLength = len(snapshotTime) + 1 + 8

// NewSnapshotID returns an id later than newest (the newest id in the store, or ""): its time is the larger of now
// and newest's plus one second, so ids sort by creation whatever the clocks say. seed (source sha256, spec digest,
// epoch, owner, something random) makes two writers' ids of one second differ.
func NewSnapshotID(now time.Time, newest string, seed ...string) string {
	at := now.UTC().Truncate(time.Second)
	if t, err := ParseSnapshotID(newest); err == nil && !at.After(t) {
		at = t.Add(time.Second)
	}
	sum := sha256.Sum256([]byte(strings.Join(seed, "\x00")))
	return at.Format(snapshotTime) + "-" + hex.EncodeToString(sum[:4])
}

// ParseSnapshotID returns the time of a snapshot id. It accepts nothing but what NewSnapshotID makes, so an id that
// passed is safe in keys and paths.
func ParseSnapshotID(id string) (time.Time, error) {
	if len(id) == snapshotIDLength && id[len(snapshotTime)] == '-' && lowerHex(id[len(snapshotTime)+1:]) {
		at, err := time.Parse(snapshotTime, id[:len(snapshotTime)])
		if err == nil && at.Format(snapshotTime) == id[:len(snapshotTime)] {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.80q is not a snapshot id", id)
}

func lowerHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
