package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// A text that the provider refuses for itself must not keep all others from being served. Its records are in the
// snapshot, last, without a row in the index: words find them, meaning does not. They are listed in unembedded.json, so
// that the next pass does not ask again before retryRefused is over; another text, another spec or --force asks at once.
const (
	retryRefused = 24 * time.Hour
	fewRefused   = 10  // texts, or one in
	shareRefused = 100 // of all records: with more of them refused, something else is wrong
	refusedShown = 10  // ids in a condition and the log
	reasonBytes  = 300
)

// unembedded is a record whose text the embedding provider refused.
type unembedded struct {
	ID      string     `json:"id"`
	Key     ledger.Key `json:"key"` // of its text and the spec: another text or spec is another attempt
	Reason  string     `json:"reason"`
	TriedAt time.Time  `json:"tried_at"`
}

// unembeddedFile is unembedded.json.
type unembeddedFile struct {
	FormatVersion int          `json:"format_version"`
	Records       []unembedded `json:"records"`
}

// maxUnembedded bounds the file in bytes: one record in a hundred of as many as a snapshot can have, some 500 bytes each.
const maxUnembedded = 64 << 20

// writeUnembedded writes the list into the snapshot being built in dir.
func writeUnembedded(dir string, records []unembedded) error {
	data, err := json.Marshal(unembeddedFile{FormatVersion: store.FormatVersion, Records: records})
	if err != nil {
		return fmt.Errorf("write %s: %w", snapshot.FileUnembedded, err)
	}
	if len(data) > maxUnembedded {
		return fmt.Errorf("write %s: %d records without a vector are %d bytes, at most %d can be read", snapshot.FileUnembedded, len(records), len(data), maxUnembedded)
	}
	return os.WriteFile(filepath.Join(dir, snapshot.FileUnembedded), data, 0o644)
}

// readUnembedded reads the list of the snapshot whose files are in dir.
func readUnembedded(dir string) ([]unembedded, error) {
	f, err := os.Open(filepath.Join(dir, snapshot.FileUnembedded))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxUnembedded))
	if err != nil {
		return nil, err
	}
	var list unembeddedFile
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", snapshot.FileUnembedded, errors.Join(snapshot.ErrCorrupt, err))
	}
	return list.Records, nil
}

// refusedTexts is the error of an Embedder that was refused some texts themselves, by their index.
type refusedTexts interface {
	error
	RefusedTexts() map[int]error
}

// errUnchanged ends a pass that only asked again for what was refused, in vain.
var errUnchanged = errors.New("nothing changed")

// refuse notes what the provider says of the text at pos.
func (p *pass) refuse(pos uint32, why error) {
	c := p.files
	reason := why.Error()
	if len(reason) > reasonBytes {
		reason = strings.ToValidUTF8(reason[:reasonBytes], "") + "…"
	}
	key := c.keys[pos]
	c.refused[key] = unembedded{ID: c.docs.ID(int(pos)), Key: key, Reason: reason, TriedAt: p.now.UTC()}
}

// checkRefused ends the pass when more texts are refused than a catalogue has bad ones.
func (p *pass) checkRefused() error {
	c := p.files
	if c.partial { // whether a few are many is decided by the whole catalogue
		return nil
	}
	most := max(fewRefused, len(c.keys)/shareRefused)
	if len(c.refused) <= most && (len(c.refused) == 0 || len(c.refused) < p.distinct()) {
		return nil
	}
	first := slices.MinFunc(slices.Collect(maps.Values(c.refused)), func(a, b unembedded) int { return cmp.Compare(a.ID, b.ID) })
	return fmt.Errorf("%d texts are refused by the embedding provider, at most %d may be left out; record %q: %s", len(c.refused), min(most, p.distinct()-1), first.ID, first.Reason)
}

// distinct counts the texts of the catalogue, up to more than may be refused.
func (p *pass) distinct() int {
	seen := map[ledger.Key]struct{}{}
	for _, key := range p.files.keys {
		if seen[key] = struct{}{}; len(seen) > fewRefused {
			return len(p.files.keys)
		}
	}
	return len(seen)
}

// recallRefused returns the texts that were refused a short time ago and are not to be asked for now.
func (p *pass) recallRefused(ctx context.Context) (map[ledger.Key]unembedded, error) {
	recalled := map[ledger.Key]unembedded{}
	if p.opts.force || p.plan.retry {
		return recalled, nil
	}
	known, err := p.servedUnembedded(ctx)
	for _, u := range known {
		if p.now.Sub(u.TriedAt) < retryRefused {
			recalled[u.Key] = u
		}
	}
	return recalled, err
}

// retried is the last attempt for a snapshot.
type retried struct {
	snapshot string
	at       time.Duration
}

// stillRefused ends a pass that only retried when nothing new came of it: the snapshot would be the served one again.
func (p *pass) stillRefused(context.Context) error {
	if !p.plan.retry {
		return nil
	}
	p.Reconciler.retried = retried{p.pointer.ID, p.Clock.Elapsed()}
	if p.files.bought == 0 {
		return errUnchanged
	}
	return nil
}

// retryFailed says that err ended nothing but an attempt to do better than the served snapshot, which is up to date.
func (p *pass) retryFailed(ctx context.Context, err error) bool {
	f, ok := errors.AsType[*failure](err)
	if !p.plan.retry || !ok || f.reason != embeddingFailed || ctx.Err() != nil {
		return false
	}
	p.Reconciler.retried = retried{p.pointer.ID, p.Clock.Elapsed()}
	p.log.WarnContext(ctx, "refused texts not tried again", "error", err)
	return true
}

// servedUnembedded is the list of the served snapshot, none for one whose records all have vectors.
func (p *pass) servedUnembedded(ctx context.Context) ([]unembedded, error) {
	if !p.lacksVectors(p.rules()) {
		return nil, nil
	}
	if p.lastUnembedded.snapshot == p.pointer.ID {
		return p.lastUnembedded.records, nil
	}
	path, err := p.fetchServed(ctx, snapshot.FileUnembedded)
	var records []unembedded
	if err == nil {
		records, err = readUnembedded(filepath.Dir(path))
	}
	switch {
	case unreadable(err):
		p.log.WarnContext(ctx, "list of records without vectors unreadable", "snapshot", p.pointer.ID, "error", err)
	case err != nil:
		return nil, fail(Built, baselineUnreadable, transient, err)
	}
	p.lastUnembedded = unembeddedOf{p.pointer.ID, records}
	return records, nil
}

// unembeddedOf is the list of an immutable snapshot.
type unembeddedOf struct {
	snapshot string
	records  []unembedded
}

// setAside moves the records without vectors behind the others.
func (p *pass) setAside(ctx context.Context) error {
	c := p.files
	c.rows = len(c.keys)
	if len(c.refused) == 0 {
		return nil
	}
	if err := p.checkRefused(); err != nil {
		return p.embedError(ctx, err)
	}
	var order, behind []int
	for i, key := range c.keys {
		if u, refused := c.refused[key]; refused {
			u.ID = c.docs.ID(i)
			c.unembedded = append(c.unembedded, u)
			behind = append(behind, i)
		} else {
			order = append(order, i)
		}
	}
	c.rows = len(order)
	order = append(order, behind...)
	if err := p.reorder(ctx, order); err != nil {
		return fail(Built, noScratch, transient, fmt.Errorf("set records aside: %w", err))
	}
	p.log.WarnContext(ctx, "records not embedded", "count", len(c.unembedded), "ids", idsOf(c.unembedded), "error", c.unembedded[0].Reason)
	return nil
}

func idsOf(records []unembedded) []string {
	var ids []string
	for _, u := range records[:min(len(records), refusedShown)] {
		ids = append(ids, u.ID)
	}
	return ids
}

// reorder writes the documents anew, order[i] becoming record i, and what is known by position with them.
func (p *pass) reorder(ctx context.Context, order []int) error {
	c := p.files
	index, err := documents.OpenIndex(filepath.Join(p.dir, snapshot.FileOffsets))
	if err != nil {
		return err
	}
	defer index.Close()
	dir := filepath.Join(p.dir, "reordered")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w, err := documents.NewWriter(dir)
	if err != nil {
		return err
	}
	for _, i := range order {
		d, err := c.docs.Doc(i)
		if err == nil {
			var digest [32]byte // of which the index holds the first half, as before
			first := index.Digest(i)
			copy(digest[:], first[:])
			err = w.Add(d.ID, d.Name, d.Text, d.Metadata, digest)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			_, cerr := w.Close()
			return errors.Join(err, cerr)
		}
	}
	if c.entries, err = w.Close(); err != nil {
		return err
	}
	c.docs.Close()
	c.docs = nil
	for _, f := range c.entries {
		if err := os.Rename(filepath.Join(dir, f.Name), filepath.Join(p.dir, f.Name)); err != nil {
			return err
		}
	}
	if c.docs, err = documents.Open(p.dir); err != nil {
		return err
	}
	keys, from := make([]ledger.Key, len(order)), []int64(nil)
	for k, i := range order {
		keys[k] = c.keys[i]
		if c.from != nil && k < c.rows {
			from = append(from, c.from[i])
		}
	}
	c.keys, c.from, c.missing = keys, from, nil
	return nil
}

// sayEmbedded names the records of the served snapshot that have no vector.
func (p *pass) sayEmbedded(ctx context.Context) error {
	list, err := p.servedUnembedded(ctx)
	if err != nil || p.pointer == nil {
		return err
	}
	if len(list) == 0 {
		p.say(Embedded, True, allEmbedded, p.settled)
		return nil
	}
	more := ""
	if n := len(list) - refusedShown; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	p.say(Embedded, False, textsRefused, fmt.Sprintf("%d of %d records have no vector: the embedding provider refused their texts; only words find them: %s%s (%s); they are tried again daily, when the text or the model changes, and with --force",
		len(list), p.pointer.Source.Records, strings.Join(idsOf(list), ", "), more, list[0].Reason))
	return nil
}
