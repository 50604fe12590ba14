package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// status.json and lease.json remember what the documents beside them said. A pointer or control.json that was deleted,
// overwritten or put back to an earlier day is noticed by that, restored from it, and said to people: condition Intact.

// What a replica reports is advice, for the least of all roles writes it. Its generation counts as far as it is plausible
// by what the store was seen at.

// intactFor keeps the condition False after a repair, so that people see it.
const intactFor = time.Hour

// memory is what the store remembers of its pointer.
type memory struct {
	pointer *store.Pointer // the last known good one; nil: none
	highest store.Height
}

// recall joins what both documents remember. The lineage is the status's when they differ: it is written with the pointer.
func recall(s store.Status, lease store.Height) memory {
	m := memory{pointer: s.Pointer}
	if s.Pointer != nil {
		m.highest = heightOf(*s.Pointer)
	}
	m.highest = higher(higher(m.highest, s.Highest), lease)
	return m
}

func (p *pass) memory() memory { return recall(p.status, p.lease.highest()) }

// higher is b when it is of a's lineage and above it, or a is empty.
func higher(a, b store.Height) store.Height {
	if a.Lineage == "" || a.Lineage == b.Lineage && b.Generation > a.Generation {
		return b
	}
	return a
}

// heightOf is the highest generation that a pointer tells of.
func heightOf(ptr store.Pointer) store.Height {
	h := store.Height{Lineage: ptr.Lineage, Generation: ptr.Generation}
	for _, past := range ptr.History {
		h.Generation = max(h.Generation, past.Generation)
	}
	return h
}

// undelete tells people how to bring back a key whose delete marker refuses every write.
func (p *pass) undelete(key string) string {
	return fmt.Sprintf("restore the newest version of %s (aws s3api delete-object with the marker's version id)", p.Objects.URL(key))
}

// controlOf is what operators wanted when the leader last looked.
func controlOf(s store.Status) store.Control {
	if s.Control == nil {
		return store.Control{}
	}
	return *s.Control
}

// rememberedControl is what status.json keeps of control.json: everything but a request, which is for once.
func rememberedControl(c store.Control) *store.Control {
	if c.Request, c.DropInsSeq = nil, 0; c.Suspended == nil && c.Pin == nil && c.Erase == nil && c.Unknown == "" {
		return nil
	}
	return &c
}

// restoreControl is for a control.json that is not there. Somebody deleted it when the status remembers an intent;
// otherwise it is created without one, so that the question for it, which every pass asks, has an answer that can be
// compared with the last.
func (p *pass) restoreControl(ctx context.Context) (store.Control, store.Info, error) {
	c := controlOf(p.status)
	lost := c.FormatVersion != 0
	c.FormatVersion = store.FormatVersion
	if err := p.lease.check(); err != nil {
		return c, store.Info{}, err
	}
	c.Nonce = store.NewNonce()
	info, err := store.WriteDoc(ctx, p.Objects, p.Layout.Control(), c, store.PutOptions{IfAbsent: true})
	switch {
	case err == nil && !lost:
	case err == nil:
		p.log.WarnContext(ctx, "control restored", "pinned", c.Pin != nil, "suspended", c.Suspended != nil)
		p.repaired(controlDeleted, "control.json was gone; what operators wanted was restored from status.json")
	case errors.Is(err, store.ErrConflict):
		return store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{})
	case errors.Is(err, store.ErrDeleteMarker) && !lost:
		return store.Control{}, store.Info{}, nil
	case errors.Is(err, store.ErrDeleteMarker):
		p.repaired(controlDeleted, "control.json was deleted and cannot be written; what operators wanted holds: "+p.undelete(p.Layout.Control()))
		err = nil
	}
	return c, info, err
}

// repair of a document that was not as it was left.
type repair struct {
	reason  reason
	message string
}

// repaired notes one for the condition.
func (p *pass) repaired(r reason, message string) { p.repairs = append(p.repairs, repair{r, message}) }

// intactCondition stays False for a while after the last repair.
func (p *pass) intactCondition(c *conditions) {
	if len(p.repairs) > 0 {
		messages := make([]string, len(p.repairs))
		for i, r := range p.repairs {
			messages[i] = r.message
		}
		c.set(Intact, False, p.repairs[0].reason, strings.Join(messages, "; "))
		return
	}
	for _, old := range c.prev {
		if old.Type == Intact && old.Status == False && p.now.Sub(old.LastTransitionTime) < intactFor {
			return
		}
	}
	c.set(Intact, True, asLeft, "")
}

// unfollowed says which live replica serves something that the pointer does not lead to, "" for none: it is ahead of the
// pointer, of another lineage, or on another snapshot of the same generation. Behind is how a swap begins.
func unfollowed(beats []replica, ptr store.Pointer, highest store.Height, now time.Time) string {
	most := store.Plausible(max(heightOf(ptr).Generation, highest.Generation), ptr.PromotedAt, now)
	for _, b := range beats {
		switch {
		case b.err != nil || !b.live() || b.Using == "" || b.Lineage == "":
		case b.Lineage != ptr.Lineage:
			return fmt.Sprintf("replica %s serves %s of another lineage", b.ID, b.Using)
		case b.Generation > ptr.Generation && b.Generation <= most:
			return fmt.Sprintf("replica %s serves generation %d, the pointer is at %d", b.ID, b.Generation, ptr.Generation)
		case b.Generation == ptr.Generation && b.Using != ptr.ID:
			return fmt.Sprintf("replica %s serves %s as generation %d, the pointer names %s", b.ID, b.Using, b.Generation, ptr.ID)
		}
	}
	return ""
}
