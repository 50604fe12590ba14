package follow

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// idle is a follower that does not run.
func idle(t *testing.T, w *followtest.World, change func(*Deps, *Config)) (*Follower, *lockedBuffer) {
	t.Helper()
	deps, cfg := settings(t, w, &followtest.Openers{})
	change(&deps, &cfg)
	log := new(lockedBuffer)
	return New(deps, cfg, "v1.2.3", slog.New(slog.NewJSONHandler(log, nil)), prometheus.NewRegistry()), log
}

// What people wrote is used; a file that cannot be used, and a store that does not answer, take nothing away.
func TestSynonymsAreFollowed(t *testing.T) {
	w := followtest.New(t)
	var o outage
	var told []conditions.Synonyms
	r, log := idle(t, w, func(d *Deps, c *Config) {
		o.on(d, c)
		d.Synonyms = func(s conditions.Synonyms) { told = append(told, s) }
	})
	ctx := context.Background()
	write := func(raw string) {
		_, err := w.Objects.Put(ctx, w.Layout.Synonyms(), []byte(raw), store.PutOptions{})
		must(t, err)
	}
	look := func() {
		r.synonyms.next = time.Time{}
		r.lookAtSynonyms(ctx)
	}
	look() // there is none
	write(`{"status":{"面談済":["会った"]}}`)
	look()
	look()                // unchanged
	r.lookAtSynonyms(ctx) // too soon
	write(`{"status":["会った"]}`)
	look()
	look()
	o.down.Store(true)
	look()
	o.down.Store(false)
	write(`{"status":{"面談済":["話した"]}}`)
	look()
	must(t, w.Objects.Delete(ctx, w.Layout.Synonyms()))
	look()
	look()
	want := []conditions.Synonyms{{"status": {"面談済": {"会った"}}}, {"status": {"面談済": {"話した"}}}, nil}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got)\n%s", diff)
	}
	if n := strings.Count(log.String(), "synonyms kept as they were"); n != 1 {
		t.Errorf("the bad file was named %d times", n)
	}
}

// More than there may be is not read.
func TestLongSynonymsAreRefused(t *testing.T) {
	w := followtest.New(t)
	r, _ := idle(t, w, func(d *Deps, _ *Config) {
		d.Synonyms = func(conditions.Synonyms) { t.Error("used") }
	})
	_, err := w.Objects.Put(t.Context(), w.Layout.Synonyms(), []byte(strings.Repeat(" ", conditions.MaxSynonyms)+`{"a":{"b":["c"]}}`), store.PutOptions{})
	must(t, err)
	if _, etag, err := r.readSynonyms(t.Context()); err == nil || etag == "" || errors.Is(err, store.ErrNotFound) {
		t.Errorf("%q, %v", etag, err)
	}
	r.lookAtSynonyms(t.Context())
}
