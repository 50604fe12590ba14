package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// What current/index.faiss is for old readers: the values of Config.LegacyCopies.
const (
	CopiesL2  = "l2"  // its distances are squared L2, lower is better, which is how LangChain reads a file unless told otherwise
	CopiesIP  = "ip"  // the snapshot's own file: inner products, higher is better
	CopiesOff = "off" // there is none
)

// Metadata of the copies: whose they are, and which of the above.
const (
	metaSnapshot = "snapshot-id"
	metaCopies   = "legacy-copies"
)

// copyLegacy keeps the copies for old readers at the promoted snapshot, in the form that is configured. Each copy is
// conditional on what was seen before the lease and the pointer were checked again, so a leader that was stopped in
// between cannot put an old one over a newer. The two files are not replaced together: an old reader may see one of each.
func (p *pass) copyLegacy(ctx context.Context) error {
	if p.pointer == nil || p.broken != nil {
		return nil
	}
	form, err := p.formOfCopies(ctx)
	if err != nil {
		return err
	}
	if form == CopiesOff {
		return p.leaveCopies(ctx)
	}
	for _, name := range []string{snapshot.FileIndex, snapshot.FilePickle} {
		f, ok := p.pointer.File(name)
		if !ok {
			continue
		}
		if err := p.keepCopy(ctx, f, form); err != nil {
			return fail(Ready, copyFailed, transient, fmt.Errorf("copy %s to current/: %w", name, err))
		}
	}
	return nil
}

// formOfCopies is the configured form. A command without --yes, whose shell need not have the deployment's setting, keeps
// the one that is there, and makes no copies where there are none but of a first snapshot.
func (p *pass) formOfCopies(ctx context.Context) (string, error) {
	own := p.cfg.LegacyCopies
	if !p.opts.once || p.opts.override || own == CopiesOff || p.pointer.Generation == 1 {
		return own, nil
	}
	form, key := CopiesOff, p.Layout.Current(snapshot.FileIndex)
	switch there, err := p.Objects.Head(ctx, key); {
	case err == nil:
		form = formOf(there)
	case !errors.Is(err, store.ErrNotFound):
		return "", fail(Ready, copyFailed, transient, fmt.Errorf("look at the copies in current/: %w", err))
	}
	if form != own {
		p.log.WarnContext(ctx, "copies for old readers stay as they are, --yes makes them by this command's setting",
			"url", p.Objects.URL(key), "form", form, "setting", own)
	}
	return form, nil
}

// formOf is what a copy of the index says that it is.
func formOf(there store.Info) string {
	return cmp.Or(there.Metadata[metaCopies], CopiesIP) // written before there was a choice
}

// keepCopy writes the copy of f where it is missing, of another snapshot or of another form.
func (p *pass) keepCopy(ctx context.Context, f snapshot.File, want string) error {
	key := p.Layout.Current(f.Name)
	there, err := p.Objects.Head(ctx, key)
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing {
		return err
	}
	form := formOf(there)
	other := f.Name == snapshot.FileIndex && form != want
	switch {
	case missing:
		return p.copyFile(ctx, f, want, store.PutOptions{IfAbsent: true})
	case there.Metadata[metaSnapshot] == baseOf(p.pointer.Manifest, "").ID && there.Size == f.Size && !other:
		return nil
	case other:
		p.log.WarnContext(ctx, "copies for old readers change", "url", p.Objects.URL(key), "from", form, "to", want)
	}
	return p.copyFile(ctx, f, want, store.PutOptions{IfMatch: there.ETag})
}

// leaveCopies says once that copies which nobody updates any more lie where old readers look. No role here may delete them.
func (p *pass) leaveCopies(ctx context.Context) error {
	if p.saidCopies {
		return nil
	}
	for _, name := range []string{snapshot.FileIndex, snapshot.FilePickle} {
		key := p.Layout.Current(name)
		switch _, err := p.Objects.Head(ctx, key); {
		case err == nil:
			p.log.WarnContext(ctx, "copies for old readers are off, and an old one lies here: delete it when nobody reads it", "url", p.Objects.URL(key))
		case !errors.Is(err, store.ErrNotFound):
			return fail(Ready, copyFailed, transient, fmt.Errorf("look for %s in current/: %w", name, err))
		}
	}
	p.saidCopies = true
	return nil
}

func (p *pass) copyFile(ctx context.Context, f snapshot.File, form string, cond store.PutOptions) error {
	key := p.Layout.Current(f.Name)
	p.step("copy "+f.Name, 0)
	path, err := p.localCopy(ctx, f)
	if err != nil {
		return err
	}
	cond.Metadata = map[string]string{metaSnapshot: baseOf(p.pointer.Manifest, "").ID}
	if f.Name == snapshot.FileIndex {
		cond.Metadata[metaCopies] = form
		if form == CopiesL2 {
			if path, f, err = p.distances(ctx, path, f); err != nil {
				return err
			}
		}
	}
	if err := p.lease.check(); err != nil {
		return err
	}
	now, _, err := store.ReadPointer(ctx, p.Objects, p.Layout, "")
	if err != nil {
		return err
	}
	if now.ID != p.pointer.ID || now.Generation != p.pointer.Generation {
		return fmt.Errorf("the pointer moved to %s: %w", now.ID, store.ErrConflict)
	}
	if err := p.lease.check(); err != nil {
		return err
	}
	_, err = store.WriteFile(ctx, p.Objects, key, path, f, cond)
	return err
}

// distances is the file at path rewritten to answer with distances: as large, beside it in scratch.
func (p *pass) distances(ctx context.Context, path string, f snapshot.File) (string, snapshot.File, error) {
	dir := filepath.Join(p.dir, "distances")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", f, err
	}
	out := filepath.Join(dir, f.Name)
	if err := langchain.Distances(path, out); err != nil {
		return "", f, err
	}
	f, err := store.HashFile(ctx, out, nil)
	return out, f, err
}

// localCopy is a verified local file with the bytes of f, downloaded when this pass did not make them.
func (p *pass) localCopy(ctx context.Context, f snapshot.File) (string, error) {
	if p.chosen.dir != "" && p.chosen.m.ID == p.pointer.ID {
		return filepath.Join(p.chosen.dir, f.Name), nil
	}
	path, err := p.fetchServed(ctx, f.Name)
	if errors.Is(err, snapshot.ErrCorrupt) && p.Clock.Elapsed() >= p.nextRehash {
		err = errors.Join(err, p.reread(ctx)) // replicas that have it do not read it again, so nobody else finds out
	}
	return path, err
}
