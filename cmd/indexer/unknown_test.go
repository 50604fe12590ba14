package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// An argument that is no id is not damage in the store.
func TestAnArgumentThatIsNoIDIsSaidToBeNone(t *testing.T) {
	for _, id := range []string{"", "latest", "../x"} {
		_, wrong := snapshot.ParseID(id)
		err := (&app{}).unknown(fmt.Errorf("promote: %w: %w", snapshot.ErrCorrupt, wrong), id)
		if want := fmt.Sprintf("%q is not a snapshot id: `indexer list` shows the ids", id); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", id, err, want)
		}
	}
	err := (&app{}).unknown(fmt.Errorf("%w: torn", snapshot.ErrCorrupt), heldID)
	if err == nil || strings.Contains(err.Error(), "list") {
		t.Errorf("a damaged snapshot: %v", err)
	}
}
