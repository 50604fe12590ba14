package snapshot_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const testID = "20260102T030405Z-0123abcd"

func TestIDsSortByCreationWhateverTheClockSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.SliceOfN(rapid.Int64Range(0, 4e9), 1, 20).Draw(t, "clock")
		newest := ""
		for i, seconds := range clock {
			id := snapshot.NewID(time.Unix(seconds, 5), newest, fmt.Sprint(i))
			at, err := snapshot.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			if id <= newest || at.Unix() < seconds {
				t.Fatalf("%s at %d after %s", id, seconds, newest)
			}
			newest = id
		}
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if a, b := snapshot.NewID(now, "", "a", "b"), snapshot.NewID(now, "", "ab"); a == b {
		t.Errorf("different seeds, same id %s", a)
	}
}

func TestIDsStayInTheirMillenniumWhateverIsFoundInTheStore(t *testing.T) {
	for _, newest := range []string{"29991231T235959Z-00000000", "29000101T000000Z-00000000", "99991231T235959Z-00000000"} {
		for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(1<<35, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
			id := snapshot.NewID(now, newest, "seed")
			if _, err := snapshot.ParseID(id); err != nil {
				t.Errorf("at %s after %s: %v", now, newest, err)
			}
		}
	}
}

func TestParseIDAcceptsNothingElse(t *testing.T) {
	for _, id := range []string{
		"", "current", "../" + testID, testID + "/", testID + "x", "20260102T030405Z-0123ABCD", "20261302T030405Z-0123abcd",
		"20260102T030405Z_0123abcd", "20260102T030460Z-0123abcd", "20260102T030405Z-0123abc/", "2026010203040506-0123abcd",
		"19991231T235959Z-0123abcd", "99991231T235959Z-0123abcd",
	} {
		if _, err := snapshot.ParseID(id); err == nil {
			t.Errorf("%q was accepted", id)
		}
	}
}
