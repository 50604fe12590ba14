package reconcile

import (
	"context"
	"os"

	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// records reads the desired records in order: begin is called before the first, and again when what add has seen is void.
func (p *pass) records(_ context.Context, begin func() error, add func(vendors.Record) error) (vendors.Report, error) {
	f, err := os.Open(p.source.path)
	if err != nil {
		return vendors.Report{}, fail(Built, noScratch, transient, err)
	}
	defer f.Close()
	return vendors.Read(f, p.cfg.Catalogue, p.cfg.Limits, begin, add)
}
