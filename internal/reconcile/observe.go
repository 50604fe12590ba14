package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/taksuehiro/vectorstore/internal/dropins"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// source is the catalogue's object as this pass found it.
type source struct {
	store.Source
	path string    // the local copy, "" = not downloaded
	at   time.Time // when it was written last, by the store's clock; zero when this pass did not find it new

	dropIns *dropins.Set // over it
	desired string       // digest of both, "" without drop-ins

	err error // SourceReady is False: keep serving
}

// settle asks what embeds, now that it is known what is served.
func (p *pass) settle(context.Context) error {
	r := p.Reconciler
	if r.Settle == nil {
		return nil
	}
	var served snapshot.Embedding
	if p.pointer != nil {
		served = p.pointer.Spec.Embedding
	}
	r.Embedder, r.cfg.Embedding, r.settled = r.Settle(served)
	r.spec, r.Settle = r.cfg.spec(), nil
	r.specDigest = r.spec.Digest()
	return nil
}

// readStatus reads status.json once a term; afterwards we are its only writer. When it is lost meanwhile, what was
// written last is still known.
func (p *pass) readStatus(ctx context.Context) error {
	if p.statusRead {
		return nil
	}
	s, info, err := store.ReadDoc[store.Status](ctx, p.Objects, p.Layout.Status(), store.GetOptions{})
	switch {
	case errors.Is(err, store.ErrNotFound):
		s, info.ETag = p.status, ""
	case errors.Is(err, snapshot.ErrCorrupt) && info.ETag != "":
		s = p.status
		p.log.WarnContext(ctx, "status unreadable, it will be written anew", "error", err)
	case err != nil:
		return fail(Ready, statusUnreadable, transient, fmt.Errorf("read status: %w", err))
	}
	if err := p.lease.yield("status.json", s.Epoch, s.Owner); err != nil {
		return err
	}
	p.Reconciler.status, p.statusETag, p.statusRead = s, info.ETag, true
	return nil
}

// readControl reads what operators want. A control document that cannot be read stops the pass: it may say
// "suspended".
func (p *pass) readControl(ctx context.Context) error {
	control, info, err := store.ReadDoc[store.Control](ctx, p.Objects, p.Layout.Control(), store.GetOptions{})
	if errors.Is(err, store.ErrNotFound) {
		control, info, err = p.restoreControl(ctx)
	} else if err == nil {
		control, info, err = p.recallErasure(ctx, control, info)
	}
	if err != nil {
		return fail(Ready, controlUnreadable, transient, fmt.Errorf("read control: %w", err))
	}
	p.control, p.controlRead, p.controlETag = control, true, info.ETag
	if q := control.Request; q != nil && (p.status.Handled == nil || p.status.Handled.Token != q.Token) {
		p.request = q
		p.opts.asked = true
		p.opts.force = p.opts.force || q.Force && p.owed(q)
		p.opts.gcOnly = p.opts.gcOnly || q.Verb == VerbGC
		p.compaction.asked = p.compaction.asked || q.Verb == VerbCompact
	}
	return nil
}

// owed says whether a forced rebuild was not answered by a promotion since it was asked for. status.json says which
// request was handled, but people may delete it; a request that names no pointer is one of an earlier release.
func (p *pass) owed(q *store.Request) bool {
	if q.Against == "" || q.Against == p.pointer.Mark() {
		return true
	}
	p.message = "not forced: " + p.pointer.Mark() + " was promoted since it was asked for"
	return false
}

// readSource finds out what the catalogue's bytes are, downloading them only when nobody has hashed this
// version before. A missing or unreadable catalogue is a condition, never an empty one.
func (p *pass) readSource(ctx context.Context) error {
	known := p.knownSource()
	path := filepath.Join(p.dir, "source")
	info, sum, err := store.FetchSource(ctx, p.Objects, p.Layout.Source, path, store.GetOptions{IfNoneMatch: known.ETag})
	switch {
	case errors.Is(err, store.ErrNotModified):
		p.source = source{Source: known}
	case errors.Is(err, store.ErrNotFound):
		p.source.err = failf(SourceReady, sourceMissing, transient, "%s: %w", p.Layout.Source, err)
	case err != nil:
		p.source.err = fail(SourceReady, sourceUnreadable, transient, fmt.Errorf("read source: %w", err))
	default:
		p.source = source{path: path, at: info.LastModified, Source: store.Source{
			Key: p.Layout.Source, ETag: info.ETag, VersionID: info.VersionID, SHA256: sum,
		}}
	}
	return nil
}

// knownSource is a version of the catalogue whose digest is known, so that 304 tells what it is.
func (p *pass) knownSource() store.Source {
	if s := p.status.Source; s.Key == p.Layout.Source && s.ETag != "" && s.SHA256 != "" {
		return s
	}
	if p.pointer != nil && p.pointer.Source.Key == p.Layout.Source && p.pointer.Source.SHA256 != "" {
		return p.pointer.Source
	}
	return store.Source{}
}

// download makes sure that the catalogue's bytes are here. They may be newer than what was seen before.
func (p *pass) download(ctx context.Context) error {
	if p.source.path != "" {
		return nil
	}
	path := filepath.Join(p.dir, "source")
	info, sum, err := store.FetchSource(ctx, p.Objects, p.Layout.Source, path, store.GetOptions{})
	if err != nil {
		return fail(SourceReady, sourceUnreadable, transient, fmt.Errorf("read source: %w", err))
	}
	if sum != p.source.SHA256 && p.source.dropIns.Len() > 0 { // they were read beside another source
		return fail(SourceReady, sourceUnreadable, transient, fmt.Errorf("read source: %w", errOvertaken))
	}
	if sum != p.source.SHA256 {
		p.looked[lookAtStored] = false
	}
	p.source.path = path
	p.source.Source = store.Source{Key: p.Layout.Source, ETag: info.ETag, VersionID: info.VersionID, SHA256: sum}
	p.desire(p.source.dropIns)
	return nil
}

// readGolden notes the version of the golden queries; "" = there are none.
func (p *pass) readGolden(ctx context.Context) error {
	info, err := p.Objects.Head(ctx, p.Layout.Golden())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fail(Verified, goldenUnreadable, transient, fmt.Errorf("look at golden.json: %w", err))
	}
	p.goldenETag = info.ETag
	return nil
}
