package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/store"
)

var (
	// ErrLeaseLost: another indexer leads, or the lease could not be renewed in time. The pass stops.
	ErrLeaseLost = errors.New("lease lost")
	// ErrHeld: the gate or the token budget holds the candidate until an operator or an input changes.
	ErrHeld = errors.New("held")
	// ErrDeleting: the snapshot was chosen for deletion and can never be promoted again.
	ErrDeleting = errors.New("snapshot is being deleted")
	// ErrBase: the snapshot was made to be gone on from, and is not served by itself.
	ErrBase = errors.New("it is a base, which is served with a delta over it alone")
	// ErrIncomplete: the snapshot lacks a file that its manifest names.
	ErrIncomplete = errors.New("snapshot is incomplete")
)

// class decides when a failed pass is tried again.
type class int

const (
	transient class = iota // the store or the network: soon, at most a resync later
	inputs                 // the build itself: with backoff, at once when an input changes
	terminal               // the catalogue: not until it changes
)

// failure is a pass that stopped: which condition turned False, why, and what decides the retry.
type failure struct {
	condition string
	reason    reason
	class     class
	err       error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail marks err with the condition it falsifies. Errors that carry a mark, a lost lease or the end of the
// context keep their meaning.
func fail(condition string, r reason, c class, err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) || errors.Is(err, ErrLeaseLost) {
		return err
	}
	return &failure{condition: condition, reason: r, class: c, err: err}
}

func failf(condition string, r reason, c class, format string, args ...any) error {
	return fail(condition, r, c, fmt.Errorf(format, args...))
}

// heldCandidate ends a pass whose candidate waits for an operator, or until something that it was judged by changes.
type heldCandidate struct {
	id     string // "" = it was too dear to be built
	reason reason
	why    string
}

func (h *heldCandidate) Error() string {
	if h.id == "" {
		return ErrHeld.Error() + ": " + h.why
	}
	return ErrHeld.Error() + ": " + h.id + ": " + h.why
}

func (h *heldCandidate) Unwrap() error { return ErrHeld }

// hold makes the failure of it.
func hold(id string, r reason, why string) error {
	return fail(Held, r, terminal, &heldCandidate{id, r, why})
}

// stopped tells an ended context from a failure of the work itself: asked once, at the end of the work.
func stopped(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return ctx.Err()
}

// Exit codes of what an Operator or a pass was asked for; 2 is wrong usage, which no pass sees.
const (
	ExitDone     = 0
	ExitFailed   = 1
	ExitHeld     = 3
	ExitConflict = 4
)

// ExitCode maps an error of this package to the command line's exit code.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, ErrHeld):
		return ExitHeld
	case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrDiffers), errors.Is(err, ErrNoLeader), errors.Is(err, store.ErrConflict):
		return ExitConflict
	default:
		return ExitFailed
	}
}
