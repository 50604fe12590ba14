package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// lease elects the indexer that works. It saves work only: what keeps data right is the pointer's If-Match,
// raised at takeover by the fence write. It never compares a remote clock with the local one: a holder is
// expired when its record was *seen unchanged* for the record's own TTL on the local monotonic clock, and
// our own validity counts from the *sending* of the last renewal that succeeded.
//
// Whoever works under it knows six verbs: acquire it; keep it, which renews beside the work; check, by the local clock,
// that work may go on; confirm, by the store, that the term is still ours; yield to a document of a later epoch; release it.
type lease struct {
	objects store.Objects
	layout  store.Layout
	clock   Clock
	owner   string // UUID of this process
	host    string
	ttl     time.Duration

	mu     sync.Mutex
	ours   bool
	record store.Lease // as last read or written
	etag   string
	sent   time.Duration // when the last renewal that took effect was sent
	// Nonces of renewals whose fate is not known, and when they were sent.
	doubt map[string]time.Duration
	seen  string        // ETag of another's record
	since time.Duration // when it was first seen
	top   store.Height  // of the pointer, as this process or an earlier holder saw it

	passedAt time.Time // when the last pass ended
	format   int       // of the record that renewals write
}

// epoch of our term, 0 when there is none.
func (l *lease) epoch() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ours {
		return 0
	}
	return l.record.Epoch
}

// holder is the record as last seen.
func (l *lease) holder() store.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record
}

// check returns nil while work may go on: the lease is ours and was renewed within 2/3 of its TTL. It is
// called before every mutating request, so that a process that was stopped and wakes up sends nothing
// more; the one request already past this line meets an If-Match or an immutable key.
func (l *lease) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ours {
		return fmt.Errorf("%w: not ours", ErrLeaseLost)
	}
	if age := l.clock.Elapsed() - l.sent; age >= l.ttl*2/3 {
		return fmt.Errorf("%w: not renewed for %s of %s", ErrLeaseLost, age.Round(time.Millisecond), l.ttl)
	}
	return nil
}

// acquire takes the lease when nobody holds it and says whether we hold it now. An error means that the
// store could not tell.
func (l *lease) acquire(ctx context.Context) (bool, error) {
	asked := l.clock.Elapsed()
	found, info, err := store.ReadDoc[store.Lease](ctx, l.objects, l.layout.Lease(), store.GetOptions{})
	cond, ttl := store.PutOptions{IfMatch: info.ETag}, found.TTL()
	switch {
	case errors.Is(err, store.ErrNotFound):
		cond, ttl = store.PutOptions{IfAbsent: true}, 0
	case errors.Is(err, snapshot.ErrCorrupt) && info.ETag != "":
		ttl = l.ttl // someone wrote over it: let it grow old like a holder that does not answer
	case err != nil:
		return false, fmt.Errorf("read lease: %w", err)
	case found.Owner == l.owner || found.Released:
		ttl = 0 // our own ghost (a lost answer, or a term given up): nobody else can be using it
	}
	if !l.free(found, err == nil, info.ETag, ttl, asked) {
		return false, nil
	}
	highest, format, err := highestEpoch(ctx, l.objects, l.layout)
	if err != nil {
		return false, err
	}
	return l.take(ctx, max(found.Epoch, highest)+1, max(found.FormatVersion, format), cond)
}

// free notes the record that a read sent at asked has found, and says whether it was seen unchanged for ttl since.
func (l *lease) free(found store.Lease, readable bool, etag string, ttl, asked time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if readable {
		l.record, l.top = found, higher(l.top, found.Highest)
	}
	if ttl == 0 {
		return true
	}
	if l.seen != etag {
		l.seen, l.since = etag, l.clock.Elapsed()
		return false
	}
	return asked-l.since >= ttl
}

func (l *lease) take(ctx context.Context, epoch int64, format int, cond store.PutOptions) (bool, error) {
	next := store.Lease{
		FormatVersion: format, Epoch: epoch, Owner: l.owner, Host: l.host,
		TTLSeconds: l.ttl.Seconds(), Highest: l.highest(), Nonce: store.NewNonce(),
	}
	sent := l.clock.Elapsed()
	info, err := store.WriteDoc(ctx, l.objects, l.layout.Lease(), next, cond)
	if errors.Is(err, store.ErrConflict) {
		return false, nil // somebody was faster; the next read says who
	}
	if err != nil {
		return false, fmt.Errorf("take lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ours, l.record, l.etag, l.sent, l.seen = true, next, info.ETag, sent, ""
	l.doubt, l.format = map[string]time.Duration{}, format
	return true, nil
}

// highestEpoch that any document carries, and the format that the lease must have by them: both stay what they were when
// lease.json was removed or overwritten by hand.
func highestEpoch(ctx context.Context, o store.Objects, l store.Layout) (epoch int64, format int, err error) {
	p, _, err := readPointerIfAny(ctx, o, l)
	if err != nil {
		return 0, 0, err
	}
	s, serr := readIfAny[store.Status](ctx, o, l.Status(), "status")
	g, gerr := readIfAny[store.GC](ctx, o, l.GC(), "gc")
	// Not for an epoch, but it may be of a newer release, which is to lead then.
	_, cerr := readIfAny[store.Control](ctx, o, l.Control(), "control")
	if !errors.Is(cerr, snapshot.ErrNewer) {
		cerr = nil
	}
	epoch, format = max(s.Epoch, g.Epoch), max(store.FormatVersion, g.FormatVersion)
	if p != nil {
		epoch, format = max(epoch, p.Epoch), max(format, p.FormatVersion)
	}
	return epoch, format, errors.Join(serr, gerr, cerr)
}

// saw notes the height of the pointer, for the next renewal to carry.
func (l *lease) saw(h store.Height) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.top.Lineage != h.Lineage || l.top.Generation < h.Generation {
		l.top = h
	}
}

// highest is the height of the pointer as far as any holder of the lease knew it.
func (l *lease) highest() store.Height {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.top
}

// passed notes that a pass ended; the next renewal says so.
func (l *lease) passed(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passedAt = at.UTC()
}

// renew extends the term. ErrLeaseLost is final; any other error may be tried again while check allows.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	ours, unsure := l.ours, len(l.doubt) > 0
	l.mu.Unlock()
	if !ours {
		return fmt.Errorf("%w: not ours", ErrLeaseLost)
	}
	if unsure { // it may have taken effect, and its ETag is the one to replace
		if err := l.confirm(ctx); err != nil {
			return err
		}
	}
	nonce := store.NewNonce()
	l.mu.Lock()
	next, etag, sent := l.record, l.etag, l.clock.Elapsed()
	next.Nonce, next.Highest, next.PassedAt, next.FormatVersion = nonce, l.top, l.passedAt, l.format
	l.doubt[nonce] = sent
	l.mu.Unlock()
	info, err := store.WriteDoc(ctx, l.objects, l.layout.Lease(), next, store.PutOptions{IfMatch: etag})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return l.confirm(ctx) // taken over, or an earlier renewal of ours landed late
	}
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.believe(next, info.ETag, sent)
	return nil
}

// rewrite makes the record one of another format, and sees that it is stored as that.
func (l *lease) rewrite(ctx context.Context, format int) error {
	l.mu.Lock()
	l.format = format
	l.mu.Unlock()
	for range releaseTries { // the renewals beside it may be faster
		if l.holder().FormatVersion == format {
			return nil
		}
		if err := l.renew(ctx); err != nil {
			return err
		}
	}
	if l.holder().FormatVersion != format {
		return fmt.Errorf("write lease.json: %w", store.ErrConflict)
	}
	return nil
}

// believe takes a record for what is stored, and forgets the renewals before it. l.mu is locked.
func (l *lease) believe(record store.Lease, etag string, sent time.Duration) {
	l.record, l.etag, l.sent = record, etag, max(l.sent, sent)
	for nonce, at := range l.doubt {
		if at <= sent {
			delete(l.doubt, nonce)
		}
	}
}

// confirm asks the store whether the term is still ours: a suspended machine's clock does not know, nor does a renewal
// that was not answered. One whose record is there took effect: the term counts from its sending. A record that is not of
// our term, or none, means that it is over.
func (l *lease) confirm(ctx context.Context) error {
	found, info, err := store.ReadDoc[store.Lease](ctx, l.objects, l.layout.Lease(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, snapshot.ErrCorrupt) {
		return fmt.Errorf("read lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || found.Owner != l.owner || found.Epoch != l.record.Epoch || found.Released {
		l.ours = false
		return fmt.Errorf("%w: taken over", ErrLeaseLost)
	}
	l.etag = info.ETag
	if sent, ok := l.doubt[found.Nonce]; ok {
		l.believe(found, info.ETag, sent)
	}
	return nil
}

// yield ends the term when a document is of a later epoch than ours: somebody leads whom our clock does not know of. Two
// terms count the same epoch when lease.json was lost before the first had left its epoch anywhere else; an owner other
// than ours, "" when the document names none, gives that away, and the next term counts from the document's.
func (l *lease) yield(document string, epoch int64, owner string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	shared := epoch == l.record.Epoch && owner != "" && owner != l.owner
	if l.ours && epoch <= l.record.Epoch && !shared {
		return nil
	}
	l.ours = false
	if shared {
		return fmt.Errorf("%w: %s is of epoch %d like ours, but of %s", ErrLeaseLost, document, epoch, owner)
	}
	return fmt.Errorf("%w: %s is of epoch %d, ours is %d", ErrLeaseLost, document, epoch, l.record.Epoch)
}

// renewPart of the TTL is what one attempt to renew may take, reading included. The first starts at a third of the
// TTL, and with pauses and jitter of a hundredth three end before two thirds, where work stops:
// 1/3 + 3 × 1/10 + 3 × 1/100 = 0.663.
const (
	renewPart = 10
	pausePart = 100
)

// keep renews at a third of the TTL, again while renewals fail, until ctx ends or the lease is lost; then it calls
// lost once. A stalled attempt is given up early enough for two more, each with a deadline of its own.
func (l *lease) keep(ctx context.Context, lost func(error)) {
	var failed error
	for ctx.Err() == nil {
		l.mu.Lock()
		wait := max(0, l.sent+l.ttl/3-l.clock.Elapsed())
		l.mu.Unlock()
		if failed != nil {
			wait = 0
		}
		if sleep(ctx, wait+time.Duration(l.clock.Spread()*float64(l.ttl/pausePart))); ctx.Err() != nil {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, l.ttl/renewPart)
		failed = l.renew(attempt)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if stale := l.check(); stale != nil {
			l.mu.Lock()
			l.ours = false
			l.mu.Unlock()
			lost(stale)
			return
		}
	}
}

// release marks the lease free for the next indexer at once. The record is never deleted: its epoch is
// what the next term counts from.
func (l *lease) release(ctx context.Context) error {
	l.mu.Lock()
	ours := l.ours
	l.ours = false
	l.mu.Unlock()
	if !ours {
		return nil
	}
	for range releaseTries {
		l.mu.Lock()
		next, etag := l.record, l.etag
		next.Highest = l.top
		l.mu.Unlock()
		next.Released, next.Nonce = true, store.NewNonce()
		_, err := store.WriteDoc(ctx, l.objects, l.layout.Lease(), next, store.PutOptions{IfMatch: etag})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := l.confirm(ctx); err != nil { // or a renewal of ours landed late
			if errors.Is(err, ErrLeaseLost) {
				return nil // somebody else's by now
			}
			return err
		}
	}
	return nil // it will expire by itself
}

// releaseTries: a renewal that was cut off at the end of a term may land between reading and writing, once.
const releaseTries = 3
