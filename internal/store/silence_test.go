package store

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSilenceCountsFromTheFirstRequestWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence{limit: 30 * time.Second}
		lost := errors.New("lost")
		fails := func(after time.Duration) error {
			start := time.Now()
			if _, err := s.left(start); err != nil {
				return err
			}
			time.Sleep(after)
			return s.unanswered(start, lost)
		}
		gone := func(err error) bool { return errors.Is(err, ErrNoAnswer) }

		time.Sleep(time.Hour) // asking nothing is no silence
		for range 2 {
			if err := fails(14 * time.Second); gone(err) || !errors.Is(err, lost) {
				t.Fatal(err)
			}
		}
		if left, err := s.left(time.Now()); err != nil || left != 2*time.Second {
			t.Errorf("%s left, %v", left, err)
		}
		began := time.Now()
		time.Sleep(time.Second)
		s.end() // another request is answered
		time.Sleep(28 * time.Second)
		if err := s.unanswered(began, lost); gone(err) {
			t.Errorf("28 s after an answer: %v", err)
		}
		time.Sleep(time.Second)
		if err := fails(2 * time.Second); !gone(err) || !errors.Is(err, lost) {
			t.Errorf("31 s after the answer: %v", err)
		}
		if err := fails(0); !gone(err) {
			t.Errorf("and after that: %v", err)
		}
		s.end()
		if err := fails(0); gone(err) {
			t.Errorf("after an answer: %v", err)
		}
		var none silence
		if left, err := none.left(time.Now()); err != nil || left < time.Hour || none.unanswered(time.Time{}, lost) != lost {
			t.Errorf("without a limit: %s, %v", left, err)
		}
	})
}
