package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// rounds against other writers of a document; they are rare and short.
const rounds = 10

// contend writes a document, again for as long as others do; attempt reads it anew each time.
func contend(name string, attempt func() error) error {
	for range rounds {
		if err := attempt(); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%s kept changing: %w", name, store.ErrConflict)
}

// readIfAny reads a document, called name in errors; one that is not there, or is none, is empty.
func readIfAny[T any](ctx context.Context, o store.Objects, key, name string) (doc T, err error) {
	doc, _, err = store.ReadDoc[T](ctx, o, key, store.GetOptions{})
	if err != nil && !unreadable(err) {
		return doc, fmt.Errorf("read %s: %w", name, err)
	}
	return doc, nil
}

// readPointerIfAny reads the pointer; nil when there is none, or something else is under its key. The store's answer
// says which.
func readPointerIfAny(ctx context.Context, o store.Objects, l store.Layout) (*store.Pointer, store.Info, error) {
	ptr, info, err := store.ReadPointer(ctx, o, l, "")
	switch {
	case err == nil:
		return &ptr, info, nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrPointerInvalid):
		return nil, info, nil
	}
	return nil, info, fmt.Errorf("read pointer: %w", err)
}
