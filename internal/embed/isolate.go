package embed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A refusal that is neither of the key, the address, the rate nor the network is somebody's fault: that of the request
// as such (a parameter, the model), of its size, or of one of its texts. How providers word it differs too much to be
// read, so it is found out by asking:
//
//   - the probe, a harmless text, is sent alone. Refused as well: it is the request, and the work ends with the
//     provider's own words.
//   - else half of the texts are sent, and half of these, until all are through. If no text was found guilty, it was the
//     size: batches stay as small as was accepted.
//   - a text refused when alone is cut while it is long; it is given up after isolateAfter equal refusals, each followed
//     by an accepted probe. Refusals of different kinds are no sign of a text that cannot be embedded.
//
// A 5xx, a list without a vector, or vectors that cannot be used, may also be a server in trouble: then a refused probe only counts as a failed try.
const (
	probeText    = "test"
	adaptMost    = 4   // forms of the request that one probe tries: each leaves out one parameter more
	isolateAfter = 5   // refusals of a text alone
	isolateMost  = 16  // texts given up in one Run, before the caller is asked
	troubleTries = 6   // rounds of 5xx to the texts and to the probe
	leastCut     = 256 // tokens: the shortest text that may be refused for its length without saying so
	leastSaidCut = 8   // when the provider says so
)

// RefusedError ends an Embed that was refused some of the texts themselves. Texts that were neither passed to done nor
// are named here have not been asked for: after too many refusals the caller decides whether to go on.
type RefusedError struct {
	Texts map[int]error // by index, with the provider's words
}

// RefusedTexts returns Texts.
func (e *RefusedError) RefusedTexts() map[int]error { return e.Texts }

func (e *RefusedError) Error() string {
	first := slices.Min(slices.Collect(maps.Keys(e.Texts)))
	return fmt.Sprintf("%d texts refused, the first is text %d: %v", len(e.Texts), first, e.Texts[first])
}

// refused acts on a refusal of part.
func (w *worker) refused(ctx context.Context, ce *CallError, part []int) error {
	if len(part) > int(w.batchMax.Load()) { // others have learned meanwhile that this is too many
		return nil
	}
	if err := w.probe(ctx, ce); err != nil || !w.probed {
		return err
	}
	if len(part) == 1 {
		return w.alone(ctx, ce, part[0])
	}
	w.suspects, w.trouble = append(w.suspects[:0], part...), ce.Kind == Unusable || ce.Status >= 500
	w.limit = len(part) / 2
	return nil
}

// probe asks for the probe's vector after the refusal ce. probed tells whether it came; if not, and there is no error,
// the refused call is to be repeated as it was.
func (w *worker) probe(ctx context.Context, ce *CallError) error {
	refusedAt := time.Now()
	w.probed = false
	if err := w.pace.acquire(ctx, w.halt, 1); err != nil {
		return err
	}
	w.probing.Lock()
	if w.probed = w.accepted.After(refusedAt); w.probed { // another worker has just asked
		w.probing.Unlock()
		w.pace.finish(time.Now(), outcome{started: refusedAt})
		return nil
	}
	started := time.Now()
	err := w.askProbe(ctx)
	// A request that is made otherwise now, without a parameter that may have been at fault, is asked for again at once:
	// the others wait for the answer instead of each finding out with its texts.
	adapted := 0
	for ; adapted < adaptMost && err != nil && asCall(err).Kind == Adapted; adapted++ {
		err = w.askProbe(ctx)
	}
	if err == nil {
		w.accepted, w.troubles = started, 0
	}
	w.probing.Unlock()
	if w.probed = err == nil && adapted == 0; err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return w.unprobed(ctx, ce, asCall(err))
}

// askProbe makes the call.
func (w *worker) askProbe(ctx context.Context) error {
	vec := make([]float32, w.cfg.Dims)
	var bad error = &CallError{Kind: Unusable, Reason: "incomplete", Err: errors.New("no vector came back")}
	receipt, err := w.send(ctx, []string{probeText}, 1, func(_ int, v []float32, size int) {
		if bad = unitRow(vec, v, size); bad != nil {
			bad = w.unusable("a probe", size, bad)
		}
	})
	w.account(receipt.Tokens)
	if err == nil {
		err = bad
	}
	return err
}

// unprobed acts on a probe that was not accepted, for the reason why, after the refusal ce.
func (w *worker) unprobed(ctx context.Context, ce, why *CallError) error {
	switch {
	case why.Kind == Terminal:
		return why
	case why.Kind == Adapted:
		return nil
	case why.Kind == Throttled:
		return w.stall(why)
	case why.Kind != Refused && why.Kind != Unusable:
		return w.again(ctx, why, w.cfg.MaxTries)
	case ce.Kind == Refused && ce.Status < 500 && why.Kind == Refused && why.Status < 500 && why.Reason != reasonEmpty,
		ce.Reason == reasonDims && why.Reason == reasonDims:
		return &CallError{Kind: Terminal, Reason: ce.Reason, Status: ce.Status, Err: fmt.Errorf("refused for every text: %w", ce.Err)}
	}
	if w.troubles++; w.troubles < troubleTries {
		return w.again(ctx, ce, w.cfg.MaxTries)
	}
	if ce.Kind == Unusable {
		return &CallError{Kind: Terminal, Reason: ce.Reason, Err: fmt.Errorf("%d tries: %w", w.troubles, ce)}
	}
	return fmt.Errorf("%d tries: %w", w.troubles, ce)
}

// refusedAs is what makes two refusals equal. A server in trouble returns a number that is none now and a vector that is too
// short then; a text that cannot be embedded fails in one way.
type refusedAs struct {
	kind   Kind
	reason string
}

// alone acts on the refusal of text i when nothing else was sent, and the probe was accepted.
func (w *worker) alone(ctx context.Context, ce *CallError, i int) error {
	if ce.Kind == Refused {
		least := leastCut
		if ce.Long {
			least = leastSaidCut
		}
		if n := min(w.cfg.TextTokens, w.costs[i]); n > least && (ce.Long || ce.Status < 500) {
			w.cutTo(i, n*3/4)
			return nil
		}
	}
	if r := (refusedAs{ce.Kind, ce.Reason}); w.refusedAs[i] != r {
		w.refusedAs[i], w.refusals[i] = r, 0
	}
	if w.refusals[i]++; w.refusals[i] < isolateAfter {
		return w.sleep(ctx, w.backoff.NextBackOff())
	}
	w.lost[i] = true
	w.backoff.Reset()
	w.settle()
	w.limit = 0 // the rest was refused only for its sake
	return w.giveUp(w.first+i, ce.Err)
}

// settle draws the conclusion when all of the last refused texts are through: with none of them at fault, it was that
// they were so many.
func (w *worker) settle() {
	innocent := true
	for _, i := range w.suspects {
		if !w.have[i] && !w.lost[i] {
			return
		}
		innocent = innocent && !w.lost[i]
	}
	if len(w.suspects) > 0 && innocent && !w.trouble {
		w.lowerBatch(int64(w.limit))
	}
	w.suspects = w.suspects[:0]
	w.limit *= 2
}

// lowerBatch makes n the most texts a call, for all that is still to come.
func (r *Runner) lowerBatch(n int64) {
	for n > 0 {
		old := r.batchMax.Load()
		if n >= old || r.batchMax.CompareAndSwap(old, n) {
			return
		}
	}
}

// giveUp notes that a text will have no vector. errEnough asks the worker to leave the rest.
func (r *run) giveUp(text int, why error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusals == nil {
		r.refusals = map[int]error{}
	}
	r.refusals[text] = why
	if len(r.refusals) < isolateMost {
		return nil
	}
	return errEnough
}

// witness guards an answer with too few vectors that named none of the missing: if the server left out a text other than
// the last, each vector behind it went to the wrong one. The last that came is asked for again; when it is the same in an
// answer that is complete, those before it were right.
type witness struct {
	text  int       // -1 = none
	row   []float32 // its vector in the short answer
	doubt []int     // texts whose vectors came with it
}

const sameVector = 0.98 // cosine of two vectors of one text; servers round differently from batch to batch

// callWitness holds back what came in a short answer.
func (w *worker) callWitness(arrived []int) {
	last := arrived[len(arrived)-1]
	w.wit.text = last
	w.wit.row = append(w.wit.row[:0], w.row(last)...)
	w.wit.doubt = append(w.wit.doubt, arrived[:len(arrived)-1]...)
	w.have[last] = false
	w.limit = len(arrived)
}

// hearWitness compares what arrived with what the witness was before; only a complete answer proves it.
func (w *worker) hearWitness(arrived []int, complete bool) {
	if w.wit.text < 0 || !slices.Contains(arrived, w.wit.text) {
		return
	}
	cosine := 0.0
	for k, x := range w.row(w.wit.text) {
		cosine += float64(x) * float64(w.wit.row[k])
	}
	if same := cosine >= sameVector; !same {
		w.disbelieve()
	} else if complete {
		w.wit.text, w.wit.doubt = -1, w.wit.doubt[:0]
	}
}

// disbelieve drops what rests on the witness.
func (w *worker) disbelieve() {
	for _, i := range w.wit.doubt {
		w.have[i] = false
	}
	w.wit.text, w.wit.doubt = -1, w.wit.doubt[:0]
}
