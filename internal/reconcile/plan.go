package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// A pass sees what is there (view), decides what to do (plan) and does it. The decision is one pure function, which
// `reconcile --dry-run` prints, a table tests and the simulator checks.

// view is what a pass saw.
type view struct {
	now         time.Time      // the store's clock as last seen: ages of objects are judged by it
	pointer     *store.Pointer // nil: none, or an invalid one that could not be repaired
	pointerETag string         // "" = no object: a promotion creates it
	control     store.Control  // what operators want
	controlRead bool
	request     *store.Request // that nobody answered
	erase       erasure
	look
	source source

	// Seen only when the plan cannot be made without.
	looked     map[verb]bool
	goldenETag string // "" = there are no golden queries
	unembedded []unembedded
	stored     []stored
	delta      *Delta
	change     *change
}

// stored is a snapshot of the source and the spec that is there, complete and signed as it must be.
type stored struct {
	id       string
	manifest manifestOf
	verdict  store.Verdict
	deleting bool
	newer    bool // judged by a release that knows better
	erased   bool // a purged record stands in it, or may
}

// Delta is what the catalogue has that the served snapshot has not.
type Delta struct {
	Records   int     `json:"records"`
	Added     int     `json:"added"`
	Changed   int     `json:"changed"`
	Removed   int     `json:"removed"`
	Unchanged int     `json:"unchanged"`
	Texts     int     `json:"texts"`               // to embed
	Reused    int     `json:"reused"`              // distinct texts found in the ledger or shared
	Tokens    int     `json:"tokens"`              // estimated, of the texts to embed
	Questions int     `json:"questions,omitempty"` // of a few words, to embed once for a model: scores are calibrated with them
	Cost      float64 `json:"cost_usd"`
}

// rules are what a pass decides by beside what it saw: what it was asked, its settings, and what is remembered.
type rules struct {
	passOptions
	cfg        Config
	spec       snapshot.Spec
	specDigest string
	status     store.Status
	memo       memo
	retried    retried
	elapsed    time.Duration
	decided    bool // every stored snapshot was decided about in this term
	rebase     bool // a compaction's base waits to be used
}

// verb is what a pass does next.
type verb string

const (
	lookAtUnembedded verb = "look at the records without vectors"
	lookAtGolden     verb = "look at golden.json"
	lookAtStored     verb = "look at the stored snapshots"
	lookAtChanges    verb = "compare with the served records"
	readCatalogue    verb = "read the catalogue"

	judge   verb = "judge again" // a stored snapshot, and decide once more
	rest    verb = "nothing"
	wait    verb = "wait" // what failed or was held would be so again
	stop    verb = "stop"
	promote verb = "promote" // a stored snapshot
	keepPin verb = "promote what is pinned"
	extend  verb = "publish what changed"
	build   verb = "build"
)

// plan is what a pass does. The zero plan does nothing.
type plan struct {
	do     verb
	err    error   // of wait and stop
	stored *stored // of judge and promote
	reason string  // of what is promoted
	retry  bool    // the build is for texts that were refused long ago, and for nothing else

	result, message string // of a pass that rests
	converges       bool   // the pass is about the catalogue: what becomes of it is remembered
	copies, collect bool   // afterwards

	// How a command's retention differs from the deployment's: nothing is collected by it.
	retentionDiffers string
}

// decide is pure. It asks for another look at the store until it knows what to do.
func (v view) decide(r rules) plan {
	p := v.choose(r)
	p.retentionDiffers = v.retentionDiffers(r)
	return p
}

func (v view) choose(r rules) plan {
	switch pin := v.control.Pin; {
	case v.control.Suspended != nil:
		return plan{do: rest, result: ResultSuspended, message: "suspended by " + v.control.Suspended.By, copies: true}
	case pin != nil:
		p := plan{do: rest, result: ResultPinned, message: "pinned to " + pin.ID + " by " + pin.By, copies: true}
		if v.pointer != nil && v.pointer.ID != pin.ID {
			p.do, p.reason = keepPin, ReasonPin
			if pin.Reason == ReasonRollback || pin.Reason == ReasonOperator {
				p.reason = pin.Reason
			}
		}
		return p
	}
	if err := v.differs(r); err != nil {
		return plan{do: stop, err: err}
	}
	p := plan{do: rest}
	if !r.gcOnly {
		p = v.converge(r)
		p.converges = p.do != wait
	}
	p.copies, p.collect = true, true
	return p
}

// converge makes the served snapshot the one of the current source, spec and settings.
func (v view) converge(r rules) plan {
	if v.source.err != nil {
		return plan{do: stop, err: v.source.err}
	}
	if v.erase.blind != "" {
		return plan{do: stop, err: failf(Erased, ReasonEraseKeyMissing, terminal, "nothing is built or promoted: %s; set ERASE_KEY", v.erase.blind)}
	}
	retry := false
	if v.upToDate(r) && !r.force {
		if v.lacksVectors(r) && !v.looked[lookAtUnembedded] {
			return plan{do: lookAtUnembedded}
		}
		if retry = v.retryDue(r); !retry && !(r.rebase && v.extends(r)) {
			return plan{do: rest, result: ResultUnchanged}
		}
	}
	if v.pointer != nil && v.pointer.Spec.Unknown != "" && !r.force {
		// By our spec it would be another one, and the release that knows it would change it back.
		return plan{do: stop, err: failf(Built, newerSpec, terminal, "%s was built by a newer release, with a spec that this one does not know: "+
			"waits for an indexer of that release; indexer reconcile --force builds by this one's", v.pointer.ID)}
	}
	if !v.looked[lookAtGolden] {
		return plan{do: lookAtGolden}
	}
	if r.memo.stands(v.inputs(r), r.elapsed) && !r.asked && !r.force {
		return plan{do: wait, err: r.memo.err}
	}
	if !r.force && !retry {
		if !v.looked[lookAtStored] && !(r.decided && v.extends(r)) {
			return plan{do: lookAtStored}
		}
		if p := v.adopt(r); p.do != "" {
			return p
		}
		if v.extends(r) && !v.looked[lookAtChanges] {
			return plan{do: lookAtChanges}
		}
		if v.change != nil && v.change.large == "" {
			if err := v.overBudget(r); err != nil {
				return plan{do: stop, err: err}
			}
			return plan{do: extend, reason: v.reason(r, false)}
		}
	}
	if !v.looked[readCatalogue] {
		return plan{do: readCatalogue, retry: retry}
	}
	if err := v.overBudget(r); err != nil {
		return plan{do: stop, err: err}
	}
	return plan{do: build, reason: v.reason(r, retry), retry: retry}
}

// overBudget holds a build before any purchase.
func (v view) overBudget(r rules) error {
	limit := r.cfg.MaxEmbedTokens
	if limit <= 0 || v.delta.Tokens <= limit {
		return nil
	}
	return hold("", tokenBudget, fmt.Sprintf("%d texts, about %d tokens, are above MAX_EMBED_TOKENS=%d; raise MAX_EMBED_TOKENS",
		v.delta.Texts, v.delta.Tokens, limit))
}

// adopt picks the newest stored snapshot that nothing is against: what a crash before the promotion left, or what an unpin
// returns to. One that was held stays held while nothing that it was judged by changes.
func (v view) adopt(r rules) plan {
	for i := range v.stored {
		s := &v.stored[i]
		verdict := s.verdict.Result
		switch {
		case s.deleting, s.newer, s.erased, v.erase.dirty != "" && s.manifest.m.Stats.Carried > 0:
		case v.pointer != nil && v.pointer.ID == s.id:
		case s.manifest.m.Role == store.RoleBase: // served with a delta over it, or not at all
		case s.manifest.m.Base != nil && !v.current(s.verdict, r): // made again as easily as judged again
		case verdict == VerdictCorrupt, verdict == VerdictFailed:
		case verdict != VerdictPassed && verdict != VerdictHeld, !v.current(s.verdict, r):
			return plan{do: judge, stored: s}
		case verdict == VerdictHeld:
			return plan{do: stop, err: holdJudged(s.id, s.verdict.Gate)}
		default:
			reason := ReasonAdopted
			if v.pointer == nil || v.broken != nil || v.erase.dirty != "" {
				reason = v.reason(r, false)
			}
			return plan{do: promote, stored: s, reason: reason}
		}
	}
	return plan{}
}

// reason for which a build is promoted.
func (v view) reason(r rules, retry bool) string {
	switch {
	case v.pointer == nil:
		return ReasonFirst
	case v.broken != nil:
		return ReasonBroken
	case v.erase.dirty != "":
		return ReasonErased
	case v.pointer.Source.SHA256 != v.source.SHA256:
		return ReasonSource
	case desiredOf(v.pointer.Manifest) != v.source.digest():
		return ReasonDropIns
	case v.pointer.SpecDigest != r.specDigest:
		return ReasonSpec
	case retry:
		return ReasonRetried
	case v.deltasOff(r):
		return ReasonFull
	case r.rebase && !r.force:
		return ReasonCompacted
	default:
		return ReasonForced
	}
}

// upToDate: the served snapshot was built from this source and spec and is whole.
func (v view) upToDate(r rules) bool {
	return v.pointer != nil && v.broken == nil && v.erase.dirty == "" &&
		desiredOf(v.pointer.Manifest) == v.source.digest() && v.pointer.SpecDigest == r.specDigest && !v.deltasOff(r)
}

// deltasOff says whether deltas are served that are not to be any more.
func (v view) deltasOff(r rules) bool {
	return r.cfg.Delta == DeltaOff && v.pointer != nil && v.pointer.Base != nil
}

// lacksVectors says whether the served snapshot has records that were refused by the provider of today's spec.
func (v view) lacksVectors(r rules) bool {
	if v.pointer == nil || v.pointer.Spec.Embedding != r.spec.Embedding {
		return false
	}
	_, some := v.pointer.File(snapshot.FileUnembedded)
	return some
}

// retryDue says whether records without vectors are to be asked for again. Since when they lack them, is known from the
// snapshot and, for as long as this process runs, from its own attempts.
func (v view) retryDue(r rules) bool {
	if r.retried.snapshot == v.pointer.ID && r.elapsed-r.retried.at < retryRefused {
		return false
	}
	return slices.ContainsFunc(v.unembedded, func(u unembedded) bool { return v.now.Sub(u.TriedAt) >= retryRefused })
}

// current says whether a verdict was reached under what holds now.
func (v view) current(verdict store.Verdict, r rules) bool {
	return verdict.Settings == r.cfg.gateSettings() && verdict.Golden == v.goldenETag && verdict.Baseline == v.baseline()
}

func (v view) baseline() string {
	if v.pointer == nil {
		return ""
	}
	return v.pointer.ID
}

// inputs names everything that a build or its verdict depends on.
func (v view) inputs(r rules) string {
	return fmt.Sprintf("%s|%s|%s|%s|%s|%v|%s", v.source.digest(), r.specDigest, r.cfg.gateSettings(), v.goldenETag, v.baseline(), v.broken, v.erase.mark)
}

// ErrDiffers: a one-shot's settings are not the deployment's. A daemon's settings are its deployment's word; those of a
// command are whatever its shell has set, and building another spec or deleting by another retention because of that
// is an accident.
var ErrDiffers = errors.New("the settings differ from the deployment's")

// differs refuses what a command without --yes must not do by its own settings.
func (v view) differs(r rules) error {
	if d := v.retentionDiffers(r); r.gcOnly && d != "" {
		return fmt.Errorf("%w: %s; --yes deletes by this command's", ErrDiffers, d)
	}
	if d := v.specDiffers(r); !r.gcOnly && d != "" && r.once && !r.override {
		return fmt.Errorf("%w: the served snapshot has another spec: %s; --yes builds by this command's", ErrDiffers, d)
	}
	return nil
}

// specDiffers names what would change from the served spec to the desired one, "" for nothing.
func (v view) specDiffers(r rules) string {
	if v.pointer == nil || v.pointer.SpecDigest == r.specDigest {
		return ""
	}
	return specChange(v.pointer.Spec, r.spec)
}

// retentionDiffers says how a command's retention differs from the one that status.json remembers: nothing is collected
// by it then. The first snapshot of a store has nothing to differ from.
func (v view) retentionDiffers(r rules) string {
	own, known := r.cfg.retention(), r.status.Retention
	switch {
	case !r.once || r.override, v.pointer == nil && r.status.Pointer == nil:
		return ""
	case known == nil:
		return "status.json does not say by which retention snapshots are kept"
	}
	return retentionChange(*known, own)
}

// String is the plan in words.
func (p plan) String() string {
	switch {
	case p.do == judge:
		return string(p.do) + " " + p.stored.id
	case p.do == promote:
		return string(p.do) + " " + p.stored.id + " (" + p.reason + ")"
	case p.err != nil:
		return string(p.do) + ": " + p.err.Error()
	case p.reason != "":
		return string(p.do) + " (" + p.reason + ")"
	case p.do == rest && p.converges:
		return string(rest) + " (up to date)"
	case p.message != "":
		return string(p.do) + " (" + p.message + ")"
	}
	return string(p.do)
}
