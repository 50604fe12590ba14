package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// snapshotTime is the time part of a snapshot id: sorting ids as strings sorts them by time. Ids are of this millennium,
// whatever a clock says: ListSnapshots asks for names that start with "2".
const snapshotTime = "20060102T150405Z"

const snapshotIDLength = len(snapshotTime) + 1 + 8

// The times of ids that are made: from 2000 to 2899.
var (
	idsBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	idsEnd   = time.Date(2900, 1, 1, 0, 0, 0, 0, time.UTC)
)

// NewSnapshotID returns an id later than newest (the newest id in the store, or ""): its time is the larger of now
// and newest's plus one second, so ids sort by creation whatever the clocks say. seed (source sha256, spec digest,
// epoch, owner, something random) makes two writers' ids of one second differ.
func NewSnapshotID(now time.Time, newest string, seed ...string) string {
	at := now.UTC().Truncate(time.Second)
	if at.Before(idsBegin) {
		at = idsBegin
	}
	if at.After(idsEnd) {
		at = idsEnd
	}
	// An id from the far end of the millennium was made by hand: it must not take the seconds that are left.
	if t, err := ParseSnapshotID(newest); err == nil && !at.After(t) && t.Before(idsEnd) {
		at = t.Add(time.Second)
	}
	sum := sha256.Sum256([]byte(strings.Join(seed, "\x00")))
	return at.Format(snapshotTime) + "-" + hex.EncodeToString(sum[:4])
}

// ParseSnapshotID returns the time of a snapshot id. It accepts nothing but what NewSnapshotID makes, so an id that
// passed is safe in keys and paths.
func ParseSnapshotID(id string) (time.Time, error) {
	if len(id) == snapshotIDLength && id[0] == '2' && id[len(snapshotTime)] == '-' && lowerHex(id[len(snapshotTime)+1:]) {
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
