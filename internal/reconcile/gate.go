package reconcile

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Results of the gate and of a re-hash, as verdict.json and gate reports spell them.
const (
	VerdictPassed  = "passed"
	VerdictHeld    = "held"
	VerdictFailed  = "failed"
	VerdictCorrupt = "corrupt"
)

// Names of the gate's checks.
const (
	CheckReopen     = "reopen"
	CheckCounts     = "counts"
	CheckDims       = "dims"
	CheckModel      = "model"
	CheckVectors    = "vectors"
	CheckSelfRecall = "self_recall"
	CheckRecall     = "recall"
	CheckRemoved    = "removed"
	CheckGolden     = "golden"
	CheckNDCG       = "ndcg"
	CheckGoldenFile = "golden_file" // only when golden.json cannot be used
	CheckSpec       = "spec"
)

// Sampling: queries × rows × dims multiply-adds of the exhaustive scan stay below sampleWork, about a second of one
// core, with at least sampleLeast queries (1 M × 1,536 × 48 = 74 G, some seconds) and at most sampleMost.
const (
	sampleWork  = 8e9
	sampleLeast = 48
	sampleMost  = 128 // 1,280 neighbours: ±0.6 % at a recall of 0.95
	recallAt    = 10
	scoreSlack  = 1e-5 // two neighbours this close in score are interchangeable
)

// judged is what the gate looks at: files in dir, described by m, against the served snapshot.
type judged struct {
	dir     string
	m       store.Manifest
	docs    *documents.Reader
	removed int // ids of the baseline that are gone
	index   snapshot.Index
	report  *store.GateReport
	fresh   bool // just built: m may still change
	finds
}

// judge opens the very bytes that would be served and reports on them.
func (p *pass) judge(ctx context.Context, j *judged) error {
	p.step("gate", 0)
	j.report = &store.GateReport{Settings: p.cfg.gateSettings(), Golden: p.goldenETag, Baseline: p.baseline(), At: p.now}
	var err error
	j.index, err = p.Indexes.Open(filepath.Join(j.dir, snapshot.FileIndex), j.m.Index)
	if err != nil {
		j.add(CheckReopen, VerdictFailed, 0, 1, err.Error())
		j.fold()
		return nil
	}
	defer j.index.Close()
	j.add(CheckReopen, VerdictPassed, 1, 1, "")
	j.finds = findsIn(j.index, j.docs)
	if !p.judgeShape(j) {
		j.fold()
		return nil
	}
	if j.fresh {
		// Before the checks, which then judge the search that would be served.
		if err := p.tune(ctx, j); err != nil {
			return err
		}
		if err := p.calibrate(ctx, j); err != nil {
			return err
		}
	}
	for _, check := range []func(context.Context, *judged) error{
		p.judgeVectors, p.judgeRecall, p.judgeRemoved, p.judgeSpec, p.judgeGolden,
	} {
		if err := check(ctx, j); err != nil {
			return err
		}
	}
	j.fold()
	return nil
}

func (j *judged) add(name, result string, value, limit float64, message string) {
	j.report.Checks = append(j.report.Checks, store.GateCheck{Name: name, Result: result, Value: value, Limit: limit, Message: message})
}

// fold makes the report's result the worst of its checks.
func (j *judged) fold() {
	j.report.Result = VerdictPassed
	for _, c := range j.report.Checks {
		if c.Result == VerdictFailed {
			j.report.Result = VerdictFailed
			return
		}
		if c.Result == VerdictHeld {
			j.report.Result = VerdictHeld
		}
	}
}

func passIf(ok bool, otherwise string) string {
	if ok {
		return VerdictPassed
	}
	return otherwise
}

// judgeShape checks what everything else relies on: as many vectors as documents as records, of the dims and
// the model that the spec names.
func (p *pass) judgeShape(j *judged) bool {
	n, want := j.index.Len(), j.docs.Len()
	_, some := j.m.File(snapshot.FileUnembedded)
	counts := n > 0 && n == j.m.Stats.Vectors && want == j.m.Source.Records && (n == want || n < want && some)
	j.add(CheckCounts, passIf(counts, VerdictFailed), float64(n), float64(want),
		fmt.Sprintf("%d vectors, %d documents, %d records", n, want, j.m.Source.Records))
	dims := j.index.Dims() == j.m.Spec.Embedding.Dims
	j.add(CheckDims, passIf(dims, VerdictFailed), float64(j.index.Dims()), float64(j.m.Spec.Embedding.Dims), "")
	model := j.m.Spec.Embedding == p.cfg.Embedding
	j.add(CheckModel, passIf(model, VerdictFailed), 0, 0, j.m.Spec.Embedding.Model)
	return counts && dims && model
}

// sample returns up to the affordable number of positions, evenly spread.
func sample(n, dims int) []int {
	s := int(sampleWork / (float64(n) * float64(dims)))
	s = min(max(s, sampleLeast), sampleMost, n)
	out := make([]int, s)
	for i := range out {
		out[i] = int(int64(i) * int64(n) / int64(s))
	}
	return out
}

// judgeVectors checks that sampled rows of the index are the vectors of the documents at those positions.
func (p *pass) judgeVectors(_ context.Context, j *judged) error {
	dims := j.index.Dims()
	stored, want := make([]float32, dims), make([]float32, dims)
	wrong, checked := 0, 0
	for _, pos := range sample(j.index.Len(), dims) {
		raw, err := j.docs.Metadata(pos)
		if err != nil {
			return failf(Verified, documentsUnreadable, inputs, "read document %d: %w", pos, err)
		}
		text, err := vendors.TextOf(raw)
		if err != nil {
			return failf(Verified, documentsUnreadable, inputs, "read document %d: %w", pos, err)
		}
		ok, err := p.ledger.Get(ledger.NewKey(text, p.cfg.Embedding, p.cfg.EmbedHost), want)
		if err != nil || !ok {
			continue // an adopted snapshot may outlive its ledger entries
		}
		if err := j.index.Vector(pos, stored); err != nil {
			return failf(Verified, indexUnreadable, inputs, "read vector %d: %w", pos, err)
		}
		checked++
		if dot(stored, want) < 1-1e-3 {
			wrong++
		}
	}
	j.add(CheckVectors, passIf(wrong == 0, VerdictFailed), float64(wrong), 0, fmt.Sprintf("%d of %d sampled vectors differ from the ledger", wrong, checked))
	return nil
}

// judgeRecall compares the index's answers on sampled vectors with an exhaustive scan.
func (p *pass) judgeRecall(ctx context.Context, j *judged) error {
	n, dims := j.index.Len(), j.index.Dims()
	positions := sample(n, dims)
	queries := make([]float32, len(positions)*dims)
	for i, pos := range positions {
		if err := j.index.Vector(pos, queries[i*dims:(i+1)*dims]); err != nil {
			return failf(Verified, indexUnreadable, inputs, "read vector %d: %w", pos, err)
		}
	}
	k := min(recallAt, n)
	_, got, err := j.index.Search(queries, k, nil)
	if err != nil {
		return failf(Verified, searchFailed, inputs, "search candidate: %w", err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, exact, err := j.index.Exact(queries, k, nil)
	if err != nil {
		return failf(Verified, searchFailed, inputs, "scan candidate: %w", err)
	}
	if len(got) != len(positions)*k || len(exact) != len(got) {
		return failf(Verified, searchFailed, inputs, "search candidate: %d and %d results, want %d", len(got), len(exact), len(positions)*k)
	}
	self, hits := 0, 0
	for q := range positions {
		found, best := got[q*k:(q+1)*k], exact[q*k:(q+1)*k]
		if found[0] >= best[0]-scoreSlack {
			self++
		}
		// By score, not by position: of equal neighbours any will do.
		for _, s := range found {
			if s >= best[k-1]-scoreSlack {
				hits++
			}
		}
	}
	limit := p.cfg.GateMinRecall
	selfShare, recall := share(self, len(positions)), share(hits, len(positions)*k)
	j.add(CheckSelfRecall, passIf(selfShare >= limit, VerdictHeld), selfShare, limit,
		fmt.Sprintf("%d of %d sampled vectors find themselves", self, len(positions)))
	j.add(CheckRecall, passIf(recall >= limit, VerdictHeld), recall, limit,
		fmt.Sprintf("recall@%d on %d sampled vectors", k, len(positions)))
	return nil
}

// judgeRemoved holds a catalogue that lost more of its ids than allowed.
func (p *pass) judgeRemoved(_ context.Context, j *judged) error {
	served := 0
	if p.pointer != nil {
		served = p.pointer.Source.Records
	}
	gone := share(j.removed, served)
	j.add(CheckRemoved, passIf(gone <= p.cfg.GateMaxRemoved, VerdictHeld), gone, p.cfg.GateMaxRemoved,
		fmt.Sprintf("%d of %d served ids are gone", j.removed, served))
	return nil
}

// specSample is how many questions are asked across a change of spec; each costs a call to the provider.
const specSample = 16

// judgeSpec reports a change of spec, and asks sampled records' own texts as a server would ask a query: a model whose
// queries do not find their documents, other dimensions than it gives, or a mixed-up endpoint would serve nonsense
// that no check of the index alone can see. Golden queries are asked after it.
func (p *pass) judgeSpec(ctx context.Context, j *judged) error {
	if p.pointer == nil || p.pointer.SpecDigest == j.m.SpecDigest {
		return nil
	}
	n := j.index.Len()
	found, asked := 0, min(specSample, n)
	for i := range asked {
		hit, err := p.findsItself(ctx, j, i*n/asked)
		if err != nil {
			return err
		}
		if hit {
			found++
		}
	}
	golden := ""
	if p.goldenETag == "" {
		golden = "; there is no golden.json to ask"
	}
	limit := p.cfg.GateMinRecall
	j.add(CheckSpec, passIf(share(found, asked) >= limit, VerdictHeld), share(found, asked), limit,
		fmt.Sprintf("%s; %d of %d sampled texts find their record%s", specChange(p.pointer.Spec, j.m.Spec), found, asked, golden))
	return nil
}

// findsItself asks the text of the record at pos and says whether the record, or one as near, is among the best ten.
func (p *pass) findsItself(ctx context.Context, j *judged, pos int) (bool, error) {
	raw, err := j.docs.Metadata(pos)
	if err != nil {
		return false, failf(Verified, documentsUnreadable, inputs, "read document %d: %w", pos, err)
	}
	text, err := vendors.TextOf(raw)
	if err != nil {
		return false, failf(Verified, documentsUnreadable, inputs, "read document %d: %w", pos, err)
	}
	q, err := p.goldenVector(ctx, text)
	if err != nil {
		return false, err
	}
	own := make([]float32, j.index.Dims())
	if err := j.index.Vector(pos, own); err != nil {
		return false, failf(Verified, indexUnreadable, inputs, "read vector %d: %w", pos, err)
	}
	k := min(recallAt, j.index.Len())
	_, scores, err := j.index.Search(q, k, nil)
	if err != nil || len(scores) < k {
		return false, failf(Verified, searchFailed, inputs, "search sampled text: %d scores: %w", len(scores), err)
	}
	return dot(q, own) >= float64(scores[k-1])-1e-3, nil // stored vectors may be rounded to a byte a component
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func dot(a, b []float32) float64 {
	var s float64
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}
