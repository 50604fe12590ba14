package embed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Call sends texts in one request. Each vector that arrived whole goes to put, in any order, also when the call then
// fails: what has arrived is never asked for again. Errors are *CallError; any other is taken as transient.
type Call func(ctx context.Context, texts []string, put Put) (Receipt, error)

// Put hands over the vector of texts[i] of the call. It copies, so vec may be reused. size is the true length where vec
// holds only the beginning of a vector that is too long.
type Put func(i int, vec []float32, size int)

// Receipt is what an answer says beside the vectors.
type Receipt struct {
	Tokens int     // counted by the provider; 0 = it does not count
	Quotas []Quota // rate limits as stated in headers, if any
}

// Quota is one rate limit as an answer's headers state it: Remaining of Limit units are left, all of them are back after
// Reset, and this call took Cost.
type Quota struct {
	Limit, Remaining, Cost float64
	Reset                  time.Duration
}

// RunnerConfig bounds the work of a Runner. In flight at most: Concurrency x BatchTexts texts, whose vectors take
// Concurrency x BatchTexts x Dims x 4 bytes (4 x 256 x 1536 x 4 = 6 MB).
type RunnerConfig struct {
	Dims           int
	Concurrency    int           // calls in flight
	BatchTexts     int           // texts a call
	BatchTokens    int           // estimated tokens a call
	TextTokens     int           // tokens a text; longer ones are cut
	TextRunes      int           // characters a text, as TextTokens; 0 = no limit
	CallTimeout    time.Duration // one request, answer read to its end
	MaxTries       int           // failures of one batch in a row, throttles and progress not counted
	MaxStall       time.Duration // without one success, throttles included
	Patience       time.Duration // with an endpoint that cannot be reached; 0 = none but MaxTries and MaxStall
	RetryBase      time.Duration // first backoff, doubling with ±50 % jitter
	RetryMax       time.Duration
	Observer       Observer
	EstimateTokens func(string) int
}

// Runner drives calls to a provider: contiguous batches, bounded and adaptive concurrency, retries of exactly the texts
// that are missing, every vector checked and brought to unit length. It is shared by all providers behind a network and
// safe for concurrent use; concurrent Runs share one rate.
type Runner struct {
	cfg       RunnerConfig
	pace      *pacer
	batchMax  atomic.Int64 // learned from refusals, ≤ cfg.BatchTexts
	delivered atomic.Bool  // one right vector has been seen
	stats     stats
}

const minSpread = 64

var (
	errHalted = errors.New("halted")                 // tells a worker that another one has failed
	errEnough = errors.New("too many texts refused") // ends a Run for its caller to decide
)

// NewRunner fills cfg's zero fields with defaults.
func NewRunner(cfg RunnerConfig) *Runner {
	setDefault(&cfg.Concurrency, 4)
	setDefault(&cfg.BatchTexts, 256)
	setDefault(&cfg.BatchTokens, 300_000)
	setDefault(&cfg.TextTokens, 8192)
	setDefault(&cfg.CallTimeout, time.Minute)
	setDefault(&cfg.MaxTries, 16)
	setDefault(&cfg.MaxStall, 10*time.Minute)
	setDefault(&cfg.RetryBase, 500*time.Millisecond)
	setDefault(&cfg.RetryMax, 30*time.Second)
	if cfg.EstimateTokens == nil {
		cfg.EstimateTokens = estimateTokens
	}
	r := &Runner{cfg: cfg, pace: newPacer(cfg.Concurrency, cfg.RetryBase/2, time.Now())}
	r.batchMax.Store(int64(cfg.BatchTexts))
	return r
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Run embeds texts with call, as Embedder.Embed says. After an error it takes up no new batch but lets calls in flight
// finish, as they are paid for; a cancelled ctx stops at once.
func (r *Runner) Run(ctx context.Context, texts []string, call Call, done func(first int, vectors []float32, tokens int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := &run{Runner: r, texts: texts, call: call, halt: make(chan struct{}), finished: make(chan *worker)}
	// A caller's window is worked on by all, unless the pieces became too small to be worth a request.
	run.spread = max(minSpread, (len(texts)+r.cfg.Concurrency-1)/r.cfg.Concurrency)
	var wg sync.WaitGroup
	for range min(r.cfg.Concurrency, len(texts)) {
		w := &worker{run: run, resume: make(chan struct{})}
		wg.Go(func() { w.loop(ctx) })
	}
	go func() { wg.Wait(); close(run.finished) }()

	var doneErr error
	for w := range run.finished {
		if doneErr == nil {
			if doneErr = w.deliver(done); doneErr != nil {
				run.fail(doneErr)
				cancel(doneErr)
			}
		}
		w.resume <- struct{}{}
	}
	return run.err()
}

// run is the state of one Run.
type run struct {
	*Runner
	texts    []string
	call     Call
	spread   int          // texts a batch, so that every worker gets one
	finished chan *worker // unbuffered: a worker's vectors are the caller's until resume

	mu       sync.Mutex
	next     int // first text not yet in a batch
	failed   error
	halt     chan struct{}
	refusals map[int]error // texts that get no vector

	probing  sync.Mutex
	accepted time.Time // when the last accepted probe was sent
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
		close(r.halt)
	}
}

func (r *run) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.refusals) > 0 && (r.failed == nil || errors.Is(r.failed, errEnough)) {
		return &RefusedError{Texts: r.refusals}
	}
	return r.failed
}

// take claims the next batch: as many texts as the limits allow, at least one. costs receives their token estimates.
func (r *run) take(costs []int) (first int, taken []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, sum, limit := r.next, 0, min(int(r.batchMax.Load()), r.spread)
	if r.failed != nil {
		return first, nil
	}
	for costs = costs[:0]; r.next < len(r.texts) && len(costs) < limit; r.next++ {
		c := r.cfg.EstimateTokens(r.texts[r.next])
		if sum += min(c, r.cfg.TextTokens); sum > r.cfg.BatchTokens && len(costs) > 0 {
			break
		}
		costs = append(costs, c)
	}
	return first, costs
}

// worker embeds one batch at a time.
type worker struct {
	*run
	resume chan struct{}

	first, n  int
	costs     []int     // estimated tokens per text
	texts     []string  // as sent: cut where needed
	vectors   []float32 // n x dims
	have      []bool
	lost      []bool // refused for good
	refusals  []int  // of each text, alone, all like refusedAs
	refusedAs []refusedAs
	suspects  []int // texts of the last refused call, one of which may be the reason
	trouble   bool  // it may as well have been the server's
	probed    bool  // the probe was accepted after the last refusal
	wit       witness
	missing   []int
	arrived   []int
	limit     int // texts a call after a refusal or a timeout, doubling with each success; 0 = none
	tries     int // failures in a row, throttles not counted
	troubles  int // refusals in a row for which the probe was refused as well
	tokens    int
	backoff   *backoff.ExponentialBackOff
}

func (w *worker) loop(ctx context.Context) {
	for {
		w.first, w.costs = w.take(w.costs)
		if w.n = len(w.costs); w.n == 0 {
			return
		}
		err := w.embed(ctx)
		if err != nil {
			w.disbelieve()
			if !errors.Is(err, errHalted) {
				w.fail(err)
			}
		}
		if slices.Contains(w.have, true) { // what is paid for is handed over, also when the rest failed
			w.finished <- w
			<-w.resume
		}
		if err != nil {
			return
		}
	}
}

// deliver passes each run of texts that have their vectors to done.
func (w *worker) deliver(done func(first int, vectors []float32, tokens int) error) error {
	tokens, dims := w.tokens, w.cfg.Dims
	for i, j := 0, 0; i < w.n; i = j + 1 {
		for j = i; j < w.n && w.have[j]; j++ {
		}
		if j == i {
			continue
		}
		if err := done(w.first+i, w.vectors[i*dims:j*dims], tokens); err != nil {
			return err
		}
		tokens = 0
	}
	return nil
}

func (w *worker) row(i int) []float32 { return w.vectors[i*w.cfg.Dims : (i+1)*w.cfg.Dims] }

func (w *worker) prepare() {
	w.texts = append(w.texts[:0], w.run.texts[w.first:w.first+w.n]...)
	w.vectors = grown(w.vectors, w.n*w.cfg.Dims)
	w.have, w.lost, w.refusals, w.refusedAs = grown(w.have, w.n), grown(w.lost, w.n), grown(w.refusals, w.n), grown(w.refusedAs, w.n)
	clear(w.have)
	clear(w.lost)
	clear(w.refusals)
	w.suspects, w.wit.text, w.wit.doubt = w.suspects[:0], -1, w.wit.doubt[:0]
	w.tokens, w.tries, w.troubles = 0, 0, 0
	w.backoff = &backoff.ExponentialBackOff{
		InitialInterval: w.cfg.RetryBase, MaxInterval: w.cfg.RetryMax, Multiplier: 2, RandomizationFactor: 0.5,
	}
	for i, t := range w.texts {
		if w.cfg.TextRunes > 0 && len(t) > w.cfg.TextRunes {
			w.texts[i] = cutToRunes(t, w.cfg.TextRunes)
			w.costs[i] = w.cfg.EstimateTokens(w.texts[i])
		}
	}
	for i, c := range w.costs {
		// The estimate errs on the high side: only what is surely too long is cut before the provider says so.
		if c > 2*w.cfg.TextTokens {
			w.cutTo(i, w.cfg.TextTokens)
		}
	}
}

// cutTo shortens text i to an estimate of limit tokens. It is reported once a text, with what is left in the end.
func (w *worker) cutTo(i, limit int) {
	w.texts[i] = cutToTokens(w.texts[i], limit)
	w.costs[i] = w.cfg.EstimateTokens(w.texts[i])
}

// reportCuts tells which texts of the finished batch are embedded in part only.
func (w *worker) reportCuts() {
	for i, sent := range w.texts {
		if whole := w.run.texts[w.first+i]; len(sent) < len(whole) {
			w.stats.cut.Add(1)
			if f := w.cfg.Observer.Cut; f != nil {
				f(w.first+i, len(whole), len(sent))
			}
		}
	}
}

// embed returns when every text of the batch has its vector, or will have none.
func (w *worker) embed(ctx context.Context) error {
	w.prepare()
	for {
		part, cost := w.part()
		if len(part) == 0 {
			w.reportCuts()
			return nil
		}
		if err := w.pace.acquire(ctx, w.halt, float64(cost)); err != nil {
			return err
		}
		got, err := w.attempt(ctx, part, cost)
		if err == nil || got > 0 {
			w.tries, w.troubles = 0, 0
			w.backoff.Reset()
		}
		if err == nil {
			w.settle()
			continue
		}
		if err := w.recoverFrom(ctx, err, part, got); err != nil {
			return err
		}
	}
}

// part lists the missing texts of the next call within today's limits, and their estimated tokens.
func (w *worker) part() (part []int, cost int) {
	limit := int(w.batchMax.Load())
	if w.limit > 0 {
		limit = min(limit, w.limit)
	}
	w.missing = w.missing[:0]
	for i := range w.n {
		if w.have[i] || w.lost[i] {
			continue
		}
		if len(w.missing) == limit {
			break
		}
		w.missing = append(w.missing, i)
		cost += w.costs[i]
	}
	return w.missing, cost
}

// attempt makes one call and reports how many vectors came back usable.
func (w *worker) attempt(ctx context.Context, part []int, cost int) (got int, err error) {
	texts := make([]string, len(part))
	for k, i := range part {
		texts[k] = w.texts[i]
	}
	var unusable error
	w.arrived = w.arrived[:0]
	put := func(k int, vec []float32, size int) {
		i := part[k]
		if e := unitRow(w.row(i), vec, size); e != nil {
			unusable = w.unusable(fmt.Sprintf("text %d", w.first+i), size, e)
			return
		}
		w.arrived = append(w.arrived, i)
	}
	receipt, err := w.send(ctx, texts, cost, put)
	if err == nil {
		err = unusable
	}
	got = w.trust(err, len(part))
	tokens := receipt.Tokens
	if tokens == 0 && got > 0 { // not counted by the provider: estimated for what arrived
		tokens = int(math.Round(float64(cost) * float64(got) / float64(len(part))))
	}
	w.account(tokens)
	if err == nil && got < len(part) {
		err = &CallError{Kind: Transient, Reason: "incomplete", Err: fmt.Errorf("%d of %d vectors came back", got, len(part))}
	}
	return got, err
}

// send makes one call.
func (w *worker) send(ctx context.Context, texts []string, cost int, put Put) (Receipt, error) {
	w.stats.requests.Add(1)
	w.stats.texts.Add(int64(len(texts)))
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, w.cfg.CallTimeout, errCallTimeout)
	defer cancel()
	receipt, err := w.call(ctx, texts, put)
	if err != nil && errors.Is(context.Cause(ctx), errCallTimeout) {
		err = &CallError{Kind: TimedOut, Reason: "timeout", Err: fmt.Errorf("no answer within %v: %w", w.cfg.CallTimeout, errCallTimeout)}
	}
	w.pace.finish(time.Now(), outcomeOf(started, cost, receipt, err))
	return receipt, err
}

// trust marks what has arrived as had, unless err says that it cannot be relied on, or not yet.
func (w *worker) trust(err error, asked int) (got int) {
	ce, _ := errors.AsType[*CallError](err)
	if len(w.arrived) == 0 || ce != nil && ce.Distrust {
		return 0
	}
	w.delivered.Store(true)
	for _, i := range w.arrived {
		w.have[i] = true
	}
	w.hearWitness(w.arrived, err == nil && len(w.arrived) == asked)
	if ce != nil && ce.Doubt {
		w.callWitness(w.arrived)
		return len(w.arrived) - 1
	}
	return len(w.arrived)
}

// account adds the tokens of one call.
func (w *worker) account(tokens int) {
	w.tokens += tokens
	w.stats.tokens.Add(int64(tokens))
	if f := w.cfg.Observer.Tokens; f != nil && tokens > 0 {
		f(tokens)
	}
}

func outcomeOf(started time.Time, cost int, receipt Receipt, err error) outcome {
	o := outcome{started: started, cost: float64(cost), ok: err == nil, quotas: receipt.Quotas}
	if ce, ok := errors.AsType[*CallError](err); ok {
		o.after = ce.After
		o.throttled = ce.Kind == Throttled
		o.overload = ce.Kind == Overloaded || ce.Kind == TimedOut || ce.Status == 503 || ce.Status == 529
		o.ok = ce.Kind == Unusable
	}
	return o
}

func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
