package follow

import (
	"context"
	"sync"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// phases are those of the load under way, for its trace.
type phases struct {
	mu    sync.Mutex
	ended []phase
}

type phase struct {
	name     string
	from, to time.Time
}

// maxPhases bounds what loads leave that come to no end of theirs.
const maxPhases = 64

func (p *phases) add(name string, from time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ended) < maxPhases {
		p.ended = append(p.ended, phase{name, from, time.Now()})
	}
}

func (p *phases) take() []phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.ended
	p.ended = nil
	return out
}

// traced tells of an attempt to serve another snapshot; failed, "" for none, says why it was none.
func (f *Follower) traced(p store.Pointer, since time.Time, failed string) {
	parts := f.m.phases.take()
	if len(parts) > 0 && (since.IsZero() || parts[0].from.Before(since)) {
		since = parts[0].from
	}
	if since.IsZero() {
		since = time.Now()
	}
	_, t := f.deps.Tracer.Begin(context.Background(), "swap", since)
	for _, part := range parts {
		t.Part(part.name, part.from, part.to)
	}
	t.Set("vectorstore.snapshot", p.ID)
	t.Set("vectorstore.generation", p.Generation)
	t.End(failed, time.Now())
}
