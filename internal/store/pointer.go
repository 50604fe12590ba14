package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrPointerInvalid: current/manifest.json is not a pointer (a snapshot's manifest was copied over it, or it is
// damaged). Servers keep what they serve; the leader repairs it. It comes together with ErrCorrupt.
var ErrPointerInvalid = errors.New("current/manifest.json is not a valid pointer")

// ReadPointer reads the pointer. No pointer is ErrNotFound, an unchanged one (ifNoneMatch, "" = any) is
// ErrNotModified, and one that must not be followed is ErrPointerInvalid; Info is then filled, so that it can be
// repaired by IfMatch.
func ReadPointer(ctx context.Context, objects Objects, l Layout, ifNoneMatch string) (Pointer, Info, error) {
	p, info, err := ReadDoc[Pointer](ctx, objects, l.Pointer(), GetOptions{IfNoneMatch: ifNoneMatch})
	if err == nil {
		err = p.validate()
	}
	if errors.Is(err, ErrCorrupt) {
		return Pointer{}, info, fmt.Errorf("%w: %w", ErrPointerInvalid, err)
	}
	if err != nil {
		return Pointer{}, info, err
	}
	return p, info, nil
}

func (p Pointer) validate() error {
	switch {
	case p.Kind != KindPointer:
		return fmt.Errorf("%w: kind is %.80q, not %q", ErrCorrupt, p.Kind, KindPointer)
	case !isSHA256(p.ManifestSHA256):
		return fmt.Errorf("%w: manifest_sha256 is %.80q", ErrCorrupt, p.ManifestSHA256)
	case p.Lineage == "":
		return fmt.Errorf("%w: lineage is missing", ErrCorrupt)
	case p.Generation < 1:
		return fmt.Errorf("%w: generation is %d", ErrCorrupt, p.Generation)
	case p.Epoch < 0:
		return fmt.Errorf("%w: epoch is %d", ErrCorrupt, p.Epoch)
	}
	for _, h := range p.History {
		if _, err := ParseSnapshotID(h.ID); err != nil {
			return fmt.Errorf("%w: history: %w", ErrCorrupt, err)
		}
	}
	return p.Manifest.validate()
}
