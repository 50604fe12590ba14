package simtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit replaces the only occurrence of was in a file of the module.
type edit struct{ file, was, is string }

// patch breaks one rule by a line of the real code, and names the test that notices.
type patch struct {
	rule  string
	edits []edit
	in    string // the test's package
	test  string
}

const (
	here   = "internal/reconcile"
	server = "internal/follow"
)

// Whoever chooses, or whoever reserves, does not see that a snapshot is being deleted.
var (
	adoptIgnoresDeleting       = edit{here + "/plan.go", "case s.deleting, s.newer,", "case s.newer,"}
	reservationIgnoresDeleting = edit{here + "/gcdoc.go", "if _, ok := doc.Deleting[id]; ok {", "if _, ok := doc.Deleting[id]; ok && false {"}
)

var patches = []patch{
	{"a stale reservation falls without a fence",
		[]edit{{here + "/gc.go", "info, err := p.fence(ctx, v.pointer, v.etag, p.lease.epoch())", "info, err := store.Info{ETag: v.etag}, error(nil)"}},
		here, "TestStaleReservationIsFencedBeforeItGoes"},
	{"a copy for old readers is written unconditionally",
		[]edit{{here + "/copies.go", "_, err = store.WriteFile(ctx, p.Objects, key, path, f, cond)", "_, err = store.WriteFile(ctx, p.Objects, key, path, f, store.PutOptions{Metadata: cond.Metadata})"}},
		here, "TestCopyThatSomebodyWroteMeanwhileStays"},
	{"a collection announces though a pin was seen late",
		[]edit{{here + "/gcplan.go", "case v.control.Suspended != nil || v.control.Pin != nil:", "case v.control.Suspended != nil:"}},
		here, "TestIntentSeenLateStopsACollection"},
	{"a collection announces though a suspension was seen late",
		[]edit{{here + "/gcplan.go", "case v.control.Suspended != nil || v.control.Pin != nil:", "case v.control.Pin != nil:"}},
		here, "TestIntentSeenLateStopsACollection"},
	{"a collection does not look for an operator between deletions",
		[]edit{{here + "/gc.go", "case c.Suspended != nil || c.Pin != nil:", "case c.Suspended != nil && false:"}},
		here, "TestCollectionStopsBetweenDeletions"},
	{"what is pinned may be collected",
		[]edit{{here + "/gcplan.go", `keep(pin.ID, "pinned")`, "_ = pin"}},
		here, "TestWhatIsPinnedIsKeptByThePlan"},
	{"the manifest is deleted last",
		[]edit{{here + "/gcplan.go", "case snapshot.FileManifest:\n\t\t\treturn 0", "case snapshot.FileManifest:\n\t\t\treturn 3"}},
		here, "TestManifestsAreDeletedFirst"},
	{"the manifest is deleted last, seen by the simulation",
		[]edit{{here + "/gcplan.go", "case snapshot.FileManifest:\n\t\t\treturn 0", "case snapshot.FileManifest:\n\t\t\treturn 3"}},
		here + "/simtest", "TestPromotionAgainstCollection"},
	{"adoption ignores what is being deleted", []edit{adoptIgnoresDeleting}, here, "TestSnapshotBeingDeletedIsNotAdopted"},
	{"a reservation ignores what is being deleted", []edit{reservationIgnoresDeleting}, here, "TestReservationComesTooLateForWhatIsBeingDeleted"},
	{"adoption and reservation ignore what is being deleted", []edit{adoptIgnoresDeleting, reservationIgnoresDeleting}, here, "TestSnapshotBeingDeletedIsNotAdopted"},
	{"what replicas fetch may be collected",
		[]edit{{here + "/gcplan.go", `keep(b.Fetching, "fetched by "+b.ID)`, ""}},
		here, "TestCollectionKeepsWhatIsInUse"},
	{"what replicas use may be collected",
		[]edit{{here + "/gcplan.go", `keep(b.Using, "used by "+b.ID)`, ""}},
		here + "/simtest", "TestStuckReplicaKeepsItsSnapshot"},
	{"base promoted by itself",
		[]edit{{here + "/operator.go", "case m.Role == store.RoleBase:", "case false:"}, {here + "/promotion.go", "if m.manifest.Role == store.RoleBase {", "if false {"}},
		here, "TestABaseIsNotPromotedByItself"},
	{"the first delta over a base vouches for what nobody signed",
		[]edit{{here + "/promotion.go", "if base == nil || len(m.keys) == 0 ||", "if base == nil || base != nil ||"}},
		here, "TestABaseThatNobodySignedIsNotGoneOnFrom"},
	{"a promotion forgets what the history forgets",
		[]edit{{here + "/gcdoc.go", "\t\tr.also(doc)\n", ""}},
		here, "TestCurrentAt"},
	{"what was current at full hours is not kept",
		[]edit{{here + "/gcplan.go", "if r.points {", "if false {"}},
		here, "TestADayOfSteadyEdits"},
	{"earlier releases are not kept out",
		[]edit{{here + "/formats.go", "if p.raised {", "if true {"}},
		here, "TestAnEarlierReleaseWaitsWhileThereAreDeltas"},
	{"earlier releases are let in while drop-ins are there",
		[]edit{{here + "/formats.go", "if errors.Is(err, errDropIn) {", "if err = nil; false {"}},
		here, "TestWithoutDeltasTheFormatsGoBack"},
	{"a writer of gc.json lowers its format",
		[]edit{{here + "/gcdoc.go", "doc.FormatVersion = max(doc.FormatVersion, store.FormatVersion)", "doc.FormatVersion = store.FormatVersion"}},
		here, "TestTheFirstDeltaRaisesTheFormats"},
	{"base collected under a delta",
		[]edit{{here + "/gcplan.go", "case !stored || !f.gone:", "case !stored || !f.gone || f.gone:"}},
		here, "TestCollectionKeepsWhatCompositionsAreMadeOf"},
	{"a collection goes on though it is not known what a snapshot is made of",
		[]edit{{here + "/gcplan.go", "cmp.Or(v.unclear, v.unknownNeeds(fates))", "cmp.Or(v.unclear, error(nil))"}},
		here, "TestCollectionStopsAtACompositionThatItCannotRead"},
	{"a delta snapshot alone is reserved, without what it is made of",
		[]edit{{here + "/promotion.go", "ids: append([]string{m.manifest.ID}, m.manifest.Needs()...)", "ids: []string{m.manifest.ID}"}},
		here, "TestPromotionReservesTheWholeComposition"},
	{"a part that is missing does not stop a promotion",
		[]edit{{here + "/promotion.go", "for _, f := range m.manifest.Files {", "for _, f := range m.manifest.Own() {"}},
		here, "TestPromotionRefusesACompositionWithAPartMissing"},
	{"a collection goes by a pointer that was put back",
		[]edit{{here + "/gcplan.go", "case r.served != nil && (v.pointer.Lineage", "case false && (v.pointer.Lineage"}},
		here, "TestCollectionDoesNotGoByAPointerThatWasPutBack"},
	{"deletions are announced in gc.json alone",
		[]edit{{here + "/gc.go", "return p.witness(ctx, plan.doc.Deleting)", "return nil"}},
		here, "TestDeletionsAreAnnouncedTwice"},
	{"deletions are announced in gc.json alone, seen by the simulation",
		[]edit{{here + "/gc.go", "return p.witness(ctx, plan.doc.Deleting)", "return nil"}},
		here + "/simtest", "TestPromotionAgainstCollection"},
	{"gc.json is not looked at after the announcement",
		[]edit{{here + "/gc.go", "if err == nil && !covers(doc.Deleting, deleting) {", "if err == nil && false && !covers(doc.Deleting, deleting) {"}},
		here, "TestAnnouncementTakenAwayDeletesNothing"},
	{"a collection without a gc.json does not fence",
		[]edit{{here + "/gcplan.go", "p.fence = len(stale) > 0 || v.cond.IfAbsent && p.gone > 0", "p.fence = len(stale) > 0"}},
		here, "TestWhatACollectionDoes"},
	{"two terms of one epoch are not told apart",
		[]edit{{here + "/lease.go", "shared := epoch == l.record.Epoch && owner != \"\" && owner != l.owner", "shared := false"}},
		here, "TestTwoTermsOfOneEpoch"},
	{"two terms of one epoch are not told apart, seen by the simulation",
		[]edit{{here + "/lease.go", "shared := epoch == l.record.Epoch && owner != \"\" && owner != l.owner", "shared := false"}},
		here + "/simtest", "TestLeaseLostBetweenTwoLeaders"},
	{"a collection does not look for an operator between deletions, seen by the simulation",
		[]edit{{here + "/gc.go", "case c.Suspended != nil || c.Pin != nil:", "case c.Suspended != nil && false:"}},
		here + "/simtest", "TestPromotionAgainstCollection"},
	{"orphans without a manifest stay, seen by the simulation",
		[]edit{{here + "/gcplan.go", `out[s.ID] = keep(age < r.grace, what+ago(age)+" old")`, `out[s.ID] = keep(age < r.grace || !s.HasManifest, what+ago(age)+" old")`}},
		here + "/simtest", "TestRandomSchedules"},
	{"a copy for old readers is written unconditionally, seen by the simulation",
		[]edit{{here + "/copies.go", "_, err = store.WriteFile(ctx, p.Objects, key, path, f, cond)", "_, err = store.WriteFile(ctx, p.Objects, key, path, f, store.PutOptions{Metadata: cond.Metadata})"}},
		here + "/simtest", "TestRandomSchedules"},
	{"members of a later release are dropped, seen by the simulation",
		[]edit{{"internal/store/unknown.go", "if found && keep.IsValid() {", "if found && false && keep.IsValid() {"}},
		here + "/simtest", "TestRandomSchedules"},
	{"a document of a later format is written over, seen by the simulation",
		[]edit{{"internal/store/document.go", "case head.FormatVersion > newestFormat:", "case false:"}},
		here + "/simtest", "TestRandomSchedules"},
	{"a held verdict is ignored by adoption, seen by the simulation",
		[]edit{{here + "/plan.go", "case verdict == VerdictHeld:", "case false:"}},
		here + "/simtest", "TestRandomSchedules"},
	{"damage that only a copy meets is not looked into",
		[]edit{{here + "/copies.go", "if errors.Is(err, snapshot.ErrCorrupt) && p.Clock.Elapsed() >= p.nextRehash {", "if false {"}},
		here, "TestCopyOfADamagedSnapshotLeadsToARebuild"},
	{"a held verdict is ignored by adoption",
		[]edit{{here + "/plan.go", "case verdict == VerdictHeld:", "case false:"}},
		here, "TestCatalogueThatShrankIsHeldUntilForced"},
	{"control is read before the pointer",
		[]edit{{here + "/pass.go", "p.readPointer, p.readControl, p.readErasure", "p.readControl, p.readPointer, p.readErasure"}},
		here, "TestNoPromotionAfterAnAcknowledgedSuspension"},
	{"a suspended pass goes on",
		[]edit{{here + "/plan.go", "case v.control.Suspended != nil:", "case false:"}},
		here, "TestWhatAPassDoes"},
	{"a dry run decides otherwise than a pass, seen by the simulation",
		[]edit{{here + "/plan.go", "desiredOf(v.pointer.Manifest) == v.source.digest() &&", "v.controlRead && desiredOf(v.pointer.Manifest) == v.source.digest() &&"}},
		here + "/simtest", "TestRandomSchedules"},
	{"a suspension is not fenced",
		[]edit{{here + "/operator.go", "if err := o.enforce(ctx); err != nil {", "if err := error(nil); err != nil {"}},
		here, "TestPromotionThatMissedAnIntentFails"},
	{"an operator does not look again after the pointer's write",
		[]edit{{here + "/operator.go", "return o.stands(ctx, id, m.pin)", "return nil"}},
		here, "TestIntentThatWasOverruledIsAConflict"},
	{"the pointer is written unconditionally",
		[]edit{{here + "/promotion.go", "cond := store.PutOptions{IfMatch: m.over.etag}", "cond := store.PutOptions{}"}},
		here, "TestPromotionThatMissedAnIntentFails"},
	{"a server downloads without a heartbeat",
		[]edit{{server + "/follow.go", "if err := f.beat(ctx, true); err != nil {", "if err := error(nil); err != nil {"}},
		server, "TestNothingIsFetchedThatCouldNotBeAnnounced"},
	{"a server downloads without a second look",
		[]edit{{server + "/follow.go", "if !f.poll(ctx) {", "if false {"}},
		server, "TestNothingIsFetchedThatCouldNotBeAnnounced"},
	{"a server accepts a lower generation",
		[]edit{{server + "/follow.go", "case p.Generation < f.floor.Generation:", "case false:"}},
		server, "TestOlderGenerationIsNotFollowed"},
	{"a server publishes what was rolled back from meanwhile",
		[]edit{{server + "/swap.go", "if f.overtaken(l.snapshot) {", "if false {"}},
		server, "TestWhatBecomesOfALoadThatThePointerLeft"},

	{"a purge does not look into deltas",
		[]edit{{here + "/erase.go", "if f.Name != snapshot.FileOffsets && f.Name != snapshot.FileDelta {", "if f.Name != snapshot.FileOffsets {"}},
		here, "TestAPurgeGoesThroughCompositions"},
	{"a purge forgets the leader's own copies of deltas",
		[]edit{{here + "/eraselook.go", "w.snapshots, w.localCopies, w.pointerMarked", "w.snapshots, w.pointerMarked"}},
		here, "TestAPurgeGoesThroughCompositions"},
	{"a purge leaves snapshots to the retention",
		[]edit{{here + "/gcplan.go", `case v.erased(r, s.ID) && now[s.ID] == "":`, `case false && now[s.ID] == "":`}},
		here, "TestPurgedPersonIsNowhere"},
	{"a purge takes what a replica uses",
		[]edit{{here + "/gcplan.go", `case v.erased(r, s.ID) && now[s.ID] == "":`, `case v.erased(r, s.ID) && s.ID != v.pointer.ID && now != nil:`}},
		here, "TestErasureWaitsForWhatAReplicaUses"},
	{"a purged record is built again",
		[]edit{{here + "/catalogue.go", "if p.leftOut(rec.ID) {", "if false {"}},
		here, "TestPurgedRecordComesBackOnlyWhenLifted"},
	{"an index that a purged record had a part in stays served",
		[]edit{{here + "/plan.go", `v.broken == nil && v.erase.dirty == "" &&`, "v.broken == nil &&"}},
		here, "TestNothingOfAPurgedRecordIsCarriedOver"},
	{"an index that a purged record had a part in is carried over",
		[]edit{{here + "/carry.go", `p.erase.dirty != "" ||`, ""}},
		here, "TestNothingOfAPurgedRecordIsCarriedOver"},
	{"a snapshot whose index grew over one with a purged record is kept",
		[]edit{{here + "/erase.go", "s.holds || s.grown && id < p.erase.from, known", "s.holds, known"}},
		here, "TestNothingOfAPurgedRecordIsCarriedOver"},
	{"without its key a purge is forgotten",
		[]edit{{here + "/plan.go", `if v.erase.blind != "" {`, "if false {"}},
		here, "TestWithoutTheKeyNothingIsBuiltOrPromoted"},
	{"an earlier control.json forgets a purge",
		[]edit{{here + "/observe.go", "control, info, err = p.recallErasure(ctx, control, info)", "_ = info"}},
		here, "TestAnEarlierControlDoesNotForgetAnErasure"},
	{"an operator goes back to a purged record",
		[]edit{{here + "/purge.go", "\tif c.Erase.Mark() == \"\" {\n\t\treturn nil", "\tif true {\n\t\treturn nil"}},
		here, "TestPinAndPurgeExcludeEachOther"},
	{"a purge of what is pinned is taken",
		[]edit{{here + "/purge.go", "return o.pinAllows(ctx, *c, next)", "return nil"}},
		here, "TestPurgeRefuses"},
	{"older versions survive a purge",
		[]edit{{here + "/eraselook.go", "if w.versions++; !v.Latest {", "if w.versions++; false {"}},
		here, "TestPurgedPersonIsNowhere"},
	{"the ledger keeps vectors of purged records",
		[]edit{{"internal/ledger/erase.go", "case keep(key):", "case true:"}},
		here, "TestPurgedPersonIsNowhere"},
	{"a purge does not wait for replicas",
		[]edit{{here + "/eraselook.go", "case r.err == nil && r.live():", "case false:"}},
		here, "TestPurgedPersonIsNowhere"},
	{"what a superseded leader writes after the proof stays",
		[]edit{{here + "/eraselook.go", "if !p.erase.proven || p.erase.blind != \"\" {", "if true {"}},
		here, "TestWhatASupersededLeaderStillWritesIsRemoved"},
	{"a server keeps copies of before a purge",
		[]edit{{server + "/cache.go", `old.ID == p.ID || p.Erased != "" && old.Erased != p.Erased {`, "old.ID == p.ID {"}},
		server, "TestPurgedRecordsLeaveTheLocalCache"},
	{"a server claims an empty cache that it could not empty",
		[]edit{{server + "/swap.go", "\t\tf.dropped = \"\"\n", ""}},
		server, "TestACacheThatCannotBeEmptiedIsNotSaidToBe"},
}

// TestPatches: each rule is a line of the code, and a test notices when it is missing. The tests are run with
// VECTORSTORE_SOAK=1; otherwise it is seen that each patch still applies and that its test is there.
func TestPatches(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range patches {
		t.Run(p.rule, func(t *testing.T) {
			overlay := p.apply(t, root)
			if !p.exists(t, root) {
				t.Fatalf("%s has no %s", p.in, p.test)
			}
			if os.Getenv("VECTORSTORE_SOAK") == "" || os.Getenv("VECTORSTORE_PATCHED") != "" {
				return
			}
			cmd := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-failfast", "-run", "^"+p.test+"$", "./"+p.in)
			cmd.Dir, cmd.Env = root, append(os.Environ(), "VECTORSTORE_SOAK=", "VECTORSTORE_SOAK_TIME=", "VECTORSTORE_PATCHED=1")
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("%s did not notice", p.test)
			case !strings.Contains(string(out), "--- FAIL: "+p.test):
				t.Errorf("%s did not run: %v\n%.3000s", p.test, err, out)
			default:
				seen.catch(p.rule, fmt.Sprintf("`%s` of %s", p.test, p.in))
			}
		})
	}
}

// apply writes the patched files and an overlay that puts them in their place, and returns its path.
func (p patch) apply(t *testing.T, root string) string {
	dir, replace := t.TempDir(), map[string]string{}
	for i, e := range p.edits {
		file := filepath.Join(root, e.file)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(data), e.was); n != 1 {
			t.Fatalf("%s has %d times: %s", e.file, n, e.was)
		}
		replace[file] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(replace[file], []byte(strings.Replace(string(data), e.was, e.is, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// exists says whether the package has the test.
func (p patch) exists(t *testing.T, root string) bool {
	files, err := filepath.Glob(filepath.Join(root, p.in, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "\nfunc "+p.test+"(t *testing.T)") {
			return true
		}
	}
	return false
}
