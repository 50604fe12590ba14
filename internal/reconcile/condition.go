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
	Embedded       = "Embedded"  // every record of the served snapshot has a vector
	Built          = "Built"     // a snapshot of the current source and spec exists
	Verified       = "Verified"  // the gate passed it, and nobody found it corrupt since
	Promoted       = "Promoted"  // the pointer names it
	Ready          = "Ready"     // all of the above, and the copies for old readers follow
	Held           = "Held"      // a candidate waits for an operator
	Leader         = "Leader"    // this process leads
	Suspended      = "Suspended" // an operator suspended or pinned
	Collected      = "Collected" // garbage collection works
	Intact         = "Intact"    // pointer, control.json and gc.json are as they were left
)

// Reasons of Held that ask for different things.
const (
	ReasonGateHeld      = "GateHeld"
	ReasonGoldenInvalid = "GoldenInvalid" // golden.json cannot be used as it is
)

// conditionOrder is how conditions are listed.
var conditionOrder = [...]string{Ready, SourceReady, CatalogueClean, Embedded, Built, Verified, Promoted, Held, Suspended, Leader, Collected, Intact}

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

// facts are what the steps found out, for the conditions.
type facts struct {
	built    string // Built, Adopted, UpToDate
	verified string // GatePassed
	pointer  string // NoPointer, PointerInvalid
	legacy   string // why the copies for old readers lag
	gc       string // why nothing is collected
	astray   string // a replica that the pointer does not lead
	repaired string // why a document was restored, and what was done
	repairs  []string
	promoted bool // in this pass

	unembedded *[]store.Unembedded // of the served snapshot, nil = not looked at
}

// conditions is a set under construction. Whatever is not set keeps what the last pass said.
type conditions struct {
	prev       []store.Condition
	next       map[string]store.Condition
	now        time.Time
	generation int64
}

func (c *conditions) set(kind, status, reason, message string) {
	at := c.now.UTC().Truncate(time.Second)
	for _, old := range c.prev {
		if old.Type == kind && old.Status == status && !old.LastTransitionTime.IsZero() {
			at = old.LastTransitionTime
		}
	}
	c.next[kind] = store.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: at, ObservedGeneration: c.generation,
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

// conditions folds what the pass saw and did into the set.
func (p *pass) conditions(err error) []store.Condition {
	c := &conditions{prev: p.status.Conditions, next: map[string]store.Condition{}, now: p.now}
	if p.pointer != nil {
		c.generation = p.pointer.Generation
	}
	c.set(Leader, True, "LeaseHeld", fmt.Sprintf("epoch %d", p.lease.holder().Epoch))
	p.sourceCondition(c)
	p.cleanCondition(c)
	p.intentCondition(c)
	p.progressConditions(c)
	p.embeddedCondition(c)
	for _, f := range failures(err) {
		if f.condition == Held {
			p.heldConditions(c, f)
			continue
		}
		c.set(f.condition, False, f.reason, f.Error())
	}
	if p.broken != "" {
		c.set(Verified, False, "Corrupt", p.broken)
	}
	p.intactCondition(c)
	p.readyCondition(c)
	return c.list()
}

func (p *pass) sourceCondition(c *conditions) {
	if p.source.err == nil && p.source.SHA256 != "" {
		c.set(SourceReady, True, "Read", fmt.Sprintf("%s, %d records, ETag %s", p.source.Key, p.source.Records, p.source.ETag))
		return
	}
	for _, f := range failures(p.source.err) {
		c.set(f.condition, False, f.reason, f.Error())
	}
}

func (p *pass) intentCondition(c *conditions) {
	switch {
	case p.act.Suspended != nil:
		c.set(Suspended, True, "Suspended", "by "+p.act.Suspended.By+"; indexer resume ends it")
	case p.act.Pin != nil:
		c.set(Suspended, True, "Pinned", "to "+p.act.Pin.ID+" by "+p.act.Pin.By+"; indexer unpin ends it")
	default:
		c.set(Suspended, False, "NotSuspended", "")
	}
}

// progressConditions are what a pass without failures says.
func (p *pass) progressConditions(c *conditions) {
	switch p.result {
	case ResultSuspended, ResultPinned, ResultCollected:
	default:
		if p.facts.built != "" {
			c.set(Built, True, p.facts.built, "")
			c.set(Verified, True, "GatePassed", "")
		}
		if p.pointer != nil && (p.facts.promoted || p.facts.built == "UpToDate") {
			c.set(Promoted, True, "Current", p.pointer.ID)
			c.set(Held, False, "NotHeld", "")
		}
	}
	switch {
	case p.pointer == nil && p.facts.pointer != "":
		c.set(Promoted, False, p.facts.pointer, "")
	case p.act.Pin != nil && p.pointer != nil && p.act.Pin.ID != p.pointer.ID:
		c.set(Promoted, False, "PinNotCurrent", "the pin names "+p.act.Pin.ID)
	case p.act.Pin != nil && p.pointer != nil:
		c.set(Promoted, True, "Pinned", p.pointer.ID)
		c.set(Verified, True, "GatePassed", "") // or an operator knows better; damage is said below
	}
	if p.facts.gc == "" {
		c.set(Collected, True, "Working", "")
	}
}

func (p *pass) heldConditions(c *conditions, f *failure) {
	next := "; indexer promote " + p.held + " --force overrides"
	if p.held == "" {
		next = ""
	}
	c.set(Held, True, f.reason, f.Error()+next)
	c.set(Promoted, False, "Held", f.Error())
	if f.reason == ReasonGateHeld || f.reason == ReasonGoldenInvalid {
		c.set(Built, True, "Built", "")
		c.set(Verified, False, f.reason, p.heldWhy)
	} else {
		c.set(Built, False, f.reason, p.heldWhy)
	}
}

// readyCondition names the first thing that is wrong.
func (p *pass) readyCondition(c *conditions) {
	for _, kind := range []string{SourceReady, Built, Verified, Promoted} {
		if n, ok := c.next[kind]; ok && n.Status == False {
			c.set(Ready, False, n.Reason, n.Message)
			return
		}
	}
	switch {
	case p.pointer == nil:
		c.set(Ready, False, "NoPointer", "nothing was promoted yet")
	case p.facts.legacy != "":
		c.set(Ready, False, "CopyFailed", p.facts.legacy)
	case p.facts.astray != "":
		c.set(Ready, False, "ReplicaAstray", p.facts.astray)
	case c.is(Promoted, False):
		c.set(Ready, False, "NotPromoted", "")
	default:
		c.set(Ready, True, "Serving", p.pointer.ID)
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
