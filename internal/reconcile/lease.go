package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// lease elects the indexer that works. It saves work only: what keeps data right is the pointer's If-Match,
// raised at takeover by the fence write. It never compares a remote clock with the local one: a holder is
// expired when its record was *seen unchanged* for the record's own TTL on the local monotonic clock, and
// our own validity counts from the *sending* of the last renewal that succeeded.
type lease struct {
	objects store.Objects
	layout  store.Layout
	clock   Clock
	owner   string // UUID of this process
	host    string
	ttl     time.Duration

	mu     sync.Mutex
	held   bool
	record store.Lease // as last read or written
	etag   string
	sent   time.Duration // when the last renewal that took effect was sent
	// Nonces of renewals whose fate is not known, and when they were sent.
	doubt map[string]time.Duration
	seen  string        // ETag of another's record
	since time.Duration // when it was first seen
	top   store.Height  // of the pointer, as this process or an earlier holder saw it

	passed time.Time // when the last pass ended
}

// epoch of the term that is held, 0 when none is.
func (l *lease) epoch() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
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

// check returns nil while work may go on: the lease is held and was renewed within 2/3 of its TTL. It is
// called before every mutating request, so that a process that was stopped and wakes up sends nothing
// more; the one request already past this line meets an If-Match or an immutable key.
func (l *lease) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		return fmt.Errorf("%w: not held", ErrLeaseLost)
	}
	if age := l.clock.Elapsed() - l.sent; age >= l.ttl*2/3 {
		return fmt.Errorf("%w: not renewed for %s of %s", ErrLeaseLost, age.Round(time.Millisecond), l.ttl)
	}
	return nil
}

// acquire takes the lease when nobody holds it and says whether we hold it now. An error means that the
// store could not tell.
func (l *lease) acquire(ctx context.Context) (bool, error) {
	sent := l.clock.Elapsed()
	found, info, err := store.ReadDoc[store.Lease](ctx, l.objects, l.layout.Lease(), store.GetOptions{})
	cond := store.PutOptions{IfMatch: info.ETag}
	switch {
	case errors.Is(err, store.ErrNotFound):
		cond = store.PutOptions{IfAbsent: true}
	case errors.Is(err, store.ErrCorrupt) && info.ETag != "":
		// Someone wrote over it: let it grow old like a holder that does not answer.
		if !l.expired(info.ETag, l.ttl, sent) {
			return false, nil
		}
	case err != nil:
		return false, fmt.Errorf("read lease: %w", err)
	case found.Owner == l.owner || found.Released:
		// Our own ghost (a lost answer, or a term given up): nobody else can be using it.
		l.note(found)
	default:
		l.note(found)
		if !l.expired(info.ETag, found.TTL(), sent) {
			return false, nil
		}
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return false, err
	}
	return l.take(ctx, max(found.Epoch, floor)+1, cond)
}

func (l *lease) take(ctx context.Context, epoch int64, cond store.PutOptions) (bool, error) {
	next := store.Lease{
		FormatVersion: store.FormatVersion, Epoch: epoch, Owner: l.owner, Host: l.host,
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
	l.held, l.record, l.etag, l.sent, l.seen = true, next, info.ETag, sent, ""
	l.doubt = map[string]time.Duration{}
	return true, nil
}

// expired says whether the record under etag has been seen unchanged for ttl, up to a read sent at now.
func (l *lease) expired(etag string, ttl time.Duration, now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen != etag {
		l.seen, l.since = etag, l.clock.Elapsed()
		return false
	}
	return now-l.since >= ttl
}

func (l *lease) note(found store.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = found
	l.top = higher(l.top, found.Highest)
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

// floor is the highest epoch that any document carries: epochs stay monotonic even when lease.json was
// removed or overwritten by hand.
func (l *lease) floor(ctx context.Context) (int64, error) {
	var highest int64
	p, _, err := store.ReadPointer(ctx, l.objects, l.layout, "")
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrPointerInvalid) {
		return 0, fmt.Errorf("read pointer for its epoch: %w", err)
	}
	highest = max(highest, p.Epoch)
	s, _, err := store.ReadDoc[store.Status](ctx, l.objects, l.layout.Status(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) {
		return 0, fmt.Errorf("read status for its epoch: %w", err)
	}
	highest = max(highest, s.Epoch)
	g, _, err := store.ReadDoc[store.GC](ctx, l.objects, l.layout.GC(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) {
		return 0, fmt.Errorf("read gc for its epoch: %w", err)
	}
	// Not for an epoch, but it may be of a newer release, which is to lead then.
	if _, _, err = store.ReadDoc[store.Control](ctx, l.objects, l.layout.Control(), store.GetOptions{}); errors.Is(err, store.ErrNewer) {
		return 0, fmt.Errorf("read control: %w", err)
	}
	return max(highest, g.Epoch), nil
}

// renew extends the term. ErrLeaseLost is final; any other error may be tried again while check allows.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	held, unsure := l.held, len(l.doubt) > 0
	l.mu.Unlock()
	if !held {
		return fmt.Errorf("%w: not held", ErrLeaseLost)
	}
	if unsure { // it may have taken effect, and its ETag is the one to replace
		if err := l.recall(ctx); err != nil {
			return err
		}
	}
	nonce := store.NewNonce()
	l.mu.Lock()
	next, etag, sent := l.record, l.etag, l.clock.Elapsed()
	next.Highest = l.top
	next.PassedAt = l.passed
	l.doubt[nonce] = sent
	l.mu.Unlock()
	next.Nonce = nonce
	info, err := store.WriteDoc(ctx, l.objects, l.layout.Lease(), next, store.PutOptions{IfMatch: etag})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return l.recall(ctx) // taken over, or an earlier renewal of ours landed late
	}
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.believe(next, info.ETag, sent)
	return nil
}

// believe takes a record for what is stored, and forgets the renewals before it. l.mu is held.
func (l *lease) believe(record store.Lease, etag string, sent time.Duration) {
	l.record, l.etag, l.sent = record, etag, max(l.sent, sent)
	for nonce, at := range l.doubt {
		if at <= sent {
			delete(l.doubt, nonce)
		}
	}
}

// recall reads the record to find out what became of renewals that were not answered. One whose record is there took
// effect: the term counts from its sending. A record that is not of our term means that it is over.
func (l *lease) recall(ctx context.Context) error {
	found, info, err := store.ReadDoc[store.Lease](ctx, l.objects, l.layout.Lease(), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) {
		return fmt.Errorf("read lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || found.Owner != l.owner || found.Epoch != l.record.Epoch || found.Released {
		l.held = false
		return fmt.Errorf("%w: taken over", ErrLeaseLost)
	}
	l.etag = info.ETag
	if sent, ok := l.doubt[found.Nonce]; ok {
		l.believe(found, info.ETag, sent)
	}
	return nil
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
	wait := l.due()
	for {
		timer := time.NewTimer(wait + time.Duration(l.clock.Spread()*float64(l.ttl/pausePart)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		attempt, cancel := context.WithTimeout(ctx, l.ttl/renewPart)
		err := l.renew(attempt)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if stale := l.check(); stale != nil {
			l.drop()
			lost(stale)
			return
		}
		if wait = l.due(); err != nil {
			wait = 0
		}
	}
}

// pass notes that a pass ended; the next renewal says so.
func (l *lease) pass(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed = at.UTC()
}

// due is the time until a third of the TTL has passed since the last renewal that counts was sent.
func (l *lease) due() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.sent+l.ttl/3-l.clock.Elapsed())
}

// confirm asks the store whether the term is still ours: a suspended machine's clock does not know.
func (l *lease) confirm(ctx context.Context) error {
	found, _, err := store.ReadDoc[store.Lease](ctx, l.objects, l.layout.Lease(), store.GetOptions{})
	if err != nil {
		return fmt.Errorf("read lease: %w", err)
	}
	if found.Owner != l.owner || found.Epoch != l.epoch() {
		l.drop()
		return fmt.Errorf("%w: taken over", ErrLeaseLost)
	}
	return nil
}

// drop forgets the term without touching the store.
func (l *lease) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
}

// release marks the lease free for the next indexer at once. The record is never deleted: its epoch is
// what the next term counts from.
func (l *lease) release(ctx context.Context) error {
	l.mu.Lock()
	held := l.held
	l.held = false
	l.mu.Unlock()
	if !held {
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
		if err := l.recall(ctx); err != nil { // or a renewal of ours landed late
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
