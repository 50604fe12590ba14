package wire

import "github.com/taksuehiro/vectorstore/internal/store"

// Erasing is the key by which purged records are known.
type Erasing struct {
	Key string `name:"erase-key" env:"ERASE_KEY" placeholder:"KEY" help:"Secret of at least 32 characters (indexer keygen): purged records are known by HMACs of their ids under it. The indexer and whoever purges or rolls back have the same one; it never goes into the store. Unset: nothing can be purged."`
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (e Erasing) Validate() error {
	_, err := e.Open()
	return err
}

// Open returns the key, nil for none.
func (e Erasing) Open() (*store.EraseKey, error) {
	if e.Key == "" {
		return nil, nil
	}
	key, err := store.NewEraseKey(e.Key)
	if err != nil {
		return nil, SettingError("ERASE_KEY", "%w", err)
	}
	return key, nil
}
