package query

import (
	"sync"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// synonyms are the words of people, and what finds conditions by them in each view, until forget.
type synonyms struct {
	mu    sync.Mutex
	words conditions.Synonyms
	of    map[*view.View]*conditions.Finder
}

func (s *synonyms) set(words conditions.Synonyms) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words, s.of = words, map[*view.View]*conditions.Finder{}
}

func (s *synonyms) finder(v *view.View) *conditions.Finder {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.words) == 0 {
		return v.Finder()
	}
	f := s.of[v]
	if f == nil {
		f = v.Finder().With(s.words)
		s.of[v] = f
	}
	return f
}

// forget lets go of a view that nobody searches any more.
func (s *synonyms) forget(v *view.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, v)
}
