package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// idTime is the time part of a snapshot id: sorting ids as strings sorts them by time. Ids are of this millennium,
// whatever a clock says: listings ask for names that start with "2".
const idTime = "20060102T150405Z"

var idForm = regexp.MustCompile(`^2\d{7}T\d{6}Z-[0-9a-f]{8}$`)

// The times of ids that are made: from 2000 to 2899.
var (
	idsBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	idsEnd   = time.Date(2900, 1, 1, 0, 0, 0, 0, time.UTC)
)

// NewID returns an id later than newest (the newest id in the store, or ""): its time is the larger of now
// and newest's plus one second, so ids sort by creation whatever the clocks say. seed (source sha256, spec digest,
// epoch, owner, something random) makes two writers' ids of one second differ.
func NewID(now time.Time, newest string, seed ...string) string {
	at := now.UTC().Truncate(time.Second)
	if at.Before(idsBegin) {
		at = idsBegin
	}
	if at.After(idsEnd) {
		at = idsEnd
	}
	// An id from the far end of the millennium was made by hand: it must not take the seconds that are left.
	if t, err := ParseID(newest); err == nil && !at.After(t) && t.Before(idsEnd) {
		at = t.Add(time.Second)
	}
	sum := sha256.Sum256([]byte(strings.Join(seed, "\x00")))
	return at.Format(idTime) + "-" + hex.EncodeToString(sum[:4])
}

// ParseID returns the time of a snapshot id. It accepts nothing but what NewID makes, so an id that
// passed is safe in keys and paths.
func ParseID(id string) (time.Time, error) {
	if idForm.MatchString(id) {
		at, err := time.Parse(idTime, id[:len(idTime)])
		if err == nil && at.Format(idTime) == id[:len(idTime)] {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.80q is not a snapshot id", id)
}
