package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Config of an indexer. Start from DefaultConfig; New calls Validate.
type Config struct {
	Embedding snapshot.Embedding // what turns text into vectors; part of the spec
	EmbedHost string             // host of the embedding endpoint, "" in process; part of the ledger's key
	IndexKind string             // auto, flat, ivf, hnsw; part of the spec
	Catalogue vendors.Rules      // ids and names of records; part of the spec
	Limits    vendors.Limits     // of the catalogue

	ResyncInterval time.Duration // the source is re-read this often, whatever the backoff of a failed pass
	ControlPoll    time.Duration // an operator's request is noticed this soon
	LeaseTTL       time.Duration

	RetainSnapshots int           // newest snapshots ever promoted that are kept
	RetainGrace     time.Duration // nothing younger, or retired less long ago, is deleted

	GateMaxRemoved float64 // share of the served snapshot's ids gone, above it a candidate is held
	GateMinRecall  float64 // recall@10 floor, below it a candidate is held
	// nDCG@10 of the golden queries: floor, and how much below the served snapshot's it may be; 0 = off.
	GateMinNDCG, GateMaxNDCGDrop float64

	Delta     string // DeltaAuto or DeltaOff
	DeltaFrom int    // records of a catalogue whose small changes are deltas; below it a full build takes no longer
	// CompactShare of the base's records in deltas, above which a new base is made.
	CompactShare float64

	LegacyCopies string // what old readers find under current/: CopiesL2, CopiesIP or CopiesOff

	EmbedWindow    int     // texts bought before they are made durable, at most 1,024; see embedding.go
	MaxEmbedTokens int     // above it a build is held before any purchase; 0 = off
	TokenPrice     float64 // US dollars per million tokens, for the plan; 0 = unknown or free

	BackoffMin, BackoffMax time.Duration // of a failed build whose inputs did not change

	Builder string // version string of this binary, written into manifests
	Host    string // name of this machine or task, for people
	Dir     string // scratch and the ledger's local copy; owned by this process
}

// DefaultConfig returns every default. Embedding, Builder, Host and Dir are the caller's to fill.
func DefaultConfig() Config {
	return Config{
		IndexKind:       "auto",
		Catalogue:       vendors.DefaultRules(),
		Limits:          vendors.DefaultLimits(),
		ResyncInterval:  5 * time.Second,
		ControlPoll:     5 * time.Second,
		LeaseTTL:        time.Minute,
		RetainSnapshots: 5,
		RetainGrace:     time.Hour,
		GateMaxRemoved:  0.5,
		GateMinRecall:   0.95,
		Delta:           DeltaAuto,
		DeltaFrom:       2000,
		CompactShare:    0.05,
		LegacyCopies:    CopiesL2,
		EmbedWindow:     window,
		BackoffMin:      30 * time.Second,
		BackoffMax:      10 * time.Minute,
	}
}

// Below minLease a renewal has no time to be repeated, above maxLease nothing works for too long after a crash.
const (
	minLease = store.MinLeaseTTL
	maxLease = store.MaxLeaseTTL
)

// Validate names the setting that cannot work, as the environment spells it, and why.
func (c Config) Validate() error {
	bad := func(name, why string, got any) error {
		return fmt.Errorf("%s %s, got %v", name, why, got)
	}
	switch {
	case c.ResyncInterval < 10*time.Millisecond:
		return bad("RESYNC_INTERVAL", "must be at least 10ms", c.ResyncInterval)
	case c.LeaseTTL < minLease || c.LeaseTTL > maxLease:
		return bad("LEASE_TTL", "must be 5s to 5m", c.LeaseTTL)
	case c.RetainSnapshots < 1 || c.RetainSnapshots > store.HistoryLength:
		// The pointer's history is what says which snapshots were promoted.
		return bad("RETAIN_SNAPSHOTS", fmt.Sprintf("must be 1..%d", store.HistoryLength), c.RetainSnapshots)
	case c.RetainGrace < 0:
		return bad("RETAIN_GRACE", "must not be negative", c.RetainGrace)
	case !(c.GateMaxRemoved >= 0 && c.GateMaxRemoved <= 1):
		return bad("GATE_MAX_REMOVED", "must be 0..1", c.GateMaxRemoved)
	case !(c.GateMinRecall >= 0 && c.GateMinRecall <= 1):
		return bad("GATE_MIN_RECALL", "must be 0..1", c.GateMinRecall)
	case !(c.GateMinNDCG >= 0 && c.GateMinNDCG <= 1):
		return bad("GATE_MIN_NDCG", "must be 0..1", c.GateMinNDCG)
	case !(c.GateMaxNDCGDrop >= 0 && c.GateMaxNDCGDrop <= 1):
		return bad("GATE_MAX_NDCG_DROP", "must be 0..1", c.GateMaxNDCGDrop)
	case c.LegacyCopies != CopiesL2 && c.LegacyCopies != CopiesIP && c.LegacyCopies != CopiesOff:
		return bad("LEGACY_COPIES", "must be l2, ip or off", c.LegacyCopies)
	case c.Delta != DeltaAuto && c.Delta != DeltaOff:
		return bad("DELTA", "must be auto or off", c.Delta)
	case c.EmbedWindow < 1 || c.EmbedWindow > window:
		return bad("the embedding window", fmt.Sprintf("must be 1..%d", window), c.EmbedWindow)
	case c.MaxEmbedTokens < 0:
		return bad("MAX_EMBED_TOKENS", "must not be negative", c.MaxEmbedTokens)
	case c.Embedding.Provider == "" || c.Embedding.Model == "":
		return errors.New("EMBEDDING_PROVIDER and EMBEDDING_MODEL must be set")
	case c.Embedding.Dims < 1 || c.Embedding.Dims > 1<<16:
		return bad("EMBEDDING_DIMENSIONS", "must be 1..65536", c.Embedding.Dims)
	case c.IndexKind == "":
		return errors.New("INDEX_KIND must be set")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return errors.New("backoff of failed builds must be positive and ordered")
	case c.ControlPoll <= 0:
		return errors.New("the control poll must be positive")
	case c.Dir == "":
		return errors.New("VECTORSTORE_LOCAL_DIR must be set")
	}
	return c.Catalogue.Validate()
}

// spec is the desired shape of a snapshot.
func (c Config) spec() snapshot.Spec {
	rules, byDefault := c.Catalogue.Normal(), vendors.DefaultRules()
	unless := func(setting, byDefault string) string { // a setting that nobody touched makes no spec of its own
		if setting == byDefault {
			return ""
		}
		return setting
	}
	return snapshot.Spec{
		Embedding:    c.Embedding,
		Metric:       "inner_product",
		TextTemplate: vendors.TextTemplate,
		IndexKind:    c.IndexKind,
		DuplicateIDs: unless(rules.Duplicates, byDefault.Duplicates),
		RecordID:     unless(rules.ID, byDefault.ID),
		RecordName:   unless(rules.Name, byDefault.Name),
	}
}

// gateSettings identifies the settings a verdict was reached under.
func (c Config) gateSettings() string {
	settings := fmt.Sprintf("gate/1 removed=%g recall=%g", c.GateMaxRemoved, c.GateMinRecall)
	if c.GateMinNDCG > 0 || c.GateMaxNDCGDrop > 0 {
		settings += fmt.Sprintf(" ndcg=%g drop=%g", c.GateMinNDCG, c.GateMaxNDCGDrop)
	}
	sum := sha256.Sum256([]byte(settings))
	return hex.EncodeToString(sum[:8])
}
