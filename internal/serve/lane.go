package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// errBusy: more searches wait than MAX_QUEUE allows.
var errBusy = errors.New("too many searches are waiting")

// errPanicked: a search panicked; a bug, reported as such.
var errPanicked = errors.New("search panicked")

// maxTogether bounds one multi-query search. A scan of a flat index costs one pass over its memory whatever the
// number of queries up to about this many; beyond it only the first ones' latency grows.
const maxTogether = 64

// gatherTime is how long a batch waits for company, at most: those who were answered together a moment ago ask again
// together, and searched apart from them the first to come would cost a pass over the memory of its own.
const gatherTime = 300 * time.Microsecond

// cores hands out the right to search: as many at a time as there are cores, so that a burst queues here, where it
// is bounded and can be cancelled, and not in the scheduler.
type cores struct {
	slots  int
	queue  int // waiting callers allowed beyond the slots
	mu     sync.Mutex
	busy   int
	parked int
	lanes  []*lane // with waiting searches, first come first served
}

// lane gathers the concurrent searches of one snapshot. A search that finds a free slot runs at once, unless it had
// company a moment ago; those that arrive meanwhile are taken together by the slot that comes free next.
//
// A scan is split over the idle cores by the index itself, so a lane that searches together has one batch under way
// at a time: the next one grows meanwhile, and one pass over the memory answers all of it.
type lane struct {
	index    snapshot.Index
	together int // searches taken at once: maxTogether when the index gains from it, else 1
	cores    *cores

	// Guarded by cores.mu.
	waiting []*seek
	company int // searches of the last batch, fading: as many are expected again
	// missing is how many searches the batch that gathers waits for, complete what ends that.
	missing  int
	complete chan struct{}
	scans    int // plain searches or batches under way
}

// may reports whether s can start now, as far as the lane is concerned. cores.mu is held.
func (l *lane) may(s *seek) bool { return l.together == 1 || s.allow != nil || l.scans == 0 }

// began and ended count what is under way. cores.mu is held.
func (l *lane) began(s *seek) {
	if s.allow == nil {
		l.scans++
	}
}

func (l *lane) ended(s *seek) {
	if s.allow == nil {
		l.scans--
	}
}

// seek is one waiting search.
type seek struct {
	queries []float32
	k       int
	allow   *roaring.Bitmap
	done    chan struct{}
	pos     []int64
	scores  []float32
	err     error
	taken   bool // a slot has it: it will be answered; guarded by cores.mu
}

func newCores(slots, queue int) *cores { return &cores{slots: max(slots, 1), queue: queue} }

func newLane(ix snapshot.Index, kind string, c *cores) *lane {
	l := &lane{index: ix, together: 1, cores: c}
	if kind == "flat" {
		l.together = maxTogether
	}
	return l
}

// search is Index.Search for one or more queries, behind the slots. The caller holds the snapshot until it returns;
// when it returns early because ctx ended, nothing of the search is running or will run.
func (l *lane) search(ctx context.Context, queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error) {
	s := &seek{queries: queries, k: k, allow: allow}
	c := l.cores
	c.mu.Lock()
	if c.busy < c.slots && l.may(s) {
		c.busy++
		l.began(s)
		c.mu.Unlock()
		batch := l.gather([]*seek{s})
		l.run(batch)
		for _, other := range batch[1:] {
			close(other.done)
		}
		c.next(l, s)
		return s.pos, s.scores, s.err
	}
	if c.parked >= c.queue {
		c.mu.Unlock()
		return nil, nil, errBusy
	}
	c.parked++
	s.done = make(chan struct{})
	if len(l.waiting) == 0 {
		c.lanes = append(c.lanes, l)
	}
	l.waiting = append(l.waiting, s)
	if l.missing--; l.missing == 0 {
		close(l.complete)
	}
	c.mu.Unlock()

	select {
	case <-s.done:
	case <-ctx.Done():
		if c.leave(l, s) {
			return nil, nil, context.Cause(ctx)
		}
		<-s.done // being searched: the index must stay open until that ends
	}
	return s.pos, s.scores, s.err
}

// leave takes s out of the queue; false when a slot already has it.
func (c *cores) leave(l *lane, s *seek) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.taken {
		return false
	}
	l.waiting = slices.DeleteFunc(l.waiting, func(o *seek) bool { return o == s })
	c.parked--
	return true
}

// next is called by a slot when its search of l, begun by s, is over: it takes waiting searches or goes idle. The work
// goes on in a new goroutine, because the caller has an answer to give.
func (c *cores) next(l *lane, s *seek) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.ended(s)
	c.lanes = slices.DeleteFunc(c.lanes, func(l *lane) bool { return len(l.waiting) == 0 })
	for i, l := range c.lanes {
		if !l.may(l.waiting[0]) {
			continue
		}
		// To the back: one snapshot's queue cannot starve another's.
		c.lanes = append(slices.Delete(c.lanes, i, i+1), l)
		batch := l.take(l.together)
		l.began(batch[0])
		go func() {
			batch := l.gather(batch)
			l.run(batch)
			for _, s := range batch {
				close(s.done)
			}
			c.next(l, batch[0])
		}()
		return
	}
	c.busy--
}

// gather lets a batch of plain searches grow to what is expected.
func (l *lane) gather(batch []*seek) []*seek {
	if l.together == 1 || batch[0].allow != nil {
		return batch
	}
	l.cores.mu.Lock()
	defer l.cores.mu.Unlock()
	if l.missing = l.company - len(batch) - len(l.waiting); l.missing > 0 {
		l.complete = make(chan struct{})
		complete := l.complete
		l.cores.mu.Unlock()
		t := time.NewTimer(gatherTime)
		select {
		case <-complete:
		case <-t.C:
		}
		t.Stop()
		l.cores.mu.Lock()
		l.missing = 0
	}
	if room := l.together - len(batch); room > 0 && len(l.waiting) > 0 && l.waiting[0].allow == nil {
		batch = append(batch, l.take(room)...)
	}
	l.company = max(len(batch), l.company/2)
	return batch
}

// take removes the next batch of a lane that has any: up to limit plain searches, or one that cannot be joined.
// cores.mu is held.
func (l *lane) take(limit int) []*seek {
	n := 1
	for n < min(len(l.waiting), limit) && l.waiting[0].allow == nil && l.waiting[n].allow == nil {
		n++
	}
	batch := l.waiting[:n:n]
	for _, s := range batch {
		s.taken = true
	}
	l.cores.parked -= n
	l.waiting = l.waiting[n:]
	if len(l.waiting) == 0 {
		l.waiting = nil // lets go of the answered ones
	}
	return batch
}

// run searches a batch in one call and deals out the rows. A panic becomes the error of the searches it hit: the
// other requests and the slot live on.
func (l *lane) run(batch []*seek) {
	defer func() {
		if p := recover(); p != nil {
			for _, s := range batch {
				s.err = fmt.Errorf("%w: %v", errPanicked, p)
			}
		}
	}()
	if len(batch) == 1 {
		s := batch[0]
		s.pos, s.scores, s.err = l.index.Search(s.queries, s.k, s.allow)
		return
	}
	k, n := 0, 0
	for _, s := range batch {
		k = max(k, s.k)
		n += len(s.queries)
	}
	queries := make([]float32, 0, n)
	for _, s := range batch {
		queries = append(queries, s.queries...)
	}
	pos, scores, err := l.index.Search(queries, k, nil)
	row := 0
	for _, s := range batch {
		if err != nil {
			s.err = err
			continue
		}
		rows := len(s.queries) / l.index.Dims()
		s.pos, s.scores = make([]int64, 0, rows*s.k), make([]float32, 0, rows*s.k)
		for range rows {
			s.pos = append(s.pos, pos[row*k:row*k+s.k]...)
			s.scores = append(s.scores, scores[row*k:row*k+s.k]...)
			row++
		}
	}
}
