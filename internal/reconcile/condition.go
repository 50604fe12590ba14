package reconcile

import (
	"errors"
	"fmt"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Types of conditions.
const (
	SourceReady = "SourceReady" // the catalogue was read and is valid
	// CatalogueClean: nothing had to be put right in the catalogue.
	CatalogueClean = "CatalogueClean"
	Embedded       = "Embedded"    // every record of the served snapshot has a vector
	Built          = "Built"       // a snapshot of the current source and spec exists
	Verified       = "Verified"    // the gate passed it, and nobody found it corrupt since
	Promoted       = "Promoted"    // the pointer names it
	Ready          = "Ready"       // all of the above, and replicas and the copies for old readers follow
	Held           = "Held"        // a candidate waits for an operator
	Leader         = "Leader"      // this process leads
	Suspended      = "Suspended"   // an operator suspended or pinned
	Collected      = "Collected"   // garbage collection works
	Compacted      = "Compacted"   // the base that is served is near enough to what is served
	DropInStale    = "DropInStale" // the source has overtaken what was put
	Shadowing      = "Shadowing"   // files by hand hide records of the source
	Intact         = "Intact"      // pointer, control.json and gc.json are as they were left
	Erased         = "Erased"      // nothing of the records that were purged is left
)

// Reasons of Held that ask for different things.
const (
	ReasonGateHeld      = "GateHeld"
	ReasonGoldenInvalid = "GoldenInvalid" // golden.json cannot be used as it is
)

// conditionOrder is how conditions are listed.
var conditionOrder = [...]string{Ready, SourceReady, CatalogueClean, DropInStale, Shadowing, Embedded, Built, Verified, Promoted, Held, Suspended, Leader, Collected, Compacted, Intact, Erased}

// Statuses of a condition.
const (
	True    = "True"
	False   = "False"
	Unknown = "Unknown"
)

// Reasons for which a replica rejects a snapshot's bytes; the leader looks into these.
const (
	RejectedHash    = "hash_mismatch"
	RejectedMissing = "missing"
)

// reason of a condition. Steps hand on values of this type, and decisions compare them; status.json spells them.
type reason string

// Reasons, by the condition that they are of.
const (
	sourceRead, sourceMissing, sourceUnreadable, catalogueInvalid reason = "Read", "SourceMissing", "SourceUnreadable", "CatalogueInvalid"

	dropInInvalid, dropInsUnreadable reason = "DropInInvalid", "DropInsUnreadable"

	noneStale, sourceWins, noneShadowed, dropInWins reason = "NoneStale", "SourceWins", "NoneShadowed", "DropInWins"

	clean, repairedCatalogue, refusedCatalogue reason = "Clean", "Repaired", "Refused"

	allEmbedded, textsRefused reason = "AllEmbedded", "TextsRefused"

	building, builtNew, adopted, upToDate            reason = "Building", "Built", "Adopted", "UpToDate"
	newerSpec, parseFailed, embeddingFailed          reason = "NewerSpec", "ParseFailed", "EmbeddingFailed"
	modelMissing                                     reason = "ModelMissing"
	buildFailed, uploadFailed, signingFailed         reason = "BuildFailed", "UploadFailed", "SigningFailed"
	ledgerUnreadable, ledgerDamaged, leaseUnreadable reason = "LedgerUnreadable", "LedgerDamaged", "LeaseUnreadable"
	storeUnreadable, baselineUnreadable, noScratch   reason = "StoreUnreadable", "BaselineUnreadable", "NoScratch"

	gatePassed, gateFailed, corrupt                    reason = "GatePassed", "GateFailed", "Corrupt"
	goldenUnreadable, verdictUnreadable                reason = "GoldenUnreadable", "VerdictUnreadable"
	indexUnreadable, documentsUnreadable, searchFailed reason = "IndexUnreadable", "DocumentsUnreadable", "SearchFailed"
	verdictUnwritable                                  reason = "VerdictUnwritable"

	current, reasonPinned, reasonHeld, conflict            reason = "Current", "Pinned", "Held", "Conflict"
	noPointer, pointerUnreadable, newerFormat, fenceFailed reason = "NoPointer", "PointerUnreadable", "NewerFormat", "FenceFailed"
	promoteFailed, pinNotCurrent, gcUnreadable             reason = "PromoteFailed", "PinNotCurrent", "GCUnreadable"

	notHeld, tokenBudget reason = "NotHeld", "TokenBudget" // and ReasonGateHeld, ReasonGoldenInvalid

	notSuspended, reasonSuspended reason = "NotSuspended", "Suspended"

	leading, following, storeRefuses, storeUnavailable reason = "LeaseHeld", "Follower", "StoreRefuses", "StoreUnavailable"

	working, gcInputUnreadable, gcFailed, ledgerFailed reason = "Working", "Unreadable", "Failed", "LedgerFailed"

	fullSnapshot, fewChanges, compacting, compactionHalted reason = "Full", "FewChanges", "Compacting", "CompactionFailed"

	serving, notPromoted, replicaAstray, copyFailed reason = "Serving", "NotPromoted", "ReplicaAstray", "CopyFailed"
	replicasUnreadable, snapshotUnreadable          reason = "ReplicasUnreadable", "SnapshotUnreadable"
	statusUnreadable, controlUnreadable             reason = "StatusUnreadable", "ControlUnreadable"

	asLeft, controlDeleted, controlOlder, gcDeleted reason = "AsLeft", "ControlDeleted", "ControlOlder", "GCDeleted"

	eraseFailed reason = "EraseFailed" // and ReasonErasing, ReasonWaiting, ReasonProven, ReasonNothingErased, ReasonEraseKeyMissing

	// Why a pointer is not believed; of Promoted, too.
	pointerDeleted reason = "PointerDeleted"
	pointerInvalid reason = "PointerInvalid"
	pointerOlder   reason = "PointerOlder"   // of an earlier generation than was seen
	pointerForeign reason = "PointerForeign" // of another lineage
	pointerAhead   reason = "PointerAhead"   // of a generation that cannot have been reached
	pointerEdited  reason = "PointerEdited"  // the same generation names another snapshot
)

// condition is one that a step found out.
type condition struct {
	kind, status string
	reason       reason
	message      string
}

// say notes a condition. A failure of the pass says otherwise, and a later word replaces an earlier one.
func (p *pass) say(kind, status string, r reason, message string) {
	p.said = append(p.said, condition{kind, status, r, message})
}

// conditions is a set under construction. Whatever is not set keeps what the last pass said.
type conditions struct {
	prev       []store.Condition
	next       map[string]store.Condition
	now        time.Time
	generation int64
}

func (c *conditions) set(kind, status string, r reason, message string) {
	at := c.now.UTC().Truncate(time.Second)
	for _, old := range c.prev {
		if old.Type == kind && old.Status == status && !old.LastTransitionTime.IsZero() {
			at = old.LastTransitionTime
		}
	}
	c.next[kind] = store.Condition{
		Type: kind, Status: status, Reason: string(r), Message: message, LastTransitionTime: at, ObservedGeneration: c.generation,
	}
}

func (c *conditions) is(kind, status string) bool {
	if n, ok := c.next[kind]; ok {
		return n.Status == status
	}
	for _, old := range c.prev {
		if old.Type == kind {
			return old.Status == status
		}
	}
	return false
}

// list returns the set in its order.
func (c *conditions) list() []store.Condition {
	var out []store.Condition
	for _, kind := range conditionOrder {
		if n, ok := c.next[kind]; ok {
			out = append(out, n)
			continue
		}
		for _, old := range c.prev {
			if old.Type == kind {
				out = append(out, old)
			}
		}
	}
	return out
}

// conditions folds what the pass saw, said and failed in into the set, each over the one before.
func (p *pass) conditions(err error) []store.Condition {
	c := p.newConditions()
	c.set(Leader, True, leading, fmt.Sprintf("epoch %d", p.lease.holder().Epoch))
	c.set(Collected, True, working, "")
	p.sourceCondition(c)
	p.cleanCondition(c)
	p.intentCondition(c)
	for _, s := range p.said {
		c.set(s.kind, s.status, s.reason, s.message)
	}
	p.promotedCondition(c)
	for _, f := range failures(err) {
		if h, ok := errors.AsType[*heldCandidate](f); ok {
			c.held(h)
			continue
		}
		c.set(f.condition, False, f.reason, f.Error())
	}
	if p.broken != nil {
		c.set(Verified, False, corrupt, p.broken.Error())
	}
	p.intactCondition(c)
	if _, failed := c.next[Erased]; !failed {
		p.eraseCondition(c)
	}
	p.readyCondition(c)
	return c.list()
}

func (p *pass) newConditions() *conditions {
	c := &conditions{prev: p.status.Conditions, next: map[string]store.Condition{}, now: p.now}
	if p.pointer != nil {
		c.generation = p.pointer.Generation
	}
	return c
}

func (p *pass) sourceCondition(c *conditions) {
	if p.source.err == nil && p.source.SHA256 != "" {
		c.set(SourceReady, True, sourceRead, fmt.Sprintf("%s, %d records, ETag %s", p.source.Key, p.source.Records, p.source.ETag))
		return
	}
	for _, f := range failures(p.source.err) {
		c.set(f.condition, False, f.reason, f.Error())
	}
}

func (p *pass) intentCondition(c *conditions) {
	switch {
	case p.control.Suspended != nil:
		c.set(Suspended, True, reasonSuspended, "by "+p.control.Suspended.By+"; indexer resume ends it")
	case p.control.Pin != nil:
		c.set(Suspended, True, reasonPinned, "to "+p.control.Pin.ID+" by "+p.control.Pin.By+"; indexer unpin ends it")
	default:
		c.set(Suspended, False, notSuspended, "")
	}
}

// promotedCondition compares the pointer with what it should name.
func (p *pass) promotedCondition(c *conditions) {
	switch {
	case p.pointer == nil && p.controlRead && p.pointerETag != "":
		c.set(Promoted, False, pointerInvalid, "")
	case p.pointer == nil && p.controlRead:
		c.set(Promoted, False, noPointer, "")
	case p.control.Pin != nil && p.pointer != nil && p.control.Pin.ID != p.pointer.ID:
		c.set(Promoted, False, pinNotCurrent, "the pin names "+p.control.Pin.ID)
	case p.control.Pin != nil && p.pointer != nil:
		c.set(Promoted, True, reasonPinned, p.pointer.ID)
		c.set(Verified, True, gatePassed, "") // or an operator knows better; damage is said below
	}
}

// held says what waits for an operator: a candidate that was built, or one that was too dear to be.
func (c *conditions) held(h *heldCandidate) {
	c.set(Promoted, False, reasonHeld, h.Error())
	if h.id == "" {
		c.set(Held, True, h.reason, h.Error())
		c.set(Built, False, h.reason, h.why)
		return
	}
	c.set(Held, True, h.reason, h.Error()+"; indexer promote "+h.id+" --force overrides")
	c.set(Built, True, builtNew, "")
	c.set(Verified, False, h.reason, h.why)
}

// readyCondition names the first thing that is wrong.
func (p *pass) readyCondition(c *conditions) {
	for _, kind := range []string{SourceReady, Built, Verified, Promoted, Ready} {
		if n, ok := c.next[kind]; ok && n.Status == False {
			c.set(Ready, False, reason(n.Reason), n.Message)
			return
		}
	}
	switch {
	case p.pointer == nil:
		c.set(Ready, False, noPointer, "nothing was promoted yet")
	case c.is(Promoted, False):
		c.set(Ready, False, notPromoted, "")
	default:
		c.set(Ready, True, serving, p.pointer.ID)
	}
}

// failures lists the marked errors in err, in order.
func failures(err error) []*failure {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*failure
		for _, e := range many.Unwrap() {
			out = append(out, failures(e)...)
		}
		return out
	}
	var f *failure
	if errors.As(err, &f) {
		return []*failure{f}
	}
	return nil
}
