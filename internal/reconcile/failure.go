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
	reason    string
	class     class
	err       error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail marks err with the condition it falsifies. Errors that carry a mark, a lost lease or the end of the
// context keep their meaning.
func fail(condition, reason string, c class, err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) || errors.Is(err, ErrLeaseLost) {
		return err
	}
	return &failure{condition: condition, reason: reason, class: c, err: err}
}

func failf(condition, reason string, c class, format string, args ...any) error {
	return fail(condition, reason, c, fmt.Errorf(format, args...))
}

// stopped tells an ended context from a failure of the work itself.
func stopped(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return ctx.Err()
}

// Exit codes of the command line.
const (
	ExitDone     = 0
	ExitFailed   = 1
	ExitUsage    = 2
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
