package embed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Kind says what a failed call means for the next one.
type Kind int

const (
	Transient  Kind = iota // dropped connection, half an answer, 5xx: again after a backoff
	Throttled              // refused for its rate: nobody sends before After
	Overloaded             // 503, 529: as Transient, with fewer calls in flight
	TimedOut               // no answer in time: again with fewer texts
	Unusable               // the answer came, some of its vectors are wrong
	TooLarge               // too many texts or tokens for one request: split
	TooLong                // one of the texts is over the model's limit: find it and cut it
	Adapted                // the server lacks a feature that is now off: again at once
	Terminal               // trying again is of no use
)

// CallError is a failed call.
type CallError struct {
	Kind   Kind
	Reason string        // short and constant, for a metric's label: "http_503", "timeout"
	After  time.Duration // the provider's Retry-After
	Max    int           // of TooLarge: texts the server says it takes, 0 = not said
	// Distrust discards the vectors already handed over: the answer may have assigned them to the wrong texts.
	Distrust bool
	Err      error
}

func (e *CallError) Error() string { return e.Err.Error() }
func (e *CallError) Unwrap() error { return e.Err }

// Is makes a terminal error match ErrTerminal.
func (e *CallError) Is(target error) bool { return target == ErrTerminal && e.Kind == Terminal }

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
	tellsDims  = 4  // wrong lengths for one text in a row, never a right one: the model has other dims
	givesUpBad = 12 // unusable vectors for one text in a row
)

// unusable words the failure of one vector; after enough of them in a row it is no accident.
func (w *worker) unusable(i, length int, cause error) error {
	n := w.bad[i]
	if length != w.cfg.Dims && n >= tellsDims && !w.delivered.Load() {
		return &CallError{Kind: Terminal, Reason: "dims", Err: fmt.Errorf(
			"the model answers with %d-dimensional vectors, %d are configured: set EMBEDDING_DIMENSIONS=%d or choose another EMBEDDING_MODEL", length, w.cfg.Dims, length)}
	}
	err := fmt.Errorf("vector of text %d: %w", w.first+i, cause)
	if n >= givesUpBad {
		return &CallError{Kind: Terminal, Reason: "unusable", Err: fmt.Errorf("%w, %d answers in a row", err, n)}
	}
	return &CallError{Kind: Unusable, Reason: "unusable", Err: err}
}

// recoverFrom prepares the next try after a failed call, or returns the error that ends the batch.
func (w *worker) recoverFrom(ctx context.Context, err error, part []int, tries *int) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var ce *CallError
	if !errors.As(err, &ce) {
		ce = &CallError{Kind: Transient, Reason: "other", Err: err}
	}
	if ce.Kind == Terminal {
		return ce
	}
	w.stats.retries.Add(1)
	if f := w.cfg.Observer.Retry; f != nil {
		f(ce.Reason, ce)
	}
	switch ce.Kind {
	case Adapted:
		return nil
	case TooLarge, TooLong:
		return w.shrink(ce, part)
	case Throttled:
		// acquire does the waiting
	default:
		if ce.Kind == TimedOut && len(part) > 1 {
			w.limit = len(part) / 2
		}
		if *tries++; *tries >= w.cfg.MaxTries {
			return fmt.Errorf("%d tries: %w", *tries, err)
		}
	}
	if d := w.pace.stalled(time.Now()); d > w.cfg.MaxStall || ce.After > w.cfg.MaxStall {
		return fmt.Errorf("no success for %v, asked to wait %v: %w", d.Round(time.Second), ce.After, err)
	}
	if ce.Kind == Throttled {
		return nil
	}
	return w.sleep(ctx, max(w.backoff.NextBackOff(), ce.After))
}

// shrink makes the next call smaller: fewer texts, or, with one text left, less of it.
func (w *worker) shrink(ce *CallError, part []int) error {
	if half := len(part) / 2; half > 0 {
		if w.limit = half; ce.Kind == TooLarge {
			if ce.Max > 0 && ce.Max < len(part) {
				half = ce.Max
			}
			w.limit = half
			w.lowerBatch(int64(half))
		}
		return nil
	}
	i := part[0]
	limit := min(w.cfg.TextTokens, w.costs[i]*3/4)
	if limit < 1 || len(w.texts[i]) <= 4 {
		return &CallError{Kind: Terminal, Reason: ce.Reason, Err: fmt.Errorf("text %d is refused at any length: %w", w.first+i, ce.Err)}
	}
	w.cutTo(i, limit)
	return nil
}

func (w *worker) lowerBatch(n int64) {
	for {
		old := w.batchMax.Load()
		if n >= old || w.batchMax.CompareAndSwap(old, n) {
			return
		}
	}
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
