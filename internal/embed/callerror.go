package embed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"
)

// Kind says what a failed call means for the next one.
type Kind int

const (
	Transient  Kind = iota // dropped connection, half an answer: the same again after a backoff
	Throttled              // refused for its rate: nobody sends before After
	Overloaded             // 5xx that says when to come back: as Transient, with fewer calls in flight
	TimedOut               // no answer in time: again with fewer texts
	Unusable               // the answer came, some of its vectors are wrong
	Refused                // any other refusal: isolate.go finds out whether the request, its size or one text is why
	Adapted                // the server lacks a feature that is now off: again at once
	Terminal               // trying again is of no use
)

// CallError is a failed call.
type CallError struct {
	Kind   Kind
	Reason string        // short and constant, for a metric's label: "http_503", "timeout"
	Status int           // of the HTTP answer, 0 = none
	After  time.Duration // the provider's Retry-After
	Long   bool          // of Refused: the provider says that a text is too long
	// Unreached: no connection could be made, so nobody has seen the request.
	Unreached bool
	// Distrust discards the vectors already handed over: the answer may have assigned them to the wrong texts.
	Distrust bool
	// Doubt is a weaker Distrust, of an answer with too few vectors that does not say which are missing: what came is
	// kept until the last of it, asked for again, has come out the same or another.
	Doubt bool
	Err   error
}

func (e *CallError) Error() string { return e.Err.Error() }
func (e *CallError) Unwrap() error { return e.Err }

// Is makes a terminal error match ErrTerminal.
func (e *CallError) Is(target error) bool { return target == ErrTerminal && e.Kind == Terminal }

// asCall returns err as what a call ends with; an error of no known kind is transient.
func asCall(err error) *CallError {
	if ce, ok := errors.AsType[*CallError](err); ok {
		return ce
	}
	return &CallError{Kind: Transient, Reason: "other", Err: err}
}

// Unreached says whether err is of making a connection, directly or by a proxy.
func Unreached(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}

var errCallTimeout = errors.New("embedding call timed out")

// Observer is told what happens inside, to count and to log. Any field may be nil; calls may be concurrent.
type Observer struct {
	Retry  func(reason string, err error)       // a call failed and will be repeated
	Tokens func(n int)                          // an answer was counted, a discarded one too: this is what is billed
	Cut    func(text, bytes, kept int)          // texts[text] was over the model's limit: only its first kept bytes are embedded
	Lacks  func(feature string, message string) // an OpenAI-compatible server does not know a feature
}

// Stats are totals since the start.
type Stats struct {
	Requests, Texts, Tokens, Retries, Cut int64 // calls made, texts sent in them, tokens counted, repeated calls, texts cut
}

type stats struct{ requests, texts, tokens, retries, cut atomic.Int64 }

// Stats returns the totals of all Runs.
func (r *Runner) Stats() Stats {
	s := &r.stats
	return Stats{Requests: s.requests.Load(), Texts: s.texts.Load(), Tokens: s.tokens.Load(), Retries: s.retries.Load(), Cut: s.cut.Load()}
}

// unitRow checks vec and writes it to dst at unit length. size is the length vec had before it was shortened.
func unitRow(dst, vec []float32, size int) error {
	if len(vec) != len(dst) || size != len(dst) {
		return fmt.Errorf("%d numbers instead of %d", size, len(dst))
	}
	var a, b float64 // two sums hide the latency of addition
	for i := 0; i+1 < len(vec); i += 2 {
		x, y := float64(vec[i]), float64(vec[i+1])
		a += x * x
		b += y * y
	}
	if n := len(vec); n%2 == 1 {
		a += float64(vec[n-1]) * float64(vec[n-1])
	}
	sum := a + b // float32 squared times any dims cannot overflow a float64: it is not finite only if a number is not
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return errors.New("a number that is not finite")
	}
	if sum == 0 {
		return errors.New("only zeros")
	}
	scale := 1 / math.Sqrt(sum)
	for i, x := range vec {
		dst[i] = float32(float64(x) * scale)
	}
	return nil
}

const (
	reasonDims  = "dims"  // no vector of the right length has come yet
	reasonEmpty = "empty" // an answer with a list of no vectors
)

// unusable words the failure of one vector.
func (w *worker) unusable(what string, length int, cause error) error {
	reason := "unusable"
	if length > 0 && length != w.cfg.Dims && !w.delivered.Load() {
		reason = reasonDims
		cause = fmt.Errorf("the model answers with %d-dimensional vectors, %d are configured: set EMBEDDING_DIMENSIONS=%d or choose another EMBEDDING_MODEL",
			length, w.cfg.Dims, length)
	} else if length != w.cfg.Dims {
		reason = "wrong_dims"
	}
	return &CallError{Kind: Unusable, Reason: reason, Err: fmt.Errorf("vector of %s: %w", what, cause)}
}

// recoverFrom prepares the next try after a failed call that brought got vectors, or returns the error that ends the
// batch.
func (w *worker) recoverFrom(ctx context.Context, err error, part []int, got int) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	ce := asCall(err)
	if ce.Kind == Terminal {
		return ce
	}
	w.stats.retries.Add(1)
	if f := w.cfg.Observer.Retry; f != nil && ce.Kind != Adapted { // Lacks tells of that
		f(ce.Reason, ce)
	}
	switch {
	case ce.Kind == Adapted:
		return nil
	case ce.Kind == Refused, ce.Kind == Unusable && got == 0:
		return w.refused(ctx, ce, part)
	case ce.Kind == Throttled:
		return w.stall(ce) // acquire does the waiting
	case ce.Kind == TimedOut && len(part) > 1:
		w.limit = len(part) / 2
	}
	return w.again(ctx, ce, w.cfg.MaxTries)
}

// again waits before the next try, of which there are most without progress.
func (w *worker) again(ctx context.Context, ce *CallError, most int) error {
	if w.tries++; w.tries >= most {
		return fmt.Errorf("%d tries: %w", w.tries, ce)
	}
	if d := w.pace.stalled(time.Now()); ce.Unreached && w.cfg.Patience > 0 && d >= w.cfg.Patience {
		return fmt.Errorf("the embedding provider was not reached in %d tries within %v: %w", w.tries, d.Round(time.Second), ce)
	}
	if err := w.stall(ce); err != nil {
		return err
	}
	return w.sleep(ctx, max(w.backoff.NextBackOff(), ce.After))
}

// stall ends the work when nothing has succeeded for too long, or is not going to.
func (w *worker) stall(ce *CallError) error {
	if d := w.pace.stalled(time.Now()); d > w.cfg.MaxStall || ce.After > w.cfg.MaxStall {
		return fmt.Errorf("no success for %v, asked to wait %v: %w", d.Round(time.Second), ce.After, ce)
	}
	return nil
}

func (w *worker) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.halt:
		return errHalted
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
