package reconcile_test

import (
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestPassBuildsPromotesAndThenHasNothingToDo(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	p := r.pointer()
	if p.Generation != 1 || p.Epoch != 1 || p.Source.Records != 5 || p.Stats.Added != 5 || len(p.Files) != 6 {
		t.Fatalf("pointer %+v", p)
	}
	if err := store.VerifySnapshot(t.Context(), r.mem, r.layout, p.ID, p.ManifestSHA256, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{snapshot.FileIndex, snapshot.FilePickle} {
		info, err := r.mem.Head(t.Context(), r.layout.Current(name))
		if err != nil || info.Metadata["snapshot-id"] != p.ID {
			t.Errorf("current/%s: %v, metadata %v", name, err, info.Metadata)
		}
	}
	for _, msg := range []string{"index rebuilt from vendors.json", "snapshot uploaded", "promoted to current/"} {
		if !strings.Contains(r.logs.String(), `"msg":"`+msg+`"`) {
			t.Errorf("no log line %q", msg)
		}
	}
	if !strings.Contains(r.logs.String(), `"url":"mem:///p/`+p.ID+`/"`) {
		t.Error("upload line does not carry the url")
	}
	r.condition(reconcile.Ready, reconcile.True, "Serving")
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	if got := r.pointer(); got.ID != p.ID || got.Generation != 1 || got.Epoch != 2 {
		t.Errorf("after an idle pass of a new term: %s generation %d epoch %d", got.ID, got.Generation, got.Epoch)
	}
	if r.embed.Bought() != 5 {
		t.Errorf("%d texts embedded, want 5", r.embed.Bought())
	}
}

func TestOnlyWhatChangedIsEmbedded(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 10, "a")
	r.once()
	data := strings.Replace(string(catalogue(0, 11, "a")), "about 3 a", "about 3 b", 1)
	data = strings.Replace(data, `{"id":"V-005","name":"vendor 5","description":"about 5 a"},`, "", 1)
	r.put(r.layout.Source, []byte(data))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if got := r.embed.Bought(); got != 12 {
		t.Errorf("%d texts embedded, want 10 + 2", got)
	}
	s := r.pointer().Stats
	if s.Added != 1 || s.Changed != 1 || s.Removed != 1 || s.Unchanged != 8 || s.Embedded != 2 || s.Reused != 8 {
		t.Errorf("stats %+v", s)
	}
}

func TestBadCatalogueChangesNothingAndIsNotReadTwice(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	p := r.pointer()
	r.put(r.layout.Source, []byte(`[{"id":"V-1","name":"x"},{"id":"V-1\u0000","name":"y"}]`))
	out := r.once()
	r.want(out, reconcile.ResultFailed, 1)
	if !strings.Contains(out.Err.Error(), `invalid id "record 2"`) {
		t.Errorf("error %q does not name the record", out.Err)
	}
	r.condition(reconcile.SourceReady, reconcile.False, "CatalogueInvalid")
	r.condition(reconcile.Ready, reconcile.False, "")
	if got := r.pointer(); got.ID != p.ID {
		t.Error("a bad catalogue moved the pointer")
	}
	r.catalogue(0, 4, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.condition(reconcile.SourceReady, reconcile.True, "Read")
	r.condition(reconcile.Ready, reconcile.True, "")
}

func TestMissingCatalogueKeepsServing(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	id := r.pointer().ID
	if err := r.mem.Delete(t.Context(), r.layout.Source); err != nil {
		t.Fatal(err)
	}
	r.want(r.once(), reconcile.ResultFailed, 1)
	r.condition(reconcile.SourceReady, reconcile.False, "SourceMissing")
	if r.pointer().ID != id {
		t.Error("the pointer moved")
	}
}

func TestForceRebuildsThoughUpToDate(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.once()
	first := r.pointer()
	r.want(r.onceWith(reconcile.OnceOptions{Force: true}), reconcile.ResultPromoted, 0)
	second := r.pointer()
	if second.ID <= first.ID || second.Generation != 2 || second.Reason != reconcile.ReasonForced {
		t.Errorf("second %s generation %d %q after %s", second.ID, second.Generation, second.Reason, first.ID)
	}
	if r.embed.Bought() != 3 {
		t.Errorf("%d texts embedded, want 3", r.embed.Bought())
	}
}

func TestCatalogueThatShrankIsHeldUntilForced(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 10, "a")
	r.once()
	served := r.pointer().ID
	r.catalogue(0, 4, "a")
	x := r.indexer()
	out, err := x.Once(t.Context(), reconcile.OnceOptions{})
	r.want(out, reconcile.ResultHeld, 3)
	if reconcile.ExitCode(err) != reconcile.ExitHeld {
		t.Errorf("exit code of %v", err)
	}
	held := r.status().Held
	if held == "" || r.pointer().ID != served {
		t.Fatalf("held %q, served %s", held, r.pointer().ID)
	}
	r.condition(reconcile.Held, reconcile.True, "GateHeld")
	r.condition(reconcile.Ready, reconcile.False, "")
	r.want(r.once(), reconcile.ResultHeld, 3) // neither rebuilt nor judged again
	if n := strings.Count(r.logs.String(), "index rebuilt"); n != 2 {
		t.Errorf("built %d times, want 2", n)
	}
	if err := r.operator().Promote(t.Context(), held, false); reconcile.ExitCode(err) != reconcile.ExitHeld {
		t.Errorf("promote without force: %v", err)
	}
	if err := r.operator().Promote(t.Context(), held, true); err != nil {
		t.Fatal(err)
	}
	if p := r.pointer(); p.ID != held || p.Generation != 2 {
		t.Errorf("pointer %s generation %d", p.ID, p.Generation)
	}
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	r.condition(reconcile.Held, reconcile.False, "")
}

func TestGoldenQueriesHoldAndRelease(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 30, "a")
	r.put(r.layout.Golden(), []byte(`[{"query":"nothing like it","expect":["V-999"],"k":5}]`))
	r.want(r.once(), reconcile.ResultHeld, 3)
	r.condition(reconcile.Held, reconcile.True, "GateHeld")
	r.put(r.layout.Golden(), []byte(`[{"query":"anything","expect":["V-000"],"k":30}]`))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if n := strings.Count(r.logs.String(), "index rebuilt"); n != 1 {
		t.Errorf("built %d times, want 1: the held candidate is judged again", n)
	}
	if r.pointer().Reason != reconcile.ReasonFirst {
		t.Errorf("reason %q", r.pointer().Reason)
	}
}

func TestTokenBudgetHoldsBeforeAnyPurchase(t *testing.T) {
	r := newRig(t)
	r.cfg.MaxEmbedTokens = 4
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultHeld, 3)
	if r.embed.Bought() != 0 {
		t.Errorf("%d texts bought", r.embed.Bought())
	}
	r.condition(reconcile.Held, reconcile.True, "TokenBudget")
	r.cfg.MaxEmbedTokens = 5
	r.want(r.once(), reconcile.ResultPromoted, 0)
}

func TestPoorRecallHolds(t *testing.T) {
	r := newRig(t)
	r.indexes.Miss = true
	r.catalogue(0, 60, "a")
	out := r.once()
	r.want(out, reconcile.ResultHeld, 3)
	if !strings.Contains(out.Err.Error(), "recall") {
		t.Errorf("error %q does not speak of recall", out.Err)
	}
}

func TestPlanSaysWhatAPassWouldDoAndWritesNothing(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 10, "a")
	r.cfg.TokenPrice = 20
	plan, err := r.indexer().Plan(t.Context(), reconcile.OnceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Added != 10 || plan.Texts != 10 || plan.Tokens != 10 || plan.Cost != 10*20/1e6 || plan.UpToDate {
		t.Errorf("plan %+v", plan)
	}
	if keys := r.mem.Keys("p/"); len(keys) != 1 {
		t.Errorf("the plan left %v", keys)
	}
	r.once()
	r.catalogue(2, 12, "a")
	if plan, err = r.indexer().Plan(t.Context(), reconcile.OnceOptions{}); err != nil {
		t.Fatal(err)
	}
	if plan.Added != 2 || plan.Removed != 2 || plan.Unchanged != 8 || plan.Texts != 2 || plan.Reused != 8 {
		t.Errorf("plan %+v", plan)
	}
}
