package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/dropins"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Drop-ins are listed when control.json counts another dropins_seq, which whoever writes them for people raises, and when somebody asks.
// What people write into the folder by hand is found once a minute while there is any drop-in, with every change of the
// source, so that a record that moves from one to the other is never absent; and while there is none, at a look around
// (look.go) every five minutes or more. So a catalogue without drop-ins costs an idle pass no listing, and neither does its change.
const (
	dropInsEvery  = time.Minute
	dropInsSeldom = 5 * time.Minute
)

// dropInsRead is what this process knows of drop-ins. Of one that went bad it is the last good content, until it is
// repaired or removed: the records that it says stay as they are served.
type dropInsRead struct {
	listed bool
	seq    int64
	at     time.Duration
	known  map[string]dropIn // by name
	set    *dropins.Set
}

// dropIn is one object as it was read.
type dropIn struct {
	info store.Info
	file *dropins.File // the last good content; nil: there is none that is known here
	bad  error         // why the object is not what counts
}

// same says whether an object is the one that was read. Where a listing tells no ETag, size and time do.
func (d dropIn) same(info store.Info) bool {
	return d.info.Size == info.Size && d.info.LastModified.Equal(info.LastModified) &&
		(info.ETag == "" || d.info.ETag == info.ETag)
}

// readDesired reads what is wanted: the source, and the drop-ins when they may be others. A drop-in that cannot be used is
// a condition, and nothing else waits for it.
func (p *pass) readDesired(ctx context.Context) error {
	if err := p.readSource(ctx); err != nil || p.source.err != nil {
		return err
	}
	r := &p.Reconciler.dropIns
	if p.dropInsDue() {
		next, err := p.readDropIns(ctx, *r)
		if err != nil {
			p.source.err = fail(SourceReady, dropInsUnreadable, transient, fmt.Errorf("read drop-ins: %w", err))
			return nil
		}
		*r = next
	}
	p.desire(r.set)
	p.source.err = p.sayDropIns(r.known)
	return nil
}

// raiseForDropIns keeps releases that know no drop-ins from building without them.
func (p *pass) raiseForDropIns(ctx context.Context) error {
	if p.source.dropIns.Len() == 0 {
		return nil
	}
	return p.raiseFormat(ctx)
}

func (p *pass) dropInsDue() bool {
	r := p.dropIns
	switch {
	case !r.listed, r.seq != p.control.DropInsSeq, p.opts.asked:
		return true
	case len(r.known) == 0:
		return p.fresh && p.Clock.Elapsed()-r.at >= dropInsSeldom
	}
	return p.source.path != "" || p.Clock.Elapsed()-r.at >= dropInsEvery
}

// readDropIns lists them and reads those that are new. What they say is used only together with the source that was there
// all the while: the listing must be the same before and after, and so must the source.
func (p *pass) readDropIns(ctx context.Context, was dropInsRead) (dropInsRead, error) {
	next := dropInsRead{listed: true, seq: p.control.DropInsSeq, at: p.Clock.Elapsed(), known: map[string]dropIn{}}
	before, err := listDropIns(ctx, p.Objects, p.Layout)
	if err != nil {
		return next, err
	}
	changed := len(before) != len(was.known)
	for _, info := range before {
		name := strings.TrimPrefix(info.Key, p.Layout.DropIns())
		old, known := was.known[name]
		if known && old.same(info) {
			next.known[name] = old
			continue
		}
		changed = true
		if next.known[name], err = p.readDropIn(ctx, name, info, old.file); err != nil {
			return next, err
		}
	}
	if len(before) > 0 || changed {
		if err := p.stoodStill(ctx, before); err != nil {
			return next, err
		}
	}
	if next.set = was.set; changed || was.set == nil {
		var files []*dropins.File
		for _, d := range next.known {
			if d.file != nil {
				files = append(files, d.file)
			}
		}
		next.set = dropins.NewSet(files)
	}
	return next, nil
}

// stoodStill: nothing that the desired state is read from changed since before was listed and the source was read.
func (p *pass) stoodStill(ctx context.Context, before []store.Info) error {
	after, err := listDropIns(ctx, p.Objects, p.Layout)
	if err != nil {
		return err
	}
	same := func(a, b store.Info) bool { return a.Key == b.Key && dropIn{info: a}.same(b) }
	if !slices.EqualFunc(before, after, same) {
		return fmt.Errorf("%w: they are being written", store.ErrConflict)
	}
	info, err := p.Objects.Head(ctx, p.Layout.Source)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if info.ETag != p.source.ETag {
		return fmt.Errorf("%w: %s is being written", store.ErrConflict, p.Layout.Source)
	}
	return nil
}

// readDropIn reads one. What is wrong with what is in it is no error: good, its content before, counts on.
func (p *pass) readDropIn(ctx context.Context, name string, info store.Info, good *dropins.File) (dropIn, error) {
	f, got, err := fetchDropIn(ctx, p.Objects, p.Layout, name, info, p.cfg.Catalogue, p.cfg.Limits)
	d := dropIn{info: info, file: f}
	d.info.ETag = cmp.Or(info.ETag, got.ETag)
	if bad, is := errors.AsType[*badDropIn](err); is {
		d.file, d.bad = good, bad
		return d, nil
	}
	return d, err
}

// badDropIn: an object in the folder that cannot be used as it is.
type badDropIn struct{ why error }

func (b *badDropIn) Error() string { return b.why.Error() }
func (b *badDropIn) Unwrap() error { return b.why }

// fetchDropIn reads one that was listed; a *badDropIn when that is not to be used, and ErrConflict when it is another by now.
func fetchDropIn(ctx context.Context, o store.Objects, l store.Layout, name string, info store.Info, rules vendors.Rules, lim vendors.Limits) (*dropins.File, store.Info, error) {
	data, got, err := store.ReadBytes(ctx, o, l.DropIns()+name, store.GetOptions{IfMatch: info.ETag}, dropins.MaxSize)
	switch {
	case errors.Is(err, snapshot.ErrCorrupt):
		return nil, got, &badDropIn{fmt.Errorf("it is larger than %d MiB: put so much into the source", dropins.MaxSize>>20)}
	case errors.Is(err, store.ErrNotFound):
		return nil, got, fmt.Errorf("%w: %s is gone by now", store.ErrConflict, name)
	case err != nil:
		return nil, got, err
	case got.Size != info.Size:
		return nil, got, fmt.Errorf("%w: %s is being written", store.ErrConflict, name)
	}
	f, err := dropins.Read(name, data, got.Metadata, rules, lim)
	if err != nil {
		return nil, got, &badDropIn{err}
	}
	return f, got, nil
}

// errTooMany ends a listing that is beyond bounds.
var errTooMany = fmt.Errorf("more than %d drop-ins, or %d MiB in all: put their records into the source and remove the files",
	dropins.MaxFiles, dropins.MaxTotal>>20)

// listDropIns lists the objects that are drop-ins, in order.
func listDropIns(ctx context.Context, o store.Objects, l store.Layout) (found []store.Info, err error) {
	total := int64(0)
	err = o.List(ctx, l.DropIns(), func(info store.Info) error {
		if info.Key == l.Source || dropins.Ignored(strings.TrimPrefix(info.Key, l.DropIns())) {
			return nil
		}
		if total += min(info.Size, dropins.MaxSize); len(found) >= dropins.MaxFiles || total > dropins.MaxTotal {
			return errTooMany
		}
		found = append(found, info)
		return nil
	})
	return found, err
}

// shownDropIns are spelled out in a condition.
const shownDropIns = 3

// sayDropIns names the drop-ins that are not used as they are. When one is bad and was never good in this process, it is
// not known which of the served records are its: then everything stays as it is served.
func (p *pass) sayDropIns(known map[string]dropIn) error {
	var faults []string
	unknown := 0
	for name, d := range known {
		if d.bad == nil {
			continue
		}
		if d.file == nil {
			unknown++
		}
		faults = append(faults, fmt.Sprintf("%s: %.300s", p.Layout.DropIns()+name, d.bad))
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	more := ""
	if n := len(faults) - shownDropIns; n > 0 {
		faults, more = faults[:shownDropIns], fmt.Sprintf("; and %d more", n)
	}
	message := strings.Join(faults, "; ") + more
	if unknown > 0 && p.pointer != nil {
		return failf(SourceReady, dropInInvalid, terminal, "%s; which records were of it is not known here, so all stay as they are served until it is repaired or removed", message)
	}
	p.say(SourceReady, False, dropInInvalid, message+"; its records stay as they are served until it is repaired or removed")
	return nil
}

// sayMerged says which drop-ins and records of the source are not of one mind. A store that never had drop-ins has no
// such conditions.
func (p *pass) sayMerged(r dropins.Report) {
	if p.source.dropIns.Len() == 0 && !slices.ContainsFunc(p.status.Conditions, func(c store.Condition) bool { return c.Type == DropInStale }) {
		return
	}
	status := func(n int) string {
		if n > 0 {
			return True
		}
		return False
	}
	stale := cases(r.Stale, "the source has another record by now, which is served; write the file again, or remove it")
	p.say(DropInStale, status(r.Stale.Count), reasonIf(r.Stale.Count, sourceWins, noneStale), stale)
	p.say(Shadowing, status(r.Shadowing.Count), reasonIf(r.Shadowing.Count, dropInWins, noneShadowed), cases(r.Shadowing, "a file by hand hides the source's record"))
}

func reasonIf(n int, some, none reason) reason {
	if n > 0 {
		return some
	}
	return none
}

// cases names the first of them, ids and files.
func cases(c dropins.Cases, what string) string {
	if c.Count == 0 {
		return ""
	}
	var named []string
	for _, x := range c.First[:min(len(c.First), shownDropIns)] {
		named = append(named, fmt.Sprintf("%.100q in %s", x.ID, x.File))
	}
	more := ""
	if n := c.Count - len(named); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(named, ", ") + more + ": " + what
}
