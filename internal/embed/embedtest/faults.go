package embedtest

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// Faults are probabilities per request, 0..1 each, of which at most one happens to a request; their sum must be ≤ 1.
type Faults struct {
	Slow         float64 // SlowBy before the answer
	TooMany      float64 // 429 without Retry-After
	TooManyAfter float64 // 429 with Retry-After, RetryAfter long
	Internal     float64 // 500
	BadGateway   float64 // 502, HTML body
	Overloaded   float64 // 529
	Drop         float64 // the connection is closed without an answer
	Half         float64 // the answer breaks off in the middle
	Shuffle      float64 // entries in another order, indices right: harmless to a careful client
	NaN          float64 // one number of one vector
	WrongDims    float64 // one vector is a number short
	WrongCount   float64 // the last vector is missing, or one is there twice
	Drip         float64 // the answer takes DripFor

	SlowBy     time.Duration // default 200 ms
	RetryAfter time.Duration // default 1 s
	DripFor    time.Duration // default 300 ms
}

// Every gives each fault the probability p.
func Every(p float64) Faults {
	return Faults{
		Slow: p, TooMany: p, TooManyAfter: p, Internal: p, BadGateway: p, Overloaded: p, Drop: p, Half: p, Shuffle: p,
		NaN: p, WrongDims: p, WrongCount: p, Drip: p,
		SlowBy: 200 * time.Millisecond, RetryAfter: time.Second, DripFor: 300 * time.Millisecond,
	}
}

// fault is what happens to one request; a zero fault is none.
type fault struct{ name string }

// draw decides the fault of a request.
func (s *Server) draw() fault {
	f := &s.opts.Faults
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.rng.Float64()
	for _, c := range []struct {
		name string
		p    float64
	}{
		{"slow", f.Slow}, {"too_many", f.TooMany}, {"too_many_after", f.TooManyAfter}, {"internal", f.Internal},
		{"bad_gateway", f.BadGateway}, {"overloaded", f.Overloaded}, {"drop", f.Drop}, {"half", f.Half},
		{"shuffle", f.Shuffle}, {"nan", f.NaN}, {"wrong_dims", f.WrongDims}, {"wrong_count", f.WrongCount}, {"drip", f.Drip},
	} {
		if x -= c.p; x < 0 {
			s.stats.Faults[c.name]++
			return fault{c.name}
		}
	}
	return fault{}
}

// refuse carries out the faults that come before any work. It returns true when the request is over.
func (f fault) refuse(s *Server, w http.ResponseWriter, req *request) bool {
	p := problem{kind: "server_error", message: "The server had an error while processing your request. Sorry about that!"}
	switch f.name {
	case "slow":
		time.Sleep(s.opts.Faults.SlowBy)
		return false
	case "too_many", "too_many_after":
		p = problem{429, "requests", "rate_limit_exceeded", "Rate limit reached."}
		if f.name == "too_many_after" {
			Precise.set(w.Header(), s.opts.Faults.RetryAfter)
		}
	case "internal":
		p.status = http.StatusInternalServerError
	case "overloaded":
		p.status, p.message = 529, "The engine is currently overloaded, please try again later."
	case "bad_gateway":
		s.lost(len(req.texts), len(req.texts))
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, "<html><head><title>502 Bad Gateway</title></head></html>")
		return true
	case "drop":
		s.lost(len(req.texts), len(req.texts))
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	s.lost(len(req.texts), len(req.texts))
	s.fail(w, p)
	return true
}

// spoil damages the answer. order lists the entries to send, bad says whose vector is lost by it.
func (f fault) spoil(s *Server, req *request, rows [][]float32) (order []int, bad func(int) bool) {
	n := len(rows)
	order = identity(n)
	s.mu.Lock()
	victim, component, doubled := s.rng.IntN(n), s.rng.IntN(req.dims), s.rng.IntN(2) == 0
	if f.name == "shuffle" {
		order = shuffled(s.rng, n)
	}
	s.mu.Unlock()
	only := func(i int) bool { return i == victim }
	all := func(int) bool { return true }
	switch f.name {
	case "nan":
		rows[victim][component] = float32(math.NaN())
		return order, only
	case "wrong_dims":
		rows[victim] = rows[victim][:req.dims-1]
		return order, only
	case "wrong_count":
		if doubled {
			return append(order, victim), all
		}
		return order[:n-1], func(i int) bool { return i == n-1 }
	}
	return order, none
}
