package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

// newProgress draws a bar on a terminal and logs a line now and then elsewhere.
func newProgress(w io.Writer, log *slog.Logger) reconcile.Progress {
	if wire.IsTerminal(w) {
		return &bars{out: w}
	}
	return &lines{log: log}
}

// bars shows one bar per step of a pass.
type bars struct {
	out io.Writer
	p   *mpb.Progress
	bar *mpb.Bar
}

func (b *bars) Step(name string, total int64) {
	b.finish()
	if b.p == nil {
		b.p = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(40))
	}
	b.bar = b.p.AddBar(total,
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersNoUnit("%d/%d", decor.WCSyncSpace), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
}

func (b *bars) Add(n int64) {
	if b.bar != nil {
		b.bar.IncrInt64(n)
	}
}

// finish completes the bar of the step that ends: a total that was only a guess is corrected to what was done.
func (b *bars) finish() {
	if b.bar != nil {
		b.bar.SetTotal(-1, true)
		b.bar = nil
	}
}

func (b *bars) Done() {
	b.finish()
	if b.p != nil {
		b.p.Wait()
		b.p = nil
	}
}

// logEvery is how often a step that takes long says so.
const logEvery = 10 * time.Second

// lines logs the progress of steps that take longer than logEvery. Add may come from several goroutines.
type lines struct {
	log *slog.Logger

	mu          sync.Mutex
	name        string
	done, total int64
	began, said time.Time
}

func (l *lines) Step(name string, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.name, l.total, l.done, l.began, l.said = name, total, 0, now, now
}

func (l *lines) Add(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done += n
	if now := time.Now(); now.Sub(l.said) >= logEvery {
		l.said = now
		l.log.Info("progress", "step", l.name, "done", l.done, "total", l.total, "seconds", now.Sub(l.began).Seconds())
	}
}

func (l *lines) Done() {}
