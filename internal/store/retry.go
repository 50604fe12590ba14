package store

import (
	"context"
	"errors"
	"hash/fnv"
	"io/fs"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Above Objects every retry loop is bounded alike: 5 attempts with pauses of 0.1, 0.2, 0.4 and 0.8 s, each
// stretched by up to half, so at most 2.25 s of waiting besides the attempts themselves.
const (
	attempts   = 5
	firstPause = 100 * time.Millisecond
)

// final tells whether repeating the call cannot help: the store gave an answer, the caller gave up, or the layer
// below has repeated it already.
// Everything else (timeouts, resets, 5xx, 409) is ambiguous: it may or may not have taken effect.
func final(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	if errors.As(err, new(*fs.PathError)) { // a local file: disk full, not there
		return true
	}
	if s3err := (*s3Error)(nil); errors.As(err, &s3err) && s3err.repeated {
		return true
	}
	if Refusal(err) {
		return true
	}
	for _, target := range []error{
		ErrNotFound, ErrNotModified, ErrConflict, ErrDeleteMarker, snapshot.ErrCorrupt, snapshot.ErrNewer, ErrNoAnswer,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// retry runs call until it succeeds, its error is final, or the attempts are used up. salt spreads the pauses:
// they depend on nothing else, so a simulation with the same bytes sees the same times.
func retry(ctx context.Context, salt string, call func() error) error {
	for attempt := 1; ; attempt++ {
		err := call()
		if err == nil || attempt == attempts || final(ctx, err) {
			return err
		}
		if !pause(ctx, salt, attempt) {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// pause waits before attempt+1 and reports whether the context still lives.
func pause(ctx context.Context, salt string, attempt int) bool {
	d := firstPause << (attempt - 1)
	h := fnv.New32a()
	h.Write([]byte(salt))
	h.Write([]byte{byte(attempt)})
	d += time.Duration(float64(d) / 2 * float64(h.Sum32()) / (1 << 32))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
