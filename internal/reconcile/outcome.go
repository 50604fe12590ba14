package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Verbs of a Request.
const (
	VerbReconcile = "reconcile"
	VerbGC        = "gc"
	VerbCompact   = "compact"
)

// record is the one place where the outcome of a pass is decided, counted, logged and stored.
func (p *pass) record(ctx context.Context, began time.Time, took time.Duration, err error) Outcome {
	out := Outcome{Err: err, ExitCode: ExitCode(err)}
	lost := errors.Is(err, ErrLeaseLost) || ctx.Err() != nil
	switch {
	case lost:
		p.result = ResultFollower
		out.ExitCode = ExitConflict
	case err == nil:
	case errors.Is(err, ErrHeld):
		p.result = ResultHeld
	case errors.Is(err, ErrDiffers):
		p.result = ResultRefused
	case p.promoted:
		// The promotion stands; what failed after it is tried again, and said in the message.
		out.Err, out.ExitCode = nil, ExitDone
	default:
		p.result = ResultFailed
	}
	if err != nil {
		p.message = err.Error()
	}
	p.sayCompacted()
	out.Pass = store.Pass{
		ID: p.id, Result: p.result, Message: p.message, StartedAt: began.UTC(), Seconds: took.Seconds(),
		RequeueIn: p.requeue(err).Seconds(),
	}
	if p.pointer != nil {
		out.SnapshotID = p.pointer.ID
	}
	p.lease.passed(p.Clock.Now())
	p.Metrics.passed(p, out, took)
	p.summarise(ctx, out, took)
	if p.result != ResultFollower && p.result != ResultRefused { // these have no word to say
		next := p.nextStatus(out, err)
		p.tell(next)
		p.writeStatus(ctx, next)
	}
	return out
}

// requeue is when the next pass is due: at the resync, or earlier to try a failure again.
func (p *pass) requeue(err error) time.Duration {
	resync := p.Clock.jitter(p.cfg.ResyncInterval)
	soon := false
	for _, f := range failures(err) {
		soon = soon || (f.class == transient && !errors.Is(f, store.ErrNotFound))
	}
	switch {
	case p.overtaken:
		return min(resync, p.Clock.jitter(200*time.Millisecond))
	case soon:
		p.Reconciler.failures++
		return min(resync, p.Clock.jitter(backoff(time.Second, p.cfg.ResyncInterval, p.Reconciler.failures)))
	}
	p.Reconciler.failures = 0
	if m := p.memo; m.err != nil && m.until != 0 {
		return min(resync, max(m.until-p.Clock.Elapsed(), 10*time.Millisecond))
	}
	return resync
}

// summarise writes the one line per pass.
func (p *pass) summarise(ctx context.Context, out Outcome, took time.Duration) {
	level := slog.LevelInfo
	switch out.Result {
	case ResultFailed, ResultHeld:
		level = slog.LevelWarn
	}
	attrs := []any{
		"result", out.Result, "seconds", out.Seconds, "snapshot", out.SnapshotID, "source_etag", p.source.ETag,
		"epoch", p.lease.holder().Epoch, "requeue_in", out.RequeueIn,
	}
	if p.pointer != nil {
		attrs = append(attrs, "generation", p.pointer.Generation)
	}
	if p.states != nil {
		attrs = append(attrs, "replicas_behind", p.states["behind"])
	}
	if len(p.took) > 0 {
		attrs = append(attrs, slog.Group("steps", p.took...))
	}
	if out.Message != "" {
		attrs = append(attrs, "message", out.Message)
	}
	if id := p.traced(ctx, out, took); id != "" {
		attrs = append(attrs, "trace_id", id)
	}
	p.log.Log(ctx, level, "reconciled", attrs...)
}

// nextStatus is what status.json says after this pass.
func (p *pass) nextStatus(out Outcome, err error) store.Status {
	prev := p.status
	s := store.Status{
		FormatVersion: p.statusFormat(), Epoch: p.lease.epoch(), Owner: p.owner, Host: p.cfg.Host,
		At: p.Clock.Now().UTC(), Source: prev.Source, Pointer: prev.Pointer, Conditions: p.conditions(err),
		Retention: p.keptRetention(), LastPass: out.Pass, Held: p.held, Handled: prev.Handled, Replicas: fleet(p.replicas, p.pointer),
		Highest: p.memory().highest, Control: prev.Control, Deleting: prev.Deleting, Unknown: prev.Unknown,
		Erasing: p.keptErasing(),
	}
	if p.controlRead {
		s.Control = rememberedControl(p.control)
	}
	if p.doomed != nil {
		s.Deleting = p.doomed
	}
	if p.source.SHA256 != "" {
		s.Source = p.source.Source
	}
	if p.pointer != nil {
		s.Pointer, s.Highest = p.pointer, p.lease.highest()
	}
	if p.request != nil {
		s.Handled = &store.Handled{
			Token: p.request.Token, Result: out.Result, ExitCode: out.ExitCode, Message: out.Message, At: s.At,
		}
	}
	p.transitions(prev.Conditions, s.Conditions)
	return s
}

// transitions logs what changed since the last pass: the events of this system.
func (p *pass) transitions(before, after []store.Condition) {
	was := map[string]string{}
	for _, c := range before {
		was[c.Type] = c.Status
	}
	for _, c := range after {
		if was[c.Type] != c.Status {
			p.log.Info("condition changed", "type", c.Type, "status", c.Status, "reason", c.Reason, "message", c.Message)
		}
	}
}

// tell tells other programs what is new. Without a status to compare with, everything would be.
func (p *pass) tell(next store.Status) {
	if p.Tell == nil || !p.statusRead || p.lease.check() != nil {
		return
	}
	for _, e := range news(p.status, next) {
		p.Tell(e)
	}
}

// writeStatus replaces the status that was last seen when it says something else. It informs people and spares
// downloads; a failure to write it is not a failure of the pass. That passes go on is what the lease says.
func (p *pass) writeStatus(ctx context.Context, s store.Status) {
	p.publish(s)
	if !p.statusRead || p.lease.check() != nil || p.statusETag != "" && sameNews(p.status, s) {
		return
	}
	if err := p.storeStatus(ctx, s); err != nil {
		p.log.WarnContext(ctx, "status not written", "error", err)
	}
}

// storeStatus replaces the status that was last seen.
func (p *pass) storeStatus(ctx context.Context, s store.Status) error {
	if err := p.lease.check(); err != nil {
		return err
	}
	s.Nonce = store.NewNonce()
	cond := store.PutOptions{IfMatch: p.statusETag}
	if p.statusETag == "" {
		cond = store.PutOptions{IfAbsent: true}
	}
	info, err := store.WriteDoc(ctx, p.Objects, p.Layout.Status(), s, cond)
	if err != nil {
		// Another leader's, or ours after all: the next pass reads it again and looks at its epoch.
		p.statusRead, p.statusETag = false, ""
		return err
	}
	p.Reconciler.status, p.statusETag = s, info.ETag
	return nil
}

// signedStatus is s with who writes it, and when.
func (p *pass) signedStatus(s store.Status) store.Status {
	s.FormatVersion, s.Epoch, s.Owner, s.Host, s.At = p.statusFormat(), p.lease.epoch(), p.owner, p.cfg.Host, p.Clock.Now().UTC()
	return s
}

// sameNews says whether two statuses differ in nothing but when they were made.
func sameNews(a, b store.Status) bool {
	var data [2][]byte
	for i, s := range []store.Status{a, b} {
		s.At, s.Nonce = time.Time{}, ""
		s.LastPass.ID, s.LastPass.StartedAt, s.LastPass.Seconds, s.LastPass.RequeueIn = "", time.Time{}, 0, 0
		s.Replicas = slices.Clone(s.Replicas)
		for j := range s.Replicas {
			s.Replicas[j].AgeSeconds = 0
		}
		var err error
		if data[i], err = json.Marshal(s); err != nil {
			return false
		}
	}
	return bytes.Equal(data[0], data[1])
}

// announceBuild says in status.json that a long build is under way.
func (p *pass) announceBuild(ctx context.Context) {
	s := p.signedStatus(p.status)
	c := p.newConditions()
	c.set(Built, Unknown, building, fmt.Sprintf("embedding %d of %d texts, about %d tokens", len(p.files.missing), len(p.files.keys), p.files.tokens))
	s.Conditions, s.Source = c.list(), p.source.Source
	if s.Replicas = fleet(p.replicas, p.pointer); p.pointer != nil {
		s.Pointer = p.pointer
	}
	p.writeStatus(ctx, s)
}

// publish makes s what Status returns.
func (r *Reconciler) publish(s store.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = s
}

// follow is the status of a process that does not lead.
func (r *Reconciler) follow(err error) {
	h := r.lease.holder()
	c := store.Condition{
		Type: Leader, Status: False, Reason: string(following), Message: "led by " + h.Host + " (" + h.Owner + ")",
		LastTransitionTime: r.Clock.Now().UTC(),
	}
	switch {
	case errors.Is(err, snapshot.ErrNewer):
		c.Reason, c.Message = string(newerFormat), "waits for an indexer of that release: "+err.Error()
	case store.Refusal(err):
		c.Reason, c.Message = string(storeRefuses), err.Error()
	case err != nil:
		c.Reason, c.Message = string(storeUnavailable), err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, old := range r.shown.Conditions {
		if old.Type == Leader && old.Status == False {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	r.shown = store.Status{
		FormatVersion: store.FormatVersion, Epoch: h.Epoch, Owner: r.owner, Host: r.cfg.Host, At: r.Clock.Now().UTC(),
		Conditions: []store.Condition{c}, LastPass: store.Pass{Result: ResultFollower}, Replicas: []store.Replica{},
	}
}
