package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/view"
)

// ErrBusy: more searches wait than may.
var ErrBusy = errors.New("too many searches are waiting")

// errPanicked: a search panicked; a bug, reported as such.
var errPanicked = errors.New("search panicked")

// maxTogether bounds one multi-query search. A scan of a flat index costs one pass over its memory whatever the
// number of queries up to about this many; beyond it only the first ones' latency grows.
const maxTogether = 64

// maxDepth is how many results a search can want that is taken together with others.
const maxDepth = 200

// gatherTime is how long a batch waits for company, at most: those who were answered together a moment ago ask again
// together, and searched apart from them the first to come would cost a pass over the memory of its own.
const gatherTime = 300 * time.Microsecond

// admission hands out the right to search: as many at a time as there are cores, so that a burst queues here, where it
// is bounded and can be cancelled, and not in the scheduler.
type admission struct {
	cores  int
	limit  int // waiting searches allowed
	mu     sync.Mutex
	busy   int
	parked int // searches waiting
	queues map[*view.View]*queue
	turns  []*queue // with waiting searches, first come first served
}

// searcher is what a queue needs of a view.
type searcher interface {
	Search(queries []float32, k int, allow *roaring.Bitmap) ([]int64, []float32, error)
	Dims() int
}

// queue gathers the concurrent searches of one view. A search that finds an idle core runs at once, unless it had
// company a moment ago; those that arrive meanwhile are taken together by the core that comes free next.
//
// A scan is split over the idle cores by the index itself, so a queue that searches together has one batch under way
// at a time: the next one grows meanwhile, and one pass over the memory answers all of it.
type queue struct {
	view      searcher
	together  int // searches taken at once: maxTogether when the index gains from it, else 1
	admission *admission

	// Guarded by admission.mu.
	waiting []*search
	company int // searches of the last batch, fading: as many are expected again
	// missing is how many searches the batch that gathers waits for, complete what ends that.
	missing  int
	complete chan struct{}
	scans    int // plain searches or batches under way
}

// joins tells whether s can be searched for together with others: one that is much deeper would make all of them so.
func (s *search) joins() bool { return s.work == nil && s.allow == nil && s.k <= maxDepth }

// may reports whether s can start now, as far as the queue is concerned. admission.mu is held.
func (q *queue) may(s *search) bool { return q.together == 1 || !s.joins() || q.scans == 0 }

// began and ended count what is under way. admission.mu is held.
func (q *queue) began(s *search) {
	if s.joins() {
		q.scans++
	}
}

func (q *queue) ended(s *search) {
	if s.joins() {
		q.scans--
	}
}

// search is one search that runs or waits, or other work for a core.
type search struct {
	work    func() // nil for a search
	queries []float32
	k       int
	allow   *roaring.Bitmap
	done    chan struct{}
	pos     []int64
	scores  []float32
	err     error
	taken   bool      // a core has it: it will be answered; guarded by admission.mu
	began   time.Time // when that was, for a search that waited
}

func newAdmission(cores, limit int) *admission {
	return &admission{cores: max(cores, 1), limit: limit, queues: make(map[*view.View]*queue)}
}

func newQueue(v searcher, shares bool, a *admission) *queue {
	q := &queue{view: v, together: 1, admission: a}
	if shares {
		q.together = maxTogether
	}
	return q
}

// of is the queue of a view, until forget.
func (a *admission) of(v *view.View) *queue {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.queues[v]
	if q == nil {
		q = newQueue(v, v.Shares(), a)
		a.queues[v] = q
	}
	return q
}

// forget lets go of a view that nobody searches any more.
func (a *admission) forget(v *view.View) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.queues, v)
}

// wait runs s here or leaves it to a core that comes free. The caller holds the view until it returns; when it returns early
// because ctx ended, nothing of s is running or will run.
func (q *queue) wait(ctx context.Context, s *search) error {
	a := q.admission
	a.mu.Lock()
	if a.busy < a.cores && q.may(s) {
		a.busy++
		q.began(s)
		a.mu.Unlock()
		batch := q.gather([]*search{s})
		q.run(batch)
		for _, other := range batch[1:] {
			close(other.done)
		}
		a.next(q, s)
		return s.err
	}
	if a.parked >= a.limit {
		a.mu.Unlock()
		return ErrBusy
	}
	a.parked++
	s.done = make(chan struct{})
	if len(q.waiting) == 0 {
		a.turns = append(a.turns, q)
	}
	q.waiting = append(q.waiting, s)
	if q.missing--; q.missing == 0 {
		close(q.complete)
	}
	a.mu.Unlock()

	select {
	case <-s.done:
	case <-ctx.Done():
		if a.leave(q, s) {
			return context.Cause(ctx)
		}
		<-s.done // being searched: the index must stay open until that ends
	}
	return s.err
}

// leave takes s out of the queue; false when a core already has it.
func (a *admission) leave(q *queue, s *search) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.taken {
		return false
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(o *search) bool { return o == s })
	a.parked--
	return true
}

// next is called when the search of q on a core, begun by s, is over: the core takes waiting searches or goes idle. The work
// goes on in a new goroutine, because the caller has an answer to give.
func (a *admission) next(q *queue, s *search) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q.ended(s)
	a.turns = slices.DeleteFunc(a.turns, func(q *queue) bool { return len(q.waiting) == 0 })
	for i, q := range a.turns {
		if !q.may(q.waiting[0]) {
			continue
		}
		// To the back: one view's queue cannot starve another's.
		a.turns = append(slices.Delete(a.turns, i, i+1), q)
		batch := q.take(q.together)
		q.began(batch[0])
		go func() {
			batch := q.gather(batch)
			q.run(batch)
			for _, s := range batch {
				close(s.done)
			}
			a.next(q, batch[0])
		}()
		return
	}
	a.busy--
}

// gather lets a batch of plain searches grow to what is expected.
func (q *queue) gather(batch []*search) []*search {
	if q.together == 1 || !batch[0].joins() {
		return batch
	}
	q.admission.mu.Lock()
	defer q.admission.mu.Unlock()
	if q.missing = q.company - len(batch) - len(q.waiting); q.missing > 0 {
		q.complete = make(chan struct{})
		complete := q.complete
		q.admission.mu.Unlock()
		t := time.NewTimer(gatherTime)
		select {
		case <-complete:
		case <-t.C:
		}
		t.Stop()
		q.admission.mu.Lock()
		q.missing = 0
	}
	if room := q.together - len(batch); room > 0 && len(q.waiting) > 0 && q.waiting[0].joins() {
		batch = append(batch, q.take(room)...)
	}
	q.company = max(len(batch), q.company/2)
	return batch
}

// take removes the next batch of a queue that has any: up to limit plain searches, or one that cannot be joined.
// admission.mu is held.
func (q *queue) take(limit int) []*search {
	n := 1
	for n < min(len(q.waiting), limit) && q.waiting[0].joins() && q.waiting[n].joins() {
		n++
	}
	batch := q.waiting[:n:n]
	now := time.Now()
	for _, s := range batch {
		s.taken, s.began = true, now
	}
	q.admission.parked -= n
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil // lets go of the answered ones
	}
	return batch
}

// run searches a batch in one call and deals out the rows. A panic becomes the error of the searches it hit: the
// other requests and the core live on.
func (q *queue) run(batch []*search) {
	defer func() {
		if p := recover(); p != nil {
			for _, s := range batch {
				s.err = fmt.Errorf("%w: %v", errPanicked, p)
			}
		}
	}()
	if len(batch) == 1 {
		s := batch[0]
		if s.work != nil {
			s.work()
			return
		}
		s.pos, s.scores, s.err = q.view.Search(s.queries, s.k, s.allow)
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
	pos, scores, err := q.view.Search(queries, k, nil)
	row := 0
	for _, s := range batch {
		if err != nil {
			s.err = err
			continue
		}
		rows := len(s.queries) / q.view.Dims()
		s.pos, s.scores = make([]int64, 0, rows*s.k), make([]float32, 0, rows*s.k)
		for range rows {
			s.pos = append(s.pos, pos[row*k:row*k+s.k]...)
			s.scores = append(s.scores, scores[row*k:row*k+s.k]...)
			row++
		}
	}
}
