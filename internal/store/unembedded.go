package store

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// maxUnembedded bounds the file: one record in a hundred of MaxDocuments, some 500 bytes each.
const maxUnembedded = 64 << 20

// Unembedded is a record whose text the embedding provider refused.
type Unembedded struct {
	ID      string    `json:"id"`
	Key     LedgerKey `json:"key"` // of its text and the spec: another text or spec is another attempt
	Reason  string    `json:"reason"`
	TriedAt time.Time `json:"tried_at"`
}

// MarshalText and UnmarshalText write a key in hex.
func (k LedgerKey) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

func (k *LedgerKey) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(k)) {
		return fmt.Errorf("a ledger key of %d digits", len(text))
	}
	_, err := hex.Decode(k[:], text)
	return err
}

// UnembeddedList is unembedded.json.
type UnembeddedList struct {
	FormatVersion int          `json:"format_version"`
	Records       []Unembedded `json:"records"`
}

// WriteUnembedded writes the list into the snapshot being built in dir.
func WriteUnembedded(dir string, records []Unembedded) error {
	data, err := json.Marshal(UnembeddedList{FormatVersion: FormatVersion, Records: records})
	if err != nil {
		return fmt.Errorf("write %s: %w", snapshot.FileUnembedded, err)
	}
	if len(data) > maxUnembedded {
		return fmt.Errorf("write %s: %w: %d records without a vector are %d bytes, at most %d can be read", snapshot.FileUnembedded, ErrInvalid, len(records), len(data), maxUnembedded)
	}
	return os.WriteFile(filepath.Join(dir, snapshot.FileUnembedded), data, 0o644)
}

// ReadUnembedded reads the list of the snapshot whose files are in dir.
func ReadUnembedded(dir string) ([]Unembedded, error) {
	f, err := os.Open(filepath.Join(dir, snapshot.FileUnembedded))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxUnembedded))
	if err != nil {
		return nil, err
	}
	var list UnembeddedList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", snapshot.FileUnembedded, errors.Join(snapshot.ErrCorrupt, err))
	}
	return list.Records, nil
}
