package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// gcDoc is gc.json: what is being deleted and can never be promoted again (`deleting`), and what is reserved for somebody
// who is about to promote it and must not be deleted now (`holds`).
type gcDoc struct {
	objects store.Objects
	layout  store.Layout
	doomed  map[string]store.Mark // what was being deleted as a leader remembers it, for when the document is gone
}

// read returns the document with the condition for replacing exactly it. When there is none, what is being deleted is
// what status.json says; it is read afterwards, for a leader writes both before it deletes (see pass.witness).
func (g gcDoc) read(ctx context.Context) (store.GC, store.PutOptions, error) {
	doc, info, err := store.ReadDoc[store.GC](ctx, g.objects, g.layout.GC(), store.GetOptions{})
	cond := store.PutOptions{IfMatch: info.ETag}
	if errors.Is(err, store.ErrNotFound) {
		var s store.Status
		cond = store.PutOptions{IfAbsent: true}
		s, err = readIfAny[store.Status](ctx, g.objects, g.layout.Status(), "status")
		doc.Deleting = map[string]store.Mark{}
		maps.Copy(doc.Deleting, g.doomed)
		maps.Copy(doc.Deleting, s.Deleting)
		if err == nil { // both have the same, see formats.go
			var l store.Lease
			l, err = readIfAny[store.Lease](ctx, g.objects, g.layout.Lease(), "lease")
			doc.FormatVersion = l.FormatVersion
		}
	}
	if err != nil {
		return doc, cond, fmt.Errorf("read gc.json: %w", err)
	}
	doc.FormatVersion = max(doc.FormatVersion, store.FormatVersion)
	if doc.Deleting == nil {
		doc.Deleting = map[string]store.Mark{}
	}
	if doc.Reserved == nil {
		doc.Reserved = map[string]store.Mark{}
	}
	return doc, cond, nil
}

func (g gcDoc) write(ctx context.Context, doc store.GC, cond store.PutOptions) (store.Info, error) {
	doc.Nonce = store.NewNonce()
	return store.WriteDoc(ctx, g.objects, g.layout.GC(), doc, cond)
}

// change replaces the document by what change makes of it, which says whether it is another.
func (g gcDoc) change(ctx context.Context, change func(*store.GC) (bool, error)) error {
	return contend("gc.json", func() error {
		doc, cond, err := g.read(ctx)
		if err != nil {
			return err
		}
		if changed, err := change(&doc); !changed || err != nil {
			return err
		}
		_, err = g.write(ctx, doc, cond)
		return err
	})
}

// reservation protects snapshots from deletion while somebody is about to promote one of them.
type reservation struct {
	ids   []string // the snapshot and all that it is made of
	by    string
	epoch int64           // the caller's term, 0 for an operator
	also  func(*store.GC) // what is written with it
}

// reserve protects all of r.ids in one write, or none. ErrDeleting: for one of them it is too late. now is the store's
// clock.
func (g gcDoc) reserve(ctx context.Context, r reservation, now time.Time) error {
	return g.change(ctx, func(doc *store.GC) (bool, error) {
		if r.epoch != 0 && doc.Epoch > r.epoch {
			return false, fmt.Errorf("%w: gc.json is of epoch %d, ours is %d", ErrLeaseLost, doc.Epoch, r.epoch)
		}
		for _, id := range r.ids {
			if _, ok := doc.Deleting[id]; ok {
				return false, fmt.Errorf("%w: %s", ErrDeleting, id)
			}
			doc.Reserved[id] = store.Mark{At: now.UTC(), By: r.by}
		}
		doc.Epoch = max(doc.Epoch, r.epoch)
		r.also(doc)
		return true, nil
	})
}

// release gives back what is reserved by the caller, after the pointer names the snapshot.
func (g gcDoc) release(ctx context.Context, r reservation) error {
	return g.change(ctx, func(doc *store.GC) (bool, error) {
		if r.epoch != 0 && doc.Epoch > r.epoch {
			return false, nil
		}
		before := len(doc.Reserved)
		for _, id := range r.ids {
			if doc.Reserved[id].By == r.by {
				delete(doc.Reserved, id)
			}
		}
		return len(doc.Reserved) < before, nil
	})
}

func (p *pass) gcDoc() gcDoc { return gcDoc{p.Objects, p.Layout, p.status.Deleting} }

// deletingNow is the set of ids that must not be adopted.
func (p *pass) deletingNow(ctx context.Context) (map[string]bool, error) {
	doc, _, err := p.gcDoc().read(ctx)
	if err != nil {
		return nil, fail(Promoted, gcUnreadable, transient, err)
	}
	out := make(map[string]bool, len(doc.Deleting))
	for id := range doc.Deleting {
		out[id] = true
	}
	return out, nil
}
