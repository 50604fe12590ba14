package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestStoppedPassKeepsWhatItBought(t *testing.T) {
	r := newRig(t)
	r.cfg.EmbedWindow = 4
	r.embed.Batch = 1
	r.catalogue(0, 20, "a")
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	r.embed.Before = func(ctx context.Context, _ []string) error {
		if n++; n == 11 { // in the middle of the third window
			cancel()
		}
		return ctx.Err()
	}
	out, err := r.indexer().Once(ctx, reconcile.OnceOptions{})
	if err == nil || out.ExitCode == 0 {
		t.Fatalf("stopped pass: %+v, %v", out, err)
	}
	if got := r.embed.Bought(); got != 10 {
		t.Fatalf("%d texts bought before the stop", got)
	}
	r.embed.Before = nil
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if again := r.embed.Again(); again != 0 {
		t.Errorf("%d texts bought again after an orderly stop", again)
	}
}

func TestProviderThatGivesUpInTheMiddleCostsNothingTwice(t *testing.T) {
	r := newRig(t)
	r.cfg.EmbedWindow = 4
	r.embed.Batch = 1
	r.catalogue(0, 20, "a")
	n := 0
	r.embed.Before = func(context.Context, []string) error {
		if n++; n == 7 {
			return errors.New("429 forever")
		}
		return nil
	}
	r.want(r.once(), reconcile.ResultFailed, 1)
	r.condition(reconcile.Built, reconcile.False, "EmbeddingFailed")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if r.embed.Bought() != 20 || r.embed.Again() != 0 {
		t.Errorf("%d texts bought, %d of them again", r.embed.Bought(), r.embed.Again())
	}
}

// notInstalled is how an embedder says that its model is not here.
type notInstalled struct{}

func (notInstalled) Error() string        { return "make weights fetches it" }
func (notInstalled) ModelMissing() string { return "m" }

// A model that is not installed is another matter than a provider in trouble, and is not given up: it may be installed.
func TestMissingModelIsSaid(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.embed.Before = func(context.Context, []string) error { return fmt.Errorf("embed: %w", notInstalled{}) }
	r.want(r.once(), reconcile.ResultFailed, 1)
	r.condition(reconcile.Built, reconcile.False, "ModelMissing")
	r.embed.Before = nil
	r.want(r.once(), reconcile.ResultPromoted, 0)
}

// Where no setting says what embeds, what is served decides, in a pass as in a plan, before anything is compared with it.
func TestWhatIsServedDecidesWhatEmbeds(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	var asked []snapshot.Embedding
	use := r.cfg.Embedding
	use.Model = "first"
	r.settle = func(served snapshot.Embedding) (reconcile.Embedder, snapshot.Embedding, string) {
		asked = append(asked, served)
		if served != (snapshot.Embedding{}) {
			return r.embed, served, "it stays"
		}
		return r.embed, use, ""
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if got := r.pointer().Spec.Embedding; got != use {
		t.Errorf("built with %+v, want %+v", got, use)
	}
	r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultUnchanged, 0)
	if plan, err := r.indexer().Plan(t.Context(), reconcile.OnceOptions{}); err != nil || !plan.UpToDate || plan.SpecChange != "" {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	if want := []snapshot.Embedding{{}, use, use}; !slices.Equal(asked, want) {
		t.Errorf("asked with %+v, want %+v", asked, want)
	}
	r.condition(reconcile.Embedded, reconcile.True, "AllEmbedded")
	if !slices.ContainsFunc(r.status().Conditions, func(c store.Condition) bool { return c.Type == reconcile.Embedded && c.Message == "it stays" }) {
		t.Errorf("the choice is not told: %+v", r.status().Conditions)
	}
}

func TestEqualTextsAreBoughtOnce(t *testing.T) {
	r := newRig(t)
	r.put(r.layout.Source, []byte(`[{"id":"a","name":"same"},{"id":"b","name":"same"},{"id":"c","name":"other"}]`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if s := r.pointer().Stats; s.Embedded != 2 || s.Reused != 1 || s.Vectors != 3 || r.embed.Bought() != 2 {
		t.Errorf("stats %+v, %d texts bought", s, r.embed.Bought())
	}
}

func TestLongBuildIsAnnounced(t *testing.T) {
	r := newRig(t)
	r.cfg.EmbedWindow = 2
	r.catalogue(0, 6, "a")
	said := ""
	r.embed.Before = func(context.Context, []string) error {
		for _, c := range r.status().Conditions {
			if c.Type == reconcile.Built {
				said = c.Status + "/" + c.Reason
			}
		}
		return nil
	}
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if said != reconcile.Unknown+"/Building" {
		t.Errorf("status said %q while embedding", said)
	}
	r.condition(reconcile.Built, reconcile.True, "Built")
}

func TestDamagedLedgerSegmentCostsOnlyItsOwnVectors(t *testing.T) {
	r := newRig(t)
	r.cfg.EmbedWindow = 2
	r.catalogue(0, 6, "a")
	r.embed.Before = func(_ context.Context, texts []string) error {
		if r.embed.Bought() >= 4 {
			return errors.New("stop before the ledger is compacted")
		}
		return nil
	}
	r.want(r.once(), reconcile.ResultFailed, 1)
	r.embed.Before = nil
	segments := r.mem.Keys(r.layout.Ledger())
	if len(segments) != 2 {
		t.Fatalf("ledger %v", segments)
	}
	r.mem.Corrupt(segments[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	r.cfg.Dir = tempDir(t) // the local copy is gone as well
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if r.embed.Bought() != 8 || r.embed.Again() != 2 {
		t.Errorf("%d texts bought, %d again; want 4 + 4, 2 again", r.embed.Bought(), r.embed.Again())
	}
	p := r.pointer()
	if err := store.VerifySnapshot(t.Context(), r.mem, r.layout, p.ID, p.ManifestSHA256, nil); err != nil {
		t.Error(err)
	}
}
