package vendorstest

import (
	"io"

	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Records reads a catalogue as an indexer does by default.
func Records(f io.ReadSeeker) (records []vendors.Record, err error) {
	_, err = vendors.Read(f, vendors.DefaultRules(), vendors.DefaultLimits(), func() error {
		records = nil
		return nil
	}, func(r vendors.Record) error {
		records = append(records, r)
		return nil
	})
	return records, err
}
