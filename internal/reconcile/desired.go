package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/taksuehiro/vectorstore/internal/dropins"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// The desired state is the source with the drop-ins over it. Its digest is the source's own while there are none.

// digest of the desired state, as far as it was read.
func (s source) digest() string { return cmp.Or(s.desired, s.SHA256) }

// desiredOf is the digest of the desired state that a snapshot was built from.
func desiredOf(m store.Manifest) string { return cmp.Or(m.DesiredDigest, m.Source.SHA256) }

// desire takes note of what the source and the drop-ins that were read say together.
func (p *pass) desire(set *dropins.Set) {
	p.source.dropIns = set
	p.source.desired = set.Digest(p.source.SHA256, p.cfg.Catalogue, vendors.TextTemplate)
}

// records reads the desired records in order: begin is called before the first, and again when what add has seen is void.
func (p *pass) records(_ context.Context, begin func() error, add func(vendors.Record) error) (vendors.Report, error) {
	f, err := os.Open(p.source.path)
	if err != nil {
		return vendors.Report{}, fail(Built, noScratch, transient, err)
	}
	defer f.Close()
	var m *dropins.Merge
	handed := 0
	begins := func() error {
		m, handed = p.source.dropIns.Merge(), 0
		return begin()
	}
	hand := func(rec vendors.Record) error {
		handed++
		return add(rec)
	}
	report, err := vendors.Read(f, p.cfg.Catalogue, p.cfg.Limits, begins, func(rec vendors.Record) error { return m.Source(rec, hand) })
	if err != nil {
		return report, err
	}
	if err := m.Rest(hand); err != nil {
		return report, err
	}
	if handed == 0 {
		return report, &vendors.CatalogueError{Kind: vendors.KindEmpty, Detail: "drop-ins take every record away"}
	}
	if limit := p.cfg.Limits.Records; handed > limit {
		return report, &vendors.CatalogueError{Kind: vendors.KindRecords, Detail: fmt.Sprintf("more than %d with the drop-ins", limit)}
	}
	p.sayMerged(m.Report())
	return report, nil
}
