package store

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// silence is how long the store has answered nothing, over all requests. With a limit whoever asks a store that is
// silent for longer gets ErrNoAnswer at once, so that a command ends instead of going through every retry of every
// request. A store that was not asked is not silent.
type silence struct {
	limit time.Duration // 0: none

	mu     sync.Mutex
	since  time.Time // when the first request that got no answer was sent; zero: the last one got one
	answer time.Time // when the last answer came
}

// left is how long a request that is sent now may wait.
func (s *silence) left(now time.Time) (time.Duration, error) {
	if s.limit == 0 {
		return math.MaxInt64, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return s.limit, nil
	}
	if left := s.limit - now.Sub(s.since); left > 0 {
		return left, nil
	}
	return 0, s.over()
}

// over is the error of a silence beyond the limit.
func (s *silence) over() error { return fmt.Errorf("%w: nothing for %s", ErrNoAnswer, s.limit) }

// unanswered notes that a request sent at start failed with err, without an answer, and returns what to say of it.
func (s *silence) unanswered(start time.Time, err error) error {
	if s.limit == 0 {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if start.Before(s.answer) {
		start = s.answer
	}
	if s.since.IsZero() || start.Before(s.since) {
		s.since = start
	}
	if time.Since(s.since) < s.limit {
		return err
	}
	return fmt.Errorf("%w: %w", s.over(), err)
}

// end notes an answer.
func (s *silence) end() {
	if s.limit == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.answer = time.Time{}, time.Now()
}
