package embed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	queryTries = 3
	queryPause = 200 * time.Millisecond
)

// Query embeds one text for a caller who is waiting. It makes three tries, waits for a Retry-After only if that ends
// before ctx does, and takes no part in the pacing of Runs.
func (r *Runner) Query(ctx context.Context, text string, call Call) ([]float32, error) {
	if text == "" {
		return nil, fmt.Errorf("%w: the query is empty", ErrTerminal)
	}
	if r.cfg.TextRunes > 0 {
		text = cutToRunes(text, r.cfg.TextRunes)
	}
	if r.cfg.EstimateTokens(text) > r.cfg.TextTokens {
		text = cutToTokens(text, r.cfg.TextTokens)
	}
	adapted := 0
	for try := 1; ; try++ {
		vec, err := r.queryOnce(ctx, text, call)
		if err == nil {
			return vec, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("%w (%w)", cause, err)
		}
		ce := asCall(err)
		switch {
		case ce.Kind == Terminal:
			return nil, err
		case ce.Kind == Adapted && adapted < queryTries:
			adapted++
			try--
			continue
		case ce.Kind == Refused && (ce.Long || ce.Status < 500):
			n := min(r.cfg.TextTokens, r.cfg.EstimateTokens(text))
			if n <= leastSaidCut || n <= leastCut && !ce.Long { // asked again, it would be refused again
				return nil, err
			}
			text = cutToTokens(text, n*3/4)
		}
		if try >= queryTries || text == "" {
			return nil, err
		}
		if err := pauseQuery(ctx, max(ce.After, queryPause<<(try-1))); err != nil {
			return nil, fmt.Errorf("%w (%w)", err, ce)
		}
	}
}

func (r *Runner) queryOnce(ctx context.Context, text string, call Call) ([]float32, error) {
	vec := make([]float32, r.cfg.Dims)
	err := errors.New("no vector came back")
	put := func(i int, v []float32, size int) {
		if i == 0 {
			err = unitRow(vec, v, size)
		}
	}
	r.stats.requests.Add(1)
	r.stats.texts.Add(1)
	callCtx, cancel := context.WithTimeoutCause(ctx, r.cfg.CallTimeout, errCallTimeout)
	defer cancel()
	receipt, callErr := call(callCtx, []string{text}, put)
	r.stats.tokens.Add(int64(receipt.Tokens))
	if callErr != nil {
		return nil, callErr
	}
	return vec, err
}

// pauseQuery waits d, or fails at once when ctx would end first: the caller can answer while it still has time.
func pauseQuery(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// EstimateTokens is the Runner's estimate for a text.
func (r *Runner) EstimateTokens(text string) int { return r.cfg.EstimateTokens(text) }
