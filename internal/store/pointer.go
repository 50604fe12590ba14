package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// ErrPointerInvalid: current/manifest.json is not a pointer (a snapshot's manifest was copied over it, or it is
// damaged). Servers keep what they serve; the leader repairs it. It comes together with ErrCorrupt.
var ErrPointerInvalid = errors.New("current/manifest.json is not a valid pointer")

// ReadPointer reads the pointer. No pointer is ErrNotFound, an unchanged one (ifNoneMatch, "" = any) is
// ErrNotModified, and one that must not be followed is ErrPointerInvalid; Info is then filled, so that it can be
// repaired by IfMatch.
func ReadPointer(ctx context.Context, objects Objects, l Layout, ifNoneMatch string) (Pointer, Info, error) {
	p, info, err := ReadDoc[Pointer](ctx, objects, l.Pointer(), GetOptions{IfNoneMatch: ifNoneMatch})
	if errors.Is(err, snapshot.ErrCorrupt) {
		return Pointer{}, info, fmt.Errorf("%w: %w", ErrPointerInvalid, err)
	}
	if err != nil {
		return Pointer{}, info, err
	}
	return p, info, nil
}

// Mark names the promotion that p stands for, "none" when there is no pointer: what is asked against one promotion is
// not owed any more after the next.
func (p *Pointer) Mark() string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%s/%d", p.Lineage, p.Generation)
}
