package reconcile

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// What a pass does, by what it saw. The view has snapshot 1 served, of source a and today's spec; everything was looked at:
// nothing else is stored, and the catalogue has one record that is new.
func TestWhatAPassDoes(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	long, short := now.Add(-25*time.Hour), now.Add(-time.Hour)
	changed := func(v *view, _ *rules) { v.source.SHA256 = "b" }
	with := func(changes ...func(*view, *rules)) func(*view, *rules) {
		return func(v *view, r *rules) {
			for _, c := range changes {
				c(v, r)
			}
		}
	}
	blind := func(to verb) func(*view, *rules) { return func(v *view, _ *rules) { v.looked[to] = false } }
	unserved := func(v *view, _ *rules) { v.pointer = nil }
	broken := func(v *view, _ *rules) { v.broken = errors.New("missing index.faiss") }
	forced := func(_ *view, r *rules) { r.force, r.asked = true, true }
	asked := func(_ *view, r *rules) { r.asked = true }
	once := func(_ *view, r *rules) { r.once, r.asked = true, true }
	means := func(_ *view, r *rules) { r.override = true }
	gcOnly := func(_ *view, r *rules) { r.gcOnly, r.asked = true, true }
	suspended := func(v *view, _ *rules) { v.control.Suspended = &store.Intent{By: "ann"} }
	pinned := func(n int, why string) func(*view, *rules) {
		return func(v *view, _ *rules) { v.control.Pin = &store.Intent{ID: snapshotID(n), By: "bob", Reason: why} }
	}
	otherSpec := func(v *view, _ *rules) { v.pointer.SpecDigest, v.pointer.Spec.IndexKind = "older", "hnsw" }
	newerRelease := func(v *view, _ *rules) { v.pointer.Spec.Unknown = `{"quantiser":"x"}` }
	remembered := func(left time.Duration) func(*view, *rules) {
		return func(v *view, r *rules) {
			r.memo = memo{inputs: v.inputs(*r), err: errors.New("the provider is away"), until: r.elapsed + left}
			if left == 0 {
				r.memo.until = 0
			}
		}
	}
	// has adds a stored snapshot, the newest first.
	has := func(n int, result string, change func(*stored)) func(*view, *rules) {
		return func(v *view, r *rules) {
			s := stored{id: snapshotID(n), verdict: store.Verdict{Result: result, Settings: r.cfg.gateSettings(), Baseline: v.baseline()}}
			if change != nil {
				change(&s)
			}
			v.stored = append(v.stored, s)
		}
	}
	lacks := func(since time.Time) func(*view, *rules) {
		return func(v *view, _ *rules) {
			v.pointer.Files = []snapshot.File{{Name: snapshot.FileUnembedded}}
			v.unembedded = []unembedded{{ID: "V-1", TriedAt: since}}
		}
	}
	budget := func(tokens int) func(*view, *rules) { return func(_ *view, r *rules) { r.cfg.MaxEmbedTokens = tokens } }
	retention := func(n int) func(*view, *rules) {
		return func(_ *view, r *rules) { r.status.Retention = &store.Retention{Snapshots: n, GraceSeconds: 3600} }
	}

	const keeps = " +copies" // what follows
	const all = " +copies +collect"
	for _, c := range []struct {
		what   string
		change func(*view, *rules)
		plan   string
	}{
		// The catalogue is served, or is not.
		{"up to date", nil, "nothing (up to date)" + all},
		{"the catalogue changed", changed, "build (source changed)" + all},
		{"the spec changed", otherSpec, "build (spec changed)" + all},
		{"both changed", with(changed, otherSpec), "build (source changed)" + all},
		{"nothing was promoted yet", unserved, "build (first)" + all},
		{"the served snapshot is damaged", broken, "build (served snapshot damaged)" + all},
		{"damaged, and the catalogue changed", with(broken, changed), "build (served snapshot damaged)" + all},
		{"a rebuild is forced", forced, "build (forced rebuild)" + all},
		{"the catalogue is gone", func(v *view, _ *rules) { v.source.err = errors.New("no vendors.json") }, "stop: no vendors.json" + all},
		{"gone, and a rebuild is forced", with(forced, func(v *view, _ *rules) { v.source.err = errors.New("no vendors.json") }), "stop: no vendors.json" + all},

		// What was not looked at yet.
		{"changed: golden queries first", with(changed, blind(lookAtGolden)), "look at golden.json" + all},
		{"changed: then stored snapshots", with(changed, blind(lookAtStored)), "look at the stored snapshots" + all},
		{"changed: then the catalogue", with(changed, blind(readCatalogue)), "read the catalogue" + all},
		{"up to date: nothing is looked at", with(blind(lookAtGolden), blind(lookAtStored), blind(readCatalogue)), "nothing (up to date)" + all},
		{"forced: stored snapshots are not asked for", with(forced, blind(lookAtStored)), "build (forced rebuild)" + all},
		{"a stored one will do: the catalogue is not read", with(changed, has(2, VerdictPassed, nil), blind(readCatalogue)), "promote 2 (adopted)" + all},

		// What operators want.
		{"suspended", with(suspended, changed), "nothing (suspended by ann)" + keeps},
		{"suspended and pinned", with(suspended, pinned(2, "")), "nothing (suspended by ann)" + keeps},
		{"suspended, and a rebuild is forced", with(suspended, forced), "nothing (suspended by ann)" + keeps},
		{"pinned to what is served", with(pinned(1, ""), changed), "nothing (pinned to 1 by bob)" + keeps},
		{"pinned to another", pinned(2, ""), "promote what is pinned (pinned)" + keeps},
		{"rolled back to another", pinned(2, ReasonRollback), "promote what is pinned (rollback)" + keeps},
		{"promoted by an operator who died", pinned(2, ReasonOperator), "promote what is pinned (promoted by operator)" + keeps},
		{"pinned, and there is no pointer", with(unserved, pinned(2, "")), "nothing (pinned to 2 by bob)" + keeps},
		{"pinned, and the served one is damaged", with(pinned(1, ""), broken), "nothing (pinned to 1 by bob)" + keeps},
		{"garbage only", with(gcOnly, changed), "nothing" + all},
		{"garbage only, while pinned", with(gcOnly, pinned(1, "")), "nothing (pinned to 1 by bob)" + keeps},

		// What is stored already.
		{"stored and passed", with(changed, has(2, VerdictPassed, nil)), "promote 2 (adopted)" + all},
		{"the first, stored before a crash", with(unserved, has(2, VerdictPassed, nil)), "promote 2 (first)" + all},
		{"stored, and the served one is damaged", with(broken, has(2, VerdictPassed, nil)), "promote 2 (served snapshot damaged)" + all},
		{"two are stored: the newest", with(changed, has(3, VerdictPassed, nil), has(2, VerdictPassed, nil)), "promote 3 (adopted)" + all},
		{"the newest failed", with(changed, has(3, VerdictFailed, nil), has(2, VerdictPassed, nil)), "promote 2 (adopted)" + all},
		{"the newest is corrupt", with(changed, has(3, VerdictCorrupt, nil)), "build (source changed)" + all},
		{"the newest is being deleted", with(changed, has(3, VerdictPassed, func(s *stored) { s.deleting = true })), "build (source changed)" + all},
		{"judged by a newer release", with(changed, has(3, VerdictPassed, func(s *stored) { s.newer = true })), "build (source changed)" + all},
		{"the served one, damaged, is no candidate", with(broken, has(1, VerdictPassed, nil)), "build (served snapshot damaged)" + all},
		{"stored and held", with(changed, has(2, VerdictHeld, nil)), "stop: held: 2: see indexer show 2" + all},
		{"never judged", with(changed, has(2, "", nil)), "judge again 2" + all},
		{"judged by other settings", with(changed, has(2, VerdictPassed, func(s *stored) { s.verdict.Settings = "older" })), "judge again 2" + all},
		{"judged against another baseline", with(changed, has(2, VerdictHeld, func(s *stored) { s.verdict.Baseline = snapshotID(7) })), "judge again 2" + all},
		{"judged by other golden queries", with(changed, has(2, VerdictHeld, nil), func(v *view, _ *rules) { v.goldenETag = "g" }), "judge again 2" + all},
		{"what failed stays so, by whatever it was judged", with(changed, has(2, VerdictFailed, func(s *stored) { s.verdict.Settings = "older" })), "build (source changed)" + all},
		{"forced: what is stored does not count", with(changed, forced, has(2, VerdictPassed, nil)), "build (source changed)" + all},

		// What failed or was held before.
		{"a build failed a moment ago", with(changed, remembered(time.Second)), "wait: the provider is away" + all},
		{"a build failed long ago", with(changed, remembered(-time.Second)), "build (source changed)" + all},
		{"a build was held", with(changed, remembered(0)), "wait: the provider is away" + all},
		{"failed, and somebody asks", with(changed, remembered(time.Second), asked), "build (source changed)" + all},
		{"failed, and the catalogue changed since", with(changed, remembered(time.Second), func(v *view, _ *rules) { v.source.SHA256 = "c" }), "build (source changed)" + all},
		{"failed, and golden.json changed since", with(changed, remembered(0), func(v *view, _ *rules) { v.goldenETag = "g" }), "build (source changed)" + all},
		{"failed, and another is served since", with(changed, remembered(0), func(v *view, _ *rules) { v.pointer.ID = snapshotID(5) }), "build (source changed)" + all},
		{"failed, and the gate is set otherwise since", with(changed, remembered(0), func(_ *view, r *rules) { r.cfg.GateMinRecall = 0.5 }), "build (source changed)" + all},
		{"failed, and the catalogue is back as it was", with(changed, remembered(time.Hour), func(v *view, _ *rules) { v.source.SHA256 = "a" }), "nothing (up to date)" + all},

		// Texts that the provider refused.
		{"refused long ago", lacks(long), "build (refused texts embedded)" + all},
		{"refused a moment ago", lacks(short), "nothing (up to date)" + all},
		{"refused, not looked at", with(lacks(long), blind(lookAtUnembedded)), "look at the records without vectors" + all},
		{"refused, tried by this process", with(lacks(long), func(_ *view, r *rules) { r.retried = retried{snapshotID(1), r.elapsed} }), "nothing (up to date)" + all},
		{"refused, tried for another snapshot", with(lacks(long), func(_ *view, r *rules) { r.retried = retried{snapshotID(5), r.elapsed} }), "build (refused texts embedded)" + all},
		{"refused, and a stored one is no better", with(lacks(long), has(2, VerdictPassed, nil)), "build (refused texts embedded)" + all},

		// What it would cost.
		{"within the budget", with(changed, budget(10)), "build (source changed)" + all},
		{"above the budget", with(changed, budget(9)), "stop: held: 1 texts, about 10 tokens, are above MAX_EMBED_TOKENS=9; raise MAX_EMBED_TOKENS" + all},
		{"above the budget, and forced", with(changed, forced, budget(9)), "stop: held: 1 texts, about 10 tokens, are above MAX_EMBED_TOKENS=9; raise MAX_EMBED_TOKENS" + all},
		{"stored: the budget does not matter", with(changed, budget(9), has(2, VerdictPassed, nil)), "promote 2 (adopted)" + all},

		// Other releases, and commands with settings of their own.
		{"served by a newer release", with(otherSpec, newerRelease), "stop: 1 was built by a newer release, with a spec that this one does not know: waits for an indexer of that release; indexer reconcile --force builds by this one's" + all},
		{"served by a newer release, and forced", with(otherSpec, newerRelease, forced), "build (spec changed)" + all},
		{"a command of another spec", with(otherSpec, once, retention(5)), "stop: the settings differ from the deployment's: the served snapshot has another spec: index_kind hnsw → flat; --yes builds by this command's"},
		{"a command that means another spec", with(otherSpec, once, means), "build (spec changed)" + all},
		{"a command of the same settings", with(changed, once, retention(5)), "build (source changed)" + all},
		{"a command of another retention", with(changed, once, retention(3)), "build (source changed)" + all + " -RETAIN_SNAPSHOTS 3 → 5"},
		{"a command of another retention collects", with(gcOnly, once, retention(3)), "stop: the settings differ from the deployment's: RETAIN_SNAPSHOTS 3 → 5; --yes deletes by this command's -RETAIN_SNAPSHOTS 3 → 5"},
		{"a command that means another retention collects", with(gcOnly, once, means, retention(3)), "nothing" + all},
		{"a command where nobody remembers the retention", with(gcOnly, once), "stop: the settings differ from the deployment's: status.json does not say by which retention snapshots are kept; --yes deletes by this command's -status.json does not say by which retention snapshots are kept"},
		{"the first command of a store", with(unserved, once), "build (first)" + all},
	} {
		t.Run(c.what, func(t *testing.T) {
			v := view{
				now: now, pointer: &store.Pointer{Lineage: "l", Generation: 1}, looked: map[verb]bool{},
				source: source{Source: store.Source{SHA256: "a"}}, delta: &Delta{Records: 2, Added: 1, Unchanged: 1, Texts: 1, Tokens: 10},
			}
			for _, look := range []verb{lookAtUnembedded, lookAtGolden, lookAtStored, readCatalogue} {
				v.looked[look] = true
			}
			spec := snapshot.Spec{IndexKind: "flat"}
			v.pointer.ID, v.pointer.Source.SHA256, v.pointer.Spec, v.pointer.SpecDigest = snapshotID(1), "a", spec, "spec"
			r := rules{cfg: DefaultConfig(), spec: spec, specDigest: "spec", elapsed: time.Hour}
			if c.change != nil {
				c.change(&v, &r)
			}
			p := v.decide(r)
			got := p.String()
			for i := range 10 {
				got = strings.ReplaceAll(got, snapshotID(i), numberOf(snapshotID(i)))
			}
			if p.copies {
				got += " +copies"
			}
			if p.collect {
				got += " +collect"
			}
			if p.retentionDiffers != "" {
				got += " -" + p.retentionDiffers
			}
			if diff := cmp.Diff(c.plan, got); diff != "" {
				t.Error(diff)
			}
			// What a plan is about decides what becomes of its outcome.
			about := !slices.Contains([]verb{wait, keepPin}, p.do) && p.copies && p.collect && !r.gcOnly
			if p.converges != about {
				t.Errorf("converges: %v", p.converges)
			}
		})
	}
}
